//! Retention removes whole objects and says how much.

use catalog::*;
use schema::Dataset;

use crate::fixture::*;

pub async fn expire_removes_what_is_wholly_old(database: Database) {
    let catalog = database.migrated().await;
    let lease = lease(&catalog).await;
    let spans = Dataset::Spans;
    let ids = commit(&catalog, &segment("s/1", &[(0, 10)], &[])).await;
    commit(&catalog, &segment("s/2", &[(0, 9), (0, 10)], &[])).await; // one old slice, one not
    commit(&catalog, &segment("s/3", &[(0, 9)], &[])).await;
    let mut other = segment("s/4", &[(0, 1)], &[]);
    other.slices[0].tenant = tenant("b");
    commit(&catalog, &other).await;
    let add = vec![part("p/1", 1, (0, 9)), part("p/2", 1, (0, 10))];
    catalog
        .replace(&replacement(ids, vec![], add), &lease, NOW, MINUTE)
        .await
        .unwrap();

    let expected = Expired {
        rows: 120,
        bytes: 1_200,
        slices: 2,
        parts: 1,
    };
    assert_eq!(catalog.retention_due(&tenant("a"), spans, 10).await.unwrap(), expected);
    assert_eq!(
        catalog
            .expire(&tenant("a"), spans, 10, &lease, NOW, MINUTE)
            .await
            .unwrap(),
        expected
    );
    let seen = snapshot(&catalog).await;
    assert_eq!((seen.sequence, seen.slices.len(), seen.parts.len()), (2, 1, 1));
    assert_eq!(seen.parts[0].path, "p/2");
    let mut queued: Vec<_> = catalog
        .gc_due(i64::MAX, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|e| e.path)
        .collect();
    queued.sort_unstable();
    assert_eq!(queued, ["p/1", "s/1", "s/3"]);

    assert_eq!(
        catalog.retention_due(&tenant("a"), spans, 10).await.unwrap(),
        Expired::default()
    );
    assert_eq!(
        catalog
            .expire(&tenant("a"), spans, 10, &lease, NOW, MINUTE)
            .await
            .unwrap(),
        Expired::default()
    );
    let nobody = catalog
        .expire(&tenant("nobody"), spans, 10, &lease, NOW, MINUTE)
        .await
        .unwrap();
    assert_eq!(nobody, Expired::default());
    assert_eq!(snapshot(&catalog).await.sequence, 2, "nothing went, nothing moved");
    let rest = catalog
        .expire(&tenant("a"), spans, i64::MAX, &lease, NOW, MINUTE)
        .await
        .unwrap();
    assert_eq!((rest.slices, rest.parts), (1, 1));
    assert_eq!(catalog.gc_pending().await.unwrap().0, 5);
    assert_eq!(catalog.live_slices(&tenant("b"), spans, 9).await.unwrap().len(), 1);
}

pub async fn a_fenced_expire_changes_nothing(database: Database) {
    let catalog = database.migrated().await;
    commit(&catalog, &segment("s/1", &[(0, 1)], &[])).await;
    let lease = lease(&catalog).await;
    catalog.release_lease(&lease).await.unwrap();
    let refused = catalog
        .expire(&tenant("a"), Dataset::Spans, i64::MAX, &lease, NOW, MINUTE)
        .await;
    assert!(matches!(refused, Err(CatalogError::Fenced { .. })), "{refused:?}");
    assert_eq!(snapshot(&catalog).await.slices.len(), 1);
}

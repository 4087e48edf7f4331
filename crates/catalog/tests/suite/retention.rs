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

/// What retention owes of a tenant's spans: (rows deleted, bytes deleted, bytes that wait).
async fn owed(catalog: &Catalog, name: &str) -> (i64, i64, i64) {
    let states = catalog.retention_states().await.unwrap();
    let state = states
        .into_iter()
        .find(|s| s.tenant == tenant(name) && s.dataset == Dataset::Spans);
    let state = state.unwrap();
    assert_eq!(state.waiting_since.is_some(), state.bytes_waiting > 0);
    (state.rows_deleted, state.bytes_deleted, state.bytes_waiting)
}

/// A segment that two tenants share is gone when the later of them has left it.
pub async fn bytes_are_deleted_when_their_object_is(database: Database) {
    let catalog = database.migrated().await;
    let lease = lease(&catalog).await;
    let mut shared = segment("s/1", &[(0, 1), (5, 20)], &[]);
    shared.slices[1].tenant = tenant("b");
    commit(&catalog, &shared).await;
    let ids = commit(&catalog, &segment("s/2", &[(0, 1)], &[])).await;
    let change = replacement(ids, vec![], vec![part("p/1", 1, (0, 9))]);
    catalog.replace(&change, &lease, NOW, MINUTE).await.unwrap();
    assert_eq!(owed(&catalog, "a").await, (0, 0, 0));

    let expire = async |name: &str, cutoff, now| {
        let of = tenant(name);
        catalog
            .expire(&of, Dataset::Spans, cutoff, &lease, now, MINUTE)
            .await
            .unwrap();
    };
    let collect = async |now| {
        let due = catalog.gc_due(now, 10).await.unwrap();
        catalog
            .gc_done(&due.iter().map(|e| e.id).collect::<Vec<_>>())
            .await
            .unwrap()
            .freed
    };
    expire("a", 10, NOW).await;
    assert_eq!(owed(&catalog, "a").await, (110, 0, 1_100));
    // s/2 was replaced, not expired: nobody owed its bytes.
    let freed = collect(NOW + 60 * SECOND).await;
    let of_a = |bytes| Freed {
        tenant: tenant("a"),
        dataset: Dataset::Spans,
        bytes,
    };
    assert_eq!(freed, [of_a(1_000)]);
    assert_eq!(
        owed(&catalog, "a").await,
        (110, 1_000, 100),
        "b's slice holds the segment"
    );
    expire("b", 21, NOW + 120 * SECOND).await;
    let freed = collect(NOW + 180 * SECOND).await;
    assert_eq!(
        (freed.len(), freed.iter().map(|f| f.bytes).collect::<Vec<_>>()),
        (2, vec![100, 100])
    );
    assert_eq!(owed(&catalog, "a").await, (110, 1_100, 0));
    assert_eq!(owed(&catalog, "b").await, (10, 100, 0));
    assert!(collect(i64::MAX).await.is_empty());
}

pub async fn a_proof_is_remembered(database: Database) {
    let catalog = database.migrated().await;
    commit(&catalog, &segment("s/1", &[(0, 1)], &[])).await;
    let of = [(tenant("a"), Dataset::Spans)];
    let proven = async || catalog.retention_states().await.unwrap()[0].proven_at;
    assert_eq!(proven().await, None);
    catalog.retention_proven(&of, NOW).await.unwrap();
    catalog.retention_proven(&[], NOW + 5).await.unwrap();
    assert_eq!(proven().await, Some(NOW));
    catalog.retention_proven(&of, NOW + 9).await.unwrap();
    assert_eq!(proven().await, Some(NOW + 9));
}

//! Orphans, and processes that stood still: found by the simulation (docs/decisions/0009).

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;

use catalog::*;
use schema::{Clock as _, ManualClock};

use crate::fixture::*;

fn paths<const N: usize>(paths: [&str; N]) -> Vec<String> {
    paths.map(String::from).to_vec()
}

/// A segment that was taken for an orphan, because its writer stood still or a clock was wrong, was deleted and committed.
pub async fn a_condemned_segment_is_never_committed(database: Database) {
    let catalog = database.migrated().await;
    commit(&catalog, &segment("s/1", &[(0, 1)], &[])).await;
    let both = paths(["s/1", "s/2"]);
    for _ in 0..2 {
        let condemned = catalog.condemn(&both, &[], NOW).await.unwrap();
        assert_eq!(condemned, HashSet::from(["s/2".to_owned()]));
    }
    let late = segment("s/2", &[(0, 1)], &[key(1)]);
    let refused = catalog.commit_segment(&late, NOW).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(_))), "{refused:?}");
    assert_eq!(snapshot(&catalog).await.slices.len(), 1);
    assert_eq!(catalog.committed_requests(&[key(1)]).await.unwrap(), [false]);
    assert_eq!(
        catalog.known_objects(&both).await.unwrap(),
        HashSet::from(["s/1".to_owned()])
    );
    assert_eq!(catalog.gc_pending().await.unwrap(), (0, 0));

    // The path leaves the queue at last, and its row with it.
    let due = catalog.gc_due(i64::MAX, 10).await.unwrap();
    assert_eq!(due.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["s/2"]);
    catalog.gc_done(&[due[0].id]).await.unwrap();
    commit(&catalog, &late).await;
}

pub async fn a_condemned_part_is_never_published(database: Database) {
    let catalog = database.migrated().await;
    let ids = commit(&catalog, &segment("s/1", &[(0, 1)], &[])).await;
    let lease = lease(&catalog).await;
    let first = replacement(ids, vec![], vec![part("p/1", 1, (0, 1))]);
    catalog.replace(&first, &lease, NOW, MINUTE).await.unwrap();
    let condemned = catalog.condemn(&[], &paths(["p/1", "p/2"]), NOW).await.unwrap();
    assert_eq!(condemned, HashSet::from(["p/2".to_owned()]));
    let live = snapshot(&catalog).await.parts;
    let second = replacement(vec![], vec![live[0].id], vec![part("p/2", 2, (0, 1))]);
    let refused = catalog.replace(&second, &lease, NOW, MINUTE).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(_))), "{refused:?}");
    assert_eq!(snapshot(&catalog).await.parts, live);
}

pub async fn an_object_is_committed_or_condemned(database: Database) {
    let catalog = database.migrated().await;
    let mut committed = 0;
    for n in 0..20 {
        let path = format!("s/{n}");
        let segment = segment(&path, &[(0, 1)], &[]);
        let other = database.connect().await;
        let name = [path.clone()];
        let (commit, condemned) = tokio::join!(catalog.commit_segment(&segment, NOW), other.condemn(&name, &[], NOW));
        let condemned = condemned.unwrap().contains(&path);
        assert_eq!(commit.is_ok(), !condemned, "{commit:?}");
        committed += usize::from(!condemned);
        other.close().await;
    }
    assert_eq!(snapshot(&catalog).await.slices.len(), committed);
}

/// Its senders had sent the request elsewhere, where it was committed and forgotten.
pub async fn a_commit_that_comes_too_late_is_refused(database: Database) {
    let catalog = database.migrated().await;
    let mut segment = segment("s/1", &[(0, 1)], &[key(1)]);
    segment.commit_by = NOW;
    let refused = catalog.commit_segment(&segment, NOW + 1).await;
    assert!(matches!(refused, Err(CatalogError::Late)), "{refused:?}");
    // By the time it would be early: the clock was set back meanwhile.
    (segment.commit_by, segment.commit_by_ticks) = (i64::MAX, NOW);
    let refused = catalog.commit_segment(&segment, NOW + 1).await;
    assert!(matches!(refused, Err(CatalogError::Late)), "{refused:?}");
    assert!(snapshot(&catalog).await.slices.is_empty());
    commit(&catalog, &segment).await;
}

/// Stands still for an hour before each operation.
#[derive(Debug)]
struct Slow(Arc<ManualClock>);

impl Gate for Slow {
    fn enter(&self, _: Access) -> Pin<Box<dyn Future<Output = Pass> + Send + '_>> {
        self.0.advance(3600 * SECOND);
        let pass = Pass {
            fate: Fate::Happens,
            under_way: Box::new(()),
        };
        Box::pin(async { pass })
    }
}

/// A process that stood still before it replaced slices found their grace over, and queries lost their files.
pub async fn a_grace_begins_when_objects_are_replaced(database: Database) {
    let catalog = database.migrated().await;
    let ids = commit(&catalog, &segment("s/1", &[(0, 1)], &[])).await;
    let lease = lease(&catalog).await;
    let clock = Arc::new(ManualClock::new(NOW));
    let slow = catalog.gated(Arc::new(Slow(Arc::clone(&clock))));
    let change = replacement(ids, vec![], vec![part("p/1", 1, (0, 1))]);
    slow.replace(&change, &lease, &*clock, MINUTE).await.unwrap();
    let due = catalog.gc_due(i64::MAX, 1).await.unwrap()[0].due_at;
    assert_eq!(due, clock.now() + 60 * SECOND);
}

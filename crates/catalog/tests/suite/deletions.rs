//! Deletions as durable tasks: what is counted, what is fenced, when they end.

use catalog::*;
use schema::Dataset;

use crate::fixture::*;

fn trace() -> DeletionTarget {
    DeletionTarget::Trace(*b"0123456789abcdef")
}

async fn requested(catalog: &Catalog, datasets: &[Dataset], target: DeletionTarget) -> i64 {
    let new = NewDeletion {
        tenant: tenant("a"),
        datasets: datasets.to_vec(),
        target,
    };
    catalog.request_deletion(&new, NOW).await.unwrap()
}

fn step(deletion: i64, change: Replacement) -> DeletionStep {
    DeletionStep {
        deletion,
        change,
        rows: 3,
        bytes_read: 1_000,
        bytes_written: 900,
    }
}

pub async fn a_deletion_goes_from_pending_to_verified(database: Database) {
    let catalog = database.migrated().await;
    let slices = commit(&catalog, &segment("s/1", &[(0, 1), (2, 3)], &[])).await;
    let other = commit(&catalog, &segment("s/2", &[(0, 1)], &[])).await;
    let lease = lease(&catalog).await;
    let id = requested(&catalog, &[Dataset::Spans, Dataset::Logs], trace()).await;
    let asked = catalog.deletion(id).await.unwrap().unwrap();
    assert_eq!(
        (asked.state, asked.target, asked.requested_at),
        (DeletionState::Pending, trace(), NOW)
    );
    assert_eq!(asked.progress.len(), 2);
    assert_eq!(asked.objects, DeletionObjects::default());

    // One slice of two of s/1 goes, so its object stays until the other goes, too; s/2 is nobody's business.
    let change = replacement(vec![slices[0]], vec![], vec![part("p/1", 1, (0, 1))]);
    catalog
        .delete_rows(&step(id, change), &lease, NOW, MINUTE)
        .await
        .unwrap();
    let part_id = snapshot(&catalog).await.parts[0].id;
    let change = replacement(vec![], vec![part_id], vec![]);
    catalog
        .delete_rows(&step(id, change), &lease, NOW, MINUTE)
        .await
        .unwrap();
    let seen = snapshot(&catalog).await;
    assert_eq!((seen.parts.len(), seen.slices.len()), (0, 2));
    let counted = catalog.deletion(id).await.unwrap().unwrap();
    let spans = counted.progress.iter().find(|p| p.dataset == Dataset::Spans).unwrap();
    assert_eq!(
        (spans.rows, spans.bytes_read, spans.bytes_written, spans.scanned_at),
        (6, 2_000, 1_800, None)
    );
    let queued = DeletionObjects {
        queued: 2,
        queued_bytes: 1_200,
        removed: 0,
        removed_bytes: 0,
    };
    assert_eq!(counted.objects, queued);

    assert!(
        !catalog
            .deletion_scanned(id, Dataset::Logs, &lease, NOW + 1)
            .await
            .unwrap()
    );
    assert!(!catalog.deletion_verified(id, NOW + 1).await.unwrap(), "not done");
    assert!(
        catalog
            .deletion_scanned(id, Dataset::Spans, &lease, NOW + 2)
            .await
            .unwrap()
    );
    let done = catalog.deletion(id).await.unwrap().unwrap();
    assert_eq!((done.state, done.done_at), (DeletionState::Done, Some(NOW + 2)));
    let late = step(id, replacement(other.clone(), vec![], vec![]));
    let late = catalog.delete_rows(&late, &lease, NOW, MINUTE).await;
    assert!(matches!(late, Err(CatalogError::Conflict(_))), "it is done: {late:?}");
    assert_eq!(snapshot(&catalog).await.slices.len(), 2, "nothing was changed");

    // The part goes, then the rest of the segment.
    let due = catalog.gc_due(NOW + 60 * SECOND, 10).await.unwrap();
    assert_eq!(due.iter().map(|e| e.path.as_str()).collect::<Vec<_>>(), ["p/1"]);
    catalog.gc_done(&[due[0].id]).await.unwrap();
    assert!(
        !catalog.deletion_verified(id, NOW + 3).await.unwrap(),
        "the segment is there"
    );
    let objects = catalog.deletion_objects(id).await.unwrap();
    assert_eq!(objects, [("p/1".to_owned(), true), ("s/1".to_owned(), false)]);
    catalog
        .replace(&replacement(vec![slices[1]], vec![], vec![]), &lease, NOW, MINUTE)
        .await
        .unwrap();
    let due = catalog.gc_due(NOW + 60 * SECOND, 10).await.unwrap();
    catalog.gc_done(&[due[0].id]).await.unwrap();
    assert_eq!(catalog.open_deletions().await.unwrap().len(), 1);
    // Compaction may have moved matching rows out of s/2 before the deletion came, so it has to go, too.
    assert!(!catalog.deletion_collected(id).await.unwrap());
    catalog
        .replace(&replacement(other, vec![], vec![]), &lease, NOW, MINUTE)
        .await
        .unwrap();
    let due = catalog.gc_due(NOW + 60 * SECOND, 10).await.unwrap();
    catalog.gc_done(&[due[0].id]).await.unwrap();
    commit(&catalog, &segment("s/3", &[(0, 1)], &[])).await; // came later: nobody's business
    assert!(catalog.deletion_collected(id).await.unwrap());
    assert!(catalog.deletion_verified(id, NOW + 4).await.unwrap());
    let verified = catalog.deletion(id).await.unwrap().unwrap();
    assert_eq!(
        (verified.state, verified.verified_at),
        (DeletionState::Verified, Some(NOW + 4))
    );
    assert_eq!((verified.objects.removed, verified.objects.removed_bytes), (2, 1_200));
    assert!(catalog.open_deletions().await.unwrap().is_empty());
}

pub async fn a_fenced_deletion_changes_nothing(database: Database) {
    let catalog = database.migrated().await;
    let slices = commit(&catalog, &segment("s/1", &[(0, 1)], &[])).await;
    let id = requested(&catalog, &[Dataset::Spans], DeletionTarget::Everything).await;
    let lease = lease(&catalog).await;
    catalog.release_lease(&lease).await.unwrap();
    let change = replacement(slices, vec![], vec![]);
    let refused = catalog.delete_rows(&step(id, change), &lease, NOW, MINUTE).await;
    assert!(matches!(refused, Err(CatalogError::Fenced { .. })), "{refused:?}");
    let refused = catalog.deletion_scanned(id, Dataset::Spans, &lease, NOW).await;
    assert!(matches!(refused, Err(CatalogError::Fenced { .. })), "{refused:?}");
    let deletion = catalog.deletion(id).await.unwrap().unwrap();
    assert_eq!((deletion.state, deletion.progress[0].rows), (DeletionState::Pending, 0));
    assert_eq!(deletion.objects, DeletionObjects::default());
    assert_eq!(snapshot(&catalog).await.slices.len(), 1);
}

/// Two processes end the last two datasets at the same instant: one of them ends the deletion.
pub async fn of_two_workers_who_end_together_one_ends_the_deletion(database: Database) {
    let catalog = database.migrated().await;
    for round in 0..10 {
        let id = requested(&catalog, &[Dataset::Spans, Dataset::Logs], trace()).await;
        let mut workers = Vec::new();
        for dataset in [Dataset::Spans, Dataset::Logs] {
            let catalog = catalog.clone();
            workers.push(tokio::spawn(async move {
                let name = format!("compact/a/{dataset}");
                let lease = catalog.acquire_lease(&name, "p", MINUTE, NOW).await.unwrap().unwrap();
                catalog.deletion_scanned(id, dataset, &lease, NOW).await.unwrap()
            }));
        }
        let mut ended = Vec::new();
        for worker in workers {
            ended.push(worker.await.unwrap());
        }
        ended.sort_unstable();
        assert_eq!(ended, [false, true], "round {round}");
        assert_eq!(catalog.deletion(id).await.unwrap().unwrap().state, DeletionState::Done);
    }
}

pub async fn deletions_are_listed_and_can_fail(database: Database) {
    let catalog = database.migrated().await;
    let condition = DeletionTarget::Where("\"attr.user\" = 'ünïcode ''quoted'''".into());
    let first = requested(&catalog, &[Dataset::Logs], condition.clone()).await;
    let second = requested(&catalog, &Dataset::ALL, DeletionTarget::Everything).await;
    let listed = catalog.deletions(10).await.unwrap();
    assert_eq!(listed.iter().map(|d| d.id).collect::<Vec<_>>(), [second, first]);
    assert_eq!((&listed[1].target, listed[0].progress.len()), (&condition, 7));
    assert_eq!(catalog.deletions(1).await.unwrap().len(), 1);
    assert_eq!(catalog.deletion(second + 1).await.unwrap(), None);

    catalog.fail_deletion(first, "no such column\0").await.unwrap();
    catalog.fail_deletion(first, "again").await.unwrap();
    let failed = catalog.deletion(first).await.unwrap().unwrap();
    assert_eq!(
        (failed.state, failed.error.as_deref()),
        (DeletionState::Failed, Some("no such column "))
    );
    assert_eq!(catalog.open_deletions().await.unwrap().len(), 1);

    let refused = NewDeletion {
        tenant: tenant("a"),
        datasets: vec![],
        target: DeletionTarget::Everything,
    };
    assert!(matches!(
        catalog.request_deletion(&refused, NOW).await,
        Err(CatalogError::Invalid(_))
    ));
    let refused = NewDeletion {
        tenant: tenant("a"),
        datasets: vec![Dataset::Logs],
        target: DeletionTarget::Where("a\0".into()),
    };
    assert!(matches!(
        catalog.request_deletion(&refused, NOW).await,
        Err(CatalogError::Invalid(_))
    ));
}

/// A slice of resources of tenant `a` and one of spans that they describe.
fn described(path: &str) -> NewSegment {
    let mut new = segment(path, &[(0, 1), (0, 1)], &[]);
    new.slices[0].dataset = Dataset::Resources;
    new
}

/// Deletes a slice.
async fn delete_slice(catalog: &Catalog, dataset: Dataset, slice: i64, lease: &Lease) -> Result<i64> {
    let id = requested(catalog, &[dataset], DeletionTarget::Everything).await;
    let mut change = replacement(vec![slice], vec![], vec![]);
    change.dataset = dataset;
    catalog.delete_rows(&step(id, change), lease, NOW, MINUTE).await
}

pub async fn a_commit_that_relies_on_deleted_descriptions_is_refused(database: Database) {
    let catalog = database.migrated().await;
    let lease = lease(&catalog).await;
    assert_eq!(catalog.forgotten(&tenant("a")).await.unwrap(), 0);
    let slices = commit(&catalog, &described("s/1")).await;
    let mut next = segment("s/2", &[(0, 1)], &[key(1)]);
    next.forgotten = vec![(tenant("a"), 0), (tenant("b"), 0)];
    // Rows that describe nothing may go.
    delete_slice(&catalog, Dataset::Spans, slices[1], &lease).await.unwrap();
    commit(&catalog, &next).await;

    delete_slice(&catalog, Dataset::Resources, slices[0], &lease)
        .await
        .unwrap();
    next = segment("s/3", &[(0, 1)], &[key(2)]);
    next.forgotten = vec![(tenant("a"), 0), (tenant("b"), 0)];
    let refused = catalog.commit_segment(&next, NOW).await.unwrap();
    assert_eq!(refused, CommitOutcome::Forgotten(vec![(tenant("a"), 1)]));
    assert_eq!(catalog.committed_requests(&[key(2)]).await.unwrap(), [false]);
    assert_eq!(snapshot(&catalog).await.slices.len(), 1);
    // Who has learnt of it is not.
    assert_eq!(database.connect().await.forgotten(&tenant("a")).await.unwrap(), 1);
    next.forgotten = vec![(tenant("a"), 1)];
    commit(&catalog, &next).await;
    assert_eq!(snapshot(&catalog).await.slices.len(), 2);
}

/// If the commit was first, its rows are there when the deletion has ended; otherwise it is refused.
pub async fn of_a_commit_and_a_deletion_of_descriptions_one_is_first(database: Database) {
    let catalog = database.migrated().await;
    let other = database.connect().await;
    let lease = lease(&catalog).await;
    let (mut first, mut refused) = (0, 0);
    for round in 0..20 {
        let slices = commit(&catalog, &described(&format!("s/{round}"))).await;
        let mut next = segment(&format!("t/{round}"), &[(0, 1)], &[]);
        next.forgotten = vec![(tenant("a"), other.forgotten(&tenant("a")).await.unwrap())];
        let deleting = async {
            if round % 2 == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(round / 2)).await;
            }
            delete_slice(&catalog, Dataset::Resources, slices[0], &lease)
                .await
                .unwrap();
            snapshot(&catalog).await
        };
        let (after, committed) = tokio::join!(deleting, other.commit_segment(&next, NOW));
        match committed.unwrap() {
            CommitOutcome::Committed { slice_ids, .. } => {
                first += 1;
                let known = next.forgotten[0].1;
                let now = catalog.forgotten(&tenant("a")).await.unwrap();
                assert_eq!(now, known + 1);
                assert!(
                    after.slices.iter().any(|slice| slice.id == slice_ids[0]),
                    "the deletion ended before the commit that it did not refuse"
                );
            }
            CommitOutcome::Forgotten(_) => refused += 1,
            other => panic!("unexpected {other:?}"),
        }
    }
    println!("{first} commits were first, {refused} were refused");
}

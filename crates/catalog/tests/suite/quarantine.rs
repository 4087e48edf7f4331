//! Quarantine: what is in it is left out of everything, told, and released again.

use catalog::*;
use schema::Dataset;

use crate::fixture::*;

/// Two slices and two parts of spans.
async fn filled(catalog: &Catalog) -> Snapshot {
    let ids = commit(catalog, &segment("s/1", &[(0, 1), (2, 3), (4, 5), (6, 7)], &[])).await;
    let lease = lease(catalog).await;
    for (number, slice) in [ids[0], ids[1]].into_iter().enumerate() {
        let change = replacement(vec![slice], vec![], vec![part(&format!("p/{number}"), 1, (0, 1))]);
        catalog.replace(&change, &lease, NOW, MINUTE).await.unwrap();
    }
    snapshot(catalog).await
}

pub async fn quarantined_objects_are_left_out_and_told(database: Database) {
    let catalog = database.migrated().await;
    let whole = filled(&catalog).await;
    let (slice, part) = (whole.slices[0].clone(), whole.parts[1].clone());
    let holders = [Holder::Slice(slice.id), Holder::Part(part.id)];
    assert_eq!(catalog.quarantine(&holders, "it is ill", NOW).await.unwrap(), 2);
    // Again, with what is not there: nothing new.
    let again = [Holder::Slice(slice.id), Holder::Slice(999), Holder::Part(999)];
    assert_eq!(catalog.quarantine(&again, "ill again", NOW + 1).await.unwrap(), 0);

    let seen = snapshot(&catalog).await;
    assert_eq!(seen.slices, whole.slices[1..]);
    assert_eq!(seen.parts, whole.parts[..1]);
    let told = |q: &Quarantined| (q.holder, q.path.clone(), q.rows, q.min_ts, q.max_ts, q.reason.clone());
    let expected = [
        (
            holders[0],
            "s/1".to_owned(),
            slice.rows,
            slice.min_ts,
            slice.max_ts,
            "it is ill".to_owned(),
        ),
        (
            holders[1],
            "p/1".to_owned(),
            part.rows,
            part.min_ts,
            part.max_ts,
            "it is ill".to_owned(),
        ),
    ];
    assert_eq!(seen.quarantined.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(catalog.quarantined().await.unwrap(), seen.quarantined);
    assert_eq!(seen.quarantined[0].quarantined_at, NOW);
    // Only what is about the time that is asked for.
    let other = catalog
        .snapshot(&tenant("a"), &[Dataset::Spans], Some((6, 9)))
        .await
        .unwrap();
    assert_eq!(other.quarantined, []);
    // Compaction does not touch them.
    assert_eq!(
        catalog.live_slices(&tenant("a"), Dataset::Spans, 9).await.unwrap(),
        whole.slices[1..]
    );
    assert_eq!(
        catalog.live_parts(&tenant("a"), Dataset::Spans).await.unwrap(),
        whole.parts[..1]
    );
    let backlog = catalog.backlog().await.unwrap();
    assert_eq!((backlog[0].slices, backlog[0].levels[0].parts), (1, 1));
    // A checker sees everything.
    assert_eq!(catalog.row_problems().await.unwrap(), []);
    let segments = catalog.stored_segments(0, i64::MAX, 9).await.unwrap();
    assert_eq!(segments[0].slices, whole.slices);
    assert_eq!(segments[0].quarantined, seen.quarantined[..1]);
    let parts = catalog.stored_parts(0, i64::MAX, 9).await.unwrap();
    assert_eq!(parts[1].part, part);
    assert_eq!(parts[1].quarantined, Some(seen.quarantined[1].clone()));

    for entry in &seen.quarantined {
        assert!(catalog.release(entry.id).await.unwrap());
        assert!(!catalog.release(entry.id).await.unwrap());
    }
    assert_eq!(snapshot(&catalog).await, whole);
}

pub async fn a_quarantine_entry_goes_with_its_object(database: Database) {
    let catalog = database.migrated().await;
    let whole = filled(&catalog).await;
    let holders = [Holder::Slice(whole.slices[0].id), Holder::Part(whole.parts[0].id)];
    catalog.quarantine(&holders, "it is ill", NOW).await.unwrap();
    let lease = lease(&catalog).await;
    catalog
        .expire(&tenant("a"), Dataset::Spans, 100, &lease, NOW, MINUTE)
        .await
        .unwrap();
    assert_eq!(snapshot(&catalog).await.quarantined, []);
    assert_eq!(catalog.quarantined().await.unwrap(), []);
    let due = catalog.gc_due(NOW + 3600 * SECOND, 9).await.unwrap();
    catalog
        .gc_done(&due.iter().map(|entry| entry.id).collect::<Vec<_>>())
        .await
        .unwrap();
    assert_eq!(catalog.stored_parts(0, i64::MAX, 9).await.unwrap(), []);
    assert_eq!(catalog.row_problems().await.unwrap(), []);
}

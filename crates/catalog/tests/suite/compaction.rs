//! Replacements, the backlog and garbage.

use std::collections::HashSet;

use catalog::*;
use schema::Dataset;

use crate::fixture::*;

pub async fn replace_moves_the_sequence_and_queues_garbage(database: Database) {
    let catalog = database.migrated().await;
    let first = commit(&catalog, &segment("s/1", &[(0, 1), (2, 3)], &[])).await;
    let second = commit(&catalog, &segment("s/2", &[(4, 5)], &[])).await;
    let lease = lease(&catalog).await;

    let change = replacement(
        vec![first[0], second[0]],
        vec![],
        vec![part("p/1", 1, (0, 3)), part("p/2", 1, (4, 5))],
    );
    assert_eq!(catalog.replace(&change, &lease, NOW, MINUTE).await.unwrap(), 1);
    let seen = snapshot(&catalog).await;
    assert_eq!((seen.sequence, seen.slices.len()), (1, 1));
    assert_eq!(
        seen.parts
            .iter()
            .map(|p| (p.begin_seq, p.row_id_start))
            .collect::<Vec<_>>(),
        [(1, 0), (1, 100)]
    );
    let new = part("p/1", 1, (0, 3));
    let old = &seen.parts[0];
    assert_eq!((&old.path, old.level, old.rows, old.bytes), (&new.path, 1, 100, 1_000));
    assert_eq!(
        (old.footer_bytes, old.index_offset, old.index_bytes, old.index_entries),
        (50, 900, 40, 3)
    );
    assert_eq!((old.format_version, old.checksum, old.created_at), (2, i64::MIN, NOW));
    assert_eq!(
        old.stats.iter().map(|s| s.column.as_str()).collect::<Vec<_>>(),
        ["name", "service.name"]
    );
    assert_eq!(old.stats[0].max, "ü\"'\\");
    assert_eq!(
        catalog.live_parts(&tenant("a"), Dataset::Spans).await.unwrap(),
        seen.parts
    );

    // s/1 has a live slice left, s/2 has none.
    assert_eq!(catalog.gc_pending().await.unwrap(), (1, 100));
    assert!(catalog.gc_due(NOW + 60 * SECOND - 1, 10).await.unwrap().is_empty());
    let due = catalog.gc_due(NOW + 60 * SECOND, 10).await.unwrap();
    assert_eq!(
        (due.len(), due[0].path.as_str(), due[0].bytes, due[0].due_at),
        (1, "s/2", 100, NOW + 60 * SECOND)
    );

    let parts = seen.parts.iter().map(|p| p.id).collect();
    let mut with_nul = part("p/3", 2, (0, 5));
    with_nul.stats[0].max = "\0".into();
    assert_eq!(
        catalog
            .replace(&replacement(vec![first[1]], parts, vec![with_nul]), &lease, NOW, MINUTE)
            .await
            .unwrap(),
        2
    );
    let seen = snapshot(&catalog).await;
    assert_eq!((seen.sequence, seen.slices.len(), seen.parts.len()), (2, 0, 1));
    assert_eq!((seen.parts[0].row_id_start, seen.parts[0].stats.len()), (200, 1));
    assert_eq!(catalog.gc_pending().await.unwrap(), (4, 2_300));
    assert_eq!(catalog.gc_due(i64::MAX, 3).await.unwrap().len(), 3);
}

pub async fn a_fenced_replace_changes_nothing(database: Database) {
    let catalog = database.migrated().await;
    let ids = commit(&catalog, &segment("s/1", &[(0, 1)], &[])).await;
    let old = lease(&catalog).await;
    let new = catalog
        .acquire_lease("compaction", "p2", MINUTE, NOW + 61 * SECOND)
        .await
        .unwrap()
        .unwrap();
    let change = replacement(ids, vec![], vec![part("p/1", 1, (0, 1))]);
    let refused = catalog.replace(&change, &old, NOW, MINUTE).await;
    assert!(
        matches!(refused, Err(CatalogError::Fenced { token: 1, .. })),
        "{refused:?}"
    );
    let forged = Lease {
        token: new.token,
        ..old
    };
    assert!(matches!(
        catalog.replace(&change, &forged, NOW, MINUTE).await,
        Err(CatalogError::Fenced { .. })
    ));
    let seen = snapshot(&catalog).await;
    assert_eq!((seen.sequence, seen.slices.len(), seen.parts.len()), (0, 1, 0));
    assert_eq!(catalog.gc_pending().await.unwrap(), (0, 0));
    assert_eq!(catalog.replace(&change, &new, NOW, MINUTE).await.unwrap(), 1);
}

pub async fn a_conflicting_replace_changes_nothing(database: Database) {
    let catalog = database.migrated().await;
    let lease = lease(&catalog).await;
    let ids = commit(&catalog, &segment("s/1", &[(0, 1), (0, 1)], &[])).await;
    let mut logs = segment("s/2", &[(0, 1)], &[]);
    logs.slices[0].dataset = Dataset::Logs;
    let logs = commit(&catalog, &logs).await;
    let gone = replacement(vec![ids[0]], vec![], vec![part("p/1", 1, (0, 1))]);
    catalog.replace(&gone, &lease, NOW, MINUTE).await.unwrap();
    let live = snapshot(&catalog).await;
    let part_id = live.parts[0].id;

    for (what, slices, parts, add) in [
        (
            "a slice that is gone",
            vec![ids[0], ids[1]],
            vec![part_id],
            vec![part("p/2", 1, (0, 1))],
        ),
        ("a slice of another dataset", vec![ids[1], logs[0]], vec![], vec![]),
        (
            "a part that never was",
            vec![ids[1]],
            vec![part_id, part_id + 99],
            vec![],
        ),
        (
            "a path in use",
            vec![ids[1]],
            vec![part_id],
            vec![part("p/1", 2, (0, 1))],
        ),
    ] {
        let refused = catalog
            .replace(&replacement(slices, parts, add), &lease, NOW, MINUTE)
            .await;
        assert!(matches!(refused, Err(CatalogError::Conflict(_))), "{what}: {refused:?}");
        assert_eq!(snapshot(&catalog).await, live, "{what}");
    }
    catalog
        .replace(&replacement(vec![], vec![part_id], vec![]), &lease, NOW, MINUTE)
        .await
        .unwrap();
    let again = catalog
        .replace(&replacement(vec![], vec![part_id], vec![]), &lease, NOW, MINUTE)
        .await;
    assert!(matches!(again, Err(CatalogError::Conflict(_))), "{again:?}");
    assert_eq!(catalog.gc_pending().await.unwrap(), (1, 1_000));
}

pub async fn of_two_concurrent_replaces_of_one_slice_one_wins(database: Database) {
    let one = database.migrated().await;
    let two = database.connect().await;
    for round in 0..10 {
        let ids = commit(&one, &segment(&format!("s/{round}"), &[(0, 1)], &[])).await;
        let replace = |catalog: Catalog, name: &str| {
            let change = replacement(ids.clone(), vec![], vec![part(&format!("p/{round}/{name}"), 1, (0, 1))]);
            let name = name.to_owned();
            tokio::spawn(async move {
                // Two leases: the fence alone does not keep them apart.
                let lease = catalog.acquire_lease(&name, &name, MINUTE, NOW).await.unwrap().unwrap();
                catalog.replace(&change, &lease, NOW, MINUTE).await
            })
        };
        let (left, right) = (replace(one.clone(), "left"), replace(two.clone(), "right"));
        let outcomes = [left.await.unwrap(), right.await.unwrap()];
        assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1, "{outcomes:?}");
        assert!(
            outcomes.iter().any(|o| matches!(o, Err(CatalogError::Conflict(_)))),
            "{outcomes:?}"
        );
    }
    let seen = snapshot(&one).await;
    assert_eq!((seen.sequence, seen.slices.len(), seen.parts.len()), (10, 0, 10));
}

pub async fn concurrent_replaces_that_empty_a_segment_queue_it_once(database: Database) {
    let catalog = database.migrated().await;
    for round in 0..10 {
        let ids = commit(&catalog, &segment(&format!("s/{round}"), &[(0, 1); 4], &[])).await;
        let tasks: Vec<_> = ids
            .into_iter()
            .map(|id| {
                let catalog = catalog.clone();
                tokio::spawn(async move {
                    let name = format!("lease-{id}");
                    let lease = catalog.acquire_lease(&name, "p", MINUTE, NOW).await.unwrap().unwrap();
                    catalog
                        .replace(&replacement(vec![id], vec![], vec![]), &lease, NOW, MINUTE)
                        .await
                        .unwrap()
                })
            })
            .collect();
        let mut sequences = HashSet::new();
        for task in tasks {
            assert!(sequences.insert(task.await.unwrap()));
        }
        assert_eq!(catalog.gc_pending().await.unwrap().0, round + 1);
    }
}

pub async fn invalid_replacements_are_refused(database: Database) {
    let catalog = database.migrated().await;
    let lease = lease(&catalog).await;
    let twice_the_statistic = {
        let mut new = part("p", 1, (0, 1));
        new.stats[0] = new.stats[1].clone();
        new
    };
    for change in [
        replacement(vec![], vec![], vec![]),
        replacement(vec![1, 1], vec![], vec![]),
        replacement(vec![], vec![2, 2], vec![]),
        replacement(vec![], vec![], vec![part("", 1, (0, 1))]),
        replacement(vec![], vec![], vec![part("p", 1, (1, 0))]),
        replacement(
            vec![],
            vec![],
            vec![NewPart {
                rows: -1,
                ..part("p", 1, (0, 1))
            }],
        ),
        replacement(
            vec![],
            vec![],
            vec![NewPart {
                tenant: tenant("b"),
                ..part("p", 1, (0, 1))
            }],
        ),
        replacement(
            vec![],
            vec![],
            vec![NewPart {
                dataset: Dataset::Logs,
                ..part("p", 1, (0, 1))
            }],
        ),
        replacement(vec![], vec![], vec![twice_the_statistic]),
    ] {
        let refused = catalog.replace(&change, &lease, NOW, MINUTE).await;
        assert!(
            matches!(refused, Err(CatalogError::Invalid(_))),
            "{change:?}: {refused:?}"
        );
    }
    assert_eq!(snapshot(&catalog).await.sequence, 0);
}

pub async fn the_backlog_counts_what_is_live(database: Database) {
    let catalog = database.migrated().await;
    assert!(catalog.backlog().await.unwrap().is_empty());
    let mut old = segment("s/1", &[(0, 1), (0, 1)], &[]);
    old.created_at = NOW - SECOND;
    old.slices[1].dataset = Dataset::Logs;
    let old = commit(&catalog, &old).await;
    let new = commit(&catalog, &segment("s/2", &[(0, 1)], &[])).await;
    let spans = |slices: i64, oldest, levels| Backlog {
        tenant: tenant("a"),
        dataset: Dataset::Spans,
        slices,
        rows: slices * 10,
        bytes: slices * 100,
        oldest_created_at: oldest,
        levels,
    };
    let backlog = catalog.backlog().await.unwrap();
    assert_eq!(backlog.len(), 2);
    assert_eq!(backlog[0], spans(2, Some(NOW - SECOND), vec![]));
    assert_eq!((backlog[1].dataset, backlog[1].slices), (Dataset::Logs, 1));

    let lease = lease(&catalog).await;
    let add = vec![part("p/1", 1, (0, 1)), part("p/2", 1, (0, 1)), part("p/3", 2, (0, 1))];
    catalog
        .replace(&replacement(vec![old[0]], vec![], add), &lease, NOW, MINUTE)
        .await
        .unwrap();
    let levels = |first: i64| {
        let level = |level, parts| LevelSize {
            level,
            parts,
            rows: parts * 100,
            bytes: parts * 1_000,
        };
        vec![level(1, first), level(2, 1)]
    };
    assert_eq!(catalog.backlog().await.unwrap()[0], spans(1, Some(NOW), levels(2)));
    let gone = snapshot(&catalog).await.parts[0].id;
    catalog
        .replace(&replacement(new, vec![gone], vec![]), &lease, NOW, MINUTE)
        .await
        .unwrap();
    assert_eq!(catalog.backlog().await.unwrap()[0], spans(0, None, levels(1)));
}

pub async fn objects_are_known_until_collected(database: Database) {
    let catalog = database.migrated().await;
    let ids = commit(&catalog, &segment("s/1", &[(0, 1)], &[])).await;
    let lease = lease(&catalog).await;
    catalog
        .replace(
            &replacement(ids, vec![], vec![part("p/1", 1, (0, 1))]),
            &lease,
            NOW,
            MINUTE,
        )
        .await
        .unwrap();
    let parts = snapshot(&catalog).await.parts;
    catalog
        .replace(
            &replacement(vec![], vec![parts[0].id], vec![part("p/2", 2, (0, 1))]),
            &lease,
            NOW,
            MINUTE,
        )
        .await
        .unwrap();
    let paths = ["s/1", "p/1", "p/2", "orphan", "quote'\"", "nul\0"].map(String::from);
    let known = catalog.known_objects(&paths).await.unwrap();
    assert_eq!(known, HashSet::from(["s/1", "p/1", "p/2"].map(String::from)));
    assert!(catalog.known_objects(&[]).await.unwrap().is_empty());

    let due = catalog.gc_due(i64::MAX, 10).await.unwrap();
    let mut ids: Vec<_> = due.iter().map(|entry| entry.id).collect();
    ids.push(12_345); // not in the queue: ignored
    let bytes = due.iter().map(|entry| entry.bytes).sum::<i64>();
    let collected = catalog.gc_done(&ids).await.unwrap();
    assert_eq!((collected.objects, collected.bytes), (due.len() as u64, bytes));
    assert!(bytes > 0);
    for again in [&ids[..], &[]] {
        assert_eq!(catalog.gc_done(again).await.unwrap(), catalog::Collected::default());
    }
    assert_eq!(catalog.gc_pending().await.unwrap(), (0, 0));
    assert_eq!(
        catalog.known_objects(&paths).await.unwrap(),
        HashSet::from(["p/2".to_owned()])
    );
    assert_eq!(snapshot(&catalog).await.parts.len(), 1);
}

pub async fn a_snapshot_is_consistent_while_parts_change(database: Database) {
    let catalog = database.migrated().await;
    let lease = lease(&catalog).await;
    let mut ids = commit(&catalog, &segment("s/0", &[(0, 1)], &[])).await;
    let writer = {
        let catalog = catalog.clone();
        tokio::spawn(async move {
            // The one row moves from a slice to a part, then a new slice replaces that part, and so on.
            for round in 0..40 {
                let change = replacement(ids.clone(), vec![], vec![part(&format!("p/{round}"), 1, (0, 1))]);
                catalog.replace(&change, &lease, NOW, MINUTE).await.unwrap();
                let parts = snapshot(&catalog).await.parts.iter().map(|p| p.id).collect();
                let add = vec![part(&format!("q/{round}"), 2, (0, 1))];
                catalog
                    .replace(&replacement(vec![], parts, add), &lease, NOW, MINUTE)
                    .await
                    .unwrap();
                ids = Vec::new();
            }
        })
    };
    let mut last = 0;
    while !writer.is_finished() {
        let seen = snapshot(&catalog).await;
        let live = seen.slices.len() + seen.parts.len();
        assert!(live >= 1, "everything vanished at {}", seen.sequence);
        assert!(seen.sequence >= last && seen.parts.iter().all(|p| p.begin_seq <= seen.sequence));
        assert!(seen.parts.iter().all(|p| p.stats.len() == 2));
        last = seen.sequence;
    }
    writer.await.unwrap();
    assert_eq!(snapshot(&catalog).await.sequence, 80);
}

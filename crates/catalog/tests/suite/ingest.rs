//! Commits, requests, columns and what a snapshot shows of them.

use std::time::Duration;

use catalog::*;
use schema::{Clock as _, Dataset, SystemClock};

use crate::fixture::*;

pub async fn a_commit_is_in_the_next_snapshot(database: Database) {
    let catalog = database.migrated().await;
    catalog.ping().await.unwrap();
    assert_eq!(snapshot(&catalog).await, Snapshot::default());
    let mut new = segment("s/1", &[(5, 9), (1, 3)], &[key(1)]);
    new.slices[1].dataset = Dataset::Logs;
    new.columns = vec![column("attr.a")];
    let ids = commit(&catalog, &new).await;

    let all = catalog.snapshot(&tenant("a"), &Dataset::ALL, None).await.unwrap();
    assert_eq!(all.sequence, 0);
    assert_eq!(all.slices.iter().map(|s| s.id).collect::<Vec<_>>(), ids);
    let slice = &all.slices[1];
    assert_eq!(
        (slice.path.as_str(), slice.dataset, &slice.tenant),
        ("s/1", Dataset::Logs, &tenant("a"))
    );
    assert_eq!(
        (slice.offset, slice.length, slice.rows, slice.checksum),
        (100, 100, 10, -8)
    );
    assert_eq!((slice.min_ts, slice.max_ts, slice.created_at), (1, 3, NOW));
    assert_eq!(
        all.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        ["attr.a"]
    );
    assert_eq!(snapshot(&catalog).await.slices.len(), 1, "only the dataset asked for");
    assert_eq!(
        catalog.snapshot(&tenant("a"), &[], None).await.unwrap(),
        Snapshot::default()
    );
    catalog.close().await;
    assert!(catalog.ping().await.unwrap_err().is_retryable());
}

pub async fn duplicates_write_nothing(database: Database) {
    let catalog = database.migrated().await;
    commit(&catalog, &segment("s/1", &[(0, 1)], &[key(1), key(2)])).await;
    let mut new = segment("s/2", &[(0, 1)], &[key(3), key(2), key(4), key(1)]);
    new.columns = vec![column("attr.never")];
    new.slices[0].tenant = tenant("never");
    let outcome = catalog.commit_segment(&new, NOW).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Duplicates(vec![1, 3]));
    assert_eq!(snapshot(&catalog).await.slices.len(), 1);
    assert_eq!(catalog.columns(&tenant("a"), Dataset::Spans).await.unwrap(), []);
    assert_eq!(catalog.tenants().await.unwrap(), [tenant("a")]);
    assert!(catalog.known_objects(&["s/2".into()]).await.unwrap().is_empty());
    let committed = catalog
        .committed_requests(&[key(4), key(1), key(3), key(2)])
        .await
        .unwrap();
    assert_eq!(committed, [false, true, false, true]);
    assert!(catalog.committed_requests(&[]).await.unwrap().is_empty());

    new.requests = vec![key(3), key(4)];
    commit(&catalog, &new).await;
    let other = RequestKey {
        tenant: tenant("b"),
        ..key(1)
    };
    commit(&catalog, &segment("s/3", &[(0, 1)], &[other])).await; // the same bytes of another tenant
    let again = catalog.commit_segment(&segment("s/3", &[(0, 1)], &[key(9)]), NOW).await;
    assert!(matches!(again, Err(CatalogError::Conflict(_))), "{again:?}");
    assert_eq!(catalog.committed_requests(&[key(9)]).await.unwrap(), [false]);
}

pub async fn a_key_twice_in_one_segment_is_a_duplicate(database: Database) {
    let catalog = database.migrated().await;
    let outcome = catalog
        .commit_segment(&segment("s/1", &[(0, 1)], &[key(1), key(2), key(1)]), NOW)
        .await
        .unwrap();
    assert_eq!(outcome, CommitOutcome::Duplicates(vec![2]));
    assert_eq!(catalog.committed_requests(&[key(1)]).await.unwrap(), [false]);
}

pub async fn of_two_concurrent_commits_of_one_request_one_wins(database: Database) {
    let first = database.migrated().await;
    let second = database.connect().await;
    for round in 0..20u128 {
        let keys: Vec<_> = (0..300)
            .map(|n| RequestKey {
                tenant: tenant("a"),
                hash: (round * 1_000 + n).to_be_bytes(),
            })
            .collect();
        // The same keys in opposite orders: locks taken in the order given would deadlock.
        let reversed: Vec<_> = keys.iter().rev().cloned().collect();
        let commit = |catalog: &Catalog, name: &str, keys: &[RequestKey]| {
            let (catalog, new) = (catalog.clone(), segment(&format!("s/{round}/{name}"), &[(0, 1)], keys));
            tokio::spawn(async move { catalog.commit_segment(&new, NOW).await })
        };
        let (one, two) = (commit(&first, "one", &keys), commit(&second, "two", &reversed));
        let outcomes = [one.await.unwrap().unwrap(), two.await.unwrap().unwrap()];
        let won = outcomes
            .iter()
            .filter(|o| matches!(o, CommitOutcome::Committed { .. }))
            .count();
        assert_eq!(won, 1, "{outcomes:?}");
        assert!(
            outcomes.contains(&CommitOutcome::Duplicates((0..300).collect())),
            "{outcomes:?}"
        );
    }
    assert_eq!(snapshot(&first).await.slices.len(), 20);
}

pub async fn many_concurrent_commits_with_shared_columns_all_land(database: Database) {
    database.migrated().await;
    let (one, two) = (database.connect().await, database.connect().await);
    let tasks: Vec<_> = (0..40u8)
        .map(|n| {
            let catalog = if n % 2 == 0 { one.clone() } else { two.clone() };
            let mut new = segment(&format!("s/{n}"), &[(0, 1), (2, 3)], &[key(n)]);
            new.slices[1].dataset = Dataset::ALL[usize::from(n) % 7];
            // Overlapping sets of new columns, half of them in the opposite order.
            new.columns = (0..10).map(|c| column(&format!("attr.{}", (n + c) % 25))).collect();
            if n % 3 == 0 {
                new.columns.reverse();
            }
            tokio::spawn(async move { catalog.commit_segment(&new, NOW).await })
        })
        .collect();
    for task in tasks {
        assert!(matches!(task.await.unwrap().unwrap(), CommitOutcome::Committed { .. }));
    }
    let all = one.snapshot(&tenant("a"), &Dataset::ALL, None).await.unwrap();
    assert_eq!((all.slices.len(), all.columns.len()), (80, 25));
    assert!(all.slices.is_sorted_by_key(|slice| slice.id));
}

pub async fn expired_requests_are_forgotten(database: Database) {
    let catalog = database.migrated().await;
    commit(&catalog, &segment("s/1", &[(0, 1)], &[key(1), key(2)])).await;
    catalog
        .commit_segment(&segment("s/2", &[(0, 1)], &[key(3)]), NOW + SECOND)
        .await
        .unwrap();
    assert_eq!(catalog.expire_requests(Duration::ZERO, NOW).await.unwrap(), 0);
    assert_eq!(catalog.expire_requests(Duration::ZERO, NOW + SECOND).await.unwrap(), 2);
    assert_eq!(
        catalog.committed_requests(&[key(1), key(2), key(3)]).await.unwrap(),
        [false, false, true]
    );
    assert_eq!(catalog.expire_requests(Duration::ZERO, i64::MAX).await.unwrap(), 1);
    assert_eq!(snapshot(&catalog).await.slices.len(), 2);
}

pub async fn a_database_tells_its_time(database: Database) {
    let catalog = database.migrated().await;
    let told = catalog.time().await.unwrap();
    assert_eq!(told.is_some(), database.is_postgres());
    // The server of the tests runs on this machine.
    let off = told.map_or(0, |told| (told - SystemClock.now()).abs());
    assert!(off < 60 * SECOND, "{off} ns");
}

/// Whether it read or wrote: the next one to get the connection finds it as it should be.
pub async fn whoever_gives_up_waiting_leaves_no_transaction_behind(database: Database) {
    let catalog = database.migrated().await;
    for patience in 0..300 {
        // A round trip takes some hundreds of turns.
        let giving_up = async {
            for _ in 0..patience * 8 {
                tokio::task::yield_now().await;
            }
        };
        let asking = async {
            if patience % 2 == 0 {
                snapshot(&catalog).await;
            } else {
                commit(&catalog, &segment(&format!("s/{patience}"), &[(0, 1)], &[])).await;
            }
        };
        tokio::select! {
            biased;
            () = asking => {}
            () = giving_up => {}
        }
    }
    for number in 0..30 {
        commit(&catalog, &segment(&format!("t/{number}"), &[(0, 1)], &[])).await;
        assert!(snapshot(&catalog).await.slices.len() > number);
    }
}

pub async fn columns_keep_their_order_and_any_name(database: Database) {
    let catalog = database.migrated().await;
    let mut new = segment("s/1", &[(0, 1)], &[]);
    new.columns = vec![column("z"), column("z")];
    commit(&catalog, &new).await;
    let odd = ["a\0b", "a\\0b", "back\\slash\\", "quote'\"", "ü😀", "$1", " "];
    let mut new = segment("s/2", &[(0, 1)], &[]);
    new.columns = odd.map(column).to_vec();
    new.columns.push(NewColumn {
        data_type: "int64".into(),
        ..column("z")
    }); // known: stays as it is
    new.columns.push(NewColumn {
        dataset: Dataset::Logs,
        ..column("z")
    });
    commit(&catalog, &new).await;

    let columns = catalog.columns(&tenant("a"), Dataset::Spans).await.unwrap();
    assert_eq!((columns[0].name.as_str(), columns[0].data_type.as_str()), ("z", "utf8"));
    assert!(columns.is_sorted_by_key(|column| column.id));
    let mut names: Vec<_> = columns[1..].iter().map(|column| column.name.as_str()).collect();
    names.sort_unstable();
    let mut expected = odd;
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(snapshot(&catalog).await.columns, columns);
    assert_eq!(catalog.columns(&tenant("a"), Dataset::Logs).await.unwrap().len(), 1);
    assert!(catalog.columns(&tenant("b"), Dataset::Spans).await.unwrap().is_empty());
}

pub async fn wild_timestamps_come_back(database: Database) {
    let catalog = database.migrated().await;
    let ranges = [
        (i64::MIN, i64::MAX),
        (i64::MIN, i64::MIN),
        (i64::MAX, i64::MAX),
        (-1, 0),
    ];
    let mut new = segment("s/1", &ranges, &[key(1)]);
    new.created_at = i64::MAX;
    new.slices[0].checksum = i64::MIN;
    assert!(matches!(
        catalog.commit_segment(&new, i64::MIN).await.unwrap(),
        CommitOutcome::Committed { .. }
    ));
    let all = snapshot(&catalog).await;
    assert_eq!(
        all.slices.iter().map(|s| (s.min_ts, s.max_ts)).collect::<Vec<_>>(),
        ranges
    );
    assert_eq!((all.slices[0].checksum, all.slices[0].created_at), (i64::MIN, i64::MAX));
    for (range, expected) in [
        ((i64::MIN, i64::MIN), 2),
        ((i64::MAX, i64::MAX), 2),
        ((0, 0), 2),
        ((i64::MIN, i64::MAX), 4),
    ] {
        let found = catalog
            .snapshot(&tenant("a"), &[Dataset::Spans], Some(range))
            .await
            .unwrap();
        assert_eq!(found.slices.len(), expected, "{range:?}");
    }
    let lease = catalog
        .acquire_lease("compaction", "p", MINUTE, i64::MAX)
        .await
        .unwrap()
        .unwrap();
    let change = replacement(
        vec![all.slices[1].id],
        vec![],
        vec![part("p/1", 1, (i64::MIN, i64::MAX))],
    );
    catalog.replace(&change, &lease, i64::MAX, MINUTE).await.unwrap(); // no overflow of the due time
    let due = catalog
        .retention_due(&tenant("a"), Dataset::Spans, i64::MAX)
        .await
        .unwrap();
    assert_eq!((due.slices, due.parts), (1, 0), "only what ends before the cutoff");
    assert_eq!(snapshot(&catalog).await.parts[0].min_ts, i64::MIN);
}

pub async fn time_ranges_are_inclusive(database: Database) {
    let catalog = database.migrated().await;
    let ids = commit(&catalog, &segment("s/1", &[(10, 20)], &[])).await;
    commit(&catalog, &segment("s/2", &[(10, 20)], &[])).await;
    let lease = lease(&catalog).await;
    catalog
        .replace(
            &replacement(ids, vec![], vec![part("p/1", 1, (10, 20))]),
            &lease,
            NOW,
            MINUTE,
        )
        .await
        .unwrap();
    for (range, seen) in [
        ((0, 9), false),
        ((0, 10), true),
        ((12, 13), true),
        ((20, 30), true),
        ((21, 30), false),
        ((30, 0), false),
    ] {
        let found = catalog
            .snapshot(&tenant("a"), &[Dataset::Spans], Some(range))
            .await
            .unwrap();
        assert_eq!(
            (found.slices.len(), found.parts.len()),
            (usize::from(seen), usize::from(seen)),
            "{range:?}"
        );
        assert_eq!(
            found.parts.iter().map(|p| p.stats.len()).sum::<usize>(),
            if seen { 2 } else { 0 }
        );
    }
}

pub async fn more_rows_than_one_statement_binds(database: Database) {
    let catalog = database.migrated().await;
    let ranges: Vec<_> = (0..6_000).map(|i| (i, i)).collect(); // 48,000 values
    let keys: Vec<_> = (0..20_000u128) // 60,000 values
        .map(|n| RequestKey {
            tenant: tenant("a"),
            hash: n.to_le_bytes(),
        })
        .collect();
    let ids = commit(&catalog, &segment("s/1", &ranges, &keys)).await;
    let slices = catalog.live_slices(&tenant("a"), Dataset::Spans, 10_000).await.unwrap();
    assert_eq!(slices.iter().map(|s| s.id).collect::<Vec<_>>(), ids);
    assert!(
        slices
            .iter()
            .enumerate()
            .all(|(i, s)| s.min_ts == i as i64 && s.offset == i as i64 * 100)
    );
    assert!(
        catalog
            .committed_requests(&keys)
            .await
            .unwrap()
            .iter()
            .all(|committed| *committed)
    );
    let again = catalog
        .commit_segment(&segment("s/2", &ranges, &keys[19_990..]), NOW)
        .await
        .unwrap();
    assert_eq!(again, CommitOutcome::Duplicates((0..10).collect()));
    let lease = lease(&catalog).await;
    catalog
        .replace(&replacement(ids, vec![], vec![]), &lease, NOW, MINUTE)
        .await
        .unwrap();
    assert!(snapshot(&catalog).await.slices.is_empty());
    assert_eq!(catalog.expire_requests(Duration::ZERO, i64::MAX).await.unwrap(), 20_000);
}

pub async fn invalid_segments_are_refused(database: Database) {
    let catalog = database.migrated().await;
    type Break = fn(&mut NewSegment);
    let breaks: [(&str, Break); 10] = [
        ("no slices", |s| s.slices.clear()),
        ("empty path", |s| s.path.clear()),
        ("NUL in the path", |s| s.path.push('\0')),
        ("NUL in the writer", |s| s.writer.push('\0')),
        ("negative size", |s| s.bytes = -1),
        ("negative rows", |s| s.slices[0].rows = -1),
        ("rows that overflow sums", |s| s.slices[0].rows = i64::MAX),
        ("times out of order", |s| s.slices[0].min_ts = 100),
        ("slice beyond the object", |s| s.slices[0].length = 101),
        ("column without a name", |s| s.columns = vec![column("")]),
    ];
    for (what, make) in breaks {
        let mut new = segment("s/1", &[(0, 1)], &[key(1)]);
        make(&mut new);
        let outcome = catalog.commit_segment(&new, NOW).await;
        assert!(matches!(outcome, Err(CatalogError::Invalid(_))), "{what}: {outcome:?}");
    }
    let mut new = segment("s/1", &[(0, 1), (0, 1)], &[key(1)]);
    new.slices[1].offset = 0;
    assert!(matches!(
        catalog.commit_segment(&new, NOW).await,
        Err(CatalogError::Invalid(_))
    ));
    assert!(catalog.tenants().await.unwrap().is_empty());
}

pub async fn tenants_are_apart(database: Database) {
    let catalog = database.migrated().await;
    let mut new = segment("s/1", &[(0, 1), (0, 1)], &[]);
    new.slices[1].tenant = tenant("B");
    new.columns = vec![NewColumn {
        tenant: tenant("c"),
        ..column("x")
    }];
    commit(&catalog, &new).await;
    assert_eq!(catalog.tenants().await.unwrap(), ["B", "a", "c"].map(tenant));
    assert_eq!(snapshot(&catalog).await.slices.len(), 1);
    assert_eq!(
        catalog
            .live_slices(&tenant("B"), Dataset::Spans, 9)
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(
        catalog
            .live_slices(&tenant("b"), Dataset::Spans, 9)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        catalog
            .live_slices(&tenant("a"), Dataset::Spans, -1)
            .await
            .unwrap()
            .is_empty()
    );
}

pub async fn shrinking_loses_nothing(database: Database) {
    let catalog = database.migrated().await;
    commit(&catalog, &segment("s/1", &[(0, 1)], &[key(1)])).await;
    assert!(database.log_bytes() != Some(0));
    catalog.shrink().await.unwrap();
    assert!(matches!(database.log_bytes(), None | Some(0)));
    commit(&catalog, &segment("s/2", &[(0, 1)], &[key(2)])).await;
    assert_eq!(snapshot(&catalog).await.slices.len(), 2);
}

//! Retention, garbage collection and orphans: what goes, when, and that nothing else does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lake::{CompactionOptions, Lake, MaintenanceOptions, Stored};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use schema::{Clock, Dataset, ManualClock};
use tokio::sync::watch;

use crate::fixture::{self, DAY, SECOND, Tally, World, put, tenant, visible};
use crate::rows::{random_batch, rows_of};

const HOUR: i64 = 3600 * SECOND;

/// Rounds follow each other at once, so that a test waits for the work and not for its turn.
pub fn options() -> MaintenanceOptions {
    MaintenanceOptions {
        compaction: fixture::options(),
        compaction_interval: Duration::from_millis(5),
        retention: Arc::new(|_, _| None),
        gc_interval: Duration::from_millis(5),
        orphan_grace: Duration::from_secs(24 * 3600),
        dedupe_window: Duration::from_secs(600),
    }
}

/// Lets a process do its background work until the condition holds, for 20 s at most, and a few rounds more.
pub async fn maintain(lake: &Lake, options: MaintenanceOptions, tally: &Arc<Tally>, until: impl AsyncFn() -> bool) {
    let (stop, stopped) = watch::channel(false);
    let work = {
        let (lake, tally) = (lake.clone(), Arc::clone(tally));
        tokio::spawn(async move { lake.maintain(options, tally.as_ref(), stopped).await })
    };
    for _ in 0..2000 {
        if until().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.send_replace(true);
    work.await.unwrap();
    assert!(until().await, "it did not happen within 20 s");
}

/// What is stored is told of all tenants together, and a backlog that was worked off as none.
#[tokio::test]
async fn stored_is_the_sum_of_tenants() {
    let world = World::new();
    let lake = world.process().await;
    let now = lake.clock().now();
    for (number, owner, rows) in [(1_u8, "many", 40), (2, "few", 2)] {
        let batch = random_batch(Dataset::Logs, u64::from(number), rows, now - SECOND, now);
        put(&lake, &tenant(owner), u128::from(number), Dataset::Logs, batch).await;
        world.clock.advance(SECOND);
    }
    let tally = Tally::default();
    let patient = CompactionOptions {
        target_rows: i64::MAX,
        max_slice_age: Duration::MAX,
        ..fixture::options()
    };
    lake.compact_due(&patient, &tally).await.unwrap();
    let waiting = tally.stored.lock()[&Dataset::Logs];
    assert_eq!((waiting.slices, waiting.slice_rows, waiting.parts), (2, 42, 0));
    assert_eq!(waiting.oldest_slice, Some(now));
    assert_eq!(tally.stored.lock()[&Dataset::Spans], Stored::default());

    lake.compact_all(&patient, &tally).await.unwrap();
    lake.compact_due(&patient, &tally).await.unwrap();
    let done = tally.stored.lock()[&Dataset::Logs];
    assert_eq!((done.slices, done.slice_rows, done.oldest_slice), (0, 0, None));
    assert_eq!((done.parts, done.part_rows), (2, 42));
    assert!(done.part_bytes > 0);
}

#[tokio::test]
async fn retention_is_by_tenant_and_dataset_and_says_what_it_removed() {
    let world = World::new();
    let lake = world.process().await;
    let (short, long) = (tenant("short"), tenant("long"));
    let now = lake.clock().now();
    let mut expected = BTreeMap::new();
    let mut number = 0;
    for owner in [&short, &long] {
        for dataset in [Dataset::Spans, Dataset::Logs, Dataset::MetricSamples] {
            for (age, rows) in [(3 * DAY, 30), (DAY, 20), (HOUR, 10)] {
                number += 1;
                let batch = random_batch(dataset, number, rows, now - age, now - age + SECOND);
                put(&lake, owner, u128::from(number), dataset, batch.clone()).await;
                // Half of it as parts, half as slices.
                if rows == 30 {
                    lake.compact(owner, dataset, &fixture::options(), fixture::ALL)
                        .await
                        .unwrap();
                }
                let kept = match (owner.as_str(), dataset) {
                    ("short", Dataset::Spans) => age < 2 * DAY,
                    ("short", Dataset::Logs) => age < DAY / 2,
                    _ => true,
                };
                if kept {
                    expected
                        .entry((owner.clone(), dataset))
                        .or_insert_with(Vec::new)
                        .push(batch);
                }
            }
        }
    }
    let tally = Arc::new(Tally::default());
    let retention = MaintenanceOptions {
        retention: Arc::new(|owner, dataset| match (owner.as_str(), dataset) {
            ("short", Dataset::Spans) => Some(Duration::from_secs(2 * 86_400)),
            ("short", Dataset::Logs) => Some(Duration::from_secs(43_200)),
            _ => None,
        }),
        ..options()
    };
    maintain(&lake, retention, &tally, async || {
        tally.expired.lock().iter().map(|(_, e)| e.rows).sum::<i64>() >= 80
    })
    .await;
    let mut removed = BTreeMap::new();
    for (dataset, expired) in tally.expired.lock().iter() {
        assert!(expired.bytes > 0);
        *removed.entry(*dataset).or_insert(0) += expired.rows;
    }
    assert_eq!(removed, BTreeMap::from([(Dataset::Spans, 30), (Dataset::Logs, 50)]));
    for ((owner, dataset), batches) in &expected {
        assert_eq!(
            visible(&lake, owner, *dataset).await,
            rows_of(batches),
            "{owner} {dataset}"
        );
    }
    assert!(tally.failures.lock().is_empty(), "{:?}", tally.failures.lock());
}

/// What a row refers to outlives it: resources and series are written once an hour, rows all the time.
#[tokio::test]
async fn resources_are_kept_a_day_longer_than_rows() {
    let world = World::new();
    let lake = world.process().await;
    let owner = tenant("a");
    let now = lake.clock().now();
    for (number, age) in [(1, 2 * DAY + HOUR), (2, DAY + HOUR)] {
        let resources = random_batch(Dataset::Resources, number, 4, now - age, now - age + 1);
        let spans = random_batch(Dataset::Spans, number, 6, now - age, now - age + 1);
        let batches = [(Dataset::Resources, resources), (Dataset::Spans, spans)];
        lake.commit(fixture::commit_of(&owner, u128::from(number) * 2, &batches))
            .await
            .unwrap();
    }
    let tally = Arc::new(Tally::default());
    let retention = MaintenanceOptions {
        retention: Arc::new(|_, _| Some(Duration::from_secs(86_400))),
        ..options()
    };
    maintain(&lake, retention, &tally, async || {
        visible(&lake, &owner, Dataset::Spans).await.is_empty()
    })
    .await;
    assert_eq!(visible(&lake, &owner, Dataset::Resources).await.len(), 4);
}

#[tokio::test]
async fn replaced_objects_are_deleted_after_the_grace_period_and_not_before() {
    let world = World::new();
    let lake = world.process().await;
    let owner = tenant("a");
    let now = lake.clock().now();
    for number in 0..3 {
        let batch = random_batch(Dataset::Spans, number, 10, now, now + SECOND);
        put(&lake, &owner, u128::from(number), Dataset::Spans, batch).await;
    }
    let expected = visible(&lake, &owner, Dataset::Spans).await;
    lake.compact(&owner, Dataset::Spans, &fixture::options(), fixture::ALL)
        .await
        .unwrap();
    let segments = async || world.store.paths().await.iter().filter(|p| p.ends_with(".seg")).count();
    let tally = Arc::new(Tally::default());
    let collected = || tally.collected_objects.load(Ordering::SeqCst);
    world.clock.advance(899 * SECOND);
    maintain(&lake, options(), &tally, async || true).await;
    assert_eq!((segments().await, collected()), (3, 0));

    // A store that refuses is asked again; what was not deleted is not counted.
    world.store.faults.fail_deletes.store(true, Ordering::SeqCst);
    world.clock.advance(2 * SECOND);
    maintain(&lake, options(), &tally, async || true).await;
    assert_eq!((segments().await, collected()), (3, 0));
    world.store.faults.fail_deletes.store(false, Ordering::SeqCst);
    maintain(&lake, options(), &tally, async || collected() >= 3).await;
    assert_eq!((segments().await, collected()), (0, 3));
    assert!(tally.collected_bytes.load(Ordering::SeqCst) > 0);
    assert_eq!(lake.catalog().gc_pending().await.unwrap(), (0, 0));
    assert_eq!(visible(&world.process().await, &owner, Dataset::Spans).await, expected);
}

#[tokio::test]
async fn orphans_go_after_their_grace_period_and_nothing_else_does() {
    let world = World::new();
    let lake = world.process().await;
    let owner = tenant("a");
    let now = lake.clock().now();
    let batch = |number| random_batch(Dataset::Spans, number, 10, now, now + SECOND);
    put(&lake, &owner, 1, Dataset::Spans, batch(1)).await;
    lake.compact(&owner, Dataset::Spans, &fixture::options(), fixture::ALL)
        .await
        .unwrap();
    put(&lake, &owner, 2, Dataset::Spans, batch(2)).await;
    let live = world.store.paths().await;
    // Of a commit and of a compaction whose replies were lost, and two objects that are not ours.
    world.store.faults.lose_replies.store(true, Ordering::SeqCst);
    lake.commit(fixture::commit_of(&owner, 3, &[(Dataset::Spans, batch(3))]))
        .await
        .unwrap_err();
    lake.compact(&owner, Dataset::Spans, &fixture::options(), fixture::ALL)
        .await
        .unwrap_err();
    world.store.faults.lose_replies.store(false, Ordering::SeqCst);
    for foreign in ["notes.txt", "a/spans/readme"] {
        world.store.put(&Path::from(foreign), "not ours".into()).await.unwrap();
    }
    assert_eq!(world.store.paths().await.len(), live.len() + 4);
    let expected = visible(&lake, &owner, Dataset::Spans).await;

    // Nothing else goes or comes meanwhile.
    let grace = MaintenanceOptions {
        compaction: lake::CompactionOptions {
            max_slice_age: Duration::MAX,
            ..fixture::options()
        },
        gc_interval: Duration::from_secs(3600),
        ..options()
    };
    let tally = Arc::new(Tally::default());
    world.clock.advance(23 * HOUR);
    maintain(&lake, grace.clone(), &tally, async || true).await;
    let orphans = |paths: &[String]| {
        paths
            .iter()
            .filter(|p| !live.contains(p) && (p.ends_with(".seg") || p.ends_with(".parquet")))
            .count()
    };
    assert_eq!(orphans(&world.store.paths().await), 2, "too young");
    world.clock.advance(2 * HOUR);
    maintain(&lake, grace, &tally, async || {
        tally.collected_objects.load(Ordering::SeqCst) >= 2
    })
    .await;
    let left = world.store.paths().await;
    assert_eq!(orphans(&left), 0);
    assert!(left.iter().any(|p| p == "notes.txt") && left.iter().any(|p| p == "a/spans/readme"));
    assert_eq!(visible(&world.process().await, &owner, Dataset::Spans).await, expected);
}

/// Several processes compact, expire and collect at once while rows arrive: every row stays, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_the_work_without_losing_or_doubling_a_row() {
    let world = World::new();
    let owner = tenant("a");
    let tally = Arc::new(Tally::default());
    let busy = MaintenanceOptions {
        compaction: lake::CompactionOptions {
            max_slice_age: Duration::ZERO,
            grace: Duration::from_secs(3600),
            ..fixture::options()
        },
        retention: Arc::new(|_, _| Some(Duration::from_secs(30 * 86_400))),
        ..options()
    };
    let (stop, stopped) = watch::channel(false);
    let mut workers = Vec::new();
    for _ in 0..3 {
        let (lake, busy, tally, stopped) = (world.process().await, busy.clone(), Arc::clone(&tally), stopped.clone());
        workers.push(tokio::spawn(async move {
            lake.maintain(busy, tally.as_ref(), stopped).await
        }));
    }
    let (writer, reader) = (world.process().await, world.process().await);
    let now = writer.clock().now();
    let mut committed = Vec::new();
    for number in 0..60 {
        let batch = random_batch(Dataset::Spans, number, 10, now, now + SECOND);
        put(&writer, &owner, u128::from(number), Dataset::Spans, batch.clone()).await;
        committed.push(batch);
        if number % 6 == 0 {
            assert!(
                visible(&reader, &owner, Dataset::Spans).await == rows_of(&committed),
                "after {number}"
            );
        }
    }
    stop.send_replace(true);
    for worker in workers {
        worker.await.unwrap();
    }
    assert!(tally.compactions.load(Ordering::SeqCst) > 1);
    assert!(visible(&reader, &owner, Dataset::Spans).await == rows_of(&committed));
    assert!(tally.failures.lock().is_empty(), "{:?}", tally.failures.lock());
}

/// Every object is asked for once and counted once, whoever collects it: those that were replaced and those that nobody knows.
#[tokio::test]
async fn processes_share_the_garbage() {
    let world = World::new();
    let owner = tenant("a");
    let writer = world.process().await;
    let now = writer.clock().now();
    for number in 0..700 {
        let batch = random_batch(Dataset::Spans, number, 1, now, now + SECOND);
        put(&writer, &owner, u128::from(number), Dataset::Spans, batch).await;
        if number == 670 {
            let options = fixture::options();
            let compacted = writer.compact(&owner, Dataset::Spans, &options, fixture::ALL).await;
            compacted.unwrap();
        }
    }
    for number in 0..40 {
        let path = Path::from(format!("segments/2023/unknown-{number}.seg"));
        world.store.put(&path, "lost".into()).await.unwrap();
    }
    world.clock.advance(3 * DAY);
    let (before, rows) = (
        world.store.paths().await.len(),
        visible(&writer, &owner, Dataset::Spans).await,
    );
    let tally = Arc::new(Tally::default());
    let (stop, stopped) = watch::channel(false);
    let collecting = MaintenanceOptions {
        compaction: CompactionOptions {
            target_rows: i64::MAX,
            max_slice_age: Duration::MAX,
            ..fixture::options()
        },
        ..options()
    };
    let mut workers = Vec::new();
    for _ in 0..3 {
        let (lake, options) = (world.process().await, collecting.clone());
        let (tally, stopped) = (Arc::clone(&tally), stopped.clone());
        workers.push(tokio::spawn(async move {
            lake.maintain(options, tally.as_ref(), stopped).await
        }));
    }
    let done = async || {
        let unknown = world.store.paths().await.iter().any(|path| path.contains("unknown"));
        !unknown && writer.catalog().gc_pending().await.unwrap() == (0, 0)
    };
    for _ in 0..2000 {
        if done().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.send_replace(true);
    for worker in workers {
        worker.await.unwrap();
    }
    let gone = before - world.store.paths().await.len();
    let asked = world.store.faults.delete_count.load(Ordering::SeqCst);
    let counted = tally.collected_objects.load(Ordering::SeqCst) as usize;
    assert!(gone > 670 + 40, "{gone}");
    assert_eq!((asked, counted), (gone, gone));
    assert!(visible(&world.process().await, &owner, Dataset::Spans).await == rows);
    assert!(tally.failures.lock().is_empty(), "{:?}", tally.failures.lock());
}

/// A clock that was set forth by a day a moment ago.
#[derive(Debug)]
struct JustSet(Arc<ManualClock>);

impl Clock for JustSet {
    fn now(&self) -> i64 {
        self.0.now()
    }

    fn steady_for(&self) -> Duration {
        Duration::from_secs(599)
    }
}

/// Found by the torture harness: a process whose clock jumped forgot requests that senders still repeated.
#[tokio::test]
async fn a_clock_that_was_set_forgets_no_request() {
    let world = World::new();
    let lake = world.process().await;
    let owner = tenant("a");
    let now = lake.clock().now();
    let again = async |lake: &Lake| {
        let batch = random_batch(Dataset::Spans, 1, 5, now, now + SECOND);
        put(lake, &owner, 1, Dataset::Spans, batch).await.fresh
    };
    assert_eq!(again(&lake).await, [true]);
    world.clock.advance(DAY);
    let jumped = world
        .process_with_clock(Arc::new(JustSet(Arc::clone(&world.clock))))
        .await;
    let tally = Arc::new(Tally::default());
    maintain(&jumped, options(), &tally, async || true).await;
    assert_eq!(again(&lake).await, [false]);
}

/// The window in which a retry is recognised is bounded, so that the catalog does not grow for ever.
#[tokio::test]
async fn a_request_is_forgotten_after_the_dedupe_window() {
    let world = World::new();
    let lake = world.process().await;
    let owner = tenant("a");
    let now = lake.clock().now();
    let again = async || {
        let batch = random_batch(Dataset::Spans, 1, 5, now, now + SECOND);
        put(&lake, &owner, 1, Dataset::Spans, batch).await.fresh
    };
    assert_eq!(again().await, [true]);
    let tally = Arc::new(Tally::default());
    world.clock.advance(599 * SECOND);
    maintain(&lake, options(), &tally, async || true).await;
    assert_eq!(again().await, [false]);
    world.clock.advance(2 * SECOND);
    maintain(&lake, options(), &tally, async || true).await;
    assert_eq!(again().await, [true]);
}

/// The proof: bytes count as deleted when their object is gone, and nothing is proven while something is left.
#[tokio::test]
async fn retention_is_proven_by_catalog_and_store() {
    let world = World::new();
    let lake = world.process().await;
    let (owner, neighbour) = (tenant("a"), tenant("b"));
    let now = lake.clock().now();
    let old = now - 3 * DAY;
    // One segment with rows that are due and rows of a tenant whose rows are not.
    let due = random_batch(Dataset::Spans, 1, 30, old, old + SECOND);
    let kept = random_batch(Dataset::Spans, 2, 20, now, now + SECOND);
    let mut shared = fixture::commit_of(&owner, 1, &[(Dataset::Spans, due.clone())]);
    let theirs = fixture::commit_of(&neighbour, 2, &[(Dataset::Spans, kept.clone())]);
    shared.rows.extend(theirs.rows);
    lake.commit(shared).await.unwrap();
    put(
        &lake,
        &owner,
        3,
        Dataset::Spans,
        random_batch(Dataset::Spans, 3, 10, old, old + SECOND),
    )
    .await;
    lake.compact(&owner, Dataset::Spans, &fixture::options(), fixture::ALL)
        .await
        .unwrap();
    put(
        &lake,
        &owner,
        4,
        Dataset::Spans,
        random_batch(Dataset::Spans, 4, 15, old, old + SECOND),
    )
    .await;

    let retention: lake::Retention = Arc::new(|_, _| Some(Duration::from_secs(2 * 86_400)));
    let report = async |name: &str| {
        let reports = lake.retention_reports(&retention).await.unwrap();
        let of = |r: &&lake::RetentionReport| r.state.tenant == tenant(name) && r.state.dataset == Dataset::Spans;
        reports.iter().find(of).unwrap().clone()
    };
    let before = report("a").await;
    assert_eq!(
        (before.rows_due, before.state.bytes_deleted, before.state.proven_at),
        (55, 0, None)
    );
    let due_bytes = before.bytes_due();
    assert!(due_bytes > 0);

    let options = MaintenanceOptions {
        compaction: lake::CompactionOptions {
            max_slice_age: Duration::MAX,
            ..fixture::options()
        },
        retention: Arc::clone(&retention),
        ..options()
    };
    let tally = Arc::new(Tally::default());
    // Rows are gone from queries, their bytes wait for the end of the grace period.
    world.store.faults.fail_deletes.store(true, Ordering::SeqCst);
    maintain(&lake, options.clone(), &tally, async || report("a").await.rows_due == 0).await;
    let waiting = report("a").await;
    assert_eq!(
        (waiting.bytes_due(), waiting.state.bytes_waiting),
        (due_bytes, due_bytes)
    );
    // It is over, but deletes fail: nothing is deleted and nothing is proven.
    world.clock.advance(901 * SECOND);
    maintain(&lake, options.clone(), &tally, async || true).await;
    assert_eq!(report("a").await, waiting);
    assert_eq!((waiting.state.rows_deleted, waiting.state.bytes_deleted), (55, 0));

    // They succeed: what was alone in its object is gone. The neighbour's rows do not hold the part that `a` made.
    world.store.faults.fail_deletes.store(false, Ordering::SeqCst);
    maintain(&lake, options.clone(), &tally, async || {
        report("a").await.state.proven_at > waiting.state.proven_at
    })
    .await;
    let proven = report("a").await;
    assert_eq!((proven.bytes_due(), proven.state.bytes_deleted), (0, due_bytes));
    assert_eq!(tally.freed.load(Ordering::SeqCst), due_bytes as u64);
    assert_eq!(visible(&lake, &neighbour, Dataset::Spans).await, rows_of([&kept]));

    // An object that the catalog does not know, and that is no commit under way, spoils the next proof until it is gone.
    let orphan = Path::from("a/spans/2020-01-01/orphan.parquet");
    world.store.put(&orphan, "left behind".into()).await.unwrap();
    world.clock.advance(25 * HOUR);
    let first = proven.state.proven_at.unwrap();
    maintain(&lake, options.clone(), &tally, async || {
        report("a").await.state.proven_at > Some(first)
    })
    .await;
    assert!(!world.store.paths().await.contains(&orphan.to_string()));
}

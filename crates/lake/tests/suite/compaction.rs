//! Compaction: every row and value stays, whoever compacts and whatever fails.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lake::{CompactionOptions, Lake, Wanted};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schema::{Clock as _, Dataset, TenantId};
use tokio::sync::watch;

use crate::fixture::{ALL, DAY, NOON, SECOND, Tally, World, commit_of, options, put, read, tenant, visible};
use crate::rows::{random_batch, rows_of};

async fn put_spans(lake: &Lake, owner: &TenantId, number: u64, rows: usize) {
    let batch = random_batch(Dataset::Spans, number, rows, NOON, NOON + SECOND);
    put(lake, owner, u128::from(number), Dataset::Spans, batch).await;
}

async fn slices(lake: &Lake, owner: &TenantId, dataset: Dataset) -> usize {
    lake.catalog()
        .live_slices(owner, dataset, i64::MAX)
        .await
        .unwrap()
        .len()
}

/// The oracle is the rows that were committed: after each of many compactions, which merge parts of parts, they are
/// all there with every value. Batches differ in their columns and in how text is encoded.
#[tokio::test]
async fn every_row_and_value_of_every_dataset_survives() {
    for dataset in Dataset::ALL {
        let world = World::new();
        let (lake, other) = (world.process().await, world.process().await);
        let owner = tenant("a");
        let mut rng = StdRng::seed_from_u64(dataset.id() as u64);
        let mut committed = Vec::new();
        let mut number = 0;
        for round in 0..10 {
            for _ in 0..rng.random_range(1..4) {
                number += 1;
                let rows = if rng.random_bool(0.2) {
                    1
                } else {
                    rng.random_range(2..150)
                };
                let batch = random_batch(dataset, number, rows, NOON, NOON + SECOND * 60);
                // Resources and series come with the items that refer to them.
                let item = random_batch(Dataset::Exemplars, number, 1, NOON, NOON + 1);
                let commit = commit_of(
                    &owner,
                    u128::from(number) * 2,
                    &[(dataset, batch.clone()), (Dataset::Exemplars, item.clone())],
                );
                lake.commit(commit).await.unwrap();
                committed.push(batch);
                if dataset == Dataset::Exemplars {
                    committed.push(item);
                }
            }
            let report = lake.compact(&owner, dataset, &options(), ALL).await.unwrap().unwrap();
            assert!(report.runs > 0 && report.rows > 0);
            assert_eq!(slices(&lake, &owner, dataset).await, 0);
            let expected = rows_of(&committed);
            assert!(
                visible(&lake, &owner, dataset).await == expected,
                "{dataset}, round {round}: rows differ"
            );
            assert!(
                visible(&other, &owner, dataset).await == expected,
                "{dataset}, round {round}: another process"
            );
        }
        let parts = lake.catalog().live_parts(&owner, dataset).await.unwrap();
        assert!(parts.iter().any(|part| part.level >= 2), "{dataset}: parts were merged");
        assert!(parts.len() < 10, "{dataset}: {} parts", parts.len());
    }
}

#[tokio::test]
async fn a_part_holds_rows_of_one_day() {
    for dataset in [
        Dataset::Spans,
        Dataset::Logs,
        Dataset::MetricSamples,
        Dataset::MetricHistograms,
        Dataset::Exemplars,
    ] {
        let world = World::new();
        let lake = world.process().await;
        let owner = tenant("a");
        let batch = random_batch(dataset, 1, 500, NOON, NOON + 3 * DAY);
        put(&lake, &owner, 1, dataset, batch.clone()).await;
        lake.compact(&owner, dataset, &options(), ALL).await.unwrap().unwrap();
        let parts = lake.catalog().live_parts(&owner, dataset).await.unwrap();
        let days = parts.iter().map(|p| p.min_ts.div_euclid(DAY)).collect::<BTreeSet<_>>();
        assert_eq!(
            (parts.len(), days.len()),
            (4, 4),
            "{dataset}: noon to noon three days later touches four"
        );
        for part in &parts {
            assert_eq!(part.min_ts.div_euclid(DAY), part.max_ts.div_euclid(DAY), "{dataset}");
            let rows = rows_of(&lake.part_batches(part).await.unwrap());
            assert_eq!(rows.len() as i64, part.rows, "{dataset}");
            let time = schema::columns::time_column(dataset);
            let times = rows
                .iter()
                .map(|row| row[time].parse::<i64>().unwrap())
                .collect::<Vec<_>>();
            assert_eq!(
                (times.iter().min(), times.iter().max()),
                (Some(&part.min_ts), Some(&part.max_ts)),
                "{dataset}"
            );
        }
        assert_eq!(visible(&lake, &owner, dataset).await, rows_of([&batch]), "{dataset}");
    }
}

/// Invented times must neither lose rows nor make a part each.
#[tokio::test]
async fn rows_of_thousands_of_days_make_few_parts() {
    let world = World::new();
    let lake = world.process().await;
    let owner = tenant("a");
    let batch = random_batch(Dataset::Logs, 1, 2_000, 0, i64::MAX);
    put(&lake, &owner, 1, Dataset::Logs, batch.clone()).await;
    lake.compact(&owner, Dataset::Logs, &options(), ALL)
        .await
        .unwrap()
        .unwrap();
    assert!(lake.catalog().live_parts(&owner, Dataset::Logs).await.unwrap().len() <= 65);
    assert_eq!(visible(&lake, &owner, Dataset::Logs).await, rows_of([&batch]));
}

/// A query reads what its snapshot names, as long as the grace period lasts.
#[tokio::test]
async fn a_snapshot_stays_readable_while_its_slices_and_parts_are_replaced() {
    let world = World::new();
    let (lake, reader) = (world.process().await, world.process().await);
    let owner = tenant("a");
    for round in 0..10 {
        put_spans(&lake, &owner, round, 30).await;
        let expected = visible(&lake, &owner, Dataset::Spans).await;
        let snapshot = reader.snapshot(&owner, &[Dataset::Spans], None).await.unwrap();
        lake.compact(&owner, Dataset::Spans, &options(), ALL)
            .await
            .unwrap()
            .unwrap();
        let batches = read(&reader, &snapshot).await.unwrap();
        assert_eq!(rows_of(&batches), expected, "round {round}");
    }
}

#[tokio::test]
async fn a_lease_held_by_another_process_is_respected_until_it_ends() {
    let world = World::new();
    let (one, two) = (world.process().await, world.process().await);
    let owner = tenant("a");
    put_spans(&one, &owner, 1, 10).await;
    let name = format!("compact/{owner}/spans");
    let now = || one.clock().now();
    one.catalog()
        .acquire_lease(&name, "a process that hangs", Duration::from_secs(60), now())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        two.compact(&owner, Dataset::Spans, &options(), ALL).await.unwrap(),
        None
    );
    assert_eq!(slices(&two, &owner, Dataset::Spans).await, 1);
    world.clock.advance(61 * SECOND);
    assert!(
        two.compact(&owner, Dataset::Spans, &options(), ALL)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(slices(&two, &owner, Dataset::Spans).await, 0);
}

/// A process that sleeps past its lease wakes up, finishes its work and must not undo or double the work of the
/// process that took over.
#[tokio::test]
async fn a_process_that_lost_its_lease_changes_nothing() {
    let world = World::new();
    let slow_store = world.store.beside();
    let (slow, fast) = (
        world.process_on(Arc::new(slow_store.clone())).await,
        world.process().await,
    );
    let owner = tenant("a");
    put_spans(&fast, &owner, 1, 50).await;
    let expected = visible(&fast, &owner, Dataset::Spans).await;
    let closed = slow_store.faults.gate.write().await;
    let sleeping = {
        let (slow, owner) = (slow.clone(), owner.clone());
        tokio::spawn(async move { slow.compact(&owner, Dataset::Spans, &options(), ALL).await })
    };
    while slow_store.faults.put_count.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(
        fast.compact(&owner, Dataset::Spans, &options(), ALL).await.unwrap(),
        None,
        "the lease still holds"
    );
    world.clock.advance(61 * SECOND);
    let report = fast
        .compact(&owner, Dataset::Spans, &options(), ALL)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report.rows, 50);
    drop(closed);
    assert_eq!(sleeping.await.unwrap().unwrap(), None, "fenced");
    assert_eq!(visible(&slow, &owner, Dataset::Spans).await, expected);
    assert_eq!(
        fast.catalog().live_parts(&owner, Dataset::Spans).await.unwrap().len(),
        1
    );
}

/// A compaction may take longer than a lease: the lease is renewed while it works.
#[tokio::test]
async fn a_lease_is_kept_while_the_work_lasts() {
    let world = World::new();
    let slow_store = world.store.beside();
    let (slow, other) = (
        world.process_on(Arc::new(slow_store.clone())).await,
        world.process().await,
    );
    let owner = tenant("a");
    put_spans(&other, &owner, 1, 50).await;
    let short = CompactionOptions {
        lease_ttl: Duration::from_millis(150),
        ..options()
    };
    let closed = slow_store.faults.gate.write().await;
    let working = {
        let (slow, owner) = (slow.clone(), owner.clone());
        tokio::spawn(async move { slow.compact(&owner, Dataset::Spans, &short, ALL).await })
    };
    while slow_store.faults.put_count.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let name = format!("compact/{owner}/spans");
    let token = async |catalog: &catalog::Catalog| {
        let now = world.clock.now();
        catalog
            .acquire_lease(&name, "another", Duration::from_secs(1), now)
            .await
            .unwrap()
    };
    for _ in 0..10 {
        // The clock goes on by less than the lease's time, and real time by several renewals.
        world.clock.advance(SECOND / 10);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(token(other.catalog()).await, None, "still held");
    }
    drop(closed);
    assert_eq!(working.await.unwrap().unwrap().unwrap().rows, 50);
}

#[tokio::test]
async fn compact_all_waits_for_the_process_that_holds_the_lease() {
    let world = World::new();
    let (one, two) = (world.process().await, world.process().await);
    let owner = tenant("a");
    put_spans(&one, &owner, 1, 10).await;
    let name = format!("compact/{owner}/spans");
    let now = one.clock().now();
    let lease = one
        .catalog()
        .acquire_lease(&name, "somebody", Duration::from_secs(60), now)
        .await
        .unwrap()
        .unwrap();
    let all = tokio::spawn(async move { two.compact_all(&options(), &Tally::default()).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!all.is_finished());
    one.catalog().release_lease(&lease).await.unwrap();
    assert_eq!(all.await.unwrap().unwrap().rows, 10);
    assert_eq!(slices(&one, &owner, Dataset::Spans).await, 0);
}

/// The background work and an administrator's request run in the same process: neither may take the other's inputs,
/// and the request is answered when everything is compacted.
#[tokio::test]
async fn two_compactions_of_one_process_do_not_meet() {
    let world = World::new();
    let lake = world.process().await;
    let owner = tenant("a");
    for number in 0..5 {
        put_spans(&lake, &owner, number, 20).await;
    }
    let puts = world.store.faults.put_count.load(Ordering::SeqCst);
    let closed = world.store.faults.gate.write().await;
    let background = {
        let (lake, owner) = (lake.clone(), owner.clone());
        tokio::spawn(async move { lake.compact(&owner, Dataset::Spans, &options(), ALL).await })
    };
    while world.store.faults.put_count.load(Ordering::SeqCst) == puts {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let asked = {
        let lake = lake.clone();
        tokio::spawn(async move { lake.compact_all(&options(), &Tally::default()).await })
    };
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(!asked.is_finished(), "the rows are not compacted yet");
    drop(closed);
    assert_eq!(background.await.unwrap().unwrap().unwrap().rows, 100);
    asked.await.unwrap().unwrap();
    assert_eq!(slices(&lake, &owner, Dataset::Spans).await, 0);
    assert_eq!(visible(&lake, &owner, Dataset::Spans).await.len(), 100);
    assert_eq!(
        world.store.faults.put_count.load(Ordering::SeqCst),
        puts + 1,
        "nothing was done twice"
    );
}

/// "Compacts what is there" ends although more keeps coming.
#[tokio::test]
async fn compact_all_ends_while_rows_keep_arriving() {
    let world = World::new();
    let lake = world.process().await;
    let owner = tenant("a");
    put_spans(&lake, &owner, 0, 10).await;
    let stop = Arc::new(AtomicBool::default());
    let arriving = {
        let (lake, owner, stop) = (world.process().await, owner.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut number = 1;
            while !stop.load(Ordering::SeqCst) {
                put_spans(&lake, &owner, number, 1).await;
                number += 1;
            }
            number - 1
        })
    };
    let done = tokio::time::timeout(Duration::from_secs(30), lake.compact_all(&options(), &Tally::default())).await;
    stop.store(true, Ordering::SeqCst);
    let arrived = arriving.await.unwrap();
    assert!(done.expect("it ends").unwrap().rows >= 10);
    assert_eq!(visible(&lake, &owner, Dataset::Spans).await.len() as u64, 10 + arrived);
}

#[tokio::test]
async fn a_compaction_that_fails_leaves_all_as_it_was_and_the_next_succeeds() {
    let world = World::new();
    let lake = world.process().await;
    let owner = tenant("a");
    put_spans(&lake, &owner, 1, 25).await;
    let expected = visible(&lake, &owner, Dataset::Spans).await;
    let cold = world.process().await;
    for fault in [
        &world.store.faults.fail_gets,
        &world.store.faults.fail_puts,
        &world.store.faults.lose_replies,
    ] {
        fault.store(true, Ordering::SeqCst);
        cold.compact(&owner, Dataset::Spans, &options(), ALL).await.unwrap_err();
        fault.store(false, Ordering::SeqCst);
        assert_eq!(visible(&world.process().await, &owner, Dataset::Spans).await, expected);
    }
    // The lease was given back each time, so another process need not wait.
    let report = world
        .process()
        .await
        .compact(&owner, Dataset::Spans, &options(), ALL)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report.rows, 25);
    assert_eq!(visible(&lake, &owner, Dataset::Spans).await, expected);
}

/// One tenant's damaged object must not keep everybody else's rows from being compacted.
#[tokio::test]
async fn damage_of_one_dataset_does_not_stop_the_others() {
    let world = World::new();
    let writer = world.process().await;
    let (damaged, sound) = (tenant("a"), tenant("b"));
    put_spans(&writer, &damaged, 1, 10).await;
    let path = Path::from(world.store.paths().await.remove(0));
    world.store.put(&path, "garbage".into()).await.unwrap();
    put_spans(&writer, &sound, 2, 10).await;
    let lake = world.process().await;
    let tally = Arc::new(Tally::default());
    lake.compact_all(&options(), tally.as_ref()).await.unwrap_err();
    assert_eq!(slices(&lake, &sound, Dataset::Spans).await, 0, "when asked for");

    put_spans(&writer, &sound, 3, 10).await;
    world.clock.advance(61 * SECOND);
    let (stop, stopped) = watch::channel(false);
    let work = {
        let (lake, tally) = (lake.clone(), Arc::clone(&tally));
        tokio::spawn(async move {
            lake.maintain(crate::maintenance::options(), tally.as_ref(), stopped)
                .await
        })
    };
    for _ in 0..1000 {
        if slices(&lake, &sound, Dataset::Spans).await == 0 && !tally.failures.lock().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.send_replace(true);
    work.await.unwrap();
    assert_eq!(slices(&lake, &sound, Dataset::Spans).await, 0, "in the background");
    assert!(tally.failures.lock().contains(&"compaction"));
}

#[tokio::test]
async fn fresh_rows_are_left_alone_until_they_are_many_or_old() {
    let world = World::new();
    let lake = world.process().await;
    let owner = tenant("a");
    let few = CompactionOptions {
        target_rows: 30,
        ..options()
    };
    put_spans(&lake, &owner, 1, 10).await;
    let runs = async |options: &CompactionOptions| {
        lake.compact(&owner, Dataset::Spans, options, Wanted::Due)
            .await
            .unwrap()
            .unwrap()
            .runs
    };
    assert_eq!(runs(&few).await, 0);
    world.clock.advance(59 * SECOND);
    assert_eq!(runs(&few).await, 0);
    world.clock.advance(2 * SECOND);
    assert_eq!(runs(&few).await, 1, "old");
    put_spans(&lake, &owner, 2, 29).await;
    assert_eq!(runs(&few).await, 0);
    put_spans(&lake, &owner, 3, 1).await;
    assert_eq!(runs(&few).await, 1, "many");
}

#[tokio::test]
async fn one_compaction_takes_no_more_rows_than_it_may() {
    let world = World::new();
    let lake = world.process().await;
    let owner = tenant("a");
    for number in 0..20 {
        put_spans(&lake, &owner, number, 10).await;
    }
    let bounded = CompactionOptions {
        target_rows: 10,
        max_rows: 35,
        ..options()
    };
    let expected = visible(&lake, &owner, Dataset::Spans).await;
    lake.compact(&owner, Dataset::Spans, &bounded, ALL)
        .await
        .unwrap()
        .unwrap();
    let parts = lake.catalog().live_parts(&owner, Dataset::Spans).await.unwrap();
    assert!(
        parts.iter().all(|part| part.rows <= 35),
        "{:?}",
        parts.iter().map(|p| p.rows).collect::<Vec<_>>()
    );
    assert_eq!(visible(&lake, &owner, Dataset::Spans).await, expected);
}

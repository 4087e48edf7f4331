//! Committing: what is durable and visible when, and that nothing is stored twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lake::segment::Rows;
use lake::store::LocalStore;
use lake::{Commit, LakeError, Request};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schema::Dataset;
use schema::sparse::SparseBatch;

use crate::deletions;
use crate::fixture::{DAY, NOON, SECOND, World, commit_of, key, put, tenant, try_visible, visible};
use crate::rows::{random_batch, rows_of};

fn batch(seed: u64) -> arrow::array::RecordBatch {
    random_batch(Dataset::Spans, seed, 20, NOON, NOON + SECOND)
}

#[tokio::test]
async fn every_process_sees_a_commit_as_soon_as_it_returns() {
    let world = World::new();
    let (writer, reader) = (world.process().await, world.process().await);
    let owner = tenant("a");
    for (number, dataset) in Dataset::ALL.into_iter().enumerate() {
        let rows = random_batch(dataset, number as u64, 50, NOON, NOON + DAY);
        let spans = batch(1000 + number as u64);
        // Resources and series are committed beside the items that refer to them, never alone.
        let commit = commit_of(
            &owner,
            number as u128 * 2,
            &[(dataset, rows.clone()), (Dataset::Spans, spans.clone())],
        );
        let committed = writer.commit(commit).await.unwrap();
        assert_eq!((committed.rows, committed.fresh), (70, vec![true, true]));
        for lake in [&writer, &reader] {
            let seen = visible(lake, &owner, dataset).await;
            assert!(rows_of([&rows]).iter().all(|row| seen.contains(row)), "{dataset}");
            if dataset != Dataset::Spans {
                assert_eq!(seen.len(), 50, "{dataset}");
            }
        }
    }
    let before = visible(&writer, &owner, Dataset::Spans).await;
    assert_eq!(before.len(), 7 * 20 + 50);
    assert_eq!(
        visible(&world.process().await, &owner, Dataset::Spans).await,
        before,
        "after a restart"
    );
    assert!(
        visible(&reader, &tenant("b"), Dataset::Spans).await.is_empty(),
        "another tenant"
    );
}

#[tokio::test]
async fn what_is_committed_on_local_disk_is_there_after_a_restart() {
    let world = World::new();
    let directory = world.directory().join("store");
    let owner = tenant("a");
    {
        let lake = world.process_on(Arc::new(LocalStore::open(&directory).unwrap())).await;
        put(&lake, &owner, 1, Dataset::Spans, batch(1)).await;
    }
    let lake = world.process_on(Arc::new(LocalStore::open(&directory).unwrap())).await;
    assert_eq!(visible(&lake, &owner, Dataset::Spans).await, rows_of([&batch(1)]));
}

#[tokio::test]
async fn a_request_whose_answer_was_lost_is_stored_once_when_it_comes_again() {
    let world = World::new();
    let (first, second) = (world.process().await, world.process().await);
    let owner = tenant("a");
    assert_eq!(put(&first, &owner, 1, Dataset::Spans, batch(1)).await.fresh, [true]);
    for lake in [&first, &second, &world.process().await] {
        let again = put(lake, &owner, 1, Dataset::Spans, batch(1)).await;
        assert_eq!((again.fresh, again.rows), (vec![false], 0));
        assert_eq!(visible(lake, &owner, Dataset::Spans).await, rows_of([&batch(1)]));
    }
    // The same bytes of another tenant are other data.
    assert_eq!(
        put(&second, &tenant("b"), 1, Dataset::Spans, batch(1)).await.fresh,
        [true]
    );
}

#[tokio::test]
async fn two_processes_that_commit_one_request_at_once_store_it_once() {
    let world = World::new();
    let (one, two) = (world.process().await, world.process().await);
    let owner = tenant("a");
    for number in 0..20 {
        let (a, b) = tokio::join!(
            put(
                &one,
                &owner,
                number,
                Dataset::Logs,
                random_batch(Dataset::Logs, number as u64, 5, NOON, NOON + 1)
            ),
            put(
                &two,
                &owner,
                number,
                Dataset::Logs,
                random_batch(Dataset::Logs, number as u64, 5, NOON, NOON + 1)
            ),
        );
        assert_ne!(a.fresh, b.fresh, "exactly one of them stored it");
        assert_eq!(
            visible(&one, &owner, Dataset::Logs).await.len(),
            (number as usize + 1) * 5
        );
    }
}

/// Requests share batches, in pieces of any length, and any of them may have been committed by somebody else before.
#[tokio::test]
async fn requests_that_are_there_already_are_left_out_and_all_others_stored() {
    for seed in 0..30 {
        let mut rng = StdRng::seed_from_u64(seed);
        let world = World::new();
        let (one, two) = (world.process().await, world.process().await);
        let owner = tenant("a");
        let datasets = [Dataset::Spans, Dataset::Logs, Dataset::MetricSamples];
        let batches = datasets.map(|d| (d, random_batch(d, seed * 10 + d.id() as u64, 40, NOON, NOON + DAY)));
        let requests = rng.random_range(1..8_usize);
        let earlier = (0..requests).map(|_| rng.random_bool(0.4)).collect::<Vec<_>>();
        // Each request owns consecutive rows of each batch, perhaps none.
        let mut commit = Commit::default();
        let mut cuts = Vec::new();
        for (dataset, batch) in &batches {
            let mut at = (0..requests - 1)
                .map(|_| rng.random_range(0..=40))
                .collect::<Vec<u32>>();
            at.sort_unstable();
            cuts.push([vec![0], at, vec![40]].concat());
            commit.rows.push(Rows {
                tenant: owner.clone(),
                dataset: *dataset,
                batch: SparseBatch::from_dense(batch).unwrap(),
            });
        }
        let piece = |entry: usize, request: usize| (cuts[entry][request], cuts[entry][request + 1]);
        for (request, earlier) in earlier.iter().enumerate() {
            let ranges = (0..3)
                .map(|entry| (entry, piece(entry, request)))
                .filter(|(_, (from, to))| from < to);
            commit.requests.push(Request {
                key: key(&owner, request as u128),
                ranges: ranges.map(|(entry, (from, to))| (entry, from, to)).collect(),
            });
            if *earlier {
                // Somebody else stored something under this request's name; what exactly is its business.
                let marker = random_batch(Dataset::Exemplars, seed, 1, NOON, NOON + 1);
                assert_eq!(
                    put(&two, &owner, request as u128, Dataset::Exemplars, marker)
                        .await
                        .fresh,
                    [true]
                );
            }
        }
        let committed = one.commit(commit).await.unwrap();
        assert_eq!(
            committed.fresh,
            earlier.iter().map(|e| !e).collect::<Vec<_>>(),
            "seed {seed}"
        );
        let mut stored = 0;
        for (entry, (dataset, batch)) in batches.iter().enumerate() {
            let fresh = (0..requests).filter(|&request| !earlier[request]).map(|request| {
                let (from, to) = piece(entry, request);
                batch.slice(from as usize, (to - from) as usize)
            });
            let fresh = fresh.collect::<Vec<_>>();
            stored += fresh.iter().map(|b| b.num_rows() as u64).sum::<u64>();
            for lake in [&one, &two] {
                assert_eq!(
                    visible(lake, &owner, *dataset).await,
                    rows_of(&fresh),
                    "seed {seed}, {dataset}"
                );
            }
        }
        assert_eq!(committed.rows, stored, "seed {seed}");
    }
}

#[tokio::test]
async fn a_failed_put_leaves_nothing_and_the_retry_stores_once() {
    let world = World::new();
    let (one, two) = (world.process().await, world.process().await);
    let owner = tenant("a");
    for faults in [&world.store.faults.fail_puts, &world.store.faults.lose_replies] {
        let number = u128::from(visible(&one, &owner, Dataset::Spans).await.len() as u64);
        let before = visible(&one, &owner, Dataset::Spans).await;
        faults.store(true, Ordering::SeqCst);
        let refused = one
            .commit(commit_of(&owner, number, &[(Dataset::Spans, batch(7))]))
            .await
            .unwrap_err();
        assert!(
            matches!(refused, LakeError::Store(_)) && refused.is_retryable(),
            "{refused}"
        );
        for lake in [&one, &two] {
            assert_eq!(visible(lake, &owner, Dataset::Spans).await, before);
        }
        faults.store(false, Ordering::SeqCst);
        assert_eq!(put(&two, &owner, number, Dataset::Spans, batch(7)).await.fresh, [true]);
        assert_eq!(visible(&one, &owner, Dataset::Spans).await.len(), before.len() + 20);
    }
}

#[tokio::test]
async fn without_its_catalog_nothing_is_acknowledged() {
    let world = World::new();
    let (one, two) = (world.process().await, world.process().await);
    let owner = tenant("a");
    one.catalog().close().await;
    let refused = one
        .commit(commit_of(&owner, 1, &[(Dataset::Spans, batch(1))]))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, LakeError::Catalog(_)) && refused.is_retryable(),
        "{refused}"
    );
    assert!(visible(&two, &owner, Dataset::Spans).await.is_empty());
    assert_eq!(put(&two, &owner, 1, Dataset::Spans, batch(1)).await.fresh, [true]);
}

/// A process that dies between the object and the catalog's row has promised nothing.
#[tokio::test]
async fn a_commit_cut_off_after_its_object_is_invisible() {
    let world = World::new();
    let (one, two) = (world.process().await, world.process().await);
    let owner = tenant("a");
    let closed = world.store.faults.gate.write().await;
    let commit = {
        let (one, owner) = (one.clone(), owner.clone());
        tokio::spawn(async move { one.commit(commit_of(&owner, 1, &[(Dataset::Spans, batch(1))])).await })
    };
    while world.store.faults.put_count.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    commit.abort();
    assert!(commit.await.unwrap_err().is_cancelled());
    assert!(visible(&two, &owner, Dataset::Spans).await.is_empty());
    drop(closed);
    assert_eq!(put(&two, &owner, 1, Dataset::Spans, batch(1)).await.fresh, [true]);
    assert_eq!(visible(&one, &owner, Dataset::Spans).await, rows_of([&batch(1)]));
}

#[tokio::test]
async fn resources_and_series_alone_need_no_commit() {
    let world = World::new();
    let lake = world.process().await;
    let owner = tenant("a");
    let resources = random_batch(Dataset::Resources, 1, 3, NOON, NOON + 1);
    let committed = put(&lake, &owner, 1, Dataset::Resources, resources).await;
    assert_eq!((committed.rows, committed.bytes), (0, 0));
    assert!(world.store.paths().await.is_empty());
}

#[tokio::test]
async fn the_writer_reads_its_newest_rows_from_memory() {
    let world = World::new();
    let (writer, reader) = (world.process().await, world.process().await);
    let owner = tenant("a");
    put(&writer, &owner, 1, Dataset::Spans, batch(1)).await;
    let gets = || world.store.faults.get_count.load(Ordering::SeqCst);
    visible(&writer, &owner, Dataset::Spans).await;
    assert_eq!(gets(), 0);
    for _ in 0..3 {
        visible(&reader, &owner, Dataset::Spans).await;
        assert_eq!(gets(), 1, "another process reads it once and keeps it");
    }
}

#[tokio::test]
async fn a_damaged_segment_is_an_error_with_its_name_and_never_rows() {
    let owner = tenant("a");
    for damage in ["flipped", "cut", "empty", "gone"] {
        let world = World::new();
        let (writer, reader) = (world.process().await, world.process().await);
        put(&writer, &owner, 1, Dataset::Spans, batch(1)).await;
        let path = Path::from(world.store.paths().await.remove(0));
        let mut bytes = world.store.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
        match damage {
            "flipped" => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            "cut" => bytes.truncate(bytes.len() - 1),
            "empty" => bytes.clear(),
            _ => {}
        }
        world.store.delete(&path).await.unwrap();
        if damage != "gone" {
            world.store.put(&path, bytes.into()).await.unwrap();
        }
        let error = try_visible(&reader, &owner, Dataset::Spans).await.unwrap_err();
        // An empty object is refused by the store, which knows no name.
        assert!(
            error.to_string().contains(".seg") || damage == "empty",
            "{damage}: {error}"
        );
    }
}

/// Nothing of a tenant is committed that relies on deleted resources, and its neighbours do not wait for it.
#[tokio::test]
async fn a_tenant_whose_descriptions_were_deleted_is_left_out() {
    let world = World::new();
    let lake = world.process().await;
    let (gone, other) = (tenant("gone"), tenant("other"));
    let resources = random_batch(Dataset::Resources, 1, 3, NOON, NOON + SECOND);
    lake.commit(commit_of(
        &gone,
        0,
        &[(Dataset::Resources, resources.clone()), (Dataset::Spans, batch(1))],
    ))
    .await
    .unwrap();
    deletions::everything(&lake, &gone).await;
    assert_eq!(lake.catalog().forgotten(&gone).await.unwrap(), 1);

    let commit = |known: i64| {
        let mut commit = commit_of(
            &gone,
            2,
            &[(Dataset::Resources, resources.clone()), (Dataset::Spans, batch(2))],
        );
        let theirs = commit_of(&other, 3, &[(Dataset::Spans, batch(3))]);
        for mut request in theirs.requests {
            request.ranges[0].0 += commit.rows.len();
            commit.requests.push(request);
        }
        commit.rows.extend(theirs.rows);
        commit.forgotten = vec![(gone.clone(), known), (other.clone(), 0)];
        commit
    };
    let committed = lake.commit(commit(0)).await.unwrap();
    assert_eq!(committed.forgotten, [(gone.clone(), 1)]);
    assert_eq!((committed.rows, committed.fresh), (20, vec![false, false, true]));
    assert_eq!(visible(&lake, &other, Dataset::Spans).await, rows_of(&[batch(3)]));
    for dataset in [Dataset::Spans, Dataset::Resources] {
        assert!(visible(&lake, &gone, dataset).await.is_empty(), "{dataset}");
    }
    // Sent again by who has learnt of it, it is there; what was committed stays once.
    let committed = lake.commit(commit(1)).await.unwrap();
    assert_eq!(
        (committed.forgotten, committed.fresh),
        (vec![], vec![true, true, false])
    );
    assert_eq!(visible(&lake, &gone, Dataset::Spans).await, rows_of(&[batch(2)]));
    assert_eq!(visible(&lake, &gone, Dataset::Resources).await.len(), 3);
    assert_eq!(visible(&lake, &other, Dataset::Spans).await, rows_of(&[batch(3)]));
}

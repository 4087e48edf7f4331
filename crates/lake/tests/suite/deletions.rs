//! Deletions: rows that match go from slices and from parts of every level, from the store too, and no other row does,
//! whatever commits, compacts and fails meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{BooleanArray, RecordBatch};
use async_trait::async_trait;
use catalog::{Deletion, DeletionState, DeletionTarget, NewDeletion, Part, Slice};
use lake::{Lake, MaintenanceOptions, MatchError, Matcher, Question};
use schema::sparse::SparseBatch;
use schema::{Dataset, TenantId};

use crate::fixture::{ALL, DAY, NOON, SECOND, Tally, World, commit_of, options, put, tenant, visible};
use crate::maintenance::{self, maintain};
use crate::rows::{Row, random_batch, row_at, rows_of};

/// Understands `column=value`, the value as rows of tests print it. `query` has the matcher for SQL.
struct Equals(Lake);

fn matches(question: &Question, row: &Row) -> Result<bool, MatchError> {
    let DeletionTarget::Where(text) = &question.target else {
        return Err(MatchError::Invalid("not a condition".into()));
    };
    let (column, value) = text.split_once('=').ok_or(MatchError::Invalid(text.clone()))?;
    Ok(row.get(column).is_some_and(|found| found == value))
}

fn failed(error: impl std::fmt::Display) -> MatchError {
    MatchError::Failed(error.to_string())
}

#[async_trait]
impl Matcher for Equals {
    async fn count(&self, question: &Question, slices: Vec<Slice>, parts: Vec<Part>) -> Result<u64, MatchError> {
        let mut batches = self.0.slices(&slices).await.map_err(failed)?;
        for part in &parts {
            for batch in self.0.part_batches(part).await.map_err(failed)? {
                batches.push(Arc::new(SparseBatch::from_dense(&batch).map_err(failed)?));
            }
        }
        let matching = self.select(question, &batches).await?;
        Ok(matching.iter().map(|m| m.true_count() as u64).sum())
    }

    async fn select(&self, question: &Question, batches: &[Arc<SparseBatch>]) -> Result<Vec<BooleanArray>, MatchError> {
        let of_batch = |batch: &Arc<SparseBatch>| {
            let dense = batch.to_dense().map_err(failed)?;
            let dense = lake::part::decode(question.dataset, dense).map_err(failed)?;
            let rows = (0..dense.num_rows()).map(|row| matches(question, &row_at(&dense, row)).map(Some));
            Ok(rows.collect::<Result<Vec<_>, MatchError>>()?.into())
        };
        batches.iter().map(of_batch).collect()
    }
}

async fn ask(lake: &Lake, owner: &TenantId, datasets: &[Dataset], target: DeletionTarget) -> i64 {
    let new = NewDeletion {
        tenant: owner.clone(),
        datasets: datasets.to_vec(),
        target,
    };
    lake.catalog().request_deletion(&new, lake.clock().now()).await.unwrap()
}

/// Deletes everything of a tenant.
pub async fn everything(lake: &Lake, owner: &TenantId) {
    let id = ask(lake, owner, &Dataset::ALL, DeletionTarget::Everything).await;
    advance(lake).await;
    assert_eq!(deletion(lake, id).await.state, DeletionState::Done);
}

async fn advance(lake: &Lake) {
    let matcher = Equals(lake.clone());
    lake.advance_deletions(&options(), &matcher, &Tally::default())
        .await
        .unwrap();
}

async fn deletion(lake: &Lake, id: i64) -> Deletion {
    lake.catalog().deletion(id).await.unwrap().unwrap()
}

/// A column that several rows of several batches have the same value in, and such a value.
fn condition(dataset: Dataset, batch: &RecordBatch) -> (&'static str, String) {
    let column = match dataset {
        Dataset::Spans | Dataset::Logs => "resource_id",
        _ => "series_id",
    };
    (column, row_at(batch, 0)[column].clone())
}

fn rest(batches: &[RecordBatch], (column, value): &(&str, String)) -> Vec<Row> {
    let mut rows = rows_of(batches);
    rows.retain(|row| row.get(*column) != Some(value));
    rows
}

/// A part that another process made may be too large to be rewritten here. It is left alone and said so; the rest is done.
#[tokio::test]
async fn a_part_that_is_too_large_waits_for_a_process_with_more_memory() {
    let world = World::new();
    let (small, large) = (world.process_with_memory(100_000).await, world.process().await);
    let owner = tenant("a");
    let large_batch = random_batch(Dataset::Spans, 1, 1_000, NOON, NOON + SECOND);
    put(&large, &owner, 1, Dataset::Spans, large_batch.clone()).await;
    large.compact(&owner, Dataset::Spans, &options(), ALL).await.unwrap();
    let few = random_batch(Dataset::Spans, 2, 40, NOON, NOON + SECOND);
    put(&large, &owner, 2, Dataset::Spans, few.clone()).await;
    let batches = [large_batch, few];
    let condition = condition(Dataset::Spans, &batches[1]);
    let expected = rest(&batches, &condition);

    let text = format!("{}={}", condition.0, condition.1);
    let id = ask(&large, &owner, &[Dataset::Spans], DeletionTarget::Where(text)).await;
    let tried = async |lake: &Lake| {
        let matcher = Equals(lake.clone());
        lake.advance_deletions(&options(), &matcher, &Tally::default()).await
    };
    let refused = tried(&small).await.unwrap_err().to_string();
    assert!(
        refused.contains("memory.limit") && refused.contains("1000 rows"),
        "{refused}"
    );
    assert_eq!(deletion(&small, id).await.state, DeletionState::Pending);
    let left = 1_000 + rest(&batches[1..], &condition).len();
    assert_eq!(visible(&small, &owner, Dataset::Spans).await.len(), left);
    assert!((expected.len() + 1..1_040).contains(&left), "{left}");
    world.clock.advance(120 * SECOND);
    tried(&large).await.unwrap();
    assert_eq!(deletion(&large, id).await.state, DeletionState::Done);
    assert_eq!(visible(&small, &owner, Dataset::Spans).await, expected);
}

/// Nothing but garbage collection.
fn collecting() -> MaintenanceOptions {
    MaintenanceOptions {
        compaction: lake::CompactionOptions {
            max_slice_age: Duration::MAX,
            ..options()
        },
        ..maintenance::options()
    }
}

#[tokio::test]
async fn matching_rows_go_from_slices_and_parts_and_the_others_stay() {
    for dataset in [
        Dataset::Spans,
        Dataset::Logs,
        Dataset::MetricSamples,
        Dataset::MetricHistograms,
        Dataset::Exemplars,
    ] {
        let world = World::new();
        let (lake, other) = (world.process().await, world.process().await);
        let owner = tenant("a");
        let mut batches = Vec::new();
        for number in 0..14 {
            let batch = random_batch(dataset, number, 40, NOON, NOON + DAY / 2);
            put(&lake, &owner, u128::from(number), dataset, batch.clone()).await;
            batches.push(batch);
            if number < 11 {
                lake.compact(&owner, dataset, &options(), ALL).await.unwrap();
            }
        }
        let parts = lake.catalog().live_parts(&owner, dataset).await.unwrap();
        assert!(
            parts.iter().any(|p| p.level == 1) && parts.iter().any(|p| p.level > 1),
            "{dataset}"
        );
        let condition = condition(dataset, &batches[0]);
        let expected = rest(&batches, &condition);
        let gone = rows_of(&batches).len() - expected.len();
        assert!(
            gone > 5 && expected.len() > 100,
            "{dataset}: {gone} of {} match",
            expected.len()
        );
        let before = world.store.paths().await;

        let text = format!("{}={}", condition.0, condition.1);
        let id = ask(&lake, &owner, &[dataset], DeletionTarget::Where(text)).await;
        advance(&other).await;
        assert!(
            visible(&lake, &owner, dataset).await == expected,
            "{dataset}: rows differ"
        );
        let done = deletion(&lake, id).await;
        assert_eq!(
            (done.state, done.progress[0].rows),
            (DeletionState::Done, gone as i64),
            "{dataset}"
        );
        assert!(
            done.objects.queued > 1 && done.objects.removed == 0,
            "{dataset}: {:?}",
            done.objects
        );
        let counted = lake.catalog().live_parts(&owner, dataset).await.unwrap();
        let in_slices = lake.catalog().live_slices(&owner, dataset, 99).await.unwrap();
        let counted = counted.iter().map(|p| p.rows).chain(in_slices.iter().map(|s| s.rows));
        assert_eq!(
            counted.sum::<i64>(),
            expected.len() as i64,
            "{dataset}: the catalog's counts"
        );

        // After the grace period the bytes go, and only then it is verified.
        advance(&other).await;
        assert_eq!(deletion(&lake, id).await.state, DeletionState::Done);
        world.clock.advance(901 * SECOND);
        maintain(&lake, collecting(), &Arc::default(), async || {
            lake.catalog().gc_pending().await.unwrap().0 == 0
        })
        .await;
        advance(&other).await;
        let verified = deletion(&lake, id).await;
        assert_eq!(verified.state, DeletionState::Verified, "{dataset}");
        assert_eq!(verified.objects.removed, verified.objects.queued);
        let objects = lake.catalog().deletion_objects(id).await.unwrap();
        let left = world.store.paths().await;
        assert!(
            objects
                .iter()
                .all(|(path, _)| before.contains(path) && !left.contains(path)),
            "{dataset}"
        );
        assert!(
            visible(&other, &owner, dataset).await == expected,
            "{dataset}: after collection"
        );
    }
}

/// One segment holds rows of two tenants: its bytes go once the other's rows have moved on, and no sooner.
#[tokio::test]
async fn everything_of_a_tenant_goes_and_its_neighbours_keep_theirs() {
    let world = World::new();
    let lake = world.process().await;
    let (owner, neighbour) = (tenant("a"), tenant("b"));
    let batch = |n| random_batch(Dataset::Spans, n, 30, NOON, NOON + SECOND);
    let resources = random_batch(Dataset::Resources, 1, 5, NOON, NOON + SECOND);
    let mut shared = commit_of(
        &owner,
        1,
        &[(Dataset::Spans, batch(1)), (Dataset::Resources, resources)],
    );
    let theirs = commit_of(&neighbour, 10, &[(Dataset::Spans, batch(2))]);
    shared.rows.extend(theirs.rows);
    lake.commit(shared).await.unwrap();
    put(&lake, &owner, 20, Dataset::Spans, batch(3)).await;
    lake.compact(&owner, Dataset::Spans, &options(), ALL).await.unwrap();
    put(
        &lake,
        &owner,
        21,
        Dataset::Logs,
        random_batch(Dataset::Logs, 4, 30, NOON, NOON + SECOND),
    )
    .await;

    let id = ask(&lake, &owner, &Dataset::ALL, DeletionTarget::Everything).await;
    advance(&lake).await;
    for dataset in Dataset::ALL {
        assert!(visible(&lake, &owner, dataset).await.is_empty(), "{dataset}");
    }
    let done = deletion(&lake, id).await;
    assert_eq!(done.state, DeletionState::Done);
    assert_eq!(done.progress.iter().map(|p| p.rows).sum::<i64>(), 30 + 30 + 5 + 30);
    assert_eq!(visible(&lake, &neighbour, Dataset::Spans).await, rows_of([&batch(2)]));

    world.clock.advance(901 * SECOND);
    let tally = Arc::default();
    maintain(&lake, collecting(), &tally, async || {
        lake.catalog().gc_due(lake.clock().now(), 9).await.unwrap().is_empty()
    })
    .await;
    advance(&lake).await;
    assert_eq!(
        deletion(&lake, id).await.state,
        DeletionState::Done,
        "the neighbour's rows hold the segment"
    );
    lake.compact(&neighbour, Dataset::Spans, &options(), ALL).await.unwrap();
    world.clock.advance(901 * SECOND);
    maintain(&lake, collecting(), &tally, async || {
        lake.catalog().gc_pending().await.unwrap().0 == 0
    })
    .await;
    advance(&lake).await;
    assert_eq!(deletion(&lake, id).await.state, DeletionState::Verified);
    let left = world.store.paths().await;
    assert!(left.iter().all(|path| path.starts_with("b/spans/")), "{left:?}");
    assert_eq!(visible(&lake, &neighbour, Dataset::Spans).await, rows_of([&batch(2)]));
}

/// The store fails in the middle, the process is another one afterwards: what was deleted is counted once.
#[tokio::test]
async fn a_deletion_that_was_cut_off_is_finished_by_another_process() {
    let world = World::new();
    let store = world.store.beside();
    let (first, second) = (world.process_on(Arc::new(store.clone())).await, world.process().await);
    let owner = tenant("a");
    let mut batches = Vec::new();
    for number in 0..5 {
        let batch = random_batch(Dataset::Spans, number, 60, NOON, NOON + SECOND);
        put(&first, &owner, u128::from(number), Dataset::Spans, batch.clone()).await;
        first.compact(&owner, Dataset::Spans, &options(), ALL).await.unwrap();
        batches.push(batch);
    }
    let condition = condition(Dataset::Spans, &batches[0]);
    let expected = rest(&batches, &condition);
    let text = format!("{}={}", condition.0, condition.1);
    let id = ask(&first, &owner, &[Dataset::Spans], DeletionTarget::Where(text)).await;

    // A few parts are rewritten, then nothing can be written any more.
    let puts = store.faults.put_count.load(Ordering::SeqCst);
    let breaking = {
        let store = store.clone();
        tokio::spawn(async move {
            while store.faults.put_count.load(Ordering::SeqCst) < puts + 2 {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
            store.faults.fail_puts.store(true, Ordering::SeqCst);
        })
    };
    let matcher = Equals(first.clone());
    let cut_off = first.advance_deletions(&options(), &matcher, &Tally::default()).await;
    breaking.abort();
    if cut_off.is_err() {
        assert_eq!(deletion(&first, id).await.state, DeletionState::Pending);
    }
    world.clock.advance(61 * SECOND);
    advance(&second).await;
    let done = deletion(&second, id).await;
    let gone = rows_of(&batches).len() - expected.len();
    assert_eq!((done.state, done.progress[0].rows), (DeletionState::Done, gone as i64));
    assert!(visible(&second, &owner, Dataset::Spans).await == expected);
}

/// Rows arrive and three processes compact while matching rows are deleted: of the rows that were there none that
/// matches is left, and no other row is lost or doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_and_compactions_meanwhile_bring_nothing_back() {
    let world = World::new();
    let owner = tenant("a");
    let (writer, deleter) = (world.process().await, world.process().await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut compactors = Vec::new();
    for _ in 0..2 {
        let (lake, owner, stop) = (world.process().await, owner.clone(), Arc::clone(&stop));
        compactors.push(tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                lake.compact(&owner, Dataset::Spans, &options(), ALL).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }));
    }
    let mut committed = Vec::new();
    let batch = |number| random_batch(Dataset::Spans, number, 40, NOON, NOON + SECOND);
    for number in 0..20 {
        put(&writer, &owner, u128::from(number), Dataset::Spans, batch(number)).await;
        committed.push(batch(number));
    }
    let condition = condition(Dataset::Spans, &committed[0]);
    let gone = rows_of(&committed).len() - rest(&committed, &condition).len();
    let text = format!("{}={}", condition.0, condition.1);
    let id = ask(&writer, &owner, &[Dataset::Spans], DeletionTarget::Where(text)).await;
    let deleting = tokio::spawn(async move {
        while deletion(&deleter, id).await.state == DeletionState::Pending {
            let matcher = Equals(deleter.clone());
            let tally = Tally::default();
            // A conflict or a lost lease would be taken up again; any other error is one.
            deleter.advance_deletions(&options(), &matcher, &tally).await.unwrap();
        }
    });
    let mut after = Vec::new();
    for number in 20..40 {
        put(&writer, &owner, u128::from(number), Dataset::Spans, batch(number)).await;
        after.push(batch(number));
    }
    deleting.await.unwrap();
    stop.store(true, Ordering::SeqCst);
    for compactor in compactors {
        compactor.await.unwrap();
    }
    let (column, value) = &condition;
    let found = visible(&writer, &owner, Dataset::Spans).await;
    let others = found.iter().filter(|row| row.get(*column) != Some(value)).cloned();
    let expected = rest(&[committed.clone(), after.clone()].concat(), &condition);
    assert!(
        others.collect::<Vec<_>>() == expected,
        "other rows were lost or doubled"
    );
    // Matching rows that came after the request may be there or not; those before are not.
    let later = rows_of(&after);
    let matching = found.iter().filter(|row| row.get(*column) == Some(value));
    assert!(
        matching.clone().all(|row| later.binary_search(row).is_ok()),
        "a deleted row is back"
    );
    let counted = deletion(&writer, id).await.progress[0].rows;
    assert!(counted >= gone as i64, "{counted} of {gone}");
}

/// A condition that nobody understands ends the deletion; it is not tried for ever.
#[tokio::test]
async fn a_condition_that_cannot_be_understood_fails() {
    let world = World::new();
    let lake = world.process().await;
    let owner = tenant("a");
    put(
        &lake,
        &owner,
        1,
        Dataset::Logs,
        random_batch(Dataset::Logs, 1, 5, NOON, NOON + SECOND),
    )
    .await;
    let id = ask(
        &lake,
        &owner,
        &[Dataset::Logs],
        DeletionTarget::Where("gibberish".into()),
    )
    .await;
    advance(&lake).await;
    let failed = deletion(&lake, id).await;
    assert_eq!(
        (failed.state, failed.error.as_deref()),
        (DeletionState::Failed, Some("gibberish"))
    );
    assert_eq!(visible(&lake, &owner, Dataset::Logs).await.len(), 5);
}

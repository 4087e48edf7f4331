//! The second line against duplicates: rows that were stored twice are there once after compaction, and nothing else goes.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schema::{Dataset, TenantId};

use crate::fixture::{ALL, NOON, SECOND, World, options, put, tenant, visible};
use crate::rows::{Row, random_batch, rows_of};
use lake::Lake;

const ITEMS: [Dataset; 5] = [
    Dataset::Spans,
    Dataset::Logs,
    Dataset::MetricSamples,
    Dataset::MetricHistograms,
    Dataset::Exemplars,
];

async fn compact(lake: &Lake, owner: &TenantId, dataset: Dataset) -> u64 {
    let report = lake.compact(owner, dataset, &options(), ALL).await.unwrap().unwrap();
    report.duplicates
}

/// What the catalog says of a dataset's rows.
async fn counted(lake: &Lake, owner: &TenantId, dataset: Dataset) -> i64 {
    let parts = lake.catalog().live_parts(owner, dataset).await.unwrap();
    parts.iter().map(|part| part.rows).sum()
}

fn without_copies(batches: &[RecordBatch]) -> Vec<Row> {
    let mut rows = rows_of(batches);
    rows.dedup();
    rows
}

/// A client that packs the items of lost acks into other requests: every item is sent one to three times, in
/// batches cut and mixed anew. The oracle is the set of distinct rows.
#[tokio::test]
async fn items_sent_again_in_other_requests_are_there_once() {
    for dataset in ITEMS {
        let world = World::new();
        let lake = world.process().await;
        let owner = tenant("a");
        let mut rng = StdRng::seed_from_u64(dataset.id() as u64);
        let batches = (0..6)
            .map(|seed| random_batch(dataset, seed, 200, NOON, NOON + SECOND))
            .collect::<Vec<_>>();
        let mut request = 0;
        for round in 0..3 {
            for batch in &batches {
                // The same batch again, as two requests cut at another place.
                if round > 0 && rng.random_bool(0.4) {
                    continue;
                }
                let cut = rng.random_range(1..batch.num_rows());
                for piece in [batch.slice(cut, batch.num_rows() - cut), batch.slice(0, cut)] {
                    request += 1;
                    put(&lake, &owner, request, dataset, piece).await;
                }
            }
            if round == 1 {
                compact(&lake, &owner, dataset).await; // what comes later meets it when parts merge
            }
        }
        let stored = visible(&lake, &owner, dataset).await.len();
        let mut dropped = compact(&lake, &owner, dataset).await;
        let expected = without_copies(&batches);
        // Two parts are not merged by themselves: fill up the level with parts of rows that are there already.
        let mut more = 0;
        while lake.catalog().live_parts(&owner, dataset).await.unwrap().len() > 1 {
            request += 1;
            put(&lake, &owner, request, dataset, batches[0].slice(0, 1)).await;
            more += 1;
            dropped += compact(&lake, &owner, dataset).await;
            assert!(more < 20, "{dataset}: parts do not merge");
        }
        assert!(
            visible(&lake, &owner, dataset).await == expected,
            "{dataset}: rows differ"
        );
        assert_eq!(
            counted(&lake, &owner, dataset).await,
            expected.len() as i64,
            "{dataset}"
        );
        assert!(stored > expected.len(), "{dataset}: nothing was stored twice");
        assert_eq!(dropped as usize, stored + more - expected.len(), "{dataset}");
    }
}

/// Spans that share a trace, an id and a start, and differ in one attribute, are both kept.
#[tokio::test]
async fn rows_that_share_ids_and_time_but_differ_are_kept() {
    for dataset in ITEMS {
        let world = World::new();
        let lake = world.process().await;
        let owner = tenant("a");
        let name = match dataset {
            Dataset::Spans => "name",
            Dataset::Logs => "resource_id",
            Dataset::MetricSamples => "flags",
            Dataset::MetricHistograms => "count",
            _ => "attributes",
        };
        let batches = (0..).map(|seed| random_batch(dataset, seed, 50, NOON, NOON + SECOND));
        let batch = batches.into_iter().find(|b| b.column_by_name(name).is_some()).unwrap();
        let at = batch.schema().index_of(name).unwrap();
        let mut columns = batch.columns().to_vec();
        let rows = batch.num_rows();
        let turned = arrow::array::UInt32Array::from_iter_values((0..rows as u32).map(|row| (row + 1) % rows as u32));
        columns[at] = arrow::compute::take(&columns[at], &turned, None).unwrap();
        let other = RecordBatch::try_new(batch.schema(), columns).unwrap();
        put(&lake, &owner, 1, dataset, batch.clone()).await;
        put(&lake, &owner, 2, dataset, other.clone()).await;
        let both = concat_batches(&batch.schema(), [&batch, &other]).unwrap();
        let expected = without_copies(&[both]);
        compact(&lake, &owner, dataset).await;
        assert!(expected.len() > 55, "{dataset}: the batches do not differ");
        assert_eq!(visible(&lake, &owner, dataset).await, expected, "{dataset}");
    }
}

/// Two equal lines within the resolution of the clock are two lines; the same request again adds none.
#[tokio::test]
async fn a_line_logged_twice_stays_twice() {
    let world = World::new();
    let lake = world.process().await;
    let owner = tenant("a");
    let line = random_batch(Dataset::Logs, 1, 1, NOON, NOON + 1);
    let twice = concat_batches(&line.schema(), [&line, &line]).unwrap();
    for (request, batch) in [twice.clone(), line.clone(), twice.clone()].into_iter().enumerate() {
        put(&lake, &owner, request as u128, Dataset::Logs, batch).await;
    }
    assert_eq!(compact(&lake, &owner, Dataset::Logs).await, 3);
    assert_eq!(visible(&lake, &owner, Dataset::Logs).await, rows_of([&twice]));
}

/// The least time in the catalog is that of a row that is there, not of one that a newer one replaced.
#[tokio::test]
async fn times_in_the_catalog_are_those_of_the_rows_that_stay() {
    let world = World::new();
    let lake = world.process().await;
    let owner = tenant("a");
    let row = |seen| random_batch(Dataset::Resources, 1, 1, seen, seen + 1);
    for (request, seen) in [NOON, NOON + SECOND].into_iter().enumerate() {
        put(&lake, &owner, 2 * request as u128, Dataset::Resources, row(seen)).await;
    }
    let item = random_batch(Dataset::Exemplars, 1, 1, NOON, NOON + 1);
    let batches = [(Dataset::Resources, row(NOON + SECOND)), (Dataset::Exemplars, item)];
    lake.commit(crate::fixture::commit_of(&owner, 10, &batches))
        .await
        .unwrap();
    compact(&lake, &owner, Dataset::Resources).await;
    let parts = lake.catalog().live_parts(&owner, Dataset::Resources).await.unwrap();
    let stated = parts.iter().map(|p| (p.rows, p.min_ts, p.max_ts)).collect::<Vec<_>>();
    assert_eq!(stated, [(1, NOON + SECOND, NOON + SECOND)]);
}

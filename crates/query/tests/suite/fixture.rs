//! A lake to query.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use catalog::{Catalog, CatalogUrl, ConnectOptions};
use futures::TryStreamExt;
use lake::segment::Rows;
use lake::{CacheSizes, Commit, CompactionOptions, Lake, Wanted};
use object_store::memory::InMemory;
use query::{QueryEngine, QueryOptions};
use schema::sparse::SparseBatch;
use schema::{Dataset, SystemClock, TenantId};
use telemetry::Telemetry;

/// An empty lake in memory.
pub async fn empty_lake() -> Lake {
    let catalog = Catalog::connect(&CatalogUrl::SqliteMemory, ConnectOptions::default())
        .await
        .unwrap();
    catalog.migrate().await.unwrap();
    let (sizes, telemetry) = (CacheSizes::split(1 << 20, true), Telemetry::new("test", "0"));
    let (store, clock) = (Arc::new(InMemory::new()), Arc::new(SystemClock));
    Lake::new(store, catalog, clock, "test".to_owned(), sizes, telemetry)
}

/// Limits that no query of these tests meets.
pub fn options() -> QueryOptions {
    QueryOptions {
        max_rows: None,
        max_memory: 256 << 20,
        timeout: Duration::from_secs(60),
        max_scan_bytes: 1 << 30,
        concurrency: 2,
    }
}

/// Commits rows of the default tenant.
pub async fn commit(lake: &Lake, batches: impl IntoIterator<Item = (Dataset, RecordBatch)>) {
    let rows = batches.into_iter().map(|(dataset, batch)| Rows {
        tenant: TenantId::default(),
        dataset,
        batch: SparseBatch::from_dense(&batch).unwrap(),
    });
    let commit = Commit {
        rows: rows.collect(),
        ..Commit::default()
    };
    lake.commit(commit).await.unwrap();
}

/// Compacts all slices and parts of a dataset and returns in how many runs.
pub async fn compact(lake: &Lake, dataset: Dataset) -> u64 {
    let options = CompactionOptions {
        target_rows: 1,
        max_rows: 1_000_000,
        max_slice_age: Duration::ZERO,
        lease_ttl: Duration::from_secs(10),
        grace: Duration::ZERO,
    };
    let (tenant, wanted) = (TenantId::default(), Wanted::UpTo(i64::MAX));
    let report = lake.compact(&tenant, dataset, &options, wanted).await;
    report.unwrap().unwrap().runs
}

/// The answer to a question of the default tenant.
pub async fn ask(engine: &QueryEngine, sql: &str) -> Vec<RecordBatch> {
    let result = engine.sql(&TenantId::default(), sql).await.unwrap();
    result.stream.try_collect().await.unwrap()
}

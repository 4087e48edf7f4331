//! A lake to test with: processes that share a catalog, a store and a clock.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use catalog::{Catalog, CatalogUrl, ConnectOptions, Expired, RequestKey, Snapshot};
use lake::segment::Rows;
use lake::{
    CacheSizes, Commit, Committed, CompactionOptions, CompactionReport, Lake, LakeError, Means, Observer, Request,
    Stored, Wanted,
};
use object_store::ObjectStore;
use parking_lot::Mutex;
use schema::sparse::SparseBatch;
use schema::{Clock, Dataset, ManualClock, SystemClock, TenantId};
use tempfile::TempDir;
use testkit::faulty::FaultyStore;

use crate::rows::{Row, rows_of};

/// A day, ns.
pub const DAY: i64 = 86_400_000_000_000;
/// A second, ns.
pub const SECOND: i64 = 1_000_000_000;
/// Noon of 2026-03-01 UTC: where most cases put their rows.
pub const NOON: i64 = 1_772_366_400_000_000_000;

/// What processes share.
pub struct World {
    pub store: FaultyStore,
    pub clock: Arc<ManualClock>,
    directory: TempDir,
    processes: AtomicU64,
}

impl World {
    pub fn new() -> Self {
        Self {
            store: FaultyStore::default(),
            // The store dates objects by the real clock, so ours begins there.
            clock: Arc::new(ManualClock::new(SystemClock.now())),
            directory: tempfile::tempdir().unwrap(),
            processes: AtomicU64::default(),
        }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// One more process over the same catalog and store.
    pub async fn process(&self) -> Lake {
        self.process_on(Arc::new(self.store.clone())).await
    }

    /// As [`Self::process`], on another store.
    pub async fn process_on(&self, store: Arc<dyn ObjectStore>) -> Lake {
        self.build(store, self.clock.clone(), Means::default()).await
    }

    /// As [`Self::process`], by another clock.
    pub async fn process_with_clock(&self, clock: Arc<dyn Clock>) -> Lake {
        self.build(Arc::new(self.store.clone()), clock, Means::default()).await
    }

    /// As [`Self::process`], with so many bytes for compactions.
    pub async fn process_with_memory(&self, compaction: u64) -> Lake {
        let means = Means {
            compaction,
            ..Means::default()
        };
        self.build(Arc::new(self.store.clone()), self.clock.clone(), means)
            .await
    }

    async fn build(&self, store: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>, means: Means) -> Lake {
        let number = self.processes.fetch_add(1, Ordering::SeqCst);
        let url = format!("sqlite://{}", self.directory.path().join("catalog.db").display());
        let options = ConnectOptions {
            max_connections: 4,
            acquire_timeout: Duration::from_secs(10),
        };
        let catalog = Catalog::connect(&CatalogUrl::parse(&url).unwrap(), options)
            .await
            .unwrap();
        catalog.migrate().await.unwrap();
        Lake::with(
            means,
            store,
            catalog,
            clock,
            format!("process-{number}"),
            CacheSizes::split(16 << 20, false),
            telemetry::Telemetry::new("test", "0"),
        )
    }
}

pub fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

/// A request's hash.
pub fn key(owner: &TenantId, number: u128) -> RequestKey {
    lake::request_key(owner, number)
}

/// A commit of one request per batch; the requests are numbered from `first`.
pub fn commit_of(owner: &TenantId, first: u128, batches: &[(Dataset, RecordBatch)]) -> Commit {
    let mut commit = Commit::default();
    for (entry, (dataset, batch)) in batches.iter().enumerate() {
        commit.rows.push(Rows {
            tenant: owner.clone(),
            dataset: *dataset,
            batch: SparseBatch::from_dense(batch).unwrap(),
        });
        commit.requests.push(Request {
            key: key(owner, first + entry as u128),
            ranges: vec![(entry, 0, batch.num_rows() as u32)],
        });
    }
    commit
}

/// Commits one batch as one request.
pub async fn put(lake: &Lake, owner: &TenantId, number: u128, dataset: Dataset, batch: RecordBatch) -> Committed {
    lake.commit(commit_of(owner, number, &[(dataset, batch)]))
        .await
        .unwrap()
}

/// Every row that a query would see now, sorted, read in the way of queries.
pub async fn visible(lake: &Lake, owner: &TenantId, dataset: Dataset) -> Vec<Row> {
    try_visible(lake, owner, dataset).await.unwrap()
}

pub async fn try_visible(lake: &Lake, owner: &TenantId, dataset: Dataset) -> Result<Vec<Row>, LakeError> {
    let snapshot = lake.snapshot(owner, &[dataset], None).await?;
    Ok(rows_of(&read(lake, &snapshot).await?))
}

/// The rows of a snapshot.
pub async fn read(lake: &Lake, snapshot: &Snapshot) -> Result<Vec<RecordBatch>, LakeError> {
    let slices = lake.slices(&snapshot.slices).await?;
    let mut batches = slices
        .iter()
        .map(|slice| slice.to_dense())
        .collect::<Result<Vec<_>, _>>()?;
    for part in &snapshot.parts {
        batches.extend(lake.part_batches(part).await?);
    }
    Ok(batches)
}

/// Every slice there is.
pub const ALL: Wanted = Wanted::UpTo(i64::MAX);

/// Everything at once, whatever its size and age.
pub fn options() -> CompactionOptions {
    CompactionOptions {
        target_rows: 1_000_000,
        max_rows: 1_000_000,
        max_slice_age: Duration::from_secs(60),
        lease_ttl: Duration::from_secs(60),
        grace: Duration::from_secs(900),
    }
}

/// Adds up what it is told.
#[derive(Debug, Default)]
pub struct Tally {
    pub expired: Mutex<Vec<(Dataset, Expired)>>,
    pub collected_objects: AtomicU64,
    pub collected_bytes: AtomicU64,
    pub freed: AtomicU64,
    pub compactions: AtomicU64,
    pub failures: Mutex<Vec<&'static str>>,
    pub stored: Mutex<BTreeMap<Dataset, Stored>>,
}

impl Observer for Tally {
    fn compacted(&self, _: Dataset, report: &CompactionReport) {
        self.compactions.fetch_add(report.runs, Ordering::SeqCst);
    }

    fn failed(&self, work: &'static str) {
        self.failures.lock().push(work);
    }

    fn stored(&self, dataset: Dataset, stored: &Stored) {
        self.stored.lock().insert(dataset, *stored);
    }

    fn expired(&self, dataset: Dataset, expired: &Expired) {
        self.expired.lock().push((dataset, *expired));
    }

    fn collected(&self, objects: u64, bytes: u64) {
        self.collected_objects.fetch_add(objects, Ordering::SeqCst);
        self.collected_bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    fn freed(&self, _: Dataset, bytes: u64) {
        self.freed.fetch_add(bytes, Ordering::SeqCst);
    }
}

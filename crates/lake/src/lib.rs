//! The lake: durable columns on an object store, found through the catalog.
//!
//! Rows come in as record batches, are committed as slices of a segment, and are later rewritten by compaction into
//! sorted Parquet parts. Recovery is reading the catalog; there is no log to replay.
//!
//! Absent on purpose: `lake` knows no wire format, no query language and no tenant's rights. Only `catalog` writes the
//! catalog; only this crate writes the store.

mod background;
mod blocks;
mod cache;
mod clock;
mod commit;
mod compaction;
mod deletion;
pub mod ducklake;
mod error;
pub mod host;
mod maintenance;
pub mod part;
mod pick;
mod proof;
mod read;
pub mod segment;
pub mod store;
mod trace;
mod turn;
mod verify;

use std::sync::Arc;
use std::time::Instant;

use ::catalog::{Catalog, Snapshot};
use ::memory::{Account, Budget, Use};
use ::schema::{Clock, Dataset, TenantId, UnixNanos};
use ::telemetry::Telemetry;
use object_store::ObjectStore;
use object_store::path::Path;

pub use background::lower_priority;
pub use blocks::RowReader;
pub use cache::CacheSizes;
pub use clock::CatalogClock;
pub use commit::{Commit, Committed, Request, is_item, request_key};
pub use compaction::{CompactionOptions, CompactionReport, Wanted};
pub use deletion::{MatchError, Matcher, Question, described_by};
pub use error::LakeError;
pub use maintenance::{MaintenanceOptions, Observer, Retention, Stored};
pub use proof::{RetentionDebt, RetentionReport};
pub use read::{PartFile, PartReader};
pub use verify::{Affected, Finding, FindingKind, Severity, VerifyOptions, VerifyReport, Watcher};

/// One process's access to the lake. Cheap to clone; all clones share caches.
#[derive(Clone)]
pub struct Lake {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn ObjectStore>,
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    host: Arc<dyn host::Host>,
    cache: cache::Caches,
    memory: Budget,
    compaction: Account,
    telemetry: Telemetry,
    /// Name of this process, unique among all that share the catalog.
    writer: String,
    busy: turn::Busy,
}

/// What a lake works with.
pub struct Means {
    /// The machine it runs on.
    pub host: Arc<dyn host::Host>,
    /// The budget that all work on the lake shares. Caches are not part of it: [`CacheSizes`] bounds them.
    pub memory: Budget,
    /// Bytes of it that compactions may take.
    pub compaction: u64,
}

impl Default for Means {
    /// The real machine, and as much memory as it has.
    fn default() -> Self {
        Self {
            host: Arc::new(host::Machine),
            memory: Budget::unlimited(),
            compaction: u64::MAX,
        }
    }
}

impl Lake {
    /// A lake over a store and a catalog that is migrated.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        catalog: Catalog,
        clock: Arc<dyn Clock>,
        writer: String,
        sizes: CacheSizes,
        telemetry: Telemetry,
    ) -> Self {
        Self::with(Means::default(), store, catalog, clock, writer, sizes, telemetry)
    }

    /// As [`Self::new`], with means of its own.
    pub fn with(
        means: Means,
        store: Arc<dyn ObjectStore>,
        catalog: Catalog,
        clock: Arc<dyn Clock>,
        writer: String,
        sizes: CacheSizes,
        telemetry: Telemetry,
    ) -> Self {
        let cache = cache::Caches::new(sizes);
        let compaction = means.memory.account(Use::Compaction, means.compaction);
        Self {
            inner: Arc::new(Inner {
                store,
                catalog,
                clock,
                host: means.host,
                cache,
                memory: means.memory,
                compaction,
                telemetry,
                writer,
                busy: turn::Busy::default(),
            }),
        }
    }

    /// A consistent view of a tenant's datasets; see [`Catalog::snapshot`].
    ///
    /// # Errors
    /// [`LakeError::Catalog`].
    pub async fn snapshot(
        &self,
        tenant: &TenantId,
        datasets: &[Dataset],
        time: Option<(UnixNanos, UnixNanos)>,
    ) -> Result<Snapshot, LakeError> {
        let started = Instant::now();
        let snapshot = self.inner.catalog.snapshot(tenant, datasets, time).await;
        self.inner.telemetry.catalog_operation("snapshot", started.elapsed());
        Ok(snapshot?)
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    /// The budget of bytes that work on this lake shares.
    pub fn memory(&self) -> &Budget {
        &self.inner.memory
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.store
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// The name of this process.
    pub fn writer(&self) -> &str {
        &self.inner.writer
    }

    /// Checks that a put, a get and a delete work.
    ///
    /// # Errors
    /// The store's error.
    pub async fn probe_store(&self) -> Result<(), LakeError> {
        use object_store::ObjectStoreExt;
        let path = Path::from(format!("probe/{}", self.inner.host.unique_name()));
        self.inner.store.put(&path, "probe".into()).await?;
        self.inner.store.get(&path).await?.bytes().await?;
        self.inner.store.delete(&path).await?;
        Ok(())
    }
}

/// Nanoseconds of a day.
const DAY: i64 = 86_400_000_000_000;

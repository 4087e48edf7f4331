//! What a process does for the lake by itself: compaction, retention, garbage collection.
//!
//! Every step is safe to run in many processes at once and to be cut off anywhere; leases see to it that it is done once all the
//! same. `maintain` goes on until it is told to
//! stop; errors are logged and tried again in the next round.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use catalog::{Backlog, Expired};
use futures::{StreamExt, stream};
use object_store::ObjectMeta;
use object_store::path::Path;
use schema::{Dataset, TenantId, UnixNanos};
use tokio::sync::watch;

use crate::compaction::{CompactionOptions, CompactionReport, Wanted, memory_of};
use crate::proof::RetentionDebt;
use crate::turn::COLLECT;
use crate::{Lake, LakeError};

/// How long rows of a tenant's dataset are kept; `None` for ever.
pub type Retention = Arc<dyn Fn(&TenantId, Dataset) -> Option<Duration> + Send + Sync>;

/// Resources and series are kept this much longer than the rows that refer to them, because they are written again
/// only once an hour.
const REFERENCE_MARGIN: Duration = Duration::from_secs(86_400);

/// Options of the background work.
#[derive(Clone)]
pub struct MaintenanceOptions {
    /// When to compact.
    pub compaction: CompactionOptions,
    /// Pause between two looks at the backlog.
    pub compaction_interval: Duration,
    /// How long data is kept.
    pub retention: Retention,
    /// Pause between rounds of retention and garbage collection.
    pub gc_interval: Duration,
    /// Age from which an object that the catalog does not know is an orphan.
    pub orphan_grace: Duration,
    /// How long request hashes are kept.
    pub dedupe_window: Duration,
}

/// What is stored of a dataset, of all tenants together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Slices that wait for compaction.
    pub slices: i64,
    /// Their rows.
    pub slice_rows: i64,
    /// Their bytes.
    pub slice_bytes: i64,
    /// When the oldest of them was cut; none without slices.
    pub oldest_slice: Option<UnixNanos>,
    /// Live parts.
    pub parts: i64,
    /// Their rows.
    pub part_rows: i64,
    /// Their bytes.
    pub part_bytes: i64,
}

impl Stored {
    /// Adds up what the catalog says of each tenant. Every dataset has its sum, so that one that was worked off shows as
    /// nothing and not as what it was before.
    fn sums(backlog: &[Backlog]) -> [(Dataset, Self); Dataset::ALL.len()] {
        Dataset::ALL.map(|dataset| {
            let mut sum = Self::default();
            for entry in backlog.iter().filter(|entry| entry.dataset == dataset) {
                sum.slices += entry.slices;
                sum.slice_rows += entry.rows;
                sum.slice_bytes += entry.bytes;
                sum.oldest_slice = sum.oldest_slice.into_iter().chain(entry.oldest_created_at).min();
                for level in &entry.levels {
                    sum.parts += level.parts;
                    sum.part_rows += level.rows;
                    sum.part_bytes += level.bytes;
                }
            }
            (dataset, sum)
        })
    }
}

/// What happened, for metrics. All methods may be called from any task.
pub trait Observer: Send + Sync {
    /// A compaction ended.
    fn compacted(&self, dataset: Dataset, report: &CompactionReport);
    /// A round of background work failed.
    fn failed(&self, work: &'static str);
    /// What is stored, and what of it is not compacted yet.
    fn stored(&self, dataset: Dataset, stored: &Stored);
    /// Retention removed rows.
    fn expired(&self, dataset: Dataset, expired: &Expired);
    /// Objects were deleted.
    fn collected(&self, objects: u64, bytes: u64);
    /// Bytes of rows that retention removed are gone from the store with their objects.
    fn freed(&self, _dataset: Dataset, _bytes: u64) {}
    /// What retention owes of a dataset, of all tenants together.
    fn retention(&self, _dataset: Dataset, _debt: &RetentionDebt) {}
    /// A deletion that was asked for removed rows.
    fn deleted(&self, _dataset: Dataset, _rows: u64) {}
}

/// Objects deleted in one step: bounds a transaction and a list of paths.
pub(crate) const GC_BATCH: i64 = 500;

impl Lake {
    /// Runs all background work until `stop` becomes true.
    pub async fn maintain(
        &self,
        options: MaintenanceOptions,
        observer: &dyn Observer,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut compaction = tokio::time::interval(options.compaction_interval);
        let mut gc = tokio::time::interval(options.gc_interval);
        compaction.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        gc.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Orphans are rare and listing a store costs requests: look once per grace period.
        let mut orphans = tokio::time::interval(options.orphan_grace.max(Duration::from_secs(60)));
        loop {
            let done = tokio::select! {
                () = stopped(&mut stop) => return,
                _ = compaction.tick() => ("compaction", self.compact_due(&options.compaction, observer).await),
                _ = gc.tick() => ("garbage collection", self.clean(&options, observer).await),
                _ = orphans.tick() => {
                    let searched = self.collect_orphans(&options, observer).await;
                    if !matches!(searched, Ok(true)) {
                        orphans.reset_after(options.gc_interval);
                    }
                    ("orphan search", searched.map(drop))
                }
            };
            if let (work, Err(error)) = done {
                observer.failed(work);
                tracing::warn!(%error, "{work} failed; it is tried again in the next round");
            }
        }
    }

    /// One round of compaction: every dataset that has much to compact, unless somebody else is at it.
    ///
    /// # Errors
    /// The first [`LakeError`]; the other datasets are compacted all the same.
    pub async fn compact_due(&self, options: &CompactionOptions, observer: &dyn Observer) -> Result<(), LakeError> {
        for (cache, bytes) in self.inner.cache.sizes() {
            self.inner.telemetry.set_cache_bytes(cache, bytes);
        }
        let mut failed = Ok(());
        let backlog = self.inner.catalog.backlog().await?;
        for (dataset, stored) in Stored::sums(&backlog) {
            observer.stored(dataset, &stored);
        }
        for entry in backlog {
            let age = entry
                .oldest_created_at
                .map_or(0, |at| self.inner.clock.now().saturating_sub(at).max(0));
            let full = memory_of(entry.dataset, entry.rows, entry.bytes) >= self.inner.compaction.share();
            let old = Duration::from_nanos(age as u64) >= options.max_slice_age;
            let due = full || old || entry.rows >= options.target_rows;
            if entry.slices > 0 && due {
                match self.compact(&entry.tenant, entry.dataset, options, Wanted::Due).await {
                    Ok(Some(report)) => observer.compacted(entry.dataset, &report),
                    Ok(None) => {}
                    Err(error) => keep_first(&mut failed, &entry, error),
                }
            }
        }
        failed
    }

    /// Compacts every slice that is there now, waiting for whoever is at it already.
    ///
    /// # Errors
    /// The first [`LakeError`]; the other datasets are compacted all the same.
    pub async fn compact_all(
        &self,
        options: &CompactionOptions,
        observer: &dyn Observer,
    ) -> Result<CompactionReport, LakeError> {
        // What comes later is not waited for: under load there would be no end.
        let Some(newest) = self.inner.catalog.newest_slice().await? else {
            return Ok(CompactionReport::default());
        };
        let mut total = CompactionReport::default();
        let mut failed = Ok(());
        let mut done = HashSet::new();
        loop {
            let mut left = false;
            for entry in self.inner.catalog.backlog().await? {
                let dataset = (entry.tenant.clone(), entry.dataset);
                if entry.slices == 0 || done.contains(&dataset) {
                    continue;
                }
                let wanted = Wanted::UpTo(newest);
                match self.compact(&entry.tenant, entry.dataset, options, wanted).await {
                    Ok(Some(report)) => {
                        observer.compacted(entry.dataset, &report);
                        total.add(report);
                    }
                    Ok(None) => {
                        left = true;
                        continue;
                    }
                    Err(error) => keep_first(&mut failed, &entry, error),
                }
                done.insert(dataset);
            }
            if !left {
                return failed.map(|()| total);
            }
            self.inner.host.sleep(Duration::from_millis(100)).await;
        }
    }

    /// One round of retention and garbage collection.
    ///
    /// # Errors
    /// One of the [`LakeError`]s; what does not depend on the step that failed is done all the same.
    pub async fn clean(&self, options: &MaintenanceOptions, observer: &dyn Observer) -> Result<(), LakeError> {
        // Each is worth doing if another fails.
        let expired = self.expire(options, observer).await;
        let collected = self.collect(options, observer).await;
        let proven = self.prove_retention(options, observer).await;
        let (catalog, clock) = (&self.inner.catalog, &*self.inner.clock);
        catalog.expire_requests(options.dedupe_window, clock).await?;
        self.inner.catalog.shrink().await?;
        expired.and(collected).and(proven)
    }

    pub(crate) fn before(&self, age: Duration) -> UnixNanos {
        self.inner
            .clock
            .now()
            .saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Removes what is older than its retention.
    async fn expire(&self, options: &MaintenanceOptions, observer: &dyn Observer) -> Result<(), LakeError> {
        for tenant in self.inner.catalog.tenants().await? {
            for dataset in Dataset::ALL {
                let Some(cutoff) = self.cutoff(&options.retention, &tenant, dataset) else {
                    continue;
                };
                let catalog = &self.inner.catalog;
                if catalog.retention_due(&tenant, dataset, cutoff).await? == Expired::default() {
                    continue;
                }
                // The turn of compaction: neither pulls the rows from under the other.
                let Some(turn) = self.turn(&tenant, dataset, options.compaction.lease_ttl).await? else {
                    continue;
                };
                let (lease, clock, grace) = (turn.lease.clone(), &*self.inner.clock, options.compaction.grace);
                let expiring = async { Ok(catalog.expire(&tenant, dataset, cutoff, &lease, clock, grace).await?) };
                let Some(expired) = turn.during(expiring).await? else {
                    continue;
                };
                observer.expired(dataset, &expired);
                tracing::info!(%tenant, %dataset, rows = expired.rows, bytes = expired.bytes, "retention removed rows");
            }
        }
        Ok(())
    }

    /// The time before which rows of a dataset are due; `None` if they are kept for ever.
    pub(crate) fn cutoff(&self, retention: &Retention, tenant: &TenantId, dataset: Dataset) -> Option<UnixNanos> {
        let kept = retention(tenant, dataset)?;
        let referred = matches!(dataset, Dataset::Resources | Dataset::MetricSeries);
        Some(self.before(if referred { kept + REFERENCE_MARGIN } else { kept }))
    }

    /// Deletes queued objects whose grace period is over, unless somebody else is at it.
    async fn collect(&self, options: &MaintenanceOptions, observer: &dyn Observer) -> Result<(), LakeError> {
        let now = self.inner.clock.now();
        if self.inner.catalog.gc_due(now, 1).await?.is_empty() {
            return Ok(());
        }
        let ttl = options.compaction.lease_ttl;
        if let Some(turn) = self.turn_of(COLLECT.to_owned(), ttl).await? {
            turn.during(self.collect_due(observer)).await?;
        }
        Ok(())
    }

    async fn collect_due(&self, observer: &dyn Observer) -> Result<(), LakeError> {
        loop {
            let now = self.inner.clock.now();
            let due = self.inner.catalog.gc_due(now, GC_BATCH).await?;
            if due.is_empty() {
                return Ok(());
            }
            let gone = self.delete_objects(due.iter().map(|entry| entry.path.as_str())).await;
            let done = due.iter().filter(|entry| gone.contains(&entry.path));
            let done = done.map(|entry| entry.id).collect::<Vec<_>>();
            let collected = self.inner.catalog.gc_done(&done).await?;
            for freed in &collected.freed {
                observer.freed(freed.dataset, freed.bytes.max(0) as u64);
            }
            observer.collected(collected.objects, collected.bytes.max(0) as u64);
            if done.len() < due.len() {
                return Ok(());
            }
        }
    }

    /// Deletes objects, many with one request where the store can do that, and returns the paths of those that are gone: deleted, or
    /// not there to begin with. What fails is logged.
    async fn delete_objects<'a>(&self, paths: impl Iterator<Item = &'a str>) -> HashSet<String> {
        let paths = paths.map(|path| Ok(Path::from(path))).collect::<Vec<_>>();
        let asked = paths.iter().flatten().map(Path::to_string).collect::<Vec<_>>();
        let mut gone = HashSet::with_capacity(asked.len());
        let mut deleting = self.inner.store.delete_stream(stream::iter(paths).boxed());
        while let Some(outcome) = deleting.next().await {
            match outcome {
                Ok(path) => drop(gone.insert(path.to_string())),
                // The local disk names the file.
                Err(object_store::Error::NotFound { path, .. }) => {
                    gone.extend(asked.iter().filter(|asked| path.ends_with(*asked)).cloned());
                }
                Err(error) => tracing::warn!(%error, "objects not deleted; it is tried again"),
            }
        }
        gone
    }

    /// Deletes objects that no catalog row knows and that are too old to belong to a commit under way. False if somebody else is
    /// deleting objects: try again in a while.
    ///
    /// # Errors
    /// [`LakeError`]; what was deleted until then is deleted.
    pub async fn collect_orphans(
        &self,
        options: &MaintenanceOptions,
        observer: &dyn Observer,
    ) -> Result<bool, LakeError> {
        let Some(turn) = self.turn_of(COLLECT.to_owned(), options.compaction.lease_ttl).await? else {
            return Ok(false);
        };
        let searching = self.delete_orphans(options.orphan_grace, observer);
        Ok(turn.during(searching).await?.is_some())
    }

    async fn delete_orphans(&self, grace: Duration, observer: &dyn Observer) -> Result<(), LakeError> {
        let cutoff = self.before(grace);
        let mut objects = self.inner.store.list(None).chunks(GC_BATCH as usize);
        while let Some(chunk) = objects.next().await {
            let mut old = BTreeMap::new();
            for object in chunk {
                let object = object?;
                if is_ours_and_older(&object, cutoff) {
                    old.insert(object.location.to_string(), object.size);
                }
            }
            if old.is_empty() {
                continue;
            }
            let paths = old.keys().cloned().collect::<Vec<_>>();
            let known = self.inner.catalog.known_objects(&paths).await?;
            let unknown = paths.into_iter().filter(|path| !known.contains(path));
            let (segments, parts): (Vec<_>, Vec<_>) = unknown.partition(|path| path.ends_with(".seg"));
            if segments.is_empty() && parts.is_empty() {
                continue;
            }
            let now = self.inner.clock.now();
            let condemned = self.inner.catalog.condemn(&segments, &parts, now).await?;
            let orphans = old.keys().filter(|path| condemned.contains(*path));
            for path in self.delete_objects(orphans.map(String::as_str)).await {
                tracing::info!(path, "deleted an orphan");
                observer.collected(1, old.get(&path).copied().unwrap_or(0));
            }
        }
        Ok(())
    }
}

/// Whether an object is a segment or a part and was written before a time.
pub(crate) fn is_ours_and_older(object: &ObjectMeta, than: UnixNanos) -> bool {
    let modified = object.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX);
    let path = object.location.as_ref();
    (path.ends_with(".seg") || path.ends_with(".parquet")) && modified < than
}

/// Tells of a compaction that failed, and keeps the error if it is the first.
fn keep_first(failed: &mut Result<(), LakeError>, entry: &Backlog, error: LakeError) {
    let (tenant, dataset) = (&entry.tenant, entry.dataset);
    tracing::warn!(%tenant, %dataset, %error, "compaction failed; its rows stay as they are");
    if failed.is_ok() {
        *failed = Err(error);
    }
}

/// Resolves when told to stop, or when nobody is left to tell it.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

//! Checks that the catalog and the store agree, and that what is stored is what was written.
//!
//! The catalog is walked page by page: of each segment and part the object is read and compared with what the catalog
//! says of it; then the store is listed for objects that the catalog does not know; and rows of the catalog are compared with
//! each other. Memory is bounded: by a page of rows, and by a chunk and a batch for each of [`CONCURRENT_OBJECTS`].
//!
//! It runs beside a live platform and changes nothing in the store. Compaction and garbage collection go on meanwhile, so
//! nothing is told of an object before its rows have been read again: if they have changed, what was found was a
//! moment of a change, and not damage.
//!
//! What is damaged can be put into quarantine, in the catalog alone: queries then go on without it, and say so.
//!
//! A store that does not answer is no damage either: what could not be read is counted as unchecked.

mod content;
mod decode;
mod finding;
mod orphans;
mod parts;
mod rows;
mod segments;
mod statistics;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};

pub use finding::{Affected, Finding, FindingKind, Severity, VerifyReport};

use crate::{CacheSizes, Lake, LakeError};

/// How to check.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// Decode every value, and compare the trace indexes with the traces. Without it, what is decoded is what the catalog
    /// tells of: counts and times; the bytes are compared by their checksum in any case.
    pub deep: bool,
    /// Age from which an object that the catalog does not know is an orphan.
    pub orphan_grace: Duration,
    /// Put damaged objects into quarantine, so that queries go on without them.
    pub quarantine: bool,
}

/// Told of what is found, while it is found. Methods may be called from any task.
pub trait Watcher: Send + Sync {
    /// Something is wrong.
    fn found(&self, finding: &Finding);
    /// Something could not be checked.
    fn unchecked(&self, path: &str, error: &LakeError);
    /// So far: objects, bytes and rows.
    fn progress(&self, so_far: &VerifyReport, of: &catalog::StoredTotals);
}

/// Objects looked at at once: enough to use the cores there are, few enough to stay below some tens of MiB.
const CONCURRENT_OBJECTS: usize = 4;

/// As above, when every column is decoded: a row group of wide rows takes some tens of MiB.
const CONCURRENT_DEEP: usize = 2;

/// Bytes hashed at once: few requests for a part, and little memory.
const CHUNK_BYTES: u64 = 4 << 20;

/// Rows of the catalog read at once.
const PAGE: i64 = 500;

/// What has been counted, by all tasks.
#[derive(Default)]
struct Counters {
    objects: AtomicU64,
    bytes: AtomicU64,
    rows: AtomicU64,
    listed: AtomicU64,
    findings: [AtomicU64; 3],
    gone_meanwhile: AtomicU64,
    unchecked: AtomicU64,
}

/// A check under way. Cheap to clone.
#[derive(Clone)]
struct Check {
    /// Without caches: what is in memory says nothing of what is stored.
    lake: Lake,
    options: VerifyOptions,
    watcher: Arc<dyn Watcher>,
    counters: Arc<Counters>,
    totals: catalog::StoredTotals,
}

impl Lake {
    /// Checks everything that was there when it began, and tells the watcher what is wrong.
    ///
    /// # Errors
    /// [`LakeError`] if the catalog does not answer, or the store does not list its objects: then the check is incomplete.
    pub async fn verify(&self, options: VerifyOptions, watcher: Arc<dyn Watcher>) -> Result<VerifyReport, LakeError> {
        let none = CacheSizes {
            slices: 0,
            footers: 0,
            ranges: 0,
        };
        let lake = Self::new(
            Arc::clone(&self.inner.store),
            self.inner.catalog.clone(),
            Arc::clone(&self.inner.clock),
            self.inner.writer.clone(),
            none,
            self.inner.telemetry.clone(),
        );
        let totals = lake.catalog().stored_totals().await?;
        let check = Check {
            lake,
            options,
            watcher,
            counters: Arc::default(),
            totals,
        };
        check.catalog_rows().await?;
        check.all_segments().await?;
        check.all_parts().await?;
        check.orphans().await?;
        Ok(check.report())
    }
}

impl Check {
    fn report(&self) -> VerifyReport {
        let counters = &self.counters;
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        VerifyReport {
            sequence: self.totals.sequence,
            objects: value(&counters.objects),
            bytes: value(&counters.bytes),
            rows: value(&counters.rows),
            listed: value(&counters.listed),
            findings: counters.findings.each_ref().map(value),
            gone_meanwhile: value(&counters.gone_meanwhile),
            unchecked: value(&counters.unchecked),
        }
    }

    /// Tells of a finding that is certain, and puts what is damaged into quarantine if that is wanted.
    async fn found(&self, mut finding: Finding) -> Result<(), LakeError> {
        if self.options.quarantine && finding.kind.spoils_queries() && !finding.quarantined {
            let holders = finding.affected.iter().filter_map(|a| a.holder).collect::<Vec<_>>();
            if !holders.is_empty() {
                let reason = format!("{}: {}", finding.kind.name(), finding.what);
                let (catalog, now) = (self.lake.catalog(), self.lake.clock().now());
                catalog.quarantine(&holders, &reason.replace('\0', "?"), now).await?;
                finding.quarantined = true;
            }
        }
        self.counters.findings[finding.kind.severity() as usize].fetch_add(1, Ordering::Relaxed);
        self.watcher.found(&finding);
        Ok(())
    }

    fn unchecked(&self, path: &str, error: &LakeError) {
        self.counters.unchecked.fetch_add(1, Ordering::Relaxed);
        self.watcher.unchecked(path, error);
    }

    /// Looks at the objects of one page, some at once.
    async fn each<T, F>(&self, page: Vec<T>, look: impl Fn(Self, T) -> F) -> Result<(), LakeError>
    where
        F: Future<Output = Result<(), LakeError>> + Send + 'static,
    {
        // Tasks of their own, so that decoding uses all cores.
        let tasks = page.into_iter().map(|item| tokio::spawn(look(self.clone(), item)));
        let at_once = if self.options.deep {
            CONCURRENT_DEEP
        } else {
            CONCURRENT_OBJECTS
        };
        let mut done = stream::iter(tasks).buffer_unordered(at_once);
        while let Some(done) = done.next().await {
            done.map_err(|error| LakeError::Work(error.to_string()))??;
            self.watcher.progress(&self.report(), &self.totals);
        }
        Ok(())
    }

    fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64, by: u64) {
        counter(&self.counters).fetch_add(by, Ordering::Relaxed);
    }
}

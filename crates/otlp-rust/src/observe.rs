//! What the lake reports, and whether its catalog answers, as metrics of this process.

use std::time::Duration;

use catalog::Catalog;
use lake::{CompactionReport, Observer, RetentionDebt};
use schema::Dataset;
use telemetry::{CompactionRun, Telemetry};
use tokio::sync::watch;

/// How often the catalog is asked: a process without work notices an outage before the alert on it is due (a minute).
const CATALOG_INTERVAL: Duration = Duration::from_secs(10);
/// A catalog that has not answered by then is down; as long as work waits for a connection.
const CATALOG_TIMEOUT: Duration = Duration::from_secs(5);

/// Reports whether the catalog answers, until it is told to stop. A process that has nothing to do asks its catalog nothing
/// else, so that requests alone would show an outage only to their senders.
pub async fn watch_catalog(catalog: Catalog, telemetry: Telemetry, mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(CATALOG_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let asking = async {
        loop {
            ticks.tick().await;
            let answer = tokio::time::timeout(CATALOG_TIMEOUT, catalog.schema_version()).await;
            telemetry.set_catalog_up(matches!(answer, Ok(Ok(_))));
        }
    };
    tokio::select! {
        () = asking => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

/// Records into the process's telemetry.
pub struct Recorder(pub Telemetry);

impl Observer for Recorder {
    fn compacted(&self, dataset: Dataset, report: &CompactionReport) {
        if report.duplicates > 0 {
            self.0.duplicates_dropped(dataset, report.duplicates);
        }
        if report.runs > 0 {
            self.0.compaction(CompactionRun {
                duration: report.elapsed,
                rows: report.rows,
                input_bytes: report.input_bytes,
                output_bytes: report.output_bytes,
            });
        }
    }

    fn failed(&self, work: &'static str) {
        if work == "compaction" {
            self.0.compaction_failed(Duration::ZERO);
        }
    }

    fn stored(&self, dataset: Dataset, stored: &lake::Stored) {
        let count = |count: i64| count.max(0) as u64;
        let stored = telemetry::Stored {
            slices: count(stored.slices),
            slice_rows: count(stored.slice_rows),
            slice_bytes: count(stored.slice_bytes),
            oldest_slice: stored.oldest_slice.map(|at| count(at / 1_000_000_000)),
            parts: count(stored.parts),
            part_rows: count(stored.part_rows),
            part_bytes: count(stored.part_bytes),
        };
        self.0.set_stored(dataset, &stored);
    }

    fn expired(&self, dataset: Dataset, expired: &catalog::Expired) {
        self.0.retention_rows_deleted(dataset, expired.rows.max(0) as u64);
    }

    fn freed(&self, dataset: Dataset, bytes: u64) {
        self.0.retention_bytes_deleted(dataset, bytes);
    }

    fn retention(&self, dataset: Dataset, debt: &RetentionDebt) {
        let proven_at = debt.proven_at.unwrap_or(0) / 1_000_000_000;
        self.0.set_retention(dataset, debt.bytes_due, proven_at.max(0) as u64);
    }

    fn deleted(&self, dataset: Dataset, rows: u64) {
        self.0.deletion_rows(dataset, rows);
    }

    fn collected(&self, objects: u64, bytes: u64) {
        self.0.gc_deleted(objects, bytes);
    }
}

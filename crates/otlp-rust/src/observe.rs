//! What the lake reports, as metrics of this process.

use lake::{CompactionReport, Observer, RetentionDebt};
use schema::Dataset;
use telemetry::{CompactionRun, Telemetry};

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
            self.0.compaction_failed(std::time::Duration::ZERO);
        }
    }

    fn backlog(&self, dataset: Dataset, slices: i64, rows: i64) {
        self.0.set_backlog(dataset, rows.max(0) as u64, slices.max(0) as u64);
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

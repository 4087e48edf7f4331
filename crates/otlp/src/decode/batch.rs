//! The rows of one tenant that wait for a commit.

use std::sync::Arc;

use arrow::error::ArrowError;
use schema::columns::AttributeType;
use schema::sparse::{SparseArray, SparseBatch};
use schema::{Dataset, UnixNanos};

use super::logs::LogRows;
use super::metrics::MetricRows;
use super::resource::Resources;
use super::traces::SpanRows;
use super::{DecodeLimits, KnownIds, Outcome};
use crate::columns::ColumnAdmission;
use crate::model::Signal;
use crate::wire::{Reader, WireError};

/// Named arrays of equal length.
#[derive(Debug, Default)]
pub(super) struct Columns(pub Vec<(String, SparseArray)>);

/// Decides on columns per dataset, and on series.
pub trait Admissions: Send + Sync {
    /// The decision maker for one dataset.
    fn for_dataset(&self, dataset: Dataset) -> &dyn ColumnAdmission;

    /// Whether the tenant may have this series. Asked when a row is written for it, so at least once an hour while the
    /// series lasts.
    ///
    /// # Errors
    /// The reason to tell the sender.
    fn admit_series(&self, _id: &[u8; 16]) -> Result<(), Arc<str>> {
        Ok(())
    }
}

/// Admits up to a number of columns per dataset, for tests and tools.
#[derive(Debug)]
pub struct AdmitAll;

impl ColumnAdmission for AdmitAll {
    fn admit(&self, _: &str, _: AttributeType) -> bool {
        true
    }
}

impl Admissions for AdmitAll {
    fn for_dataset(&self, _: Dataset) -> &dyn ColumnAdmission {
        self
    }
}

/// Everything the decoder needs to know of the tenant.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Which attribute columns may exist.
    pub admissions: &'a dyn Admissions,
    /// Resources and series with committed rows.
    pub known: &'a KnownIds,
    /// The time of receipt (ns).
    pub now: UnixNanos,
    /// Limits of decoding.
    pub limits: DecodeLimits,
}

/// What a batch remembers of keys and series is learnt anew after this long (ns), so that [`Admissions`] hears at least
/// so often of what is in use.
const RELEARN_AFTER: i64 = 3_600_000_000_000;

/// Collects decoded requests of one tenant, column by column, until [`TenantBatch::finish`] takes them.
///
/// Not thread-safe: one owner at a time. Keeps its allocations and its memory of known texts between commits.
#[derive(Debug, Default)]
pub struct TenantBatch {
    pub(super) resources: Resources,
    pub(super) spans: SpanRows,
    pub(super) logs: LogRows,
    pub(super) metrics: MetricRows,
    /// When what it remembers began (ns).
    learning_since: Option<UnixNanos>,
}

/// The rows of one dataset, ready to be written.
#[derive(Debug, Clone)]
pub struct Finished {
    /// What the rows are.
    pub dataset: Dataset,
    /// The rows, in order of arrival; columns as `schema::columns` lists them, text dictionary-encoded where that
    /// saves space.
    pub batch: SparseBatch,
}

/// Row counts by dataset, to tell which rows a request added.
pub type RowCounts = [u32; Dataset::ALL.len()];

impl TenantBatch {
    /// Decodes an Export request (ExportTraceServiceRequest, ExportMetricsServiceRequest, ExportLogsServiceRequest).
    ///
    /// # Errors
    /// [`WireError`] if it is not protobuf; the batch is then as it was before.
    pub fn append(&mut self, signal: Signal, request: &[u8], context: Context<'_>) -> Result<Outcome, WireError> {
        let since = *self.learning_since.get_or_insert(context.now);
        if context.now.saturating_sub(since).abs() >= RELEARN_AFTER && self.is_empty() {
            *self = Self {
                learning_since: Some(context.now),
                ..Self::default()
            };
        }
        let mark = self.rows();
        let mut outcome = Outcome::default();
        let mut walk = || {
            let mut reader = Reader::new(request);
            while let Some((field, content)) = reader.next()? {
                if field == 1 {
                    let items = content.bytes()?;
                    match signal {
                        Signal::Traces => self.append_resource_spans(items, context, &mut outcome)?,
                        Signal::Logs => self.append_resource_logs(items, context, &mut outcome)?,
                        Signal::Metrics => self.append_resource_metrics(items, context, &mut outcome)?,
                    }
                }
            }
            Ok(())
        };
        let walked = walk();
        if walked.is_err() {
            self.spans.truncate(mark[0] as usize);
            self.logs.truncate(mark[1] as usize);
            self.metrics
                .truncate([mark[4] as usize, mark[5] as usize, mark[6] as usize]);
        }
        if self.is_empty() {
            // Nobody finishes an empty batch, so what rejected items left in it would pile up.
            self.forget();
        }
        walked.map(|()| outcome)
    }

    /// Drops all rows and texts.
    fn forget(&mut self) {
        self.resources.emitted();
        self.resources.finish();
        self.spans.finish();
        self.logs.finish();
        self.metrics.series.emitted();
        self.metrics.series.finish();
        self.metrics.samples.finish();
        self.metrics.histograms.finish();
        self.metrics.exemplars.finish();
    }

    /// How many rows each dataset has, indexed like [`Dataset::ALL`].
    pub fn rows(&self) -> RowCounts {
        let [samples, histograms, exemplars] = self.metrics.rows();
        // Rows of resources and series stay when a request fails: they are true whoever sent them.
        [
            self.spans.rows(),
            self.logs.rows(),
            0,
            0,
            samples,
            histograms,
            exemplars,
        ]
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.rows().iter().all(|&rows| rows == 0)
    }

    /// Takes all rows, and the ids of resources and series whose rows are among them (to be told to [`KnownIds`]
    /// once they are committed). The batch is empty afterwards.
    ///
    /// # Errors
    /// [`ArrowError`] if the columns do not fit together, which would be a defect here.
    pub fn finish(&mut self) -> Result<(Vec<Finished>, Vec<[u8; 16]>), ArrowError> {
        let mut ids = self.resources.emitted();
        let mut out = Vec::new();
        let mut add = |dataset, (rows, columns): (usize, Columns)| {
            if rows > 0 {
                let batch = SparseBatch::try_new(rows, columns.0)?;
                out.push(Finished { dataset, batch });
            }
            Ok::<_, ArrowError>(())
        };
        add(Dataset::Resources, self.resources.finish())?;
        add(Dataset::Spans, self.spans.finish())?;
        add(Dataset::Logs, self.logs.finish())?;
        ids.append(&mut self.metrics.series.emitted());
        add(Dataset::MetricSeries, self.metrics.series.finish())?;
        add(Dataset::MetricSamples, self.metrics.samples.finish())?;
        add(Dataset::MetricHistograms, self.metrics.histograms.finish())?;
        add(Dataset::Exemplars, self.metrics.exemplars.finish())?;
        Ok((out, ids))
    }
}

//! What the process says about itself: metrics for Prometheus and a structured log.
//!
//! [`Telemetry`] is made once at start, cloned into whatever has something to report, and rendered on each scrape. It
//! does no I/O except reading `/proc` while it renders, starts no thread and knows no HTTP. Recording cannot fail and
//! never blocks on a scrape for longer than one label lookup.
//!
//! Every label has a bounded set of values: enums, datasets, and `&'static str` written in the code. Nothing that comes
//! with a request (tenant, service, path, error text) becomes a label, so that no sender can make the process's own
//! metrics grow; a tenant does only where the configuration names it.

mod labels;
mod logging;
mod metrics;
mod process;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use schema::Dataset;

pub use labels::{CommitPhase, QueryStatus, RequestStatus, Signal, StoreStatus, Transport};
pub use logging::{LogFormat, LoggingError, init_logging};

use labels::{
    ApiLabel, ApiStatusLabels, CacheLabel, DatasetLabel, LimitLabels, NoLabels, OperationLabel, OperationStatusLabels,
    PhaseLabel, ReceivedLabels, RejectedLabels, RequestLabels, UseLabel,
};
use metrics::{Metrics, amount};
use process::ProcessCollector;

/// The media type of [`Telemetry::render`] (OpenMetrics 1.0, section "Overall Structure").
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Longest `service` label, in characters; the rest is cut.
const LONGEST_SERVICE: usize = 64;

/// The metrics of this process. Cheap to clone; all clones record into the same registry.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    registry: Registry,
    metrics: Metrics,
    service: Arc<String>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("service", &self.0.service)
            .finish_non_exhaustive()
    }
}

/// What one successful compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionRun {
    /// Wall time from taking the work to the committed part.
    pub duration: Duration,
    /// Rows written.
    pub rows: u64,
    /// Bytes of the slices and parts that were replaced.
    pub input_bytes: u64,
    /// Bytes of the parts that replace them.
    pub output_bytes: u64,
}

/// What is stored of a dataset, of all tenants together, as the catalog has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Slices that wait for compaction.
    pub slices: u64,
    /// Their rows.
    pub slice_rows: u64,
    /// Their bytes.
    pub slice_bytes: u64,
    /// When the oldest of them was committed, in seconds since the Unix epoch; none without slices.
    pub oldest_slice: Option<u64>,
    /// Live parts.
    pub parts: u64,
    /// Their rows.
    pub part_rows: u64,
    /// Their bytes.
    pub part_bytes: u64,
}

impl Telemetry {
    /// Makes the registry. `service` is what receives the telemetry (the label `service` of `otlp_requests_total`),
    /// `version` the version of this program.
    pub fn new(service: &str, version: &str) -> Self {
        Self::with_reader(service, version, |path| std::fs::read_to_string(path))
    }

    /// As [`Telemetry::new`], reading `/proc` through `read`.
    pub fn with_reader(
        service: &str,
        version: &str,
        read: impl Fn(&Path) -> io::Result<String> + Send + Sync + 'static,
    ) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, version);
        registry.register_collector(Box::new(ProcessCollector::new(read)));
        let service = Arc::new(service.chars().take(LONGEST_SERVICE).collect());
        let telemetry = Self(Arc::new(Inner {
            registry,
            metrics,
            service,
        }));
        telemetry.begin_at_zero();
        telemetry
    }

    /// Creates the series that every rate is computed from, so that the first event is an increase and not the birth
    /// of a series, which `rate()` does not see.
    fn begin_at_zero(&self) {
        let m = &self.0.metrics;
        let first = [
            RequestStatus::Ok,
            RequestStatus::ResourceExhausted,
            RequestStatus::Unavailable,
            RequestStatus::Internal,
        ];
        for &signal in Signal::ALL {
            for &transport in Transport::ALL {
                for status in first {
                    drop(
                        m.requests
                            .get_or_create(&self.request_labels(signal, transport, status)),
                    );
                }
                drop(m.received_bytes.get_or_create(&ReceivedLabels { signal, transport }));
                drop(m.request_duration.get_or_create(&ReceivedLabels { signal, transport }));
            }
        }
        for dataset in Dataset::ALL {
            for counter in [
                &m.rows,
                &m.compaction_duplicates,
                &m.retention_rows_deleted,
                &m.retention_bytes_deleted,
                &m.deletion_rows,
            ] {
                drop(counter.get_or_create(&DatasetLabel(dataset)));
            }
        }
    }

    fn request_labels(&self, signal: Signal, transport: Transport, status: RequestStatus) -> RequestLabels {
        RequestLabels {
            service: Arc::clone(&self.0.service),
            signal,
            transport,
            status,
        }
    }

    // --- receiving

    /// One OTLP export request was answered. `received_bytes` is the body as it arrived, compressed or not.
    pub fn request(
        &self,
        signal: Signal,
        transport: Transport,
        status: RequestStatus,
        duration: Duration,
        received_bytes: u64,
    ) {
        let m = &self.0.metrics;
        m.requests
            .get_or_create(&self.request_labels(signal, transport, status))
            .inc();
        let labels = ReceivedLabels { signal, transport };
        m.request_duration
            .get_or_create(&labels)
            .observe(duration.as_secs_f64());
        m.received_bytes.get_or_create(&labels).inc_by(received_bytes);
    }

    /// Rows were committed: durable, queryable and about to be acknowledged.
    pub fn rows(&self, dataset: Dataset, rows: u64) {
        self.0.metrics.rows.get_or_create(&DatasetLabel(dataset)).inc_by(rows);
    }

    /// Items of a request that was otherwise accepted were rejected (OTLP partial success).
    pub fn rejected(&self, signal: Signal, reason: &'static str, items: u64) {
        self.0
            .metrics
            .rejected
            .get_or_create(&RejectedLabels { signal, reason })
            .inc_by(items);
    }

    /// A request was refused, whole or in part, because its tenant reached `limit`. `tenant` is its name if the
    /// configuration has it, else empty.
    pub fn limit_reached(&self, tenant: &Arc<String>, limit: &'static str) {
        let tenant = Arc::clone(tenant);
        let labels = LimitLabels { tenant, limit };
        self.0.metrics.limits_reached.get_or_create(&labels).inc();
    }

    /// Whether the Redis that limits are shared through answers, now.
    pub fn set_limits_redis_up(&self, up: bool) {
        self.0
            .metrics
            .limits_redis_up
            .get_or_create(&NoLabels)
            .set(i64::from(up));
    }

    /// Bytes received and not yet committed, now.
    pub fn set_pending_bytes(&self, bytes: u64) {
        self.0.metrics.pending_bytes.set(amount(bytes));
    }

    /// Memory of the process as measured, what it may plan with, and whether it is refusing work for lack of it.
    pub fn set_memory(&self, resident: u64, limit: u64, pressed: bool) {
        let m = &self.0.metrics;
        m.memory_resident_bytes.set(amount(resident));
        m.memory_limit_bytes.set(amount(limit));
        m.memory_pressed.set(amount(u64::from(pressed)));
    }

    /// Memory that is reserved for `of`, now.
    pub fn set_memory_use(&self, of: &'static str, bytes: u64) {
        self.0
            .metrics
            .memory_reserved_bytes
            .get_or_create(&UseLabel { of })
            .set(amount(bytes));
    }

    // --- committing

    /// A group commit ended; `duration` runs from its start to the acknowledgements.
    pub fn commit(&self, duration: Duration) {
        self.0.metrics.commit_duration.observe(duration.as_secs_f64());
    }

    /// A phase of a group commit ended.
    pub fn commit_phase(&self, phase: CommitPhase, duration: Duration) {
        self.0
            .metrics
            .commit_phase
            .get_or_create(&PhaseLabel { phase })
            .observe(duration.as_secs_f64());
    }

    // --- the lake

    /// What is stored of a dataset and what of it waits for compaction, now.
    pub fn set_stored(&self, dataset: Dataset, stored: &Stored) {
        let m = &self.0.metrics;
        let labels = DatasetLabel(dataset);
        for (family, value) in [
            (&m.backlog_rows, stored.slice_rows),
            (&m.backlog_slices, stored.slices),
            (&m.backlog_bytes, stored.slice_bytes),
            (&m.parts, stored.parts),
            (&m.part_rows, stored.part_rows),
            (&m.part_bytes, stored.part_bytes),
        ] {
            family.get_or_create(&labels).set(amount(value));
        }
        // Not 0 for none: `time() - 0` would be the age of the oldest slice there ever was.
        if let Some(at) = stored.oldest_slice {
            m.backlog_oldest.get_or_create(&labels).set(amount(at));
        } else {
            m.backlog_oldest.remove(&labels);
        }
    }

    /// Whether the catalog answers, now.
    pub fn set_catalog_up(&self, up: bool) {
        self.0.metrics.catalog_up.get_or_create(&NoLabels).set(i64::from(up));
    }

    /// A compaction succeeded.
    pub fn compaction(&self, run: CompactionRun) {
        let m = &self.0.metrics;
        m.compaction_runs.inc();
        m.compaction_duration.observe(run.duration.as_secs_f64());
        m.compaction_rows.inc_by(run.rows);
        m.compaction_input_bytes.inc_by(run.input_bytes);
        m.compaction_output_bytes.inc_by(run.output_bytes);
    }

    /// A compaction left out rows because equal ones are there.
    pub fn duplicates_dropped(&self, dataset: Dataset, rows: u64) {
        let duplicates = &self.0.metrics.compaction_duplicates;
        duplicates.get_or_create(&DatasetLabel(dataset)).inc_by(rows);
    }

    /// A compaction failed after `duration`; its input stays as it was.
    pub fn compaction_failed(&self, duration: Duration) {
        let m = &self.0.metrics;
        m.compaction_failures.inc();
        m.compaction_duration.observe(duration.as_secs_f64());
    }

    /// Retention removed rows from the catalog: no query sees them any more.
    pub fn retention_rows_deleted(&self, dataset: Dataset, rows: u64) {
        let deleted = &self.0.metrics.retention_rows_deleted;
        deleted.get_or_create(&DatasetLabel(dataset)).inc_by(rows);
    }

    /// Bytes of rows that retention removed are gone from the store.
    pub fn retention_bytes_deleted(&self, dataset: Dataset, bytes: u64) {
        let deleted = &self.0.metrics.retention_bytes_deleted;
        deleted.get_or_create(&DatasetLabel(dataset)).inc_by(bytes);
    }

    /// Bytes that are older than their period and still in the store, now, and when a scan last found none, in seconds since
    /// the Unix epoch; 0 if it never did.
    pub fn set_retention(&self, dataset: Dataset, bytes_due: u64, proven_at: u64) {
        let m = &self.0.metrics;
        m.retention_bytes_due
            .get_or_create(&DatasetLabel(dataset))
            .set(amount(bytes_due));
        m.retention_proof
            .get_or_create(&DatasetLabel(dataset))
            .set(amount(proven_at));
    }

    /// A deletion that was asked for removed rows.
    pub fn deletion_rows(&self, dataset: Dataset, rows: u64) {
        let deleted = &self.0.metrics.deletion_rows;
        deleted.get_or_create(&DatasetLabel(dataset)).inc_by(rows);
    }

    /// Garbage collection deleted objects from the store.
    pub fn gc_deleted(&self, objects: u64, bytes: u64) {
        self.0.metrics.gc_objects_deleted.inc_by(objects);
        self.0.metrics.gc_bytes_deleted.inc_by(bytes);
    }

    /// A cache had what was asked for. `cache` is the cache's name.
    pub fn cache_hit(&self, cache: &'static str) {
        self.0.metrics.cache_hits.get_or_create(&CacheLabel { cache }).inc();
    }

    /// A cache had not what was asked for.
    pub fn cache_miss(&self, cache: &'static str) {
        self.0.metrics.cache_misses.get_or_create(&CacheLabel { cache }).inc();
    }

    /// Bytes that a cache holds, now.
    pub fn set_cache_bytes(&self, cache: &'static str, bytes: u64) {
        self.0
            .metrics
            .cache_bytes
            .get_or_create(&CacheLabel { cache })
            .set(amount(bytes));
    }

    /// A catalog operation ended, well or not. `operation` is its name, such as `commit_segment`.
    pub fn catalog_operation(&self, operation: &'static str, duration: Duration) {
        self.0
            .metrics
            .catalog_operation
            .get_or_create(&OperationLabel { operation })
            .observe(duration.as_secs_f64());
    }

    /// An object-store request ended. `operation` is its name, such as `put`, `get` or `delete`.
    pub fn store_operation(&self, operation: &'static str, status: StoreStatus, duration: Duration) {
        let m = &self.0.metrics;
        m.store_operation
            .get_or_create(&OperationLabel { operation })
            .observe(duration.as_secs_f64());
        let labels = |status| OperationStatusLabels { operation, status };
        if m.store_operations.get(&labels(status)).is_none() {
            // As in `begin_at_zero`, as soon as an operation is known.
            for status in [StoreStatus::Timeout, StoreStatus::Error] {
                drop(m.store_operations.get_or_create(&labels(status)));
            }
        }
        m.store_operations.get_or_create(&labels(status)).inc();
    }

    // --- querying

    /// A query ended. `api` is the API that it came by, such as `sql` or `tempo`.
    pub fn query(&self, api: &'static str, status: QueryStatus, duration: Duration) {
        let m = &self.0.metrics;
        m.query_duration
            .get_or_create(&ApiLabel { api })
            .observe(duration.as_secs_f64());
        let labels = |status| ApiStatusLabels { api, status };
        if m.queries.get(&labels(status)).is_none() {
            // As in `begin_at_zero`, as soon as an API is known.
            for status in [QueryStatus::Timeout, QueryStatus::Rejected, QueryStatus::Error] {
                drop(m.queries.get_or_create(&labels(status)));
            }
        }
        m.queries.get_or_create(&labels(status)).inc();
    }

    // --- scraping

    /// Every metric in the OpenMetrics text format; serve it as [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(32 * 1024);
        // Writing to a String cannot fail, and no collector of ours returns an error of its own. Were it to happen,
        // a body without the closing `# EOF` makes the scraper report the target as broken instead of trusting a part.
        if prometheus_client::encoding::text::encode(&mut text, &self.0.registry).is_err() {
            return "# metrics cannot be encoded\n".to_owned();
        }
        text
    }
}

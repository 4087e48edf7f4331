//! Every metric of the process: its type, name and help, in one list.

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use crate::labels::{
    ApiLabel, ApiStatusLabels, BuildLabels, CacheLabel, DatasetLabel, LimitLabels, NoLabels, OperationLabel,
    OperationStatusLabels, PhaseLabel, ReceivedLabels, RejectedLabels, RequestLabels, UseLabel,
};

/// Seconds. From half a millisecond (a warm catalog lookup) to 10 s (where OTLP exporters give up by default); the
/// bounds 15, 60 and 200 ms are those that acknowledgements are judged by.
const LATENCY: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.03, 0.06, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0,
];

/// Seconds, of work in the background: compactions take from milliseconds to minutes.
const WORK: [f64; 10] = [0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

/// A gauge of something that is counted: bytes, rows, slices. Set it through [`amount`].
type Amount = Gauge;

/// A count as the value of a gauge. The encoder gives up on the whole scrape when a `u64` gauge is above `i64::MAX`,
/// so gauges are `i64` and such a count saturates.
pub(crate) fn amount(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(crate) struct Metrics {
    pub requests: Family<RequestLabels, Counter>,
    pub request_duration: Family<ReceivedLabels, Histogram>,
    pub received_bytes: Family<ReceivedLabels, Counter>,
    pub rows: Family<DatasetLabel, Counter>,
    pub rejected: Family<RejectedLabels, Counter>,
    pub limits_reached: Family<LimitLabels, Counter>,
    /// A family without labels, because it exists only where Redis is configured.
    pub limits_redis_up: Family<NoLabels, Amount>,
    pub pending_bytes: Amount,
    pub memory_resident_bytes: Amount,
    pub memory_limit_bytes: Amount,
    pub memory_pressed: Amount,
    pub memory_reserved_bytes: Family<UseLabel, Amount>,
    pub commit_duration: Histogram,
    pub commit_phase: Family<PhaseLabel, Histogram>,
    pub backlog_rows: Family<DatasetLabel, Amount>,
    pub backlog_slices: Family<DatasetLabel, Amount>,
    pub backlog_bytes: Family<DatasetLabel, Amount>,
    pub backlog_oldest: Family<DatasetLabel, Amount>,
    pub parts: Family<DatasetLabel, Amount>,
    pub part_rows: Family<DatasetLabel, Amount>,
    pub part_bytes: Family<DatasetLabel, Amount>,
    pub compaction_runs: Counter,
    pub compaction_failures: Counter,
    pub compaction_duration: Histogram,
    pub compaction_rows: Counter,
    pub compaction_duplicates: Family<DatasetLabel, Counter>,
    pub compaction_input_bytes: Counter,
    pub compaction_output_bytes: Counter,
    pub retention_rows_deleted: Family<DatasetLabel, Counter>,
    pub retention_bytes_deleted: Family<DatasetLabel, Counter>,
    pub retention_bytes_due: Family<DatasetLabel, Amount>,
    pub retention_proof: Family<DatasetLabel, Amount>,
    pub deletion_rows: Family<DatasetLabel, Counter>,
    pub gc_objects_deleted: Counter,
    pub gc_bytes_deleted: Counter,
    pub cache_hits: Family<CacheLabel, Counter>,
    pub cache_misses: Family<CacheLabel, Counter>,
    pub cache_bytes: Family<CacheLabel, Amount>,
    /// A family without labels, because only a process that asks has it.
    pub catalog_up: Family<NoLabels, Amount>,
    pub catalog_operation: Family<OperationLabel, Histogram>,
    pub store_operation: Family<OperationLabel, Histogram>,
    pub store_operations: Family<OperationStatusLabels, Counter>,
    pub query_duration: Family<ApiLabel, Histogram>,
    pub queries: Family<ApiStatusLabels, Counter>,
}

impl Metrics {
    /// Registers everything. Counters are named without `_total`, which the encoder adds; the registry ends each help
    /// text with a full stop.
    pub fn register(registry: &mut Registry, version: &str) -> Self {
        let build = Info::new(BuildLabels {
            version: version.to_owned(),
        });
        registry.register("otlp_build", "The program that runs", build);

        let r = &mut Names(registry);
        Self {
            requests: r.family("otlp_requests", "OTLP export requests answered"),
            request_duration: r.latencies(
                "otlp_request_duration_seconds",
                "Time from an OTLP export request to its answer",
            ),
            received_bytes: r.family("otlp_received_bytes", "Bytes of OTLP request bodies as they arrived"),
            rows: r.family("otlp_rows", "Rows committed, durable and queryable"),
            rejected: r.family(
                "otlp_rejected_items",
                "Items rejected out of requests that were otherwise accepted",
            ),
            limits_reached: r.family(
                "otlp_limits_reached",
                "Requests refused, whole or in part, because their tenant reached a limit",
            ),
            limits_redis_up: r.family(
                "otlp_limits_redis_up",
                "Whether limits are shared through Redis (1) or each process keeps to its own share (0)",
            ),
            pending_bytes: r.one(
                "otlp_pending_bytes",
                "Bytes received and not yet committed",
                Amount::default(),
            ),
            memory_resident_bytes: r.one(
                "otlp_memory_resident_bytes",
                "Memory that the process holds, as measured",
                Amount::default(),
            ),
            memory_limit_bytes: r.one(
                "otlp_memory_limit_bytes",
                "Memory that the process plans with (memory.limit)",
                Amount::default(),
            ),
            memory_pressed: r.one(
                "otlp_memory_pressed",
                "1 while new work is refused because the process holds more memory than it may",
                Amount::default(),
            ),
            memory_reserved_bytes: r.family("otlp_memory_reserved_bytes", "Memory that is reserved, by use"),
            commit_duration: r.one(
                "otlp_commit_duration_seconds",
                "Time from the start of a group commit to its acknowledgements",
                Histogram::new(LATENCY),
            ),
            commit_phase: r.latencies("otlp_commit_phase_seconds", "Time of each phase of a group commit"),
            backlog_rows: r.family("otlp_backlog_rows", "Rows that wait for compaction"),
            backlog_slices: r.family("otlp_backlog_slices", "Slices that wait for compaction"),
            backlog_bytes: r.family("otlp_backlog_bytes", "Bytes of the slices that wait for compaction"),
            backlog_oldest: r.family(
                "otlp_backlog_oldest_timestamp_seconds",
                "When the oldest slice that waits for compaction was committed; absent while none waits",
            ),
            parts: r.family("otlp_parts", "Live parts"),
            part_rows: r.family("otlp_part_rows", "Rows in live parts"),
            part_bytes: r.family("otlp_part_bytes", "Bytes of live parts in the store"),
            compaction_runs: r.one("otlp_compaction_runs", "Compactions that succeeded", Counter::default()),
            compaction_failures: r.one(
                "otlp_compaction_failures",
                "Compactions that failed",
                Counter::default(),
            ),
            compaction_duration: r.one(
                "otlp_compaction_duration_seconds",
                "Time of a compaction, successful or not",
                Histogram::new(WORK),
            ),
            compaction_rows: r.one(
                "otlp_compaction_rows",
                "Rows written by compactions",
                Counter::default(),
            ),
            compaction_duplicates: r.family(
                "otlp_compaction_duplicates",
                "Rows that compactions left out because equal ones are there",
            ),
            compaction_input_bytes: r.one(
                "otlp_compaction_input_bytes",
                "Bytes of slices and parts that compactions replaced",
                Counter::default(),
            ),
            compaction_output_bytes: r.one(
                "otlp_compaction_output_bytes",
                "Bytes of parts that compactions wrote",
                Counter::default(),
            ),
            retention_rows_deleted: r.family("otlp_retention_rows_deleted", "Rows that retention deleted"),
            retention_bytes_deleted: r.family(
                "otlp_retention_bytes_deleted",
                "Bytes of expired rows that are gone from the store with their objects",
            ),
            retention_bytes_due: r.family(
                "otlp_retention_bytes_due",
                "Bytes that are older than their retention and still in the store",
            ),
            retention_proof: r.family(
                "otlp_retention_proof_timestamp_seconds",
                "When a scan last found nothing older than its retention, of the tenant whose last proof is oldest",
            ),
            deletion_rows: r.family("otlp_deletion_rows", "Rows deleted because somebody asked for it"),
            gc_objects_deleted: r.one(
                "otlp_gc_objects_deleted",
                "Objects deleted from the store by garbage collection",
                Counter::default(),
            ),
            gc_bytes_deleted: r.one(
                "otlp_gc_bytes_deleted",
                "Bytes deleted from the store by garbage collection",
                Counter::default(),
            ),
            cache_hits: r.family("otlp_cache_hits", "Lookups that a cache answered"),
            cache_misses: r.family("otlp_cache_misses", "Lookups that a cache could not answer"),
            cache_bytes: r.family("otlp_cache_bytes", "Bytes that a cache holds"),
            catalog_up: r.family(
                "otlp_catalog_up",
                "Whether the catalog answered (1) or not (0) when it was last asked, every 10 seconds",
            ),
            catalog_operation: r.latencies("otlp_catalog_operation_seconds", "Time of catalog operations"),
            store_operation: r.latencies("otlp_store_operation_seconds", "Time of object-store requests"),
            store_operations: r.family("otlp_store_operations", "Object-store requests"),
            query_duration: r.latencies("otlp_query_duration_seconds", "Time of queries"),
            queries: r.family("otlp_queries", "Queries that ended"),
        }
    }
}

/// Registers a metric and gives it back.
struct Names<'a>(&'a mut Registry);

impl Names<'_> {
    fn one<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    fn family<L, M>(&mut self, name: &str, help: &str) -> Family<L, M>
    where
        L: Clone + std::hash::Hash + Eq,
        M: Default + EncodeMetric,
        Family<L, M>: Metric + Clone,
    {
        self.one(name, help, Family::default())
    }

    fn latencies<L>(&mut self, name: &str, help: &str) -> Family<L, Histogram>
    where
        L: Clone + std::hash::Hash + Eq,
        Family<L, Histogram>: Metric + Clone,
    {
        self.one(name, help, Family::new_with_constructor(|| Histogram::new(LATENCY)))
    }
}

//! `opentelemetry/proto/metrics/v1/metrics.proto`. Times are ns since the Unix epoch, 0 when unknown; point flags: bit 0
//! means "no recorded value" (a staleness mark).

use super::{KeyValue, Resource, Scope, SpanId, TraceId};

/// Metrics of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceMetrics {
    pub resource: Resource,
    pub scope_metrics: Vec<ScopeMetrics>,
    pub schema_url: String,
}

/// Metrics of one instrumentation scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScopeMetrics {
    pub scope: Scope,
    pub metrics: Vec<Metric>,
    pub schema_url: String,
}

/// One metric with all its series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metric {
    pub name: String,
    pub description: String,
    /// UCUM, such as `By` or `s`.
    pub unit: String,
    pub data: Option<MetricData>,
    /// Attributes that describe the metric and identify nothing.
    pub metadata: Vec<KeyValue>,
}

/// A metric's points, by type.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricData {
    Gauge(Gauge),
    Sum(Sum),
    Histogram(Histogram),
    ExponentialHistogram(ExponentialHistogram),
    Summary(Summary),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauge {
    pub data_points: Vec<NumberDataPoint>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sum {
    pub data_points: Vec<NumberDataPoint>,
    pub aggregation_temporality: AggregationTemporality,
    pub is_monotonic: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    pub data_points: Vec<HistogramDataPoint>,
    pub aggregation_temporality: AggregationTemporality,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExponentialHistogram {
    pub data_points: Vec<ExponentialHistogramDataPoint>,
    pub aggregation_temporality: AggregationTemporality,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    pub data_points: Vec<SummaryDataPoint>,
}

/// Whether points count since the last point or since the start; an open enumeration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AggregationTemporality(pub i32);

impl AggregationTemporality {
    pub const UNSPECIFIED: Self = AggregationTemporality(0);
    pub const DELTA: Self = AggregationTemporality(1);
    pub const CUMULATIVE: Self = AggregationTemporality(2);
}

/// A measured value; integers keep their 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Double(f64),
    Int(i64),
}

/// A point of a gauge or a sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NumberDataPoint {
    pub attributes: Vec<KeyValue>,
    pub start_time_unix_nano: u64,
    pub time_unix_nano: u64,
    /// `None` with the "no recorded value" flag.
    pub value: Option<Number>,
    pub exemplars: Vec<Exemplar>,
    pub flags: u32,
}

/// A point of a histogram with explicit bounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramDataPoint {
    pub attributes: Vec<KeyValue>,
    pub start_time_unix_nano: u64,
    pub time_unix_nano: u64,
    pub count: u64,
    pub sum: Option<f64>,
    /// One more than `explicit_bounds`, or empty.
    pub bucket_counts: Vec<u64>,
    /// Upper bounds, strictly increasing, without the last one (infinity).
    pub explicit_bounds: Vec<f64>,
    pub exemplars: Vec<Exemplar>,
    pub flags: u32,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

/// A point of an exponential histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExponentialHistogramDataPoint {
    pub attributes: Vec<KeyValue>,
    pub start_time_unix_nano: u64,
    pub time_unix_nano: u64,
    pub count: u64,
    pub sum: Option<f64>,
    /// Buckets grow by a factor of 2^(2^-scale).
    pub scale: i32,
    pub zero_count: u64,
    pub positive: Option<Buckets>,
    pub negative: Option<Buckets>,
    pub flags: u32,
    pub exemplars: Vec<Exemplar>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// Values up to this magnitude count as zero.
    pub zero_threshold: f64,
}

/// Consecutive buckets of an exponential histogram; bucket `offset + i` holds `bucket_counts[i]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    pub offset: i32,
    pub bucket_counts: Vec<u64>,
}

/// A point of a summary (Prometheus legacy).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SummaryDataPoint {
    pub attributes: Vec<KeyValue>,
    pub start_time_unix_nano: u64,
    pub time_unix_nano: u64,
    pub count: u64,
    pub sum: f64,
    pub quantile_values: Vec<ValueAtQuantile>,
    pub flags: u32,
}

/// A quantile between 0 and 1 and its value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ValueAtQuantile {
    pub quantile: f64,
    pub value: f64,
}

/// A sample measurement with the span that it was made in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exemplar {
    /// Attributes that the aggregation dropped from the point's own.
    pub filtered_attributes: Vec<KeyValue>,
    pub time_unix_nano: u64,
    pub value: Option<Number>,
    pub span_id: Option<SpanId>,
    pub trace_id: Option<TraceId>,
}

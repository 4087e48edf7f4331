//! OTLP as plain owned structs, for what leaves this process: exported traces, generated load, tests.
//!
//! Ingest never builds these: it decodes requests straight into columns. The names, fields and meanings are those of
//! opentelemetry-proto 1.x. Enumerations are open, as in proto3: a value from a newer sender passes through. The
//! string-index fields that only profiles use are left out.

mod logs;
mod metrics;
mod trace;

pub use logs::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
pub use metrics::{
    AggregationTemporality, Buckets, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, MetricData, Number, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
    SummaryDataPoint, ValueAtQuantile,
};
pub use trace::{Event, Link, ResourceSpans, ScopeSpans, Span, SpanKind, Status, StatusCode};

/// Identifies a trace. All zeros is not a valid id.
pub type TraceId = [u8; 16];

/// Identifies a span within its trace. All zeros is not a valid id.
pub type SpanId = [u8; 8];

/// One of the three kinds of OTLP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    Traces,
    Logs,
    Metrics,
}

impl Signal {
    /// `traces`, `logs` or `metrics`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }
}

/// The value of an attribute or the body of a log record.
///
/// Nesting is unbounded in the type, but encoding and dropping recurse: whoever builds values from outside input bounds
/// their depth.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum AnyValue {
    /// A value that is there and holds nothing.
    #[default]
    Empty,
    String(String),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Vec<u8>),
    Array(Vec<AnyValue>),
    KvList(Vec<KeyValue>),
}

impl From<&str> for AnyValue {
    fn from(value: &str) -> Self {
        AnyValue::String(value.to_owned())
    }
}

impl From<String> for AnyValue {
    fn from(value: String) -> Self {
        AnyValue::String(value)
    }
}

impl From<bool> for AnyValue {
    fn from(value: bool) -> Self {
        AnyValue::Bool(value)
    }
}

impl From<i64> for AnyValue {
    fn from(value: i64) -> Self {
        AnyValue::Int(value)
    }
}

impl From<f64> for AnyValue {
    fn from(value: f64) -> Self {
        AnyValue::Double(value)
    }
}

/// An attribute. Keys are unique within one set of attributes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyValue {
    pub key: String,
    pub value: AnyValue,
}

impl KeyValue {
    /// An attribute from anything that turns into a value.
    pub fn new(key: impl Into<String>, value: impl Into<AnyValue>) -> Self {
        KeyValue {
            key: key.into(),
            value: value.into(),
        }
    }
}

/// What produced the telemetry: a process, a host, a device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    pub attributes: Vec<KeyValue>,
    pub dropped_attributes_count: u32,
    pub entity_refs: Vec<EntityRef>,
}

/// Which of a resource's attributes identify and describe one entity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntityRef {
    pub schema_url: String,
    /// The entity's type, such as `service` or `host`.
    pub kind: String,
    pub id_keys: Vec<String>,
    pub description_keys: Vec<String>,
}

/// The instrumentation scope: the library that recorded the telemetry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    pub name: String,
    pub version: String,
    pub attributes: Vec<KeyValue>,
    pub dropped_attributes_count: u32,
}

//! `opentelemetry/proto/logs/v1/logs.proto`.

use super::{AnyValue, KeyValue, Resource, Scope, SpanId, TraceId};

/// Log records of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceLogs {
    pub resource: Resource,
    pub scope_logs: Vec<ScopeLogs>,
    pub schema_url: String,
}

/// Log records of one instrumentation scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScopeLogs {
    pub scope: Scope,
    pub log_records: Vec<LogRecord>,
    pub schema_url: String,
}

/// One log record. Times are ns since the Unix epoch, 0 when unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogRecord {
    pub time_unix_nano: u64,
    pub observed_time_unix_nano: u64,
    pub severity_number: SeverityNumber,
    /// The severity as the source spelt it.
    pub severity_text: String,
    pub body: Option<AnyValue>,
    pub attributes: Vec<KeyValue>,
    pub dropped_attributes_count: u32,
    /// W3C trace flags in bits 0 to 7.
    pub flags: u32,
    pub trace_id: Option<TraceId>,
    pub span_id: Option<SpanId>,
    pub event_name: String,
}

/// Severity from 1 (TRACE) to 24 (FATAL4), 0 when unspecified; an open enumeration. Each name has four steps: `WARN` is 13
/// to 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeverityNumber(pub i32);

impl SeverityNumber {
    pub const UNSPECIFIED: Self = SeverityNumber(0);
    pub const TRACE: Self = SeverityNumber(1);
    pub const DEBUG: Self = SeverityNumber(5);
    pub const INFO: Self = SeverityNumber(9);
    pub const WARN: Self = SeverityNumber(13);
    pub const ERROR: Self = SeverityNumber(17);
    pub const FATAL: Self = SeverityNumber(21);
}

//! `opentelemetry/proto/trace/v1/trace.proto`.

use super::{KeyValue, Resource, Scope, SpanId, TraceId};

/// Spans of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceSpans {
    pub resource: Resource,
    pub scope_spans: Vec<ScopeSpans>,
    pub schema_url: String,
}

/// Spans of one instrumentation scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScopeSpans {
    pub scope: Scope,
    pub spans: Vec<Span>,
    pub schema_url: String,
}

/// One operation of a trace. Times are ns since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    /// The W3C `tracestate` header.
    pub trace_state: String,
    /// `None` for a root span.
    pub parent_span_id: Option<SpanId>,
    /// W3C trace flags in bits 0 to 7; bits 8 and 9 tell whether the parent is remote.
    pub flags: u32,
    pub name: String,
    pub kind: SpanKind,
    pub start_time_unix_nano: u64,
    pub end_time_unix_nano: u64,
    pub attributes: Vec<KeyValue>,
    pub dropped_attributes_count: u32,
    pub events: Vec<Event>,
    pub dropped_events_count: u32,
    pub links: Vec<Link>,
    pub dropped_links_count: u32,
    pub status: Status,
}

/// Something that happened during a span, at a moment in ns since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    pub time_unix_nano: u64,
    pub name: String,
    pub attributes: Vec<KeyValue>,
    pub dropped_attributes_count: u32,
}

/// A pointer to a span of this trace or of another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Link {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub trace_state: String,
    pub attributes: Vec<KeyValue>,
    pub dropped_attributes_count: u32,
    /// As [`Span::flags`].
    pub flags: u32,
}

/// How a span ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub message: String,
    pub code: StatusCode,
}

/// A span's role between services; an open enumeration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanKind(pub i32);

impl SpanKind {
    pub const UNSPECIFIED: Self = SpanKind(0);
    pub const INTERNAL: Self = SpanKind(1);
    pub const SERVER: Self = SpanKind(2);
    pub const CLIENT: Self = SpanKind(3);
    pub const PRODUCER: Self = SpanKind(4);
    pub const CONSUMER: Self = SpanKind(5);
}

/// A span's outcome; an open enumeration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatusCode(pub i32);

impl StatusCode {
    pub const UNSET: Self = StatusCode(0);
    pub const OK: Self = StatusCode(1);
    pub const ERROR: Self = StatusCode(2);
}

//! The tables: what each key of each message means. Numbers, names and types from opentelemetry-proto 1.x. The string-index
//! fields that only profiles use are left out, and so ignored as unknown.

/// A message's fields, most frequent first: they are searched in order.
#[derive(Debug)]
pub(super) struct Message {
    pub fields: &'static [Field],
}

#[derive(Debug)]
pub(super) struct Field {
    pub number: u32,
    /// The lowerCamelCase name.
    pub json: &'static str,
    /// The name in the .proto file.
    pub proto: &'static str,
    pub kind: Kind,
    pub repeated: bool,
    /// Whether the field belongs to its message's oneof. No message of OTLP has two.
    pub oneof: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    String,
    Bytes,
    /// Bytes that OTLP/JSON writes in hex.
    Id,
    Bool,
    Uint32,
    Sint32,
    Fixed32,
    Int64,
    Uint64,
    Fixed64,
    Sfixed64,
    Double,
    /// The prefix that its names share, and (name, number).
    Enum(&'static str, &'static [(&'static str, i32)]),
    Message(&'static Message),
}

const fn one(number: u32, json: &'static str, proto: &'static str, kind: Kind) -> Field {
    Field {
        number,
        json,
        proto,
        kind,
        repeated: false,
        oneof: false,
    }
}

const fn many(number: u32, json: &'static str, proto: &'static str, kind: Kind) -> Field {
    Field {
        repeated: true,
        ..one(number, json, proto, kind)
    }
}

const fn either(number: u32, json: &'static str, proto: &'static str, kind: Kind) -> Field {
    Field {
        oneof: true,
        ..one(number, json, proto, kind)
    }
}

use Kind::*;

const SPAN_KIND: Kind = Enum(
    "SPAN_KIND_",
    &[
        ("UNSPECIFIED", 0),
        ("INTERNAL", 1),
        ("SERVER", 2),
        ("CLIENT", 3),
        ("PRODUCER", 4),
        ("CONSUMER", 5),
    ],
);

const STATUS_CODE: Kind = Enum("STATUS_CODE_", &[("UNSET", 0), ("OK", 1), ("ERROR", 2)]);

const TEMPORALITY: Kind = Enum(
    "AGGREGATION_TEMPORALITY_",
    &[("UNSPECIFIED", 0), ("DELTA", 1), ("CUMULATIVE", 2)],
);

const SEVERITY: Kind = Enum(
    "SEVERITY_NUMBER_",
    &[
        ("UNSPECIFIED", 0),
        ("TRACE", 1),
        ("TRACE2", 2),
        ("TRACE3", 3),
        ("TRACE4", 4),
        ("DEBUG", 5),
        ("DEBUG2", 6),
        ("DEBUG3", 7),
        ("DEBUG4", 8),
        ("INFO", 9),
        ("INFO2", 10),
        ("INFO3", 11),
        ("INFO4", 12),
        ("WARN", 13),
        ("WARN2", 14),
        ("WARN3", 15),
        ("WARN4", 16),
        ("ERROR", 17),
        ("ERROR2", 18),
        ("ERROR3", 19),
        ("ERROR4", 20),
        ("FATAL", 21),
        ("FATAL2", 22),
        ("FATAL3", 23),
        ("FATAL4", 24),
    ],
);

const DROPPED: &str = "dropped_attributes_count";

// --- requests

pub(super) static TRACES: Message = Message {
    fields: &[many(1, "resourceSpans", "resource_spans", Message(&RESOURCE_SPANS))],
};

pub(super) static LOGS: Message = Message {
    fields: &[many(1, "resourceLogs", "resource_logs", Message(&RESOURCE_LOGS))],
};

pub(super) static METRICS: Message = Message {
    fields: &[many(
        1,
        "resourceMetrics",
        "resource_metrics",
        Message(&RESOURCE_METRICS),
    )],
};

// --- common

static ANY_VALUE: Message = Message {
    fields: &[
        either(1, "stringValue", "string_value", String),
        either(3, "intValue", "int_value", Int64),
        either(2, "boolValue", "bool_value", Bool),
        either(4, "doubleValue", "double_value", Double),
        either(5, "arrayValue", "array_value", Message(&ARRAY_VALUE)),
        either(6, "kvlistValue", "kvlist_value", Message(&KEY_VALUE_LIST)),
        either(7, "bytesValue", "bytes_value", Bytes),
    ],
};

static ARRAY_VALUE: Message = Message {
    fields: &[many(1, "values", "values", Message(&ANY_VALUE))],
};

static KEY_VALUE_LIST: Message = Message {
    fields: &[many(1, "values", "values", Message(&KEY_VALUE))],
};

static KEY_VALUE: Message = Message {
    fields: &[
        one(1, "key", "key", String),
        one(2, "value", "value", Message(&ANY_VALUE)),
    ],
};

static RESOURCE: Message = Message {
    fields: &[
        many(1, "attributes", "attributes", Message(&KEY_VALUE)),
        one(2, "droppedAttributesCount", DROPPED, Uint32),
        many(3, "entityRefs", "entity_refs", Message(&ENTITY_REF)),
    ],
};

static ENTITY_REF: Message = Message {
    fields: &[
        one(1, "schemaUrl", "schema_url", String),
        one(2, "type", "type", String),
        many(3, "idKeys", "id_keys", String),
        many(4, "descriptionKeys", "description_keys", String),
    ],
};

static SCOPE: Message = Message {
    fields: &[
        one(1, "name", "name", String),
        one(2, "version", "version", String),
        many(3, "attributes", "attributes", Message(&KEY_VALUE)),
        one(4, "droppedAttributesCount", DROPPED, Uint32),
    ],
};

// --- traces

static RESOURCE_SPANS: Message = Message {
    fields: &[
        one(1, "resource", "resource", Message(&RESOURCE)),
        many(2, "scopeSpans", "scope_spans", Message(&SCOPE_SPANS)),
        one(3, "schemaUrl", "schema_url", String),
    ],
};

static SCOPE_SPANS: Message = Message {
    fields: &[
        one(1, "scope", "scope", Message(&SCOPE)),
        many(2, "spans", "spans", Message(&SPAN)),
        one(3, "schemaUrl", "schema_url", String),
    ],
};

static SPAN: Message = Message {
    fields: &[
        one(1, "traceId", "trace_id", Id),
        one(2, "spanId", "span_id", Id),
        one(4, "parentSpanId", "parent_span_id", Id),
        one(5, "name", "name", String),
        one(6, "kind", "kind", SPAN_KIND),
        one(7, "startTimeUnixNano", "start_time_unix_nano", Fixed64),
        one(8, "endTimeUnixNano", "end_time_unix_nano", Fixed64),
        many(9, "attributes", "attributes", Message(&KEY_VALUE)),
        one(15, "status", "status", Message(&STATUS)),
        many(11, "events", "events", Message(&EVENT)),
        many(13, "links", "links", Message(&LINK)),
        one(16, "flags", "flags", Fixed32),
        one(10, "droppedAttributesCount", DROPPED, Uint32),
        one(12, "droppedEventsCount", "dropped_events_count", Uint32),
        one(14, "droppedLinksCount", "dropped_links_count", Uint32),
        one(3, "traceState", "trace_state", String),
    ],
};

static EVENT: Message = Message {
    fields: &[
        one(1, "timeUnixNano", "time_unix_nano", Fixed64),
        one(2, "name", "name", String),
        many(3, "attributes", "attributes", Message(&KEY_VALUE)),
        one(4, "droppedAttributesCount", DROPPED, Uint32),
    ],
};

static LINK: Message = Message {
    fields: &[
        one(1, "traceId", "trace_id", Id),
        one(2, "spanId", "span_id", Id),
        one(3, "traceState", "trace_state", String),
        many(4, "attributes", "attributes", Message(&KEY_VALUE)),
        one(5, "droppedAttributesCount", DROPPED, Uint32),
        one(6, "flags", "flags", Fixed32),
    ],
};

static STATUS: Message = Message {
    fields: &[
        one(3, "code", "code", STATUS_CODE),
        one(2, "message", "message", String),
    ],
};

// --- logs

static RESOURCE_LOGS: Message = Message {
    fields: &[
        one(1, "resource", "resource", Message(&RESOURCE)),
        many(2, "scopeLogs", "scope_logs", Message(&SCOPE_LOGS)),
        one(3, "schemaUrl", "schema_url", String),
    ],
};

static SCOPE_LOGS: Message = Message {
    fields: &[
        one(1, "scope", "scope", Message(&SCOPE)),
        many(2, "logRecords", "log_records", Message(&LOG_RECORD)),
        one(3, "schemaUrl", "schema_url", String),
    ],
};

static LOG_RECORD: Message = Message {
    fields: &[
        one(1, "timeUnixNano", "time_unix_nano", Fixed64),
        one(11, "observedTimeUnixNano", "observed_time_unix_nano", Fixed64),
        one(2, "severityNumber", "severity_number", SEVERITY),
        one(3, "severityText", "severity_text", String),
        one(5, "body", "body", Message(&ANY_VALUE)),
        many(6, "attributes", "attributes", Message(&KEY_VALUE)),
        one(9, "traceId", "trace_id", Id),
        one(10, "spanId", "span_id", Id),
        one(8, "flags", "flags", Fixed32),
        one(7, "droppedAttributesCount", DROPPED, Uint32),
        one(12, "eventName", "event_name", String),
    ],
};

// --- metrics

static RESOURCE_METRICS: Message = Message {
    fields: &[
        one(1, "resource", "resource", Message(&RESOURCE)),
        many(2, "scopeMetrics", "scope_metrics", Message(&SCOPE_METRICS)),
        one(3, "schemaUrl", "schema_url", String),
    ],
};

static SCOPE_METRICS: Message = Message {
    fields: &[
        one(1, "scope", "scope", Message(&SCOPE)),
        many(2, "metrics", "metrics", Message(&METRIC)),
        one(3, "schemaUrl", "schema_url", String),
    ],
};

static METRIC: Message = Message {
    fields: &[
        one(1, "name", "name", String),
        one(2, "description", "description", String),
        one(3, "unit", "unit", String),
        either(5, "gauge", "gauge", Message(&GAUGE)),
        either(7, "sum", "sum", Message(&SUM)),
        either(9, "histogram", "histogram", Message(&HISTOGRAM)),
        either(
            10,
            "exponentialHistogram",
            "exponential_histogram",
            Message(&EXPONENTIAL_HISTOGRAM),
        ),
        either(11, "summary", "summary", Message(&SUMMARY)),
        many(12, "metadata", "metadata", Message(&KEY_VALUE)),
    ],
};

static GAUGE: Message = Message {
    fields: &[many(1, "dataPoints", "data_points", Message(&NUMBER_POINT))],
};

static SUM: Message = Message {
    fields: &[
        many(1, "dataPoints", "data_points", Message(&NUMBER_POINT)),
        one(2, "aggregationTemporality", "aggregation_temporality", TEMPORALITY),
        one(3, "isMonotonic", "is_monotonic", Bool),
    ],
};

static HISTOGRAM: Message = Message {
    fields: &[
        many(1, "dataPoints", "data_points", Message(&HISTOGRAM_POINT)),
        one(2, "aggregationTemporality", "aggregation_temporality", TEMPORALITY),
    ],
};

static EXPONENTIAL_HISTOGRAM: Message = Message {
    fields: &[
        many(1, "dataPoints", "data_points", Message(&EXPONENTIAL_HISTOGRAM_POINT)),
        one(2, "aggregationTemporality", "aggregation_temporality", TEMPORALITY),
    ],
};

static SUMMARY: Message = Message {
    fields: &[many(1, "dataPoints", "data_points", Message(&SUMMARY_POINT))],
};

static NUMBER_POINT: Message = Message {
    fields: &[
        many(7, "attributes", "attributes", Message(&KEY_VALUE)),
        one(2, "startTimeUnixNano", "start_time_unix_nano", Fixed64),
        one(3, "timeUnixNano", "time_unix_nano", Fixed64),
        either(4, "asDouble", "as_double", Double),
        either(6, "asInt", "as_int", Sfixed64),
        many(5, "exemplars", "exemplars", Message(&EXEMPLAR)),
        one(8, "flags", "flags", Uint32),
    ],
};

static HISTOGRAM_POINT: Message = Message {
    fields: &[
        many(9, "attributes", "attributes", Message(&KEY_VALUE)),
        one(2, "startTimeUnixNano", "start_time_unix_nano", Fixed64),
        one(3, "timeUnixNano", "time_unix_nano", Fixed64),
        one(4, "count", "count", Fixed64),
        one(5, "sum", "sum", Double),
        many(6, "bucketCounts", "bucket_counts", Fixed64),
        many(7, "explicitBounds", "explicit_bounds", Double),
        one(11, "min", "min", Double),
        one(12, "max", "max", Double),
        many(8, "exemplars", "exemplars", Message(&EXEMPLAR)),
        one(10, "flags", "flags", Uint32),
    ],
};

static EXPONENTIAL_HISTOGRAM_POINT: Message = Message {
    fields: &[
        many(1, "attributes", "attributes", Message(&KEY_VALUE)),
        one(2, "startTimeUnixNano", "start_time_unix_nano", Fixed64),
        one(3, "timeUnixNano", "time_unix_nano", Fixed64),
        one(4, "count", "count", Fixed64),
        one(5, "sum", "sum", Double),
        one(6, "scale", "scale", Sint32),
        one(7, "zeroCount", "zero_count", Fixed64),
        one(8, "positive", "positive", Message(&BUCKETS)),
        one(9, "negative", "negative", Message(&BUCKETS)),
        one(12, "min", "min", Double),
        one(13, "max", "max", Double),
        one(14, "zeroThreshold", "zero_threshold", Double),
        many(11, "exemplars", "exemplars", Message(&EXEMPLAR)),
        one(10, "flags", "flags", Uint32),
    ],
};

static BUCKETS: Message = Message {
    fields: &[
        one(1, "offset", "offset", Sint32),
        many(2, "bucketCounts", "bucket_counts", Uint64),
    ],
};

static SUMMARY_POINT: Message = Message {
    fields: &[
        many(7, "attributes", "attributes", Message(&KEY_VALUE)),
        one(2, "startTimeUnixNano", "start_time_unix_nano", Fixed64),
        one(3, "timeUnixNano", "time_unix_nano", Fixed64),
        one(4, "count", "count", Fixed64),
        one(5, "sum", "sum", Double),
        many(6, "quantileValues", "quantile_values", Message(&VALUE_AT_QUANTILE)),
        one(8, "flags", "flags", Uint32),
    ],
};

static VALUE_AT_QUANTILE: Message = Message {
    fields: &[one(1, "quantile", "quantile", Double), one(2, "value", "value", Double)],
};

static EXEMPLAR: Message = Message {
    fields: &[
        many(7, "filteredAttributes", "filtered_attributes", Message(&KEY_VALUE)),
        one(2, "timeUnixNano", "time_unix_nano", Fixed64),
        either(3, "asDouble", "as_double", Double),
        either(6, "asInt", "as_int", Sfixed64),
        one(4, "spanId", "span_id", Id),
        one(5, "traceId", "trace_id", Id),
    ],
};

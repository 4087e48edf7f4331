//! Which fields each message has: numbers and names from opentelemetry-proto 1.x.

use super::sink::{Encode, Sink};
use crate::model::*;

/// A request, or `TracesData`: the same shape.
pub(super) struct Traces<'a>(pub &'a [ResourceSpans]);

/// A request, or `LogsData`.
pub(super) struct Logs<'a>(pub &'a [ResourceLogs]);

/// A request, or `MetricsData`.
pub(super) struct Metrics<'a>(pub &'a [ResourceMetrics]);

impl Encode for Traces<'_> {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.messages(1, "resourceSpans", self.0);
    }
}

impl Encode for Logs<'_> {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.messages(1, "resourceLogs", self.0);
    }
}

impl Encode for Metrics<'_> {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.messages(1, "resourceMetrics", self.0);
    }
}

impl Encode for AnyValue {
    fn encode<S: Sink>(&self, s: &mut S) {
        match self {
            AnyValue::Empty => {}
            AnyValue::String(v) => s.put_string(1, "stringValue", v),
            AnyValue::Bool(v) => s.put_bool(2, "boolValue", *v),
            AnyValue::Int(v) => s.put_int64(3, "intValue", *v),
            AnyValue::Double(v) => s.put_double(4, "doubleValue", *v),
            AnyValue::Array(v) => s.put_message(5, "arrayValue", &Values(v)),
            AnyValue::KvList(v) => s.put_message(6, "kvlistValue", &Values(v)),
            AnyValue::Bytes(v) => s.put_bytes(7, "bytesValue", v),
        }
    }
}

/// `ArrayValue` and `KeyValueList`.
struct Values<'a, M>(&'a [M]);

impl<M: Encode> Encode for Values<'_, M> {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.messages(1, "values", self.0);
    }
}

impl Encode for KeyValue {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.string(1, "key", &self.key);
        s.put_message(2, "value", &self.value);
    }
}

impl Encode for Resource {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.messages(1, "attributes", &self.attributes);
        s.uint32(2, "droppedAttributesCount", self.dropped_attributes_count);
        s.messages(3, "entityRefs", &self.entity_refs);
    }
}

impl Encode for EntityRef {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.string(1, "schemaUrl", &self.schema_url);
        s.string(2, "type", &self.kind);
        s.strings(3, "idKeys", &self.id_keys);
        s.strings(4, "descriptionKeys", &self.description_keys);
    }
}

impl Encode for Scope {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.string(1, "name", &self.name);
        s.string(2, "version", &self.version);
        s.messages(3, "attributes", &self.attributes);
        s.uint32(4, "droppedAttributesCount", self.dropped_attributes_count);
    }
}

impl Encode for ResourceSpans {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.put_message(1, "resource", &self.resource);
        s.messages(2, "scopeSpans", &self.scope_spans);
        s.string(3, "schemaUrl", &self.schema_url);
    }
}

impl Encode for ScopeSpans {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.put_message(1, "scope", &self.scope);
        s.messages(2, "spans", &self.spans);
        s.string(3, "schemaUrl", &self.schema_url);
    }
}

impl Encode for Span {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.put_id(1, "traceId", &self.trace_id);
        s.put_id(2, "spanId", &self.span_id);
        s.string(3, "traceState", &self.trace_state);
        if let Some(id) = &self.parent_span_id {
            s.put_id(4, "parentSpanId", id);
        }
        s.string(5, "name", &self.name);
        s.int32(6, "kind", self.kind.0);
        s.fixed64(7, "startTimeUnixNano", self.start_time_unix_nano);
        s.fixed64(8, "endTimeUnixNano", self.end_time_unix_nano);
        s.messages(9, "attributes", &self.attributes);
        s.uint32(10, "droppedAttributesCount", self.dropped_attributes_count);
        s.messages(11, "events", &self.events);
        s.uint32(12, "droppedEventsCount", self.dropped_events_count);
        s.messages(13, "links", &self.links);
        s.uint32(14, "droppedLinksCount", self.dropped_links_count);
        s.put_message(15, "status", &self.status);
        s.fixed32(16, "flags", self.flags);
    }
}

impl Encode for Event {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.fixed64(1, "timeUnixNano", self.time_unix_nano);
        s.string(2, "name", &self.name);
        s.messages(3, "attributes", &self.attributes);
        s.uint32(4, "droppedAttributesCount", self.dropped_attributes_count);
    }
}

impl Encode for Link {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.put_id(1, "traceId", &self.trace_id);
        s.put_id(2, "spanId", &self.span_id);
        s.string(3, "traceState", &self.trace_state);
        s.messages(4, "attributes", &self.attributes);
        s.uint32(5, "droppedAttributesCount", self.dropped_attributes_count);
        s.fixed32(6, "flags", self.flags);
    }
}

impl Encode for Status {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.string(2, "message", &self.message);
        s.int32(3, "code", self.code.0);
    }
}

impl Encode for ResourceLogs {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.put_message(1, "resource", &self.resource);
        s.messages(2, "scopeLogs", &self.scope_logs);
        s.string(3, "schemaUrl", &self.schema_url);
    }
}

impl Encode for ScopeLogs {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.put_message(1, "scope", &self.scope);
        s.messages(2, "logRecords", &self.log_records);
        s.string(3, "schemaUrl", &self.schema_url);
    }
}

impl Encode for LogRecord {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.fixed64(1, "timeUnixNano", self.time_unix_nano);
        s.int32(2, "severityNumber", self.severity_number.0);
        s.string(3, "severityText", &self.severity_text);
        if let Some(body) = &self.body {
            s.put_message(5, "body", body);
        }
        s.messages(6, "attributes", &self.attributes);
        s.uint32(7, "droppedAttributesCount", self.dropped_attributes_count);
        s.fixed32(8, "flags", self.flags);
        if let Some(id) = &self.trace_id {
            s.put_id(9, "traceId", id);
        }
        if let Some(id) = &self.span_id {
            s.put_id(10, "spanId", id);
        }
        s.fixed64(11, "observedTimeUnixNano", self.observed_time_unix_nano);
        s.string(12, "eventName", &self.event_name);
    }
}

impl Encode for ResourceMetrics {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.put_message(1, "resource", &self.resource);
        s.messages(2, "scopeMetrics", &self.scope_metrics);
        s.string(3, "schemaUrl", &self.schema_url);
    }
}

impl Encode for ScopeMetrics {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.put_message(1, "scope", &self.scope);
        s.messages(2, "metrics", &self.metrics);
        s.string(3, "schemaUrl", &self.schema_url);
    }
}

impl Encode for Metric {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.string(1, "name", &self.name);
        s.string(2, "description", &self.description);
        s.string(3, "unit", &self.unit);
        match &self.data {
            None => {}
            Some(MetricData::Gauge(v)) => s.put_message(5, "gauge", v),
            Some(MetricData::Sum(v)) => s.put_message(7, "sum", v),
            Some(MetricData::Histogram(v)) => s.put_message(9, "histogram", v),
            Some(MetricData::ExponentialHistogram(v)) => {
                s.put_message(10, "exponentialHistogram", v);
            }
            Some(MetricData::Summary(v)) => s.put_message(11, "summary", v),
        }
        s.messages(12, "metadata", &self.metadata);
    }
}

impl Encode for Gauge {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.messages(1, "dataPoints", &self.data_points);
    }
}

impl Encode for Sum {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.messages(1, "dataPoints", &self.data_points);
        s.int32(2, "aggregationTemporality", self.aggregation_temporality.0);
        s.bool(3, "isMonotonic", self.is_monotonic);
    }
}

impl Encode for Histogram {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.messages(1, "dataPoints", &self.data_points);
        s.int32(2, "aggregationTemporality", self.aggregation_temporality.0);
    }
}

impl Encode for ExponentialHistogram {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.messages(1, "dataPoints", &self.data_points);
        s.int32(2, "aggregationTemporality", self.aggregation_temporality.0);
    }
}

impl Encode for Summary {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.messages(1, "dataPoints", &self.data_points);
    }
}

impl Encode for NumberDataPoint {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.fixed64(2, "startTimeUnixNano", self.start_time_unix_nano);
        s.fixed64(3, "timeUnixNano", self.time_unix_nano);
        match self.value {
            None => {}
            Some(Number::Double(v)) => s.put_double(4, "asDouble", v),
            Some(Number::Int(v)) => s.put_sfixed64(6, "asInt", v),
        }
        s.messages(5, "exemplars", &self.exemplars);
        s.messages(7, "attributes", &self.attributes);
        s.uint32(8, "flags", self.flags);
    }
}

impl Encode for HistogramDataPoint {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.fixed64(2, "startTimeUnixNano", self.start_time_unix_nano);
        s.fixed64(3, "timeUnixNano", self.time_unix_nano);
        s.fixed64(4, "count", self.count);
        if let Some(sum) = self.sum {
            s.put_double(5, "sum", sum);
        }
        s.fixed64s(6, "bucketCounts", &self.bucket_counts);
        s.doubles(7, "explicitBounds", &self.explicit_bounds);
        s.messages(8, "exemplars", &self.exemplars);
        s.messages(9, "attributes", &self.attributes);
        s.uint32(10, "flags", self.flags);
        if let Some(min) = self.min {
            s.put_double(11, "min", min);
        }
        if let Some(max) = self.max {
            s.put_double(12, "max", max);
        }
    }
}

impl Encode for ExponentialHistogramDataPoint {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.messages(1, "attributes", &self.attributes);
        s.fixed64(2, "startTimeUnixNano", self.start_time_unix_nano);
        s.fixed64(3, "timeUnixNano", self.time_unix_nano);
        s.fixed64(4, "count", self.count);
        if let Some(sum) = self.sum {
            s.put_double(5, "sum", sum);
        }
        s.sint32(6, "scale", self.scale);
        s.fixed64(7, "zeroCount", self.zero_count);
        if let Some(positive) = &self.positive {
            s.put_message(8, "positive", positive);
        }
        if let Some(negative) = &self.negative {
            s.put_message(9, "negative", negative);
        }
        s.uint32(10, "flags", self.flags);
        s.messages(11, "exemplars", &self.exemplars);
        if let Some(min) = self.min {
            s.put_double(12, "min", min);
        }
        if let Some(max) = self.max {
            s.put_double(13, "max", max);
        }
        s.double(14, "zeroThreshold", self.zero_threshold);
    }
}

impl Encode for Buckets {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.sint32(1, "offset", self.offset);
        s.uint64s(2, "bucketCounts", &self.bucket_counts);
    }
}

impl Encode for SummaryDataPoint {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.fixed64(2, "startTimeUnixNano", self.start_time_unix_nano);
        s.fixed64(3, "timeUnixNano", self.time_unix_nano);
        s.fixed64(4, "count", self.count);
        s.double(5, "sum", self.sum);
        s.messages(6, "quantileValues", &self.quantile_values);
        s.messages(7, "attributes", &self.attributes);
        s.uint32(8, "flags", self.flags);
    }
}

impl Encode for ValueAtQuantile {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.double(1, "quantile", self.quantile);
        s.double(2, "value", self.value);
    }
}

impl Encode for Exemplar {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.fixed64(2, "timeUnixNano", self.time_unix_nano);
        match self.value {
            None => {}
            Some(Number::Double(v)) => s.put_double(3, "asDouble", v),
            Some(Number::Int(v)) => s.put_sfixed64(6, "asInt", v),
        }
        if let Some(id) = &self.span_id {
            s.put_id(4, "spanId", id);
        }
        if let Some(id) = &self.trace_id {
            s.put_id(5, "traceId", id);
        }
        s.messages(7, "filteredAttributes", &self.filtered_attributes);
    }
}

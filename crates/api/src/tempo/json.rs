//! Tempo's messages in JSON, as its `jsonpb` marshaller writes them: the plain proto3 mapping, not OTLP/JSON. Ids are
//! base64, enumerations are names (numbers where we know no name), 64-bit integers are strings, and fields at their
//! default are left out.

use std::io::Write as _;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use otlp::model::{
    AnyValue, Event, KeyValue, Link, Resource, ResourceSpans, Scope, ScopeSpans, Span, SpanKind, Status, StatusCode,
};
use query::Trace;

use crate::cells::json_text;

/// Version 1: `{"batches": [...]}`.
pub(super) fn trace(spans: &[ResourceSpans]) -> Vec<u8> {
    let mut json = Json::default();
    json.object(|json| json.always("batches", spans, Json::resource_spans));
    json.out
}

/// Version 2: `{"trace": {"resourceSpans": [...]}, "metrics": {}, "status": "COMPLETE"}`. When spans are missing the
/// status is `PARTIAL` and `message` has the reason.
pub(super) fn trace_by_id_response(found: &Trace) -> Vec<u8> {
    let mut json = Json::default();
    json.object(|json| {
        json.member("trace");
        json.object(|json| json.always("resourceSpans", &found.resource_spans, Json::resource_spans));
        json.member("metrics");
        json.object(|_| {});
        json.string("status", if found.partial.is_some() { "PARTIAL" } else { "COMPLETE" });
        json.string("message", found.partial.as_deref().unwrap_or_default());
    });
    json.out
}

#[derive(Default)]
struct Json {
    out: Vec<u8>,
    /// Whether the object being written has a member already.
    some: bool,
}

impl Json {
    fn object(&mut self, members: impl FnOnce(&mut Self)) {
        self.out.push(b'{');
        self.some = false;
        members(self);
        self.out.push(b'}');
        self.some = true;
    }

    /// Starts a member; its name is ours and needs no escape.
    fn member(&mut self, name: &str) {
        if self.some {
            self.out.push(b',');
        }
        self.some = true;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn always<T>(&mut self, name: &str, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.member(name);
        self.out.push(b'[');
        for (i, value) in items.iter().enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            item(self, value);
        }
        self.out.push(b']');
    }

    fn list<T>(&mut self, name: &str, items: &[T], item: impl FnMut(&mut Self, &T)) {
        if !items.is_empty() {
            self.always(name, items, item);
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a vector does not fail.
        let _ = self.out.write_fmt(text);
    }

    fn string(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.member(name);
            json_text(value, &mut self.out);
        }
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.member(name);
        self.write(format_args!("\"{}\"", Base64Display::new(value, &STANDARD)));
    }

    fn fixed64(&mut self, name: &str, value: u64) {
        if value != 0 {
            self.member(name);
            self.write(format_args!("\"{value}\""));
        }
    }

    fn uint32(&mut self, name: &str, value: u32) {
        if value != 0 {
            self.member(name);
            self.write(format_args!("{value}"));
        }
    }

    fn enumeration(&mut self, name: &str, value: i32, text: Option<&str>) {
        if value != 0 {
            self.member(name);
            match text {
                Some(text) => self.write(format_args!("\"{text}\"")),
                None => self.write(format_args!("{value}")),
            }
        }
    }

    fn resource_spans(&mut self, value: &ResourceSpans) {
        self.object(|json| {
            json.member("resource");
            json.resource(&value.resource);
            json.list("scopeSpans", &value.scope_spans, Self::scope_spans);
            json.string("schemaUrl", &value.schema_url);
        });
    }

    fn resource(&mut self, value: &Resource) {
        self.object(|json| {
            json.attributes(&value.attributes);
            json.uint32("droppedAttributesCount", value.dropped_attributes_count);
        });
    }

    fn scope_spans(&mut self, value: &ScopeSpans) {
        self.object(|json| {
            json.member("scope");
            json.scope(&value.scope);
            json.list("spans", &value.spans, Self::span);
            json.string("schemaUrl", &value.schema_url);
        });
    }

    fn scope(&mut self, value: &Scope) {
        self.object(|json| {
            json.string("name", &value.name);
            json.string("version", &value.version);
            json.attributes(&value.attributes);
            json.uint32("droppedAttributesCount", value.dropped_attributes_count);
        });
    }

    fn span(&mut self, span: &Span) {
        self.object(|json| {
            json.bytes("traceId", &span.trace_id);
            json.bytes("spanId", &span.span_id);
            json.string("traceState", &span.trace_state);
            if let Some(parent) = &span.parent_span_id {
                json.bytes("parentSpanId", parent);
            }
            json.uint32("flags", span.flags);
            json.string("name", &span.name);
            json.enumeration("kind", span.kind.0, kind(span.kind));
            json.fixed64("startTimeUnixNano", span.start_time_unix_nano);
            json.fixed64("endTimeUnixNano", span.end_time_unix_nano);
            json.attributes(&span.attributes);
            json.uint32("droppedAttributesCount", span.dropped_attributes_count);
            json.list("events", &span.events, Self::event);
            json.uint32("droppedEventsCount", span.dropped_events_count);
            json.list("links", &span.links, Self::link);
            json.uint32("droppedLinksCount", span.dropped_links_count);
            json.member("status");
            json.status(&span.status);
        });
    }

    fn event(&mut self, event: &Event) {
        self.object(|json| {
            json.fixed64("timeUnixNano", event.time_unix_nano);
            json.string("name", &event.name);
            json.attributes(&event.attributes);
            json.uint32("droppedAttributesCount", event.dropped_attributes_count);
        });
    }

    fn link(&mut self, link: &Link) {
        self.object(|json| {
            json.bytes("traceId", &link.trace_id);
            json.bytes("spanId", &link.span_id);
            json.string("traceState", &link.trace_state);
            json.attributes(&link.attributes);
            json.uint32("droppedAttributesCount", link.dropped_attributes_count);
            json.uint32("flags", link.flags);
        });
    }

    fn status(&mut self, status: &Status) {
        self.object(|json| {
            json.string("message", &status.message);
            json.enumeration("code", status.code.0, code(status.code));
        });
    }

    fn attributes(&mut self, attributes: &[KeyValue]) {
        self.list("attributes", attributes, Self::key_value);
    }

    fn key_value(&mut self, pair: &KeyValue) {
        self.object(|json| {
            json.string("key", &pair.key);
            json.member("value");
            json.value(&pair.value);
        });
    }

    fn value(&mut self, value: &AnyValue) {
        self.object(|json| match value {
            AnyValue::Empty => {}
            AnyValue::String(text) => {
                json.member("stringValue");
                json_text(text, &mut json.out);
            }
            AnyValue::Bool(value) => {
                json.member("boolValue");
                json.write(format_args!("{value}"));
            }
            AnyValue::Int(value) => {
                json.member("intValue");
                json.write(format_args!("\"{value}\""));
            }
            AnyValue::Double(value) => {
                json.member("doubleValue");
                json.double(*value);
            }
            AnyValue::Bytes(value) => json.bytes("bytesValue", value),
            AnyValue::Array(values) => {
                json.member("arrayValue");
                json.object(|json| json.list("values", values, Self::value));
            }
            AnyValue::KvList(values) => {
                json.member("kvlistValue");
                json.object(|json| json.list("values", values, Self::key_value));
            }
        });
    }

    fn double(&mut self, value: f64) {
        if value.is_finite() {
            // The shortest digits that read back as the same number; writing to a vector does not fail.
            let _ = serde_json::to_writer(&mut self.out, &value);
        } else if value.is_nan() {
            self.out.extend_from_slice(b"\"NaN\"");
        } else {
            self.out.extend_from_slice(if value > 0.0 {
                b"\"Infinity\"".as_slice()
            } else {
                b"\"-Infinity\""
            });
        }
    }
}

fn kind(kind: SpanKind) -> Option<&'static str> {
    match kind {
        SpanKind::UNSPECIFIED => Some("SPAN_KIND_UNSPECIFIED"),
        SpanKind::INTERNAL => Some("SPAN_KIND_INTERNAL"),
        SpanKind::SERVER => Some("SPAN_KIND_SERVER"),
        SpanKind::CLIENT => Some("SPAN_KIND_CLIENT"),
        SpanKind::PRODUCER => Some("SPAN_KIND_PRODUCER"),
        SpanKind::CONSUMER => Some("SPAN_KIND_CONSUMER"),
        _ => None,
    }
}

fn code(code: StatusCode) -> Option<&'static str> {
    match code {
        StatusCode::UNSET => Some("STATUS_CODE_UNSET"),
        StatusCode::OK => Some("STATUS_CODE_OK"),
        StatusCode::ERROR => Some("STATUS_CODE_ERROR"),
        _ => None,
    }
}

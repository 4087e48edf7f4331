//! OTLP/JSON out: the proto3 JSON mapping with OTLP's own rules (specification, "JSON Protobuf Encoding"): ids in hex,
//! enumerations as numbers. 64-bit integers are strings, bytes are base64, and a double that is not finite is a string.

use std::io::Write as _;
use std::time::Duration;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;

use super::answers::{ExportResponse, PartialSuccess, RpcStatus};
use super::fields::{Logs, Metrics, Traces};
use super::protobuf::RETRY_INFO;
use super::sink::{Encode, Sink};
use crate::model::{ResourceLogs, ResourceMetrics, ResourceSpans, Signal};

/// `{"resourceSpans": [...]}`; `{}` when empty.
pub fn encode_traces(spans: &[ResourceSpans]) -> Vec<u8> {
    encode(&Traces(spans))
}

/// `{"resourceLogs": [...]}`; `{}` when empty.
pub fn encode_logs(logs: &[ResourceLogs]) -> Vec<u8> {
    encode(&Logs(logs))
}

/// `{"resourceMetrics": [...]}`; `{}` when empty.
pub fn encode_metrics(metrics: &[ResourceMetrics]) -> Vec<u8> {
    encode(&Metrics(metrics))
}

/// As [`protobuf::export_response`](super::protobuf::export_response): `{"partialSuccess": {"rejectedSpans": "3", ...}}`,
/// with the signal's own name for the count; `{}` for full success.
pub fn export_response(signal: Signal, rejected: i64, message: &str) -> Vec<u8> {
    encode(&ExportResponse(PartialSuccess {
        signal,
        rejected,
        message,
    }))
}

/// As [`protobuf::google_rpc_status`](super::protobuf::google_rpc_status).
pub fn google_rpc_status(code: i32, message: &str, retry_delay: Option<Duration>) -> Vec<u8> {
    encode(&RpcStatus {
        code,
        message,
        retry_delay,
    })
}

fn encode(message: &impl Encode) -> Vec<u8> {
    let mut json = Json {
        out: Vec::new(),
        first: true,
    };
    json.object(message);
    json.out
}

struct Json {
    out: Vec<u8>,
    /// Whether the object being written has no member yet.
    first: bool,
}

impl Json {
    fn name(&mut self, name: &str) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        // Names are ours: letters and '@' only.
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn object(&mut self, message: &impl Encode) {
        self.out.push(b'{');
        self.first = true;
        message.encode(self);
        self.out.push(b'}');
        self.first = false;
    }

    fn list<T>(&mut self, name: &str, values: &[T], mut item: impl FnMut(&mut Self, &T)) {
        if values.is_empty() {
            return;
        }
        self.name(name);
        self.out.push(b'[');
        for (i, value) in values.iter().enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            item(self, value);
        }
        self.out.push(b']');
    }

    fn display(&mut self, value: std::fmt::Arguments<'_>) {
        // Writing to a vector does not fail.
        let _ = self.out.write_fmt(value);
    }

    fn text(&mut self, value: &str) {
        // A string always serialises, and writing to a vector does not fail.
        let _ = serde_json::to_writer(&mut self.out, value);
    }

    fn number(&mut self, value: f64) {
        if value.is_finite() {
            // Shortest digits that read back as the same double.
            let _ = serde_json::to_writer(&mut self.out, &value);
        } else if value.is_nan() {
            self.out.extend_from_slice(b"\"NaN\"");
        } else if value > 0.0 {
            self.out.extend_from_slice(b"\"Infinity\"");
        } else {
            self.out.extend_from_slice(b"\"-Infinity\"");
        }
    }
}

impl Sink for Json {
    fn put_string(&mut self, _: u32, name: &str, value: &str) {
        self.name(name);
        self.text(value);
    }

    fn put_bytes(&mut self, _: u32, name: &str, value: &[u8]) {
        self.name(name);
        self.out.push(b'"');
        self.display(format_args!("{}", Base64Display::new(value, &STANDARD)));
        self.out.push(b'"');
    }

    fn put_bool(&mut self, _: u32, name: &str, value: bool) {
        self.name(name);
        self.display(format_args!("{value}"));
    }

    fn put_int64(&mut self, _: u32, name: &str, value: i64) {
        self.name(name);
        self.display(format_args!("\"{value}\""));
    }

    fn put_sfixed64(&mut self, number: u32, name: &str, value: i64) {
        self.put_int64(number, name, value);
    }

    fn put_double(&mut self, _: u32, name: &str, value: f64) {
        self.name(name);
        self.number(value);
    }

    fn put_id(&mut self, _: u32, name: &str, value: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.name(name);
        self.out.push(b'"');
        for byte in value {
            self.out.push(DIGITS[usize::from(byte >> 4)]);
            self.out.push(DIGITS[usize::from(byte & 15)]);
        }
        self.out.push(b'"');
    }

    fn put_uint32(&mut self, _: u32, name: &str, value: u32) {
        self.name(name);
        self.display(format_args!("{value}"));
    }

    fn put_int32(&mut self, _: u32, name: &str, value: i32) {
        self.name(name);
        self.display(format_args!("{value}"));
    }

    fn put_sint32(&mut self, number: u32, name: &str, value: i32) {
        self.put_int32(number, name, value);
    }

    fn put_fixed32(&mut self, number: u32, name: &str, value: u32) {
        self.put_uint32(number, name, value);
    }

    fn put_fixed64(&mut self, _: u32, name: &str, value: u64) {
        self.name(name);
        self.display(format_args!("\"{value}\""));
    }

    fn put_message<M: Encode>(&mut self, _: u32, name: &str, value: &M) {
        self.name(name);
        self.object(value);
    }

    fn put_retry_info(&mut self, _: u32, name: &str, delay: Duration) {
        self.name(name);
        let (seconds, nanos) = (delay.as_secs(), delay.subsec_nanos());
        self.display(format_args!(r#"[{{"@type":"{RETRY_INFO}","retryDelay":"{seconds}"#));
        // 0, 3, 6 or 9 fractional digits, says google.protobuf.Duration.
        match nanos {
            0 => {}
            n if n % 1_000_000 == 0 => self.display(format_args!(".{:03}", n / 1_000_000)),
            n if n % 1_000 == 0 => self.display(format_args!(".{:06}", n / 1_000)),
            n => self.display(format_args!(".{n:09}")),
        }
        self.out.extend_from_slice(b"s\"}]");
    }

    fn messages<M: Encode>(&mut self, _: u32, name: &str, values: &[M]) {
        self.list(name, values, |json, value| json.object(value));
    }

    fn strings(&mut self, _: u32, name: &str, values: &[String]) {
        self.list(name, values, |json, value| json.text(value));
    }

    fn uint64s(&mut self, _: u32, name: &str, values: &[u64]) {
        self.list(name, values, |json, value| {
            json.display(format_args!("\"{value}\""));
        });
    }

    fn fixed64s(&mut self, number: u32, name: &str, values: &[u64]) {
        self.uint64s(number, name, values);
    }

    fn doubles(&mut self, _: u32, name: &str, values: &[f64]) {
        self.list(name, values, |json, &value| json.number(value));
    }
}

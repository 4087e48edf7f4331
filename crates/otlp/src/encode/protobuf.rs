//! Protobuf out.

use std::time::Duration;

use super::answers::{ExportResponse, PartialSuccess, RpcStatus};
use super::fields::{Logs, Metrics, Traces};
use super::sink::{Encode, Sink};
use crate::model::{ResourceLogs, ResourceMetrics, ResourceSpans, Signal};
use crate::wire::Writer;

/// The type that `google.rpc.Status` details carry a retry delay as.
pub(super) const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// An `ExportTraceServiceRequest`, which is also a `TracesData`.
pub fn encode_traces(spans: &[ResourceSpans]) -> Vec<u8> {
    encode(&Traces(spans))
}

/// An `ExportLogsServiceRequest`, which is also a `LogsData`.
pub fn encode_logs(logs: &[ResourceLogs]) -> Vec<u8> {
    encode(&Logs(logs))
}

/// An `ExportMetricsServiceRequest`, which is also a `MetricsData`.
pub fn encode_metrics(metrics: &[ResourceMetrics]) -> Vec<u8> {
    encode(&Metrics(metrics))
}

/// An `ExportTraceServiceResponse` (or of logs or metrics: their bytes are the same) that refuses `rejected` items for the
/// reason in `message`. With 0 rejected, a message is a warning; with neither the response is empty: full success.
pub fn export_response(rejected: i64, message: &str) -> Vec<u8> {
    encode(&ExportResponse(PartialSuccess {
        // The signal names a JSON field; it has no place on the wire.
        signal: Signal::Traces,
        rejected,
        message,
    }))
}

/// A `google.rpc.Status`: the body of an OTLP/HTTP error, and of gRPC's `grpc-status-details-bin`. `code` is a gRPC code;
/// with a `retry_delay`, the details hold a `RetryInfo`, which tells the client when to send the same request again.
pub fn google_rpc_status(code: i32, message: &str, retry_delay: Option<Duration>) -> Vec<u8> {
    encode(&RpcStatus {
        code,
        message,
        retry_delay,
    })
}

/// A `google.rpc.RetryInfo` by itself: the trailer `google.rpc.retryinfo-bin`, which is where the OpenTelemetry SDK for
/// Python looks for the delay.
pub fn retry_info(delay: Duration) -> Vec<u8> {
    let mut out = Vec::new();
    put_delay(&mut Writer::new(&mut out), delay);
    out
}

/// The field of a `RetryInfo`.
fn put_delay(writer: &mut Writer<'_>, delay: Duration) {
    let duration = writer.open(1);
    writer.varint(1, delay.as_secs());
    writer.varint(2, u64::from(delay.subsec_nanos()));
    writer.close(duration);
}

fn encode(message: &impl Encode) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut Protobuf(Writer::new(&mut out)));
    out
}

struct Protobuf<'a>(Writer<'a>);

impl Sink for Protobuf<'_> {
    fn put_string(&mut self, number: u32, _: &str, value: &str) {
        self.0.bytes(number, value.as_bytes());
    }

    fn put_bytes(&mut self, number: u32, _: &str, value: &[u8]) {
        self.0.bytes(number, value);
    }

    fn put_bool(&mut self, number: u32, _: &str, value: bool) {
        self.0.varint(number, u64::from(value));
    }

    fn put_int64(&mut self, number: u32, _: &str, value: i64) {
        self.0.varint(number, value as u64);
    }

    fn put_sfixed64(&mut self, number: u32, _: &str, value: i64) {
        self.0.fixed64(number, value as u64);
    }

    fn put_double(&mut self, number: u32, _: &str, value: f64) {
        self.0.fixed64(number, value.to_bits());
    }

    fn put_id(&mut self, number: u32, _: &str, value: &[u8]) {
        self.0.bytes(number, value);
    }

    fn put_uint32(&mut self, number: u32, _: &str, value: u32) {
        self.0.varint(number, u64::from(value));
    }

    fn put_int32(&mut self, number: u32, _: &str, value: i32) {
        self.0.varint(number, i64::from(value) as u64);
    }

    fn put_sint32(&mut self, number: u32, _: &str, value: i32) {
        self.0.sint32(number, value);
    }

    fn put_fixed32(&mut self, number: u32, _: &str, value: u32) {
        self.0.fixed32(number, value);
    }

    fn put_fixed64(&mut self, number: u32, _: &str, value: u64) {
        self.0.fixed64(number, value);
    }

    fn put_message<M: Encode>(&mut self, number: u32, _: &str, value: &M) {
        let open = self.0.open(number);
        value.encode(self);
        self.0.close(open);
    }

    fn put_retry_info(&mut self, number: u32, _: &str, delay: Duration) {
        let any = self.0.open(number);
        self.0.bytes(1, RETRY_INFO.as_bytes());
        let retry_info = self.0.open(2);
        put_delay(&mut self.0, delay);
        self.0.close(retry_info);
        self.0.close(any);
    }

    fn messages<M: Encode>(&mut self, number: u32, name: &str, values: &[M]) {
        for value in values {
            self.put_message(number, name, value);
        }
    }

    fn strings(&mut self, number: u32, _: &str, values: &[String]) {
        for value in values {
            self.0.bytes(number, value.as_bytes());
        }
    }

    fn uint64s(&mut self, number: u32, _: &str, values: &[u64]) {
        if !values.is_empty() {
            let open = self.0.open(number);
            values.iter().for_each(|&v| self.0.raw_varint(v));
            self.0.close(open);
        }
    }

    fn fixed64s(&mut self, number: u32, _: &str, values: &[u64]) {
        if !values.is_empty() {
            let open = self.0.open(number);
            values.iter().for_each(|&v| self.0.raw_fixed64(v));
            self.0.close(open);
        }
    }

    fn doubles(&mut self, number: u32, _: &str, values: &[f64]) {
        if !values.is_empty() {
            let open = self.0.open(number);
            values.iter().for_each(|&v| self.0.raw_fixed64(v.to_bits()));
            self.0.close(open);
        }
    }
}

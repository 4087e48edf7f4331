//! Tempo's messages in protobuf (`pkg/tempopb/tempo.proto`).

use otlp::encode::protobuf::encode_traces;
use otlp::model::ResourceSpans;
use otlp::wire::Writer;
use query::Trace;

/// `PartialStatus.PARTIAL`; `COMPLETE` is 0, the default.
const PARTIAL: u64 = 1;

/// `tempopb.Trace`: `ResourceSpans` in field 1, the same bytes as OTLP's `TracesData`.
pub(super) fn trace(spans: &[ResourceSpans]) -> Vec<u8> {
    encode_traces(spans)
}

/// `tempopb.TraceByIDResponse`: `trace = 1`, `metrics = 2`, `status = 3`, `message = 4`. We have no metrics to tell.
pub(super) fn trace_by_id_response(found: &Trace) -> Vec<u8> {
    let trace = trace(&found.resource_spans);
    let mut out = Vec::with_capacity(trace.len() + 16);
    let mut writer = Writer::new(&mut out);
    writer.bytes(1, &trace);
    if let Some(reason) = &found.partial {
        writer.varint(3, PARTIAL);
        writer.bytes(4, reason.as_bytes());
    }
    out
}

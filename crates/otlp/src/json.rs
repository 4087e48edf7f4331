//! OTLP/JSON in: request bodies transcoded to protobuf bytes, so that there is one decode path behind it.
//!
//! A body is read once from front to back and written as it is read: no tree is built, nothing is kept but the output. A
//! table per message ([`schema`]) says what each key means; one transcoder serves all of them. The rules are those of
//! the OTLP specification, "JSON Protobuf Encoding", on top of the proto3 JSON mapping:
//!
//! - trace and span ids are hex digits in any case, or empty; their length is not checked here, so that a wrong one costs
//!   its item and not the request;
//! - enumerations are numbers (their names are accepted too);
//! - 64-bit integers are strings or numbers; doubles are numbers, numbers in strings, `"NaN"`, `"Infinity"`, `"-Infinity"`;
//! - bytes are base64 in either alphabet, padded or not;
//! - keys are lowerCamelCase (the original snake_case is accepted too), unknown ones are ignored, and `null` is absence;
//! - a key given twice, or two members of a oneof, is an error: no reading of it would be the right one.
//!
//! A body that breaks a rule is malformed as a whole: the answer is 400, and the sender must not retry. Half of a surrogate
//! pair in a string becomes U+FFFD: one cut-off log line is no reason to refuse a batch.

mod error;
mod lexer;
mod schema;
mod transcode;

#[cfg(test)]
mod tests;

pub use error::JsonError;

/// How much a body may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// Objects and lists within each other; the body itself is the first. Above 256 counts as 256, because each level
    /// costs stack.
    pub max_depth: usize,
}

impl Default for JsonLimits {
    /// 128 levels: room for some 38 lists within lists in an attribute, and what other JSON parsers stop at.
    fn default() -> Self {
        JsonLimits { max_depth: 128 }
    }
}

/// Appends the `ExportTraceServiceRequest` that `json` stands for to `out`.
///
/// Errors when `json` is not an OTLP/JSON trace request; `out` is then as it was.
pub fn traces_to_protobuf(json: &[u8], out: &mut Vec<u8>, limits: JsonLimits) -> Result<(), JsonError> {
    transcode::transcode(&schema::TRACES, json, out, limits)
}

/// Appends the `ExportLogsServiceRequest` that `json` stands for to `out`.
///
/// Errors when `json` is not an OTLP/JSON logs request; `out` is then as it was.
pub fn logs_to_protobuf(json: &[u8], out: &mut Vec<u8>, limits: JsonLimits) -> Result<(), JsonError> {
    transcode::transcode(&schema::LOGS, json, out, limits)
}

/// Appends the `ExportMetricsServiceRequest` that `json` stands for to `out`.
///
/// Errors when `json` is not an OTLP/JSON metrics request; `out` is then as it was.
pub fn metrics_to_protobuf(json: &[u8], out: &mut Vec<u8>, limits: JsonLimits) -> Result<(), JsonError> {
    transcode::transcode(&schema::METRICS, json, out, limits)
}

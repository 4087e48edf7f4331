//! What a receiver answers: `Export*ServiceResponse` (opentelemetry-proto, `collector/`) and `google.rpc.Status` with its
//! retry hint (OTLP, "OTLP/gRPC Throttling" and "Failures").

use std::time::Duration;

use super::sink::{Encode, Sink};
use crate::model::Signal;

/// An `Export*ServiceResponse`. The three signals' messages differ in one JSON name only.
pub(super) struct ExportResponse<'a>(pub PartialSuccess<'a>);

/// How many items were refused and why.
pub(super) struct PartialSuccess<'a> {
    pub signal: Signal,
    pub rejected: i64,
    pub message: &'a str,
}

impl Encode for ExportResponse<'_> {
    fn encode<S: Sink>(&self, s: &mut S) {
        // "If the request is fully accepted, partial_success must not be set."
        if self.0.rejected != 0 || !self.0.message.is_empty() {
            s.put_message(1, "partialSuccess", &self.0);
        }
    }
}

impl Encode for PartialSuccess<'_> {
    fn encode<S: Sink>(&self, s: &mut S) {
        let rejected = match self.signal {
            Signal::Traces => "rejectedSpans",
            Signal::Logs => "rejectedLogRecords",
            Signal::Metrics => "rejectedDataPoints",
        };
        s.int64(1, rejected, self.rejected);
        s.string(2, "errorMessage", self.message);
    }
}

/// `google.rpc.Status`.
pub(super) struct RpcStatus<'a> {
    pub code: i32,
    pub message: &'a str,
    pub retry_delay: Option<Duration>,
}

impl Encode for RpcStatus<'_> {
    fn encode<S: Sink>(&self, s: &mut S) {
        s.int32(1, "code", self.code);
        s.string(2, "message", self.message);
        if let Some(delay) = self.retry_delay {
            s.put_retry_info(3, "details", delay);
        }
    }
}

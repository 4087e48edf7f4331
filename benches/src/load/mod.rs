//! The neutral load: seeded streams of encoded OTLP export requests, as agents of a 20-service shop would send them.
//!
//! Every generator is an iterator of [`Request`]s in the order in which they would be sent. They know no server, no
//! clock and no file: the caller gives the seed, the first instant and how many items to make. Sizes were
//! calibrated so that `zstd -1` of each request, the yardstick for bytes at rest, does no better than on the load
//! that the published peer figures come from (see [`Expected`]).

pub mod agents;
pub mod logs;
pub mod metrics;
pub mod random;
pub mod rename;
pub mod services;
pub mod spans;

use bytes::Bytes;

/// One encoded `Export*ServiceRequest` (protobuf, uncompressed).
#[derive(Debug, Clone)]
pub struct Request {
    /// The message, without gRPC framing.
    pub bytes: Bytes,
    /// Spans, log records or scalar samples in it.
    pub items: u32,
}

/// What to generate.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Equal seeds give equal loads.
    pub seed: u64,
    /// Stop after the first request (spans: trace) with which at least this many items exist.
    pub items: u64,
    /// Event time of the first item, ns since the Unix epoch.
    pub start: i64,
    /// Items per second of event time; spans and logs only, metrics tick every 15 s.
    pub rate: f64,
}

/// The signals of OTLP that the load covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Scalar samples; an explicit histogram point with 14 bounds counts 17.
    Metrics,
}

/// What the neutral load of the baseline looks like, to compare a calibration with.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Bytes per item of the encoded requests.
    pub raw: f64,
    /// Lowest acceptable bytes per item after `zstd -1` of each request.
    pub zstd_least: f64,
}

impl Signal {
    /// All signals.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Logs, Self::Metrics];

    /// What one item is called.
    pub fn item(self) -> &'static str {
        match self {
            Self::Traces => "span",
            Self::Logs => "log record",
            Self::Metrics => "sample",
        }
    }

    /// The lower-case plural that names the signal in files and commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }

    /// The gRPC path of its export method (OTLP 1.x, service definitions).
    pub fn grpc_path(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }

    /// The neutral load's sizes.
    pub fn expected(self) -> Expected {
        match self {
            Self::Traces => Expected {
                raw: 512.0,
                zstd_least: 66.0,
            },
            Self::Logs => Expected {
                raw: 292.0,
                zstd_least: 56.0,
            },
            Self::Metrics => Expected {
                raw: 59.5,
                zstd_least: 5.4,
            },
        }
    }

    /// The requests of `plan`, in sending order.
    pub fn requests(self, plan: Plan) -> Box<dyn Iterator<Item = Request> + Send> {
        match self {
            Self::Traces => Box::new(spans::Spans::new(plan)),
            Self::Logs => Box::new(logs::Logs::new(plan)),
            Self::Metrics => Box::new(metrics::Metrics::new(plan)),
        }
    }
}

#[cfg(test)]
mod tests;

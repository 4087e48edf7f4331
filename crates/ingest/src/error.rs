use std::time::Duration;

use limits::Refusal;

/// Why a request was not accepted. Each transport maps these kinds to its own codes in one place.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IngestError {
    /// The request can never succeed: do not retry.
    #[error("{0}")]
    Invalid(String),
    /// The request is larger than allowed: do not retry, send smaller batches.
    #[error("the request is larger than {limit} bytes {what}; send smaller batches or raise {key}")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
        /// `as sent` or `when decompressed`.
        what: &'static str,
        /// The configuration key of the limit.
        key: &'static str,
    },
    /// An encoding that is not supported.
    #[error("{0}")]
    Unsupported(String),
    /// Too much is waiting to be committed: retry after a while.
    #[error("too much data is waiting to be committed (ingest.max_pending_bytes); retry in {0:?}")]
    Busy(Duration),
    /// The tenant reached one of its limits: retry after a while. The text names the limit.
    #[error("{}", .0.message)]
    Limited(Refusal),
    /// The store or the catalog failed, or the process is shutting down: retry after a while.
    #[error("not stored: {0}; retry")]
    Unavailable(String),
    /// A defect here.
    #[error("internal error: {0}")]
    Internal(String),
}

impl IngestError {
    /// How long the sender should wait before it retries; `None` if it should not retry.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy(delay) => Some(*delay),
            Self::Limited(refusal) => Some(refusal.retry_after),
            Self::Unavailable(_) => Some(Duration::from_secs(1)),
            Self::Invalid(_) | Self::TooLarge { .. } | Self::Unsupported(_) | Self::Internal(_) => None,
        }
    }

    /// The gRPC code (google.rpc.Code), chosen after OTLP 1.x "Failures": only UNAVAILABLE, and RESOURCE_EXHAUSTED with
    /// RetryInfo, are retried by senders.
    pub const fn grpc_code(&self) -> i32 {
        match self {
            Self::Invalid(_) | Self::TooLarge { .. } => 3,
            Self::Unsupported(_) => 12,
            Self::Busy(_) | Self::Limited(_) => 8,
            Self::Unavailable(_) => 14,
            Self::Internal(_) => 13,
        }
    }

    /// The HTTP status (OTLP/HTTP 1.x, "Failures").
    pub const fn http_status(&self) -> u16 {
        match self {
            Self::Invalid(_) => 400,
            Self::TooLarge { .. } => 413,
            Self::Unsupported(_) => 415,
            Self::Busy(_) | Self::Limited(_) => 429,
            Self::Unavailable(_) => 503,
            Self::Internal(_) => 500,
        }
    }
}

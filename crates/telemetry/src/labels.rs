//! The labels of our metrics: enums with fixed names, so that a query on a dashboard is checked by the compiler here.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, LabelValueEncoder};
use schema::Dataset;

/// An enum whose variants are the values of a label.
macro_rules! label_values {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value of the label.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder) -> fmt::Result {
                self.as_str().encode(encoder)
            }
        }
    };
}

label_values! {
    /// An OTLP signal.
    Signal {
        /// Spans.
        Traces = "traces",
        /// Metric points.
        Metrics = "metrics",
        /// Log records.
        Logs = "logs",
    }
}

label_values! {
    /// How a request came.
    Transport {
        /// OTLP over gRPC.
        Grpc = "grpc",
        /// OTLP over HTTP, protobuf or JSON.
        Http = "http",
    }
}

label_values! {
    /// How an OTLP export request was answered, in the words of gRPC's status codes; HTTP answers are counted under
    /// the code that the OTLP specification pairs them with.
    RequestStatus {
        /// Everything was accepted.
        Ok = "ok",
        /// Accepted, with some items rejected.
        PartialSuccess = "partial_success",
        /// The request is malformed or too large; it must not be retried.
        InvalidArgument = "invalid_argument",
        /// Who sends it is not known.
        Unauthenticated = "unauthenticated",
        /// Who sends it may not.
        PermissionDenied = "permission_denied",
        /// A budget is used up; to be retried later.
        ResourceExhausted = "resource_exhausted",
        /// The store or the catalog is down, or the process is stopping; to be retried later.
        Unavailable = "unavailable",
        /// The sender went away before the answer.
        Cancelled = "cancelled",
        /// Our fault.
        Internal = "internal",
    }
}

label_values! {
    /// A part of a group commit.
    CommitPhase {
        /// Columns become the bytes of a segment.
        Encode = "encode",
        /// The segment is written to the store.
        Put = "put",
        /// The segment's rows are committed to the catalog.
        Catalog = "catalog",
    }
}

label_values! {
    /// How an object-store request ended.
    StoreStatus {
        /// As asked.
        Ok = "ok",
        /// There is no such object.
        NotFound = "not_found",
        /// It took longer than allowed.
        Timeout = "timeout",
        /// Any other failure.
        Error = "error",
    }
}

label_values! {
    /// How a query ended.
    QueryStatus {
        /// With its whole result.
        Ok = "ok",
        /// The query itself is wrong.
        Invalid = "invalid",
        /// It reached a limit: memory, scanned bytes or rows.
        Limit = "limit",
        /// It took longer than allowed.
        Timeout = "timeout",
        /// The client went away.
        Cancelled = "cancelled",
        /// Too many others were running.
        Rejected = "rejected",
        /// Our fault, or that of the store or the catalog.
        Error = "error",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub service: Arc<String>,
    pub signal: Signal,
    pub transport: Transport,
    pub status: RequestStatus,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReceivedLabels {
    pub signal: Signal,
    pub transport: Transport,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RejectedLabels {
    pub signal: Signal,
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LimitLabels {
    pub tenant: Arc<String>,
    pub limit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PhaseLabel {
    pub phase: CommitPhase,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CacheLabel {
    pub cache: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct UseLabel {
    pub of: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OperationLabel {
    pub operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OperationStatusLabels {
    pub operation: &'static str,
    pub status: StoreStatus,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ApiLabel {
    pub api: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ApiStatusLabels {
    pub api: &'static str,
    pub status: QueryStatus,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct BuildLabels {
    pub version: String,
}

/// The label `dataset`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DatasetLabel(pub Dataset);

impl EncodeLabelSet for DatasetLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> fmt::Result {
        [("dataset", self.0.name())].encode(encoder)
    }
}

/// The labels of a metric that has none and exists only once it is set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct NoLabels;

impl EncodeLabelSet for NoLabels {
    fn encode(&self, _: &mut LabelSetEncoder) -> fmt::Result {
        Ok(())
    }
}

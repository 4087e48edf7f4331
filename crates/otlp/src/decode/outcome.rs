use std::fmt;
use std::sync::Arc;

use schema::UnixNanos;

use crate::wire::WireError;

/// Limits of decoding.
#[derive(Debug, Clone, Copy)]
pub struct DecodeLimits {
    /// How deep attribute values may nest.
    pub max_depth: usize,
    /// How many series a batch remembers from one commit to the next (about 64 B each), and a tenth as many resources.
    /// Beyond it the memory starts over, which costs time only.
    pub max_remembered: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            max_depth: 64,
            max_remembered: 1_000_000,
        }
    }
}

/// Why one item was rejected. The texts go to the sender as the partial success's `error_message`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// A trace id that is not 16 bytes or is all zero.
    #[error("trace_id must be 16 bytes and not all zero, got {0} bytes")]
    TraceId(usize),
    /// A span id that is not 8 bytes or is all zero.
    #[error("span_id must be 8 bytes and not all zero, got {0} bytes")]
    SpanId(usize),
    /// A parent span id that is neither empty nor 8 bytes.
    #[error("parent_span_id must be empty or 8 bytes, got {0} bytes")]
    ParentSpanId(usize),
    /// A string that is not UTF-8.
    #[error("{0} is not valid UTF-8")]
    InvalidUtf8(&'static str),
    /// An attribute value that nests deeper than allowed.
    #[error("an attribute value nests deeper than the limit ingest.max_depth allows")]
    TooDeep,
    /// A time that does not fit the stored range.
    #[error("{0} {1} ns is outside of the years 1970 to 2262 that can be stored")]
    TimeOutOfRange(&'static str, u64),
    /// A metric without a name.
    #[error("a metric has no name")]
    NoMetricName,
    /// A metric whose data oneof is not set.
    #[error("metric {0:?} has no data: set one of gauge, sum, histogram, exponential_histogram, summary")]
    NoMetricData(String),
    /// An explicit histogram whose counts do not fit its bounds.
    #[error("histogram point has {counts} bucket counts for {bounds} bounds; there must be one more count than bounds")]
    BucketCounts {
        /// Number of bucket counts.
        counts: usize,
        /// Number of explicit bounds.
        bounds: usize,
    },
    /// What is sent once for many items (a scope's attributes, a metric's texts) is so large, for so many small items,
    /// that storing it with each would multiply the request.
    #[error("{0} of {1} bytes are too large to be repeated in {2} items; send them in smaller scopes")]
    TooMuchRepeated(&'static str, usize, u64),
    /// A new series, or a new attribute key, of a tenant that has as many as it may have; the text says which limit.
    #[error("{0}")]
    Limited(Arc<str>),
    /// A number point without a value and without the "no recorded value" flag.
    #[error("number data point has neither as_int nor as_double")]
    NoValue,
}

/// What went wrong inside a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The request is not protobuf: refuse it whole.
    Wire(WireError),
    /// This item breaks a rule: reject it alone.
    Item(ItemError),
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<ItemError> for Fault {
    fn from(error: ItemError) -> Self {
        Self::Item(error)
    }
}

/// What became of a well-formed request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Items (spans, log records or data points) appended.
    pub accepted: u64,
    /// Items rejected.
    pub rejected: u64,
    /// Those of them that a limit of the tenant rejected: they may be accepted later.
    pub limited: u64,
    /// The first few distinct reasons.
    pub reasons: Vec<ItemError>,
}

/// Distinct reasons told to the sender; more would only lengthen the answer.
const MAX_REASONS: usize = 4;

impl Outcome {
    pub(super) fn reject(&mut self, items: u64, reason: ItemError) {
        if items == 0 {
            return;
        }
        self.rejected += items;
        if matches!(reason, ItemError::Limited(_)) {
            self.limited += items;
        }
        if self.reasons.len() < MAX_REASONS && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// The text for `error_message`; empty if nothing was rejected.
    pub fn message(&self) -> String {
        if self.rejected == 0 {
            return String::new();
        }
        struct Reasons<'a>(&'a [ItemError]);
        impl fmt::Display for Reasons<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (i, reason) in self.0.iter().enumerate() {
                    write!(f, "{}{reason}", if i == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
        }
        format!("{} rejected: {}", self.rejected, Reasons(&self.reasons))
    }
}

/// What rows repeat may make their part of a request this many times larger: an ordinary span is no smaller than 100 B
/// and its scope's attributes no larger than some 100 B, while 1 MB of request could otherwise become 10 GB of rows.
const MAX_REPETITION: u64 = 64;

/// Checks that `shared` bytes may be repeated in each of `items` that came in a message of `sent` bytes.
pub(super) fn repeated(what: &'static str, shared: usize, items: u64, sent: usize) -> Result<(), ItemError> {
    if (shared as u64).saturating_mul(items) > MAX_REPETITION.saturating_mul(sent as u64) {
        return Err(ItemError::TooMuchRepeated(what, shared, items));
    }
    Ok(())
}

/// Checks that an OTLP time fits the stored range.
#[inline]
pub(super) fn time(field: &'static str, nanos: u64) -> Result<UnixNanos, ItemError> {
    i64::try_from(nanos).map_err(|_| ItemError::TimeOutOfRange(field, nanos))
}

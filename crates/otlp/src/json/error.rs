//! What can be wrong with an OTLP/JSON body. Everything here is the sender's fault: answer 400 (`INVALID_ARGUMENT`).

/// Why a body is not an OTLP/JSON request. Paths read like `resourceSpans[0].scopeSpans[1].spans[3].traceId`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON (RFC 8259). The offset counts bytes from the start of the body.
    #[error("malformed JSON at byte {offset}{}: {problem}", At(path))]
    Syntax {
        offset: usize,
        path: String,
        problem: &'static str,
    },
    /// JSON, and the value does not fit its field.
    #[error("{path}: expected {expected}, found {found}")]
    Invalid {
        path: String,
        expected: &'static str,
        found: String,
    },
    /// A key given twice, or in both spellings.
    #[error("{path}: given twice")]
    Duplicate { path: String },
    /// Two members of a oneof, such as `stringValue` and `intValue` in one value.
    #[error("{path}: given beside another field that excludes it")]
    Exclusive { path: String },
    /// Nested deeper than [`JsonLimits::max_depth`](super::JsonLimits::max_depth).
    #[error("{path}: nested deeper than {limit} levels")]
    TooDeep { path: String, limit: usize },
    /// JSON is UTF-8 (RFC 8259 section 8.1).
    #[error("the body is not UTF-8 from byte {offset} on")]
    NotUtf8 { offset: usize },
}

/// A path within a sentence, left out at the top level.
struct At<'a>(&'a str);

impl std::fmt::Display for At<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() || self.0 == "$" {
            return Ok(());
        }
        write!(f, " ({})", self.0)
    }
}

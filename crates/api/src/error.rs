//! Errors of the HTTP API: the one place where a failure becomes a status code and a body.
//!
//! Every error has the same body, `{"error": {"kind": "...", "message": "..."}}`. The kind tells a program what to do,
//! the message a person. `Retry-After` (RFC 9110, section 10.2.3) is there when the same request may succeed later.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use query::QueryError;
use serde_json::json;
use telemetry::QueryStatus;

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The body is longer than allowed.
    #[error("the body is longer than {limit} bytes; send a shorter one")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The query failed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The lake failed; nothing was changed.
    #[error("{0}; look at the log, then try again")]
    Lake(#[from] lake::LakeError),
    /// The catalog failed; nothing was changed.
    #[error("catalog: {0}; look at the log, then try again")]
    Catalog(#[from] catalog::CatalogError),
    /// A fault of this program.
    #[error("{0}; this is a fault of the server, please report it with its log")]
    Internal(String),
}

/// Seconds after which a client that was turned away should come back: queries are short.
const RETRY_SECONDS: u32 = 1;

impl ApiError {
    /// What a program needs to know, and what our metrics count.
    fn class(&self) -> (StatusCode, &'static str, QueryStatus) {
        const INTERNAL: (StatusCode, &str, QueryStatus) =
            (StatusCode::INTERNAL_SERVER_ERROR, "internal", QueryStatus::Error);
        const UNAVAILABLE: (StatusCode, &str, QueryStatus) =
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable", QueryStatus::Error);
        match self {
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid", QueryStatus::Invalid),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", QueryStatus::Invalid),
            Self::Query(error) => match error {
                QueryError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid", QueryStatus::Invalid),
                QueryError::LimitExceeded { .. } => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "limit_exceeded", QueryStatus::Limit)
                }
                QueryError::Timeout { .. } => (StatusCode::GATEWAY_TIMEOUT, "timeout", QueryStatus::Timeout),
                QueryError::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy", QueryStatus::Rejected),
                QueryError::Unavailable(_) => UNAVAILABLE,
                QueryError::Corrupt(_) => (StatusCode::INTERNAL_SERVER_ERROR, "corrupt", QueryStatus::Error),
                QueryError::Internal(_) => INTERNAL,
            },
            Self::Lake(error) if error.is_retryable() => UNAVAILABLE,
            Self::Catalog(error) if error.is_retryable() => UNAVAILABLE,
            Self::Lake(_) | Self::Catalog(_) | Self::Internal(_) => INTERNAL,
        }
    }

    /// How this counts in `queries`.
    pub(crate) fn query_status(&self) -> QueryStatus {
        self.class().2
    }

    /// The body, which also ends a stream that fails half-way.
    pub(crate) fn body(&self) -> serde_json::Value {
        json!({ "error": { "kind": self.class().1, "message": self.to_string() } })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, kind, _) = self.class();
        if status.is_server_error() {
            tracing::warn!(error = %self, kind, "request failed");
        }
        let mut response = json_response(status, &self.body());
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
        }
        response
    }
}

/// A JSON body with a line end, so that it looks right in a terminal.
pub(crate) fn json_response(status: StatusCode, body: &serde_json::Value) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        format!("{body}\n"),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_kinds_to_codes() {
        let limit = QueryError::LimitExceeded {
            what: "memory",
            key: "query.max_memory",
            detail: String::new(),
        };
        let cases: [(ApiError, u16, bool); 8] = [
            (ApiError::Invalid("x".into()), 400, false),
            (ApiError::TooLarge { limit: 1 }, 413, false),
            (QueryError::Invalid("x".into()).into(), 400, false),
            (limit.into(), 422, false),
            (
                QueryError::Timeout(std::time::Duration::from_secs(1)).into(),
                504,
                false,
            ),
            (QueryError::Busy.into(), 429, true),
            (QueryError::Unavailable("x".into()).into(), 503, true),
            (QueryError::Internal("x".into()).into(), 500, false),
        ];
        for (error, status, retry) in cases {
            let response = error.into_response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), retry);
        }
    }
}

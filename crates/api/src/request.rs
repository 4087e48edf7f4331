//! What every endpoint reads from a request.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use schema::TenantId;

use crate::ApiError;

/// The header that names the tenant.
pub const TENANT_HEADER: &str = "x-scope-orgid";

/// The tenant that the headers name, or the default one.
pub(crate) fn tenant(headers: &HeaderMap) -> Result<TenantId, ApiError> {
    match headers.get(TENANT_HEADER) {
        None => Ok(TenantId::default()),
        Some(value) => {
            let text = value.to_str().unwrap_or("?");
            TenantId::parse(text).map_err(|error| ApiError::Invalid(format!("X-Scope-OrgID: {error}")))
        }
    }
}

/// The whole body, if it is not longer than `limit` bytes.
pub(crate) async fn body(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::TooLarge { limit }),
        Err(error) => Err(ApiError::Invalid(format!("the body could not be read: {error}"))),
    }
}

/// Says that an answer is incomplete where the body cannot, and to whoever does not look into the body.
pub(crate) const PARTIAL_HEADER: &str = "x-partial-reason";

/// The header that says why an answer is incomplete.
pub(crate) fn partial_header(reason: &str) -> (HeaderName, HeaderValue) {
    let incomplete = || HeaderValue::from_static("partial result");
    (
        HeaderName::from_static(PARTIAL_HEADER),
        HeaderValue::from_str(reason).unwrap_or_else(|_| incomplete()),
    )
}

/// The value of a header as text; empty when there is none or it is not text.
pub(crate) fn header_text(headers: &HeaderMap, name: axum::http::HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

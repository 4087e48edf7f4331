//! `/api/v1/sql`: a query in, rows out as they are found.
//!
//! The answer waits for the first rows, so that a query that fails at once fails with a status code. An error after that
//! is told inside the body, in the way of its format; see [`Format`].

mod encode;
mod format;
mod stream;
mod table;

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::StreamExt;
use query::{QueryEngine, stream_error};
use telemetry::Telemetry;

use crate::ApiError;
use crate::request::{body, header_text, tenant};
use crate::watch::QueryWatch;

pub use format::Format;

/// The name of this API in our metrics.
const API: &str = "sql";

/// 1 MiB: a query is written or generated text; more than this is a mistake, such as a posted file.
const MAX_QUERY_BYTES: usize = 1 << 20;

#[derive(Clone)]
struct Sql {
    query: QueryEngine,
    telemetry: Telemetry,
}

pub(crate) fn routes(query: QueryEngine, telemetry: Telemetry) -> Router {
    Router::new()
        .route("/api/v1/sql", post(sql).get(sql))
        .with_state(Sql { query, telemetry })
}

async fn sql(State(state): State<Sql>, parameters: Query<BTreeMap<String, String>>, request: Request) -> Response {
    let mut watch = QueryWatch::new(state.telemetry.clone(), API, Instant::now());
    match run(&state.query, &parameters.0, request).await {
        Ok(answer) => stream::respond(answer, watch).await,
        Err(error) => {
            watch.end(error.query_status());
            error.into_response()
        }
    }
}

async fn run(
    query: &QueryEngine,
    parameters: &BTreeMap<String, String>,
    request: Request,
) -> Result<stream::Answer, ApiError> {
    let (parts, payload) = request.into_parts();
    let tenant = tenant(&parts.headers)?;
    let format = format_of(parameters, &parts.headers)?;
    let text = match parameters.get("query") {
        Some(text) => text.clone(),
        None => query_text(&parts.headers, &body(payload, MAX_QUERY_BYTES).await?)?,
    };
    if text.trim().is_empty() {
        let message = "there is no query; send SQL as the body, as JSON {\"query\": \"...\"}, or as ?query=";
        return Err(ApiError::Invalid(message.to_owned()));
    }
    let result = query.sql(&tenant, &text).await?;
    let rows = result.stream.map(|batch| batch.map_err(stream_error));
    Ok(stream::Answer {
        format,
        schema: result.schema,
        partial: result.partial,
        rows: rows.boxed(),
    })
}

fn format_of(parameters: &BTreeMap<String, String>, headers: &HeaderMap) -> Result<Format, ApiError> {
    match parameters.get("format") {
        None => Ok(Format::from_accept(header_text(headers, header::ACCEPT))),
        Some(name) => Format::from_name(name).ok_or_else(|| {
            ApiError::Invalid(format!(
                "format {name:?} is not known; use one of {}",
                Format::NAMES.join(", ")
            ))
        }),
    }
}

/// The query in a body: JSON if the content type says so, else the text itself. `curl -d` says
/// `application/x-www-form-urlencoded` of whatever it sends, so other content types are not looked at.
fn query_text(headers: &HeaderMap, body: &[u8]) -> Result<String, ApiError> {
    #[derive(serde::Deserialize)]
    struct Body {
        query: String,
    }
    let kind = header_text(headers, header::CONTENT_TYPE)
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    if kind.eq_ignore_ascii_case("application/json") {
        let body = serde_json::from_slice::<Body>(body).map_err(|error| {
            ApiError::Invalid(format!(
                "the body is not JSON of the form {{\"query\": \"...\"}}: {error}"
            ))
        })?;
        return Ok(body.query);
    }
    let text = std::str::from_utf8(body).map_err(|_| ApiError::Invalid("the query is not UTF-8 text".to_owned()))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;

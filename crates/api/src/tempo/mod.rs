//! Grafana Tempo's endpoints for a trace by its id.
//!
//! The shapes are those of grafana/tempo: `pkg/tempopb/tempo.proto` (messages `Trace` and `TraceByIDResponse`),
//! `pkg/tempopb` `MarshalToJSONV1` (version 1 calls the list `batches` in JSON) and `modules/frontend/combiner`
//! (`trace_by_id.go`, `trace_by_id_v2.go`). An id of fewer than 32 digits is padded with zeros on the left, as
//! `pkg/util/traceid.go` does. A trace that is not there is a 404 in both versions.

mod json;
mod protobuf;

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use otlp::model::TraceId;
use query::{FoundTrace, QueryEngine, Trace};
use telemetry::{QueryStatus, Telemetry};

use crate::ApiError;
use crate::request::{header_text, partial_header, tenant};
use crate::watch::QueryWatch;

/// The name of this API in our metrics.
const API: &str = "tempo";

#[derive(Clone)]
struct Tempo {
    query: QueryEngine,
    telemetry: Telemetry,
}

/// `/tempo/api/...`; the data source's URL is `http://host:8080/tempo`.
pub(crate) fn routes(query: QueryEngine, telemetry: Telemetry) -> Router {
    Router::new()
        .route("/tempo/api/echo", get(async || "echo"))
        .route("/tempo/api/traces/{id}", get(trace_v1))
        .route("/tempo/api/v2/traces/{id}", get(trace_v2))
        .with_state(Tempo { query, telemetry })
}

type Parameters = Query<BTreeMap<String, String>>;

async fn trace_v1(
    State(tempo): State<Tempo>,
    Path(id): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Response {
    tempo.answer(Version::V1, &id, &parameters.0, &headers).await
}

async fn trace_v2(
    State(tempo): State<Tempo>,
    Path(id): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Response {
    tempo.answer(Version::V2, &id, &parameters.0, &headers).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Tempo {
    async fn answer(
        &self,
        version: Version,
        id: &str,
        parameters: &BTreeMap<String, String>,
        headers: &HeaderMap,
    ) -> Response {
        let mut watch = QueryWatch::new(self.telemetry.clone(), API, Instant::now());
        match self.find(id, parameters, headers).await {
            Ok(found) => {
                watch.end(QueryStatus::Ok);
                respond(version, wants_protobuf(headers), found)
            }
            Err(error) => {
                watch.end(error.query_status());
                error.into_response()
            }
        }
    }

    async fn find(
        &self,
        id: &str,
        parameters: &BTreeMap<String, String>,
        headers: &HeaderMap,
    ) -> Result<Option<FoundTrace>, ApiError> {
        let tenant = tenant(headers)?;
        let id = parse_trace_id(id).map_err(ApiError::Invalid)?;
        let range = parse_range(parameters).map_err(ApiError::Invalid)?;
        Ok(self.query.trace(&tenant, id, range).await?)
    }
}

fn wants_protobuf(headers: &HeaderMap) -> bool {
    header_text(headers, header::ACCEPT).contains("application/protobuf")
}

fn respond(version: Version, protobuf: bool, found: Option<FoundTrace>) -> Response {
    let Some(found) = found else {
        return (StatusCode::NOT_FOUND, "trace not found\n").into_response();
    };
    let partial = found.trace.partial.as_deref().map(partial_header);
    if let (true, Some(reason)) = (found.trace.resource_spans.is_empty(), &found.trace.partial) {
        let body = format!("trace not found in what can be read; {reason}\n");
        return (StatusCode::NOT_FOUND, [partial_header(reason)], body).into_response();
    }
    let (kind, body) = write(version, protobuf, &found.trace);
    let mut response = ([(header::CONTENT_TYPE, kind)], found.into_body(body)).into_response();
    response.headers_mut().extend(partial);
    response
}

/// The media type and the bytes of an answer.
fn write(version: Version, protobuf: bool, trace: &Trace) -> (&'static str, Vec<u8>) {
    match (version, protobuf) {
        (Version::V1, true) => ("application/protobuf", protobuf::trace(&trace.resource_spans)),
        (Version::V2, true) => ("application/protobuf", protobuf::trace_by_id_response(trace)),
        (Version::V1, false) => ("application/json", json::trace(&trace.resource_spans)),
        (Version::V2, false) => ("application/json", json::trace_by_id_response(trace)),
    }
}

/// A trace id of 1 to 32 hexadecimal digits; missing digits are zeros on the left.
fn parse_trace_id(text: &str) -> Result<TraceId, String> {
    if text.is_empty() || text.len() > 32 {
        return Err(format!(
            "a trace id has 1 to 32 hexadecimal digits, not {}",
            text.chars().count()
        ));
    }
    let mut id = 0u128;
    for (i, c) in text.chars().enumerate() {
        let digit = c.to_digit(16).ok_or_else(|| {
            format!(
                "a trace id has hexadecimal digits only: found {c:?} at position {}",
                i + 1
            )
        })?;
        id = id << 4 | u128::from(digit);
    }
    Ok(id.to_be_bytes())
}

/// `start` and `end` in seconds since the Unix epoch as a range in ns, both ends included. 0 is the same as none.
fn parse_range(parameters: &BTreeMap<String, String>) -> Result<Option<(i64, i64)>, String> {
    const SECOND: i64 = 1_000_000_000;
    let seconds = |name: &str| match parameters.get(name).map(String::as_str) {
        None | Some("") => Ok(0),
        Some(text) => match text.parse::<i64>() {
            Ok(value) if value >= 0 => Ok(value),
            _ => Err(format!("{name}={text} is not a number of seconds since the Unix epoch")),
        },
    };
    let (start, end) = (seconds("start")?, seconds("end")?);
    match (start, end) {
        (0, 0) => Ok(None),
        (start, 0) => Ok(Some((start.saturating_mul(SECOND), i64::MAX))),
        (start, end) if end < start => Err(format!("start={start} is after end={end}")),
        (start, end) => Ok(Some((
            start.saturating_mul(SECOND),
            end.saturating_mul(SECOND).saturating_add(SECOND - 1),
        ))),
    }
}

#[cfg(test)]
mod tests;

//! The HTTP API of port 8080, and the metrics of port 9090.
//!
//! Each protocol has a prefix of its own: our own API is `/api/v1/...`, Grafana Tempo's is `/tempo/api/...`. An endpoint
//! reads its parameters, asks `query` or `lake`, and writes the answer down; results stream, so the size of an answer
//! is not bounded by memory, and a client that goes away ends its query.
//!
//! Absent on purpose: `api` knows no storage format and no query language, and keeps nothing between requests.

mod admin;
mod cells;
pub mod client;
mod deletions;
mod error;
mod ops;
mod request;
mod retention;
mod sql;
mod tempo;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::any;
use futures::StreamExt;
use lake::{CompactionOptions, Lake, Observer, Retention};
use query::QueryEngine;
use serde_json::json;
use telemetry::Telemetry;

pub use error::ApiError;
pub use ops::{Readiness, admin_router};
pub use request::TENANT_HEADER;
pub use sql::Format;

/// Which parts of the API this process serves. Health and metrics are always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serves {
    /// SQL and traces.
    pub query: bool,
    /// `POST /api/v1/admin/compact`.
    pub compact: bool,
}

/// What the API answers from.
#[derive(Clone)]
pub struct ApiState {
    /// What of it.
    pub serves: Serves,
    /// Runs queries.
    pub query: QueryEngine,
    /// What is stored.
    pub lake: Lake,
    /// How `/api/v1/admin/compact` compacts.
    pub compaction: CompactionOptions,
    /// How long rows are kept, for `/api/v1/admin/retention`.
    pub retention: Retention,
    /// Told of every compaction that is asked for.
    pub observer: Arc<dyn Observer>,
    /// The metrics of this process.
    pub telemetry: Telemetry,
    /// What `/health` and `/readyz` say.
    pub ready: tokio::sync::watch::Receiver<Readiness>,
    /// The version of this program.
    pub version: String,
}

/// The routes of port 8080.
pub fn router(state: ApiState) -> Router {
    let ApiState {
        serves,
        query,
        lake,
        compaction,
        retention,
        observer,
        telemetry,
        ready,
        version,
    } = state;
    let mut router = ops::routes(telemetry.clone(), ready, &version)
        .merge(deletions::routes(lake.clone(), query.clone()))
        .merge(retention::routes(lake.clone(), retention))
        .merge(admin::routes(lake, compaction, observer, &version, serves.compact));
    router = if serves.query {
        router
            .merge(sql::routes(query.clone(), telemetry.clone()))
            .merge(tempo::routes(query, telemetry))
    } else {
        router
            .route("/api/v1/{*path}", any(|body| wrong_role("query", body)))
            .route("/tempo/{*path}", any(|body| wrong_role("query", body)))
    };
    router.method_not_allowed_fallback(wrong_method).fallback(wrong_path)
}

/// The most that is read of the body of a request that is not answered.
const READ_AWAY_BYTES: usize = 1 << 20;

/// Reads what a request still sends: answered before its end, a connection of HTTP/1.1 is closed, and the sender's next request on
/// it fails.
async fn read_away(body: Body) {
    let mut pieces = body.into_data_stream();
    let mut read = 0;
    while read < READ_AWAY_BYTES {
        // Whether it ends or breaks off: the answer is the same.
        let Some(Ok(piece)) = pieces.next().await else { break };
        read += piece.len();
    }
}

async fn wrong_method(method: Method, uri: Uri, body: Body) -> Response {
    read_away(body).await;
    let message = format!(
        "{} does not answer to {method}; the header Allow lists what it answers to",
        uri.path()
    );
    let body = json!({ "error": { "kind": "method_not_allowed", "message": message } });
    error::json_response(StatusCode::METHOD_NOT_ALLOWED, &body)
}

async fn wrong_role(role: &'static str, body: Body) -> Response {
    read_away(body).await;
    let message = format!("this process does not have the role {role} (server.role); ask one that has");
    let body = json!({ "error": { "kind": "wrong_role", "message": message } });
    error::json_response(StatusCode::NOT_FOUND, &body)
}

async fn wrong_path(uri: Uri, body: Body) -> Response {
    read_away(body).await;
    let message = format!("there is nothing at {}", uri.path());
    let body = json!({
        "error": { "kind": "not_found", "message": message },
        "paths": {
            "POST /api/v1/sql": "SQL as text, or JSON {\"query\": ...}; ?format=json|ndjson|csv|arrow|table",
            "GET /tempo/api/traces/{id}": "a trace by its id, as Grafana Tempo answers; also /tempo/api/v2/traces/{id}",
            "GET /api/v1/admin/status": "what is stored and what waits for compaction",
            "POST /api/v1/admin/compact": "compact now; ?wait=true answers when it is done",
            "POST /api/v1/admin/deletions": "delete a tenant's rows: JSON with tenant and one of trace_id, where, everything",
            "GET /api/v1/admin/deletions": "deletions and how far they are; one of them at /{id}",
            "GET /api/v1/admin/retention": "per tenant and dataset: what is due, what was deleted, when that was last proven",
            "GET /health": "state and version; also /livez and /readyz",
            "GET /metrics": "metrics of this process, in OpenMetrics text",
        },
    });
    error::json_response(StatusCode::NOT_FOUND, &body)
}

//! What operators and orchestrators ask: is it alive, is it ready, how is it doing.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use telemetry::Telemetry;
use tokio::sync::watch;

use crate::error::json_response;

/// What the process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Not serving yet.
    Starting,
    /// Serving.
    Ready,
    /// Finishing what it has; new requests should go elsewhere.
    Draining,
}

#[derive(Clone)]
struct Ops {
    telemetry: Telemetry,
    ready: watch::Receiver<Readiness>,
    version: Arc<str>,
}

/// `/health`, `/livez`, `/readyz` and `/metrics`.
pub(crate) fn routes(telemetry: Telemetry, ready: watch::Receiver<Readiness>, version: &str) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(async |State(ops): State<Ops>| metrics(&ops.telemetry)))
        .with_state(Ops {
            telemetry,
            ready,
            version: version.into(),
        })
}

/// The routes of port 9090: `/metrics` for scrapers that must not see the API.
pub fn admin_router(telemetry: Telemetry) -> Router {
    Router::new()
        .route(
            "/metrics",
            get(async |State(telemetry): State<Telemetry>| metrics(&telemetry)),
        )
        .route("/livez", get(async || "ok\n"))
        .fallback(async || (StatusCode::NOT_FOUND, "metrics of this process are at /metrics\n"))
        .with_state(telemetry)
}

fn metrics(telemetry: &Telemetry) -> Response {
    ([(header::CONTENT_TYPE, telemetry::CONTENT_TYPE)], telemetry.render()).into_response()
}

/// 200 while it serves, 503 before and after.
fn code(ready: Readiness) -> StatusCode {
    if ready == Readiness::Ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

const fn name(ready: Readiness) -> &'static str {
    match ready {
        Readiness::Starting => "starting",
        Readiness::Ready => "ok",
        Readiness::Draining => "draining",
    }
}

async fn health(State(ops): State<Ops>) -> Response {
    let ready = *ops.ready.borrow();
    json_response(code(ready), &json!({ "status": name(ready), "version": &*ops.version }))
}

async fn readyz(State(ops): State<Ops>) -> Response {
    let ready = *ops.ready.borrow();
    (code(ready), format!("{}\n", name(ready))).into_response()
}

#[cfg(test)]
mod tests;

//! What retention did and owes, per tenant and dataset.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use lake::{Lake, Retention, RetentionReport};
use query::table_of;
use schema::time_text;
use serde_json::{Value, json};

use crate::ApiError;
use crate::error::json_response;

#[derive(Clone)]
struct Retained {
    lake: Lake,
    retention: Retention,
}

pub(crate) fn routes(lake: Lake, retention: Retention) -> Router {
    Router::new()
        .route("/api/v1/admin/retention", get(retained))
        .with_state(Retained { lake, retention })
}

async fn retained(State(state): State<Retained>) -> Result<Response, ApiError> {
    let reports = state.lake.retention_reports(&state.retention).await?;
    let now = state.lake.clock().now();
    let body = json!({
        "now": time_text(now),
        "datasets": reports.iter().map(|report| shown(report, now)).collect::<Vec<_>>(),
    });
    Ok(json_response(StatusCode::OK, &body))
}

fn shown(report: &RetentionReport, now: i64) -> Value {
    let state = &report.state;
    let age = state.proven_at.map(|at| now.saturating_sub(at).max(0) as f64 / 1e9);
    json!({
        "tenant": state.tenant.as_str(),
        "dataset": table_of(state.dataset),
        "period_seconds": report.period.map(|period| period.as_secs()),
        "rows_due": report.rows_due,
        "bytes_due": report.bytes_due(),
        "bytes_waiting_for_grace": state.bytes_waiting,
        "rows_deleted": state.rows_deleted,
        "bytes_deleted": state.bytes_deleted,
        "last_proof": state.proven_at.map(time_text),
        "last_proof_age_seconds": age,
    })
}

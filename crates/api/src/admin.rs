//! The administrator's endpoints: compact now, and what there is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use catalog::{Backlog, Quarantined};
use lake::{CompactionOptions, Lake, Observer};
use schema::time_text;
use serde_json::{Value, json};

use crate::error::json_response;
use crate::{ApiError, wrong_role};

#[derive(Clone)]
struct Admin {
    lake: Lake,
    compaction: CompactionOptions,
    observer: Arc<dyn Observer>,
    /// Whether a compaction that nobody waits for is under way: one at a time is enough.
    running: Arc<AtomicBool>,
    version: Arc<str>,
}

/// `/api/v1/admin/...`; a process that does not compact says so when it is asked to.
pub(crate) fn routes(
    lake: Lake,
    compaction: CompactionOptions,
    observer: Arc<dyn Observer>,
    version: &str,
    compacts: bool,
) -> Router {
    let admin = Admin {
        lake,
        compaction,
        observer,
        running: Arc::default(),
        version: version.into(),
    };
    Router::new()
        .route(
            "/api/v1/admin/compact",
            if compacts {
                post(compact)
            } else {
                post(|body| wrong_role("compact", body))
            },
        )
        .route("/api/v1/admin/status", get(status))
        .with_state(admin)
}

/// Compacts every slice there is. With `?wait=true` the answer comes when it is done; otherwise at once.
async fn compact(State(admin): State<Admin>, Query(parameters): Query<BTreeMap<String, String>>) -> Response {
    let wait = match parameters.get("wait").map(String::as_str) {
        None | Some("false" | "0") => false,
        Some("true" | "1" | "") => true,
        Some(other) => {
            return ApiError::Invalid(format!("wait={other} is neither true nor false")).into_response();
        }
    };
    if wait {
        // In a task of its own: a client that leaves must not cut it off with its leases held.
        return match tokio::spawn(async move { admin.run().await }).await {
            Ok(Ok(report)) => json_response(StatusCode::OK, &report),
            Ok(Err(error)) => error.into_response(),
            Err(error) => ApiError::Internal(format!("compaction: {error}")).into_response(),
        };
    }
    let started = !admin.running.swap(true, Ordering::SeqCst);
    if started {
        tokio::spawn(async move {
            let running = Running(Arc::clone(&admin.running));
            if let Err(error) = admin.run().await {
                tracing::warn!(%error, "the compaction that was asked for failed; ask again");
            }
            drop(running);
        });
    }
    json_response(
        StatusCode::ACCEPTED,
        &json!({ "status": if started { "started" } else { "already running" } }),
    )
}

/// Says that the compaction ended, however it did.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Admin {
    async fn run(&self) -> Result<Value, ApiError> {
        let started = Instant::now();
        let report = self.lake.compact_all(&self.compaction, self.observer.as_ref()).await?;
        Ok(json!({
            "runs": report.runs,
            "rows": report.rows,
            "input_bytes": report.input_bytes,
            "output_bytes": report.output_bytes,
            "seconds": started.elapsed().as_secs_f64(),
        }))
    }
}

/// What is stored per tenant and dataset, what waits for deletion, and what queries do without.
async fn status(State(admin): State<Admin>) -> Result<Response, ApiError> {
    let catalog = admin.lake.catalog();
    let backlog = catalog.backlog().await?;
    let (objects, bytes) = catalog.gc_pending().await?;
    let quarantined = catalog.quarantined().await?;
    let now = admin.lake.clock().now();
    let body = json!({
        "version": &*admin.version,
        "datasets": backlog.iter().map(|entry| dataset(entry, now)).collect::<Vec<_>>(),
        "gc_pending": { "objects": objects, "bytes": bytes },
        "quarantined": quarantined.iter().map(in_quarantine).collect::<Vec<_>>(),
    });
    Ok(json_response(StatusCode::OK, &body))
}

/// An object that queries do without.
fn in_quarantine(entry: &Quarantined) -> Value {
    json!({
        "object": entry.path, "tenant": entry.tenant.as_str(), "dataset": entry.dataset.name(), "rows": entry.rows,
        "from": time_text(entry.min_ts), "to": time_text(entry.max_ts), "reason": entry.reason,
    })
}

fn dataset(entry: &Backlog, now: i64) -> Value {
    let age = entry
        .oldest_created_at
        .map(|at| now.saturating_sub(at).max(0) as f64 / 1e9);
    let level = |level: &catalog::LevelSize| json!({ "level": level.level, "parts": level.parts, "rows": level.rows, "bytes": level.bytes });
    json!({
        "tenant": entry.tenant.as_str(),
        "dataset": entry.dataset.name(),
        "slices": {
            "count": entry.slices, "rows": entry.rows, "bytes": entry.bytes, "oldest_age_seconds": age,
        },
        "levels": entry.levels.iter().map(level).collect::<Vec<_>>(),
    })
}

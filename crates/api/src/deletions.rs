//! Deletions of a tenant's rows: asking for one, and what became of it.
//!
//! A deletion that is answered with 202 is recorded in the catalog; processes with the role `compact` work it off
//! (`lake::Lake::work_off_deletions`), whichever process it was asked of.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use catalog::{Deletion, DeletionTarget, NewDeletion};
use lake::Lake;
use query::{QueryEngine, table_of};
use schema::{Dataset, TenantId, time_text};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ApiError;
use crate::error::json_response;
use crate::request::body;

/// 64 KiB: a condition is written by hand, or lists some hundred ids.
const MAX_BODY_BYTES: usize = 64 << 10;

/// Deletions in a list.
const LIST: i64 = 100;

#[derive(Clone)]
struct Deletions {
    lake: Lake,
    query: QueryEngine,
}

pub(crate) fn routes(lake: Lake, query: QueryEngine) -> Router {
    Router::new()
        .route("/api/v1/admin/deletions", post(request).get(list))
        .route("/api/v1/admin/deletions/{id}", get(one))
        .with_state(Deletions { lake, query })
}

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    tenant: String,
    dataset: Option<String>,
    trace_id: Option<String>,
    #[serde(rename = "where")]
    condition: Option<String>,
    #[serde(default)]
    everything: bool,
}

const FORM: &str = r#"send JSON such as {"tenant": "shop", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}, {"tenant": "shop", "dataset": "logs", "where": "\"attr.user.id\" = '17'"} or {"tenant": "shop", "everything": true}"#;

impl Request {
    fn parse(bytes: &[u8]) -> Result<NewDeletion, ApiError> {
        let request = serde_json::from_slice::<Self>(bytes)
            .map_err(|error| ApiError::Invalid(format!("the body is not a deletion ({error}); {FORM}")))?;
        let tenant = TenantId::parse(&request.tenant).map_err(|error| ApiError::Invalid(format!("tenant: {error}")))?;
        let dataset = request.dataset.as_deref().map(dataset).transpose()?;
        let (target, all) = match (request.trace_id, request.condition, request.everything) {
            (None, None, true) => (DeletionTarget::Everything, Dataset::ALL.to_vec()),
            (Some(id), None, false) => (DeletionTarget::Trace(trace_id(&id)?), WITH_TRACES.to_vec()),
            (None, Some(condition), false) => (DeletionTarget::Where(condition), Vec::new()),
            _ => {
                let message = format!("a deletion has one of trace_id, where and everything; {FORM}");
                return Err(ApiError::Invalid(message));
            }
        };
        let datasets = match dataset {
            Some(dataset) if all.is_empty() || all.contains(&dataset) => vec![dataset],
            Some(dataset) => {
                let message = format!("rows of {} have no trace_id", table_of(dataset));
                return Err(ApiError::Invalid(message));
            }
            None if all.is_empty() => {
                let message = format!("where needs a dataset, whose columns it is about: {}", tables());
                return Err(ApiError::Invalid(message));
            }
            None => all,
        };
        Ok(NewDeletion {
            tenant,
            datasets,
            target,
        })
    }
}

/// The datasets whose rows name a trace.
const WITH_TRACES: [Dataset; 3] = [Dataset::Spans, Dataset::Logs, Dataset::Exemplars];

fn dataset(name: &str) -> Result<Dataset, ApiError> {
    let found = Dataset::ALL.into_iter().find(|dataset| table_of(*dataset) == name);
    found.ok_or_else(|| ApiError::Invalid(format!("there is no dataset {name:?}; there are {}", tables())))
}

fn tables() -> String {
    Dataset::ALL.map(table_of).join(", ")
}

fn trace_id(text: &str) -> Result<[u8; 16], ApiError> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = u128::from_str_radix(text, 16).ok().filter(|_| digits);
    let id = id.ok_or_else(|| ApiError::Invalid(format!("trace_id {text:?} is not 32 hexadecimal digits")))?;
    Ok(id.to_be_bytes())
}

async fn request(State(state): State<Deletions>, payload: Body) -> Result<Response, ApiError> {
    let new = Request::parse(&body(payload, MAX_BODY_BYTES).await?)?;
    let catalog = state.lake.catalog();
    if !catalog.tenants().await?.contains(&new.tenant) {
        let message = format!("the tenant {} has never stored anything", new.tenant);
        return Err(ApiError::Invalid(message));
    }
    for &dataset in &new.datasets {
        state.query.check_condition(&new.tenant, dataset, &new.target).await?;
    }
    let id = catalog.request_deletion(&new, state.lake.clock().now()).await?;
    let tables = new.datasets.iter().map(|d| table_of(*d)).collect::<Vec<_>>().join(",");
    tracing::info!(
        target: "audit", deletion = id, tenant = %new.tenant, datasets = tables, what = %what(&new.target),
        "a deletion was asked for"
    );
    let deletion = catalog.deletion(id).await?;
    let deletion = deletion.ok_or_else(|| ApiError::Internal(format!("deletion {id} is not in the catalog")))?;
    let mut response = json_response(StatusCode::ACCEPTED, &shown(&deletion));
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/admin/deletions/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn list(State(state): State<Deletions>) -> Result<Response, ApiError> {
    let deletions = state.lake.catalog().deletions(LIST).await?;
    let body = json!({ "deletions": deletions.iter().map(shown).collect::<Vec<_>>() });
    Ok(json_response(StatusCode::OK, &body))
}

async fn one(State(state): State<Deletions>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let found = match id.parse::<i64>() {
        Ok(id) => state.lake.catalog().deletion(id).await?,
        Err(_) => None,
    };
    Ok(match found {
        Some(deletion) => json_response(StatusCode::OK, &shown(&deletion)),
        None => {
            let message = format!("there is no deletion {id:?}");
            let body = json!({ "error": { "kind": "not_found", "message": message } });
            json_response(StatusCode::NOT_FOUND, &body).into_response()
        }
    })
}

fn what(target: &DeletionTarget) -> Value {
    match target {
        DeletionTarget::Everything => json!({ "everything": true }),
        DeletionTarget::Trace(id) => json!({ "trace_id": format!("{:032x}", u128::from_be_bytes(*id)) }),
        DeletionTarget::Where(condition) => json!({ "where": condition }),
    }
}

fn shown(deletion: &Deletion) -> Value {
    let at = |nanos: Option<i64>| nanos.map(time_text);
    let sum = |value: fn(&catalog::DeletionProgress) -> i64| deletion.progress.iter().map(value).sum::<i64>();
    let mut body = json!({
        "id": deletion.id,
        "tenant": deletion.tenant.as_str(),
        "state": deletion.state.name(),
        "requested_at": time_text(deletion.requested_at),
        "done_at": at(deletion.done_at),
        "verified_at": at(deletion.verified_at),
        "rows_deleted": sum(|p| p.rows),
        "bytes_read": sum(|p| p.bytes_read),
        "bytes_rewritten": sum(|p| p.bytes_written),
        "objects": {
            "queued": deletion.objects.queued,
            "queued_bytes": deletion.objects.queued_bytes,
            "removed": deletion.objects.removed,
            "removed_bytes": deletion.objects.removed_bytes,
        },
        "datasets": deletion.progress.iter().map(|p| json!({
            "dataset": table_of(p.dataset),
            "rows_deleted": p.rows,
            "scanned_at": at(p.scanned_at),
        })).collect::<Vec<_>>(),
    });
    let more = [
        Some(what(&deletion.target)),
        deletion.error.as_ref().map(|error| json!({ "error": error })),
    ];
    if let Value::Object(fields) = &mut body {
        for more in more.into_iter().flatten() {
            if let Value::Object(more) = more {
                fields.extend(more);
            }
        }
    }
    body
}

#[cfg(test)]
mod tests;

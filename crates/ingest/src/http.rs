//! OTLP/HTTP 1.x: `POST /v1/traces`, `/v1/metrics`, `/v1/logs` in protobuf or JSON.
//!
//! Answers are in the request's own encoding: the Export response on success, `google.rpc.Status` on failure
//! (OTLP specification, "OTLP/HTTP Response").

use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use otlp::encode::{json, protobuf};
use otlp::json::JsonLimits;
use otlp::model::Signal;
use schema::TenantId;
use telemetry::{RequestStatus, Transport};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::accept::{busy, telemetry_signal};
use crate::decompress::Encoding;
use crate::receive::{Received, decompress, read_away, read_body};
use crate::{Accepted, Ingest, IngestError};

/// The header that names the tenant.
pub const TENANT_HEADER: &str = "x-scope-orgid";

/// The routes of port 4318. `origins` may send from browsers (CORS); `*` allows all.
pub fn router(ingest: Ingest, origins: &[String]) -> Router {
    let router = Router::new()
        .route(
            "/v1/traces",
            post(|state, request| export(state, Signal::Traces, request)).fallback(wrong_method),
        )
        .route(
            "/v1/metrics",
            post(|state, request| export(state, Signal::Metrics, request)).fallback(wrong_method),
        )
        .route(
            "/v1/logs",
            post(|state, request| export(state, Signal::Logs, request)).fallback(wrong_method),
        )
        .fallback(wrong_path)
        .with_state(ingest);
    if origins.is_empty() {
        router
    } else {
        router.layer(cors(origins))
    }
}

fn cors(origins: &[String]) -> CorsLayer {
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::POST])
        .allow_headers([
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::AUTHORIZATION,
            HeaderName::from_static(TENANT_HEADER),
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("tracestate"),
        ])
        // Without it a sender in a browser cannot see how long to wait.
        .expose_headers([header::RETRY_AFTER])
        .max_age(std::time::Duration::from_secs(7200))
}

async fn wrong_method(State(ingest): State<Ingest>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    read_away(&parts, &mut body, ingest.options().max_request_bytes).await;
    let text = "send telemetry with POST\n";
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")], text).into_response()
}

async fn wrong_path(State(ingest): State<Ingest>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    read_away(&parts, &mut body, ingest.options().max_request_bytes).await;
    let text = "this is the OTLP/HTTP receiver: POST to /v1/traces, /v1/metrics or /v1/logs\n";
    (StatusCode::NOT_FOUND, text).into_response()
}

/// The encoding of a body and of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Protobuf,
    Json,
}

impl Format {
    fn of(headers: &HeaderMap) -> Result<Self, IngestError> {
        let value = headers
            .get(header::CONTENT_TYPE)
            .map(|v| v.to_str().unwrap_or_default())
            .unwrap_or_default();
        let media = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media.as_str() {
            "application/x-protobuf" | "application/protobuf" => Ok(Self::Protobuf),
            "application/json" => Ok(Self::Json),
            _ => Err(IngestError::Unsupported(format!(
                "content type {value:?} is not supported; send application/x-protobuf or application/json"
            ))),
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

async fn export(State(ingest): State<Ingest>, signal: Signal, request: Request) -> Response {
    let started = Instant::now();
    let (parts, mut body) = request.into_parts();
    let format = Format::of(&parts.headers);
    let head = format.clone().and_then(|format| Head::of(&parts.headers, format));
    let mut received = 0;
    let outcome = match head {
        Ok(head) => handle(&ingest, signal, head, &parts, body, &mut received).await,
        Err(error) => {
            read_away(&parts, &mut body, ingest.options().max_request_bytes).await;
            Err(error)
        }
    };
    let status = status_of(&outcome);
    // Without a usable content type the answer is JSON, which anybody can read.
    let response = respond(format.unwrap_or(Format::Json), signal, outcome);
    ingest.inner.telemetry.request(
        telemetry_signal(signal),
        Transport::Http,
        status,
        started.elapsed(),
        received,
    );
    response
}

/// What the headers of a request say of its body.
struct Head {
    format: Format,
    tenant: TenantId,
    encoding: Encoding,
}

impl Head {
    fn of(headers: &HeaderMap, format: Format) -> Result<Self, IngestError> {
        let tenant = tenant_of(headers)?;
        let encoding = match headers.get(header::CONTENT_ENCODING) {
            None => Encoding::Identity,
            Some(value) => {
                let name = value.to_str().unwrap_or("?");
                Encoding::parse(name).ok_or_else(|| {
                    IngestError::Unsupported(format!(
                        "content encoding {name:?} is not supported; use gzip, zstd or deflate"
                    ))
                })?
            }
        };
        Ok(Self {
            format,
            tenant,
            encoding,
        })
    }
}

async fn handle(
    ingest: &Ingest,
    signal: Signal,
    head: Head,
    parts: &Parts,
    body: Body,
    received: &mut u64,
) -> Result<Accepted, IngestError> {
    let options = ingest.options();
    let sent = read_body(parts, body, options.max_request_bytes, ingest.admit(), ingest.account()).await?;
    *received = sent.body.len() as u64;
    let request = match head.encoding {
        Encoding::Identity => sent,
        encoding => decompress(encoding, sent, options.max_decompressed_bytes)?,
    };
    let request = match head.format {
        Format::Protobuf => request,
        Format::Json => transcode(signal, request)?,
    };
    ingest.accept_received(head.tenant, signal, request).await
}

/// OTLP/JSON becomes protobuf first, so that there is one decoder.
fn transcode(signal: Signal, request: Received) -> Result<Received, IngestError> {
    let Received { body, mut memory } = request;
    // Protobuf is shorter than JSON, nearly always by more than half.
    let length = body.len() as u64;
    memory.try_grow(length).map_err(busy)?;
    let mut out = Vec::with_capacity(body.len() / 2);
    let body = body.as_ref();
    let limits = JsonLimits::default();
    match signal {
        Signal::Traces => otlp::json::traces_to_protobuf(body, &mut out, limits),
        Signal::Logs => otlp::json::logs_to_protobuf(body, &mut out, limits),
        Signal::Metrics => otlp::json::metrics_to_protobuf(body, &mut out, limits),
    }
    .map_err(|error| IngestError::Invalid(format!("the body is not valid OTLP/JSON: {error}")))?;
    memory.shrink(length);
    Ok(Received {
        body: out.into(),
        memory,
    })
}

/// The tenant that the headers name, or the default one.
pub(crate) fn tenant_of(headers: &HeaderMap) -> Result<TenantId, IngestError> {
    match headers.get(TENANT_HEADER) {
        None => Ok(TenantId::default()),
        Some(value) => {
            let text = value.to_str().unwrap_or("?");
            TenantId::parse(text).map_err(|error| IngestError::Invalid(format!("X-Scope-OrgID: {error}")))
        }
    }
}

pub(crate) fn status_of(outcome: &Result<Accepted, IngestError>) -> RequestStatus {
    match outcome {
        Ok(accepted) if accepted.rejected > 0 => RequestStatus::PartialSuccess,
        Ok(_) => RequestStatus::Ok,
        Err(IngestError::Busy(_) | IngestError::Limited(_)) => RequestStatus::ResourceExhausted,
        Err(IngestError::Unavailable(_)) => RequestStatus::Unavailable,
        Err(IngestError::Internal(_)) => RequestStatus::Internal,
        Err(IngestError::Invalid(_) | IngestError::TooLarge { .. } | IngestError::Unsupported(_)) => {
            RequestStatus::InvalidArgument
        }
    }
}

fn respond(format: Format, signal: Signal, outcome: Result<Accepted, IngestError>) -> Response {
    let (status, retry, body) = match outcome {
        Ok(accepted) => {
            let rejected = i64::try_from(accepted.rejected).unwrap_or(i64::MAX);
            let body = match format {
                Format::Protobuf => protobuf::export_response(rejected, &accepted.message),
                Format::Json => json::export_response(signal, rejected, &accepted.message),
            };
            (StatusCode::OK, None, body)
        }
        Err(error) => {
            let (code, message) = (error.grpc_code(), error.to_string());
            let body = match format {
                Format::Protobuf => protobuf::google_rpc_status(code, &message, error.retry_after()),
                Format::Json => json::google_rpc_status(code, &message, error.retry_after()),
            };
            let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, error.retry_after(), body)
        }
    };
    let mut response = (status, [(header::CONTENT_TYPE, format.media_type())], body).into_response();
    if let Some(delay) = retry {
        // Whole seconds, rounded up (RFC 9110, section 10.2.3).
        let seconds = delay.as_millis().div_ceil(1000).max(1) as u64;
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

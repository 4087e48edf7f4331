//! OTLP/gRPC: the three Export methods, health checking and reflection.
//!
//! The Export methods are served by hand, as plain HTTP/2 handlers: requests go to the decoder as the bytes that
//! arrived, and limits and errors are those of OTLP/HTTP. Health (grpc.health.v1) and reflection are tonic's.

use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{BufMut, BytesMut};
use http_body_util::{BodyExt, Full};
use otlp::encode::protobuf;
use otlp::model::Signal;
use telemetry::Transport;
use tonic::service::Routes;

use crate::accept::telemetry_signal;
use crate::decompress::Encoding;
use crate::http::{status_of, tenant_of};
use crate::receive::{Received, decompress, read_body};
use crate::{Accepted, Ingest, IngestError};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const RETRY_INFO: HeaderName = HeaderName::from_static("google.rpc.retryinfo-bin");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Full method names and their signals.
const METHODS: [(&str, &str, Signal); 3] = [
    (
        "opentelemetry.proto.collector.trace.v1.TraceService",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Traces,
    ),
    (
        "opentelemetry.proto.collector.metrics.v1.MetricsService",
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Metrics,
    ),
    (
        "opentelemetry.proto.collector.logs.v1.LogsService",
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Logs,
    ),
];

/// What port 4317 serves, and the handle that tells health checkers when the process drains.
pub struct Services {
    /// All services.
    pub routes: Routes,
    /// Health of the services.
    pub health: Health,
}

/// Sets what health checks answer.
#[derive(Clone)]
pub struct Health(tonic_health::server::HealthReporter);

impl Health {
    /// Marks all services as serving or not.
    pub async fn set(&self, serving: bool) {
        let status = if serving {
            tonic_health::ServingStatus::Serving
        } else {
            tonic_health::ServingStatus::NotServing
        };
        for service in std::iter::once("").chain(METHODS.iter().map(|m| m.0)) {
            self.0.set_service_status(service, status).await;
        }
    }
}

/// Builds the services of port 4317.
///
/// # Errors
/// A text if the reflection service cannot read its descriptors, which would be a defect of the build.
pub fn services(ingest: Ingest) -> Result<Services, String> {
    let mut router = Router::new();
    for (_, path, signal) in METHODS {
        router = router.route(path, post(move |state, request| export(state, signal, request)));
    }
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(opentelemetry_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| error.to_string())?;
    let reflection_alpha = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(opentelemetry_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1alpha()
        .map_err(|error| error.to_string())?;
    let routes = Routes::from(router.with_state(ingest))
        .add_service(health)
        .add_service(reflection);
    let routes = routes.add_service(reflection_alpha);
    Ok(Services {
        routes,
        health: Health(reporter),
    })
}

async fn export(State(ingest): State<Ingest>, signal: Signal, request: Request) -> Response {
    let started = Instant::now();
    let mut received = 0;
    let outcome = handle(&ingest, signal, request, &mut received).await;
    let status = status_of(&outcome);
    let response = respond(outcome);
    ingest.inner.telemetry.request(
        telemetry_signal(signal),
        Transport::Grpc,
        status,
        started.elapsed(),
        received,
    );
    response
}

async fn handle(
    ingest: &Ingest,
    signal: Signal,
    request: Request,
    received: &mut u64,
) -> Result<Accepted, IngestError> {
    let (parts, body) = request.into_parts();
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    if !content_type.starts_with(b"application/grpc") {
        return Err(IngestError::Invalid("content-type must be application/grpc".to_owned()));
    }
    let tenant = tenant_of(&parts.headers)?;
    let options = ingest.options();
    let sent = read_body(
        &parts,
        body,
        options.max_request_bytes + PREFIX,
        ingest.admit(),
        ingest.account(),
    )
    .await?;
    *received = sent.body.len() as u64;
    let message = message(sent, &parts.headers, options.max_decompressed_bytes)?;
    ingest.accept_received(tenant, signal, message).await
}

/// Bytes before a message: the compressed flag and the length (gRPC over HTTP2, "Length-Prefixed-Message").
const PREFIX: usize = 5;

/// The one message of a unary request, decompressed.
fn message(sent: Received, headers: &HeaderMap, limit: usize) -> Result<Received, IngestError> {
    let Received {
        body: mut frame,
        memory,
    } = sent;
    let Some(prefix) = frame.first_chunk::<PREFIX>() else {
        return Err(IngestError::Invalid(
            "the gRPC message is missing or truncated".to_owned(),
        ));
    };
    let compressed = match prefix[0] {
        0 => false,
        1 => true,
        flag => return Err(IngestError::Invalid(format!("{flag} is not a gRPC compressed-flag"))),
    };
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if frame.len() - PREFIX != length {
        let sent = frame.len() - PREFIX;
        return Err(IngestError::Invalid(format!(
            "the gRPC message says {length} bytes but {sent} were sent"
        )));
    }
    let message = Received {
        body: frame.split_off(PREFIX),
        memory,
    };
    if !compressed {
        return Ok(message);
    }
    let name = headers.get(GRPC_ENCODING).map_or("", |v| v.to_str().unwrap_or("?"));
    match Encoding::parse(name) {
        Some(encoding @ (Encoding::Gzip | Encoding::Zstd | Encoding::Deflate)) => decompress(encoding, message, limit),
        Some(Encoding::Identity) => Err(IngestError::Invalid(
            "the message is compressed but grpc-encoding says it is not".to_owned(),
        )),
        None => Err(IngestError::Unsupported(format!(
            "grpc-encoding {name:?} is not supported; use gzip or zstd"
        ))),
    }
}

fn respond(outcome: Result<Accepted, IngestError>) -> Response {
    let accepted = match outcome {
        Ok(accepted) => accepted,
        Err(error) => return failure(&error),
    };
    let rejected = i64::try_from(accepted.rejected).unwrap_or(i64::MAX);
    let message = protobuf::export_response(rejected, &accepted.message);
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(frame.freeze()).with_trailers(async move { Some(Ok(trailers)) });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
        (GRPC_ACCEPT_ENCODING, HeaderValue::from_static("gzip,zstd,deflate")),
    ];
    (StatusCode::OK, headers, Body::new(body)).into_response()
}

/// A response without a message: status, message and details are headers ("Trailers-Only").
fn failure(error: &IngestError) -> Response {
    let message = error.to_string();
    let details = protobuf::google_rpc_status(error.grpc_code(), &message, error.retry_after());
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(error.grpc_code()));
    headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("gzip,zstd,deflate"));
    let retry_info = error.retry_after().map(protobuf::retry_info);
    for (name, text) in [
        (GRPC_MESSAGE, Some(percent_encode(&message))),
        (GRPC_DETAILS, Some(STANDARD_NO_PAD.encode(details))),
        (RETRY_INFO, retry_info.map(|info| STANDARD_NO_PAD.encode(info))),
    ] {
        let Some(text) = text else { continue };
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    response
}

/// Percent-encodes a status message (gRPC over HTTP2, "Percent-Encoded").
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

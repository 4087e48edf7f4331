//! Heads and frames that no client sends: answered in the form of their protocol, and the next request is taken.

use std::cell::Cell;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use ingest::{IngestOptions, grpc, http};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use testkit::fuzz::{self, Source};
use tower::ServiceExt;

use crate::fixture::{Process, World, logs, metrics, options, span, traces};
use crate::transports::{frame, gzip, zlib, zstd};

/// A request as lines of text before its body: its path, its headers, an empty line.
fn request(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{path}\n").into_bytes();
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\n").into_bytes());
    }
    bytes.push(b'\n');
    bytes.extend(body);
    bytes
}

fn seeds() -> Vec<Vec<u8>> {
    let call = |signal: &str| format!("/opentelemetry.proto.collector.{signal}Service/Export");
    let (call_traces, call_logs, call_metrics) =
        (call("trace.v1.Trace"), call("logs.v1.Logs"), call("metrics.v1.Metrics"));
    let body = traces(vec![span("a", &[("k", "v")])]);
    let kind = ("content-type", "application/grpc+proto");
    let protobuf = ("content-type", "application/x-protobuf; charset=utf-8");
    let json = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","startTimeUnixNano":"5","endTimeUnixNano":"6"}]}]}]}"#;
    vec![
        request(
            &call_traces,
            &[kind, ("te", "trailers"), ("grpc-timeout", "10S")],
            &frame(0, &body),
        ),
        request(
            &call_traces,
            &[kind, ("grpc-encoding", "gzip")],
            &frame(1, &gzip(&body)),
        ),
        request(
            &call_traces,
            &[kind, ("grpc-encoding", "zstd")],
            &frame(1, &zstd(&body)),
        ),
        request(
            &call_traces,
            &[kind, ("grpc-encoding", "deflate")],
            &frame(1, &zlib(&body)),
        ),
        request(&call_logs, &[kind, ("x-scope-orgid", "shop")], &frame(0, &logs(&["x"]))),
        request(
            &call_metrics,
            &[kind, ("grpc-encoding", "identity")],
            &frame(0, &metrics(&["m"])),
        ),
        request("/grpc.health.v1.Health/Check", &[kind], &frame(0, b"")),
        request("/v1/traces", &[protobuf, ("content-encoding", "gzip")], &gzip(&body)),
        request(
            "/v1/traces",
            &[protobuf, ("content-encoding", "zstd, gzip")],
            &zstd(&body),
        ),
        request(
            "/v1/traces",
            &[("content-type", "application/json"), ("content-encoding", "deflate")],
            &zlib(json),
        ),
        request(
            "/v1/logs",
            &[protobuf, ("x-scope-orgid", "shop"), ("content-length", "7")],
            &logs(&["x"]),
        ),
        request("/v1/metrics", &[protobuf, ("expect", "100-continue")], &metrics(&["m"])),
    ]
}

/// What the bytes mean as a request; `None` if no HTTP server would have taken it so far.
fn parse(bytes: &[u8]) -> Option<Request<Body>> {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n")?;
    let mut lines = bytes[..end].split(|&byte| byte == b'\n');
    let mut request = Request::post(lines.next()?);
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        request = request.header(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
    }
    request.body(Body::from(bytes[end + 2..].to_vec())).ok()
}

async fn over_grpc(router: Router, request: Request<Body>) -> bool {
    let (path, health) = (request.uri().path().to_owned(), request.uri().path().contains("Health"));
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let body = collected.to_bytes();
    assert!(
        matches!(parts.status, StatusCode::OK | StatusCode::NOT_FOUND),
        "{}",
        parts.status
    );
    let status = parts.headers.get("grpc-status").or_else(|| trailers.get("grpc-status"));
    let status = status.map(|status| status.to_str().unwrap());
    let told = format!("{path}: {status:?} {:?}", parts.headers.get("grpc-message"));
    match status {
        Some("0") => {
            assert_eq!(body[..5], frame(0, &body[5..])[..5], "{told}");
            // The three answers have the same fields.
            assert!(
                health || ExportTraceServiceResponse::decode(&body[5..]).is_ok(),
                "{told}"
            );
            true
        }
        // Invalid, not there, unimplemented; never unknown or internal.
        Some("3" | "5" | "12") => {
            assert!(body.is_empty(), "{told}");
            false
        }
        // So tonic calls a body that is too long, is cut off or cannot be decoded.
        Some("11" | "13") if health => false,
        // Clients take it for unimplemented (gRPC, "HTTP to gRPC Status Code Mapping").
        None if parts.status == StatusCode::NOT_FOUND => false,
        _ => panic!("{told}"),
    }
}

async fn over_http(router: Router, request: Request<Body>) -> bool {
    let answer = router.oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    assert!(matches!(status, 200 | 400 | 404 | 413 | 415), "{status}");
    answer.into_body().collect().await.unwrap();
    status == 200
}

#[test]
fn mutated_frames_and_heads_are_answered() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = World::new();
    // What a refusal keeps of it would soon leave no room for others.
    let narrow = IngestOptions {
        max_request_bytes: 64 << 10,
        max_decompressed_bytes: 256 << 10,
        max_pending_bytes: 1 << 20,
        ..options()
    };
    let process: Process = runtime.block_on(world.process("one", narrow));
    let calls = runtime.block_on(async { grpc::services(process.ingest.clone()).unwrap() });
    let calls = calls.routes.prepare().into_axum_router();
    let posts = http::router(process.ingest.clone(), &["https://shop.example".to_owned()]);
    let send = |bytes: &[u8]| {
        let taken = parse(bytes).map(|request| {
            let sending = async {
                match request.uri().path().starts_with("/v1/") {
                    true => over_http(posts.clone(), request).await,
                    false => over_grpc(calls.clone(), request).await,
                }
            };
            runtime.block_on(sending)
        });
        taken.unwrap_or(false)
    };
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    let count = |bytes: &[u8]| {
        let counter = if send(bytes) { &taken } else { &refused };
        counter.set(counter.get() + 1);
    };
    let seeds = seeds();
    fuzz::run(&seeds, 1_000, count);
    // The five bytes before a message, and the frame that they belong to no more.
    fuzz::run(&[vec![0; 16]], 500, |choice| {
        let mut source = Source::new(xxhash_rust::xxh3::xxh3_64(choice));
        let mut bytes = seeds[source.below(7)].clone();
        let from = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap() + 2;
        bytes[from + source.below(5)] = source.number() as u8;
        count(&bytes);
    });
    println!("{} taken, {} refused", taken.get(), refused.get());
    assert!(fuzz::number("OTLP_FUZZ_ROUNDS").is_some() || (taken.get() > 25 && refused.get() > 500));
    assert!(send(&seeds[0]) && send(&seeds[7]));
}

//! OTLP/gRPC and OTLP/HTTP without a network: the bytes of a request in, status, headers and body of the answer out.

use std::io::Write;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use ingest::{IngestOptions, grpc, http};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tower::ServiceExt;

use crate::fixture::{Process, World, large, options, span, traces};

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// google.rpc.Status, as far as it is looked at.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    trailers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).or_else(|| self.trailers.get(name));
        value.map_or("", |value| value.to_str().unwrap())
    }
}

async fn ask(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        trailers: collected.trailers().cloned().unwrap_or_default(),
        body: collected.to_bytes(),
    }
}

/// A length-prefixed message.
pub fn frame(compressed: u8, message: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_u8(compressed);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.to_vec()
}

async fn call(process: &Process, body: Vec<u8>, headers: &[(&str, &str)]) -> Answer {
    let services = grpc::services(process.ingest.clone()).unwrap();
    let mut request = Request::post(TRACES).header(header::CONTENT_TYPE, "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    ask(
        services.routes.prepare().into_axum_router(),
        request.body(body.into()).unwrap(),
    )
    .await
}

async fn post(process: &Process, kind: &str, body: impl Into<Body>, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::post("/v1/traces").header(header::CONTENT_TYPE, kind);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    ask(
        http::router(process.ingest.clone(), &[]),
        request.body(body.into()).unwrap(),
    )
    .await
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 1).unwrap()
}

type Pack = fn(&[u8]) -> Vec<u8>;

#[tokio::test]
async fn grpc_takes_every_compression() {
    let world = World::new();
    let process = world.process("one", options()).await;
    let packs: [(&str, u8, Pack); 4] = [
        ("identity", 0, |d| d.to_vec()),
        ("gzip", 1, gzip),
        ("zstd", 1, zstd),
        ("deflate", 1, zlib),
    ];
    for (name, flag, pack) in packs {
        let body = frame(flag, &pack(&traces(vec![span(name, &[])])));
        let answer = call(&process, body, &[("grpc-encoding", name)]).await;
        assert_eq!(
            (answer.status, answer.header("grpc-status")),
            (StatusCode::OK, "0"),
            "{name}"
        );
        assert_eq!(answer.body, frame(0, b""), "{name}");
        assert!(
            answer.trailers.contains_key("grpc-status"),
            "the status of an answer with a message is a trailer"
        );
    }
    assert_eq!(process.names().await, ["deflate", "gzip", "identity", "zstd"]);
}

#[tokio::test]
async fn grpc_mistakes_have_their_codes() {
    let world = World::new();
    let process = world.process("one", options()).await;
    let good = traces(vec![span("x", &[])]);
    let mut long = frame(0, &good);
    long.push(0);
    let short = frame(0, &good)[..20].to_vec();
    // What is wrong, the body, the headers, the status and a word of the message.
    type Case<'a> = (&'a str, Vec<u8>, &'a [(&'a str, &'a str)], &'a str, &'a str);
    let cases: [Case<'_>; 9] = [
        (
            "unknown encoding",
            frame(1, &good),
            &[("grpc-encoding", "snappy")],
            "12",
            "snappy",
        ),
        ("flag without encoding", frame(1, &good), &[], "3", "grpc-encoding"),
        (
            "not what it says",
            frame(1, &good),
            &[("grpc-encoding", "gzip")],
            "3",
            "gzip",
        ),
        ("unknown flag", frame(7, &good), &[], "3", "compressed-flag"),
        ("no message", Vec::new(), &[], "3", "missing"),
        ("too short", short, &[], "3", "bytes"),
        ("too long", long, &[], "3", "bytes"),
        ("not protobuf", frame(0, &[0xff; 9]), &[], "3", "traces"),
        (
            "bad tenant",
            frame(0, &good),
            &[("x-scope-orgid", "a/b")],
            "3",
            "X-Scope-OrgID",
        ),
    ];
    for (name, body, headers, code, word) in cases {
        let answer = call(&process, body, headers).await;
        assert_eq!(
            (answer.status, answer.header("grpc-status")),
            (StatusCode::OK, code),
            "{name}"
        );
        assert!(
            answer.header("grpc-message").contains(word),
            "{name}: {}",
            answer.header("grpc-message")
        );
        assert!(
            answer.header("grpc-accept-encoding").contains("zstd"),
            "{name}: so that the client can choose"
        );
        assert!(answer.body.is_empty(), "{name}");
    }
    assert!(process.names().await.is_empty());
}

#[tokio::test]
async fn the_message_limit_is_configurable_and_named() {
    let world = World::new();
    let narrow = IngestOptions {
        max_request_bytes: 10_000,
        max_decompressed_bytes: 20_000,
        ..options()
    };
    let process = world.process("one", narrow).await;
    let answer = call(&process, frame(0, &large("fits", 9_000)), &[]).await;
    assert_eq!(answer.header("grpc-status"), "0");
    let answer = call(&process, frame(0, &large("large", 11_000)), &[]).await;
    assert_eq!(answer.header("grpc-status"), "3");
    assert!(answer.header("grpc-message").contains("ingest.max_request_bytes"));
    let answer = call(
        &process,
        frame(1, &gzip(&large("bomb", 100_000))),
        &[("grpc-encoding", "gzip")],
    )
    .await;
    assert!(answer.header("grpc-message").contains("ingest.max_decompressed_bytes"));
    let answer = post(&process, "application/x-protobuf", large("large", 11_000), &[]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(process.names().await, ["fits"]);
}

#[tokio::test]
async fn http_takes_every_compression_in_both_encodings() {
    let world = World::new();
    let process = world.process("one", options()).await;
    let packs: [(&str, Pack); 4] = [
        ("identity", |d| d.to_vec()),
        ("gzip", gzip),
        ("zstd", zstd),
        ("deflate", zlib),
    ];
    for (name, pack) in packs {
        let body = pack(&traces(vec![span(name, &[])]));
        let answer = post(&process, "application/x-protobuf", body, &[("content-encoding", name)]).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0), "{name}");
        let json = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"json {name}","traceId":"{:032x}","spanId":"{:016x}","startTimeUnixNano":"5","endTimeUnixNano":6}}]}}]}}]}}"#,
            77,
            name.len()
        );
        let answer = post(
            &process,
            "application/json",
            pack(json.as_bytes()),
            &[("content-encoding", name)],
        )
        .await;
        assert_eq!(
            (answer.status, &answer.body[..]),
            (StatusCode::OK, &b"{}"[..]),
            "{name}"
        );
    }
    assert_eq!(process.names().await.len(), 8);
}

/// While the store is down: 503 with Retry-After and a google.rpc.Status with RetryInfo, in the request's own encoding.
#[tokio::test]
async fn unavailable_is_said_in_the_encoding_of_the_request() {
    let world = World::new();
    let process = world.process("one", options()).await;
    world.store.faults.fail_puts.store(true, Ordering::SeqCst);
    let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","startTimeUnixNano":"5","endTimeUnixNano":"6"}]}]}]}"#;

    let answer = post(&process, "application/json", json, &[]).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (StatusCode::SERVICE_UNAVAILABLE, "application/json")
    );
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(status["code"], 14);
    assert!(status["message"].as_str().unwrap().contains("retry"), "{status}");
    assert_eq!(
        status["details"][0]["@type"],
        "type.googleapis.com/google.rpc.RetryInfo"
    );

    let answer = post(&process, "application/x-protobuf", traces(vec![span("x", &[])]), &[]).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (StatusCode::SERVICE_UNAVAILABLE, "application/x-protobuf")
    );
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    let status = Status::decode(answer.body).unwrap();
    assert_eq!(
        (status.code, status.details[0].type_url.as_str()),
        (14, "type.googleapis.com/google.rpc.RetryInfo")
    );

    let answer = call(&process, frame(0, &traces(vec![span("y", &[])])), &[]).await;
    assert_eq!((answer.status, answer.header("grpc-status")), (StatusCode::OK, "14"));
    assert!(!answer.header("grpc-status-details-bin").is_empty());

    world.store.faults.fail_puts.store(false, Ordering::SeqCst);
    assert_eq!(
        post(&process, "application/json", json, &[]).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn partial_success_has_count_and_reason_in_both_encodings() {
    let world = World::new();
    let process = world.process("one", options()).await;
    let mut bad = span("bad", &[]);
    bad.span_id.clear();
    let answer = post(
        &process,
        "application/x-protobuf",
        traces(vec![span("a", &[]), bad.clone()]),
        &[],
    )
    .await;
    let partial = ExportTraceServiceResponse::decode(answer.body)
        .unwrap()
        .partial_success
        .unwrap();
    assert_eq!(partial.rejected_spans, 1);
    assert!(partial.error_message.contains("span_id"), "{}", partial.error_message);
    let answer = call(&process, frame(0, &traces(vec![span("b", &[]), bad.clone(), bad])), &[]).await;
    let partial = ExportTraceServiceResponse::decode(&answer.body[5..])
        .unwrap()
        .partial_success
        .unwrap();
    assert_eq!(partial.rejected_spans, 2);
    let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"01","spanId":"0102030405060708"}]}]}]}"#;
    let answer = post(&process, "application/json", json, &[]).await;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    // 64-bit integers are text in OTLP/JSON answers (proto3 JSON mapping).
    assert_eq!(body["partialSuccess"]["rejectedSpans"], "1", "{body}");
    assert!(
        body["partialSuccess"]["errorMessage"]
            .as_str()
            .unwrap()
            .contains("trace_id"),
        "{body}"
    );
}

#[tokio::test]
async fn browsers_of_allowed_origins_may_send() {
    let world = World::new();
    let process = world.process("one", options()).await;
    let preflight = |origin: &str| {
        Request::options("/v1/logs")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "content-type,content-encoding,x-scope-orgid,traceparent",
            )
            .body(Body::empty())
            .unwrap()
    };
    let shop = ["https://shop.example".to_owned()];
    let answer = ask(
        http::router(process.ingest.clone(), &shop),
        preflight("https://shop.example"),
    )
    .await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://shop.example");
    assert_eq!(answer.header("access-control-allow-methods"), "POST");
    for name in ["content-type", "content-encoding", "x-scope-orgid", "traceparent"] {
        assert!(answer.header("access-control-allow-headers").contains(name), "{name}");
    }
    let answer = ask(
        http::router(process.ingest.clone(), &shop),
        preflight("https://evil.example"),
    )
    .await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
    let answer = ask(
        http::router(process.ingest.clone(), &["*".to_owned()]),
        preflight("https://any.example"),
    )
    .await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let answer = ask(
        http::router(process.ingest.clone(), &[]),
        preflight("https://shop.example"),
    )
    .await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "",
        "off unless configured"
    );
}

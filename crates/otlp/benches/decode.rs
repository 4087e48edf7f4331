//! What decoding a span costs: `cargo bench -p otlp`.
//!
//! Prints the time per span of the decoder (requests to columns, and columns to Arrow arrays) beside a bare prost decode
//! of the same bytes, which is the yardstick between machines: the ratio of the two is what to compare. One thread; the
//! best of many short rounds, which other processes on the machine rarely all disturb.

use std::hint::black_box;
use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otlp::decode::{AdmitAll, Context, DecodeLimits, KnownIds, TenantBatch};
use otlp::model::Signal;
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Spans of one request, and requests of one commit: a quarter of a second at 130,000 spans/s.
const SPANS: usize = 500;
const REQUESTS: usize = 64;
const ROUNDS: usize = 40;
const NOW: i64 = 1_767_225_600_000_000_000;

fn main() {
    let mut load = Load(StdRng::seed_from_u64(7));
    let requests: Vec<Vec<u8>> = (0..REQUESTS).map(|_| load.request().encode_to_vec()).collect();
    let spans = (SPANS * REQUESTS) as f64;
    let bytes: usize = requests.iter().map(Vec::len).sum();
    println!(
        "{REQUESTS} requests of {SPANS} spans, {:.0} B/span",
        bytes as f64 / spans
    );
    let prost = best(|| {
        for request in &requests {
            black_box(ExportTraceServiceRequest::decode(request.as_slice()).is_ok());
        }
    });
    let known = KnownIds::default();
    let mut batch = TenantBatch::default();
    let context = Context {
        admissions: &AdmitAll,
        known: &known,
        now: NOW,
        limits: DecodeLimits::default(),
    };
    let mut finishing = Vec::new();
    let whole = best(|| {
        for request in &requests {
            let outcome = batch.append(Signal::Traces, request, context);
            assert!(outcome.is_ok_and(|o| o.rejected == 0));
        }
        let start = Instant::now();
        let finished = batch.finish();
        finishing.push(start.elapsed().as_nanos() as f64);
        known.insert(&finished.as_ref().map(|f| f.1.clone()).unwrap_or_default(), NOW);
        black_box(finished.is_ok());
    });
    let finish = finishing.into_iter().fold(f64::INFINITY, f64::min);
    for (what, time) in [
        ("prost decode alone", prost),
        ("decode to arrays", whole),
        ("  of which finish", finish),
    ] {
        let per_span = time / spans;
        println!("{what:20} {per_span:6.0} ns/span {:11.0} spans/CPU-s", 1e9 / per_span);
    }
    println!("ratio to prost       {:6.2}", whole / prost);
}

/// The least time in ns of several runs.
fn best(mut run: impl FnMut()) -> f64 {
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_nanos() as f64
    });
    times.fold(f64::INFINITY, f64::min)
}

/// Spans of a shop: 20 services of 3 pods, 9 to 13 attributes, some of many distinct values.
struct Load(StdRng);

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..Default::default()
    }
}

impl Load {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.random_range(0..bound)
    }

    /// Small numbers often, large ones seldom.
    fn skewed(&mut self, bound: u64) -> u64 {
        let unit: f64 = self.0.random();
        (unit.powi(3) * bound as f64) as u64
    }

    fn request(&mut self) -> ExportTraceServiceRequest {
        let mut spans = SPANS;
        let mut resource_spans = Vec::new();
        while spans > 0 {
            let pod = self.below(60);
            let mut scope_spans = Vec::new();
            for scope in ["http", "grpc", "database"] {
                let count = spans.min(self.below(9) as usize + 4);
                spans -= count;
                scope_spans.push(ScopeSpans {
                    scope: Some(InstrumentationScope {
                        name: format!("io.opentelemetry.go.{scope}"),
                        version: "2.9.0".to_owned(),
                        ..Default::default()
                    }),
                    spans: (0..count).map(|_| self.span(scope, pod / 3)).collect(),
                    ..Default::default()
                });
            }
            resource_spans.push(ResourceSpans {
                resource: Some(resource(pod)),
                scope_spans,
                ..Default::default()
            });
        }
        ExportTraceServiceRequest { resource_spans }
    }

    fn span(&mut self, scope: &str, service: u64) -> Span {
        let (name, kind, attributes) = match scope {
            "http" => self.http(service),
            "grpc" => self.rpc(service),
            _ => self.database(service),
        };
        let failed = self.0.random_bool(0.02);
        let start = NOW as u64 + self.below(1_000_000_000);
        let events = self.0.random_bool(0.03).then(|| Event {
            time_unix_nano: start + 1000,
            name: "exception".to_owned(),
            attributes: vec![
                text("exception.type", "Timeout"),
                text("exception.message", "deadline exceeded"),
            ],
            ..Default::default()
        });
        Span {
            trace_id: self.0.random::<[u8; 16]>().to_vec(),
            span_id: self.0.random::<[u8; 8]>().to_vec(),
            parent_span_id: if self.0.random_bool(0.9) {
                self.0.random::<[u8; 8]>().to_vec()
            } else {
                vec![]
            },
            flags: 0x101,
            name,
            kind,
            start_time_unix_nano: start,
            end_time_unix_nano: start + 1000 + self.skewed(200_000_000),
            attributes,
            events: events.into_iter().collect(),
            status: failed.then(|| Status {
                code: 2,
                message: "deadline exceeded after 3000 ms".to_owned(),
            }),
            ..Default::default()
        }
    }

    fn http(&mut self, service: u64) -> (String, i32, Vec<KeyValue>) {
        let (user, item, noun) = (self.skewed(200_000), self.skewed(1_000_000), self.below(4));
        let mut attributes = vec![
            text("http.request.method", "GET"),
            text("http.route", format!("/api/v1/noun-{service}-{noun}/{{id}}")),
            text("url.path", format!("/api/v1/noun-{service}-{noun}/{item}")),
            text("url.scheme", "https"),
            int("http.response.status_code", 200),
            text("server.address", format!("service-{service}.shop.example")),
            int("server.port", 443),
            text("network.protocol.version", "1.1"),
            text("client.address", format!("203.0.{}.{}", user % 256, user / 256 % 256)),
            text(
                "user_agent.original",
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
            ),
            text("user.id", format!("user-{user}")),
        ];
        if self.0.random_bool(0.15) {
            attributes.push(text("session.id", format!("{:016x}", self.0.random::<u64>())));
        }
        if self.0.random_bool(0.25) {
            attributes.push(int("http.response.body.size", self.skewed(90_000) as i64));
        }
        (format!("GET /api/v1/noun-{service}-{noun}/{{id}}"), 2, attributes)
    }

    fn rpc(&mut self, service: u64) -> (String, i32, Vec<KeyValue>) {
        let (method, caller) = (self.below(8), self.below(40));
        let attributes = vec![
            text("rpc.system", "grpc"),
            text(
                "code.function.name",
                format!("shop.service_{service}.rpc.Get{method}Handler.invoke"),
            ),
            text("rpc.service", format!("shop.service_{service}.v1.NounService")),
            text("rpc.method", format!("Get{method}")),
            int("rpc.grpc.status_code", 0),
            text("server.address", format!("service-{service}.shop.svc.cluster.local")),
            int("server.port", 50051),
            text("network.transport", "tcp"),
            text("network.type", "ipv4"),
            text("client.address", format!("10.2.{caller}.{}", 17 + caller * 5)),
            int("client.port", 40_000 + caller as i64 * 331),
            text("thread.name", format!("grpc-worker-{}", self.below(4))),
        ];
        (
            format!("shop.service_{service}.v1.NounService/Get{method}"),
            2,
            attributes,
        )
    }

    fn database(&mut self, service: u64) -> (String, i32, Vec<KeyValue>) {
        let table = self.below(4);
        let attributes = vec![
            text("db.system.name", "postgresql"),
            text("db.namespace", format!("service_{service}")),
            text("db.collection.name", format!("table_{table}")),
            text("db.operation.name", "SELECT"),
            text("db.query.summary", format!("SELECT table_{table}")),
            text(
                "db.query.text",
                format!("SELECT id, status, updated_at, payload FROM table_{table} WHERE id = $1 AND tenant = $2"),
            ),
            text("server.address", format!("postgresql-{service}.db.shop.internal")),
            int("server.port", 5432),
            text("network.peer.address", format!("10.3.0.{}", 10 + self.below(6))),
            int("db.response.returned_rows", self.skewed(40) as i64),
        ];
        (format!("SELECT table_{table}"), 3, attributes)
    }
}

fn resource(pod: u64) -> Resource {
    let attributes = vec![
        text("service.name", format!("service-{}", pod / 3)),
        text("service.namespace", "shop"),
        text("service.version", "1.4.2"),
        text(
            "service.instance.id",
            format!("627cc493-f310-47de-96bd-71410b7dec{pod:02}"),
        ),
        text("deployment.environment.name", "production"),
        text("cloud.availability_zone", "eu-central-1a"),
        text("k8s.pod.name", format!("service-{}-7d9f8c6b5-{pod:05}", pod / 3)),
        text("k8s.node.name", format!("ip-10-2-0-{}.compute.internal", pod % 15)),
        int("process.pid", 17 + pod as i64),
        text("telemetry.sdk.language", "go"),
    ];
    Resource {
        attributes,
        ..Default::default()
    }
}

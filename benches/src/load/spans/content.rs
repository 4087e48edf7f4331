//! What spans say: names and 6 to 14 attributes after the OpenTelemetry semantic conventions, some of high
//! cardinality (user.id, url.path, messaging.message.id), now and then an event, a link or an error.

use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, status::StatusCode};

use super::shape::{Draft, Operation};
use crate::load::random::Random;
use crate::load::services::{self, Pod, SERVICES, Service, boolean, double, int, text};

const SCOPES: [&str; 5] = ["http", "grpc", "database", "app", "messaging"];
const METHODS: [&str; 8] = ["GET", "GET", "GET", "POST", "GET", "POST", "PUT", "DELETE"];
const RPC_VERBS: [&str; 8] = ["Get", "List", "Find", "Create", "Update", "Check", "Reserve", "Delete"];
const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile Safari/604.1",
    "okhttp/4.12.0",
    "Go-http-client/2.0",
    "python-requests/2.32.3",
    "shop-android/8.4.1 (Android 14; Pixel 8)",
];
const FAILURES: [(&str, &str); 5] = [
    ("TimeoutException", "deadline exceeded after 3000 ms"),
    ("ConnectionRefused", "connection refused by upstream"),
    ("ConstraintViolation", "duplicate key value violates unique constraint"),
    ("ValidationError", "field quantity must be positive"),
    ("CircuitOpen", "circuit breaker is open for upstream"),
];

/// The instrumentation scope number `index` of a pod's service.
pub fn scope(pod: &Pod, index: usize) -> InstrumentationScope {
    let language = SERVICES[pod.service].language;
    services::scope(&format!("io.opentelemetry.{language}.{}", SCOPES[index]), "2.9.0")
}

/// The spans of a trace, in the order of its drafts.
pub fn spans(trace_id: &[u8; 16], drafts: &[Draft], pods: &[Pod], random: &mut Random) -> Vec<Span> {
    let ids: Vec<[u8; 8]> = drafts.iter().map(|_| random.id()).collect();
    let user = random.skewed(200_000);
    drafts
        .iter()
        .enumerate()
        .map(|(index, draft)| {
            let service = &SERVICES[pods[draft.pod].service];
            // The peer of a call is where its child runs.
            let callee = drafts[index..]
                .iter()
                .find(|other| other.parent == Some(index) && other.pod != draft.pod);
            let peer = callee.map_or(&pods[draft.pod], |other| &pods[other.pod]);
            let (name, mut attributes) = describe(draft, service, peer, user, random);
            let events = events(draft, random);
            let links = if draft.operation == Operation::Consumer && random.chance(0.3) {
                link(random)
            } else {
                vec![]
            };
            if draft.failed {
                attributes.push(text("error.type", FAILURES[draft.target as usize % FAILURES.len()].0));
            }
            Span {
                trace_id: trace_id.to_vec(),
                span_id: ids[index].to_vec(),
                parent_span_id: draft.parent.map(|parent| ids[parent].to_vec()).unwrap_or_default(),
                flags: 0x101,
                name,
                kind: kind(draft.operation) as i32,
                start_time_unix_nano: draft.start as u64,
                end_time_unix_nano: draft.end as u64,
                attributes,
                events,
                links,
                status: status(draft),
                ..Default::default()
            }
        })
        .collect()
}

fn kind(operation: Operation) -> SpanKind {
    match operation {
        Operation::HttpServer | Operation::RpcServer => SpanKind::Server,
        Operation::HttpClient | Operation::RpcClient | Operation::Database => SpanKind::Client,
        Operation::Internal => SpanKind::Internal,
        Operation::Producer => SpanKind::Producer,
        Operation::Consumer => SpanKind::Consumer,
    }
}

fn status(draft: &Draft) -> Option<Status> {
    draft.failed.then(|| Status {
        code: StatusCode::Error as i32,
        message: FAILURES[draft.target as usize % FAILURES.len()].1.to_owned(),
    })
}

fn describe(draft: &Draft, service: &Service, peer: &Pod, user: u64, random: &mut Random) -> (String, Vec<KeyValue>) {
    let callee = &SERVICES[peer.service];
    match draft.operation {
        Operation::HttpServer => http_server(draft, service, user, random),
        Operation::HttpClient => http_client(draft, callee, peer, random),
        Operation::RpcServer => rpc(draft, service, None, random),
        Operation::RpcClient => rpc(draft, callee, Some(peer), random),
        Operation::Database => database(draft, service, random),
        Operation::Internal => internal(draft, service, user, random),
        Operation::Producer | Operation::Consumer => messaging(draft, callee, random),
    }
}

/// Route and path with ids of a service's endpoint number `target`.
fn endpoint(service: &Service, target: u64, random: &mut Random) -> (&'static str, String, String) {
    let noun = service.nouns[target as usize % 4];
    let method = METHODS[target as usize % 8];
    if target < 8 {
        let id = random.skewed(1_000_000);
        (method, format!("/api/v1/{noun}/{{id}}"), format!("/api/v1/{noun}/{id}"))
    } else {
        (method, format!("/api/v1/{noun}"), format!("/api/v1/{noun}"))
    }
}

fn http_status(failed: bool, target: u64) -> i64 {
    match (failed, target % 8) {
        (true, 0..4) => 500,
        (true, _) => 503,
        (false, 3) => 201,
        (false, 7) => 204,
        (false, _) => 200,
    }
}

fn http_server(draft: &Draft, service: &Service, user: u64, random: &mut Random) -> (String, Vec<KeyValue>) {
    let (method, route, path) = endpoint(service, draft.target, random);
    let name = format!("{method} {route}");
    let mut attributes = vec![
        text("http.request.method", method),
        text("http.route", route),
        text("url.path", path),
        text("url.scheme", "https"),
        int("http.response.status_code", http_status(draft.failed, draft.target)),
        text("server.address", format!("{}.shop.example", service.name)),
        int("server.port", 443),
        text(
            "network.protocol.version",
            if draft.target.is_multiple_of(3) { "1.1" } else { "2" },
        ),
        text("client.address", format!("203.0.{}.{}", user % 256, user / 256 % 256)),
        text("user_agent.original", AGENTS[user as usize % AGENTS.len()]),
        text("user.id", format!("user-{user}")),
    ];
    if draft.parent.is_none() {
        attributes.push(text("session.id", random.hex(16)));
    }
    if random.chance(0.25) {
        attributes.push(int("http.response.body.size", random.log_normal(4_000.0, 0.9) as i64));
    }
    (name, attributes)
}

fn http_client(draft: &Draft, callee: &Service, peer: &Pod, random: &mut Random) -> (String, Vec<KeyValue>) {
    let (method, template, path) = endpoint(callee, draft.target, random);
    let mut attributes = vec![
        text("http.request.method", method),
        text(
            "url.full",
            format!("http://{}.shop.svc.cluster.local:8080{path}", callee.name),
        ),
        text("server.address", format!("{}.shop.svc.cluster.local", callee.name)),
        int("server.port", 8080),
        int("http.response.status_code", http_status(draft.failed, draft.target)),
        text("network.peer.address", peer.address.clone()),
        int("network.peer.port", 8080),
        text("url.template", template),
        text("network.protocol.name", "http"),
        text("network.protocol.version", "1.1"),
    ];
    if draft.failed {
        attributes.push(int("http.request.resend_count", random.between(1, 3) as i64));
    }
    (method.to_owned(), attributes)
}

fn rpc(draft: &Draft, callee: &Service, peer: Option<&Pod>, random: &mut Random) -> (String, Vec<KeyValue>) {
    let package = callee.name.replace('-', "_");
    let service = format!(
        "shop.{package}.v1.{}Service",
        capital(callee.nouns[draft.target as usize % 4])
    );
    let method = format!(
        "{}{}",
        RPC_VERBS[draft.target as usize % 8],
        capital(callee.nouns[draft.target as usize % 4])
    );
    let name = format!("{service}/{method}");
    let mut attributes = vec![
        text("rpc.system", "grpc"),
        text(
            "code.function.name",
            format!("shop.{package}.rpc.{method}Handler.invoke"),
        ),
        text("rpc.service", service),
        text("rpc.method", method),
        int("rpc.grpc.status_code", if draft.failed { 14 } else { 0 }),
        text("server.address", format!("{}.shop.svc.cluster.local", callee.name)),
        int("server.port", 50051),
        text("network.transport", "tcp"),
        text("network.type", "ipv4"),
    ];
    match peer {
        Some(peer) => {
            attributes.push(text("network.peer.address", peer.address.clone()));
            attributes.push(int("network.peer.port", 50051));
            if random.chance(0.1) {
                attributes.push(int(
                    "rpc.message.uncompressed_size",
                    random.log_normal(900.0, 0.8) as i64,
                ));
            }
        }
        None => {
            // Callers keep their connections: few addresses, one port each.
            let caller = random.below(40);
            attributes.push(text("client.address", format!("10.2.{}.{}", caller, 17 + caller * 5)));
            attributes.push(int("client.port", 40_000 + caller as i64 * 331));
            attributes.push(text("thread.name", format!("grpc-worker-{}", random.below(4))));
        }
    }
    (name, attributes)
}

fn database(draft: &Draft, service: &Service, random: &mut Random) -> (String, Vec<KeyValue>) {
    let table = service.nouns[draft.target as usize % 4];
    let (operation, query) = match draft.target % 8 {
        0..4 => (
            "SELECT",
            format!("SELECT id, status, updated_at, payload FROM {table} WHERE id = $1 AND tenant = $2"),
        ),
        4 => (
            "INSERT",
            format!("INSERT INTO {table} (id, status, payload, created_at) VALUES ($1, $2, $3, now())"),
        ),
        5 => (
            "UPDATE",
            format!("UPDATE {table} SET status = $2, updated_at = now() WHERE id = $1"),
        ),
        6 => (
            "SELECT",
            format!("SELECT count(*) FROM {table} WHERE customer_id = $1 AND created_at > $2"),
        ),
        _ => (
            "DELETE",
            format!("DELETE FROM {table} WHERE expires_at < now() AND id = ANY($1)"),
        ),
    };
    let name = format!("{operation} {table}");
    let mut attributes = vec![
        text("db.system.name", service.database),
        text("db.namespace", service.name.replace('-', "_")),
        text("db.collection.name", table),
        text("db.operation.name", operation),
        text("db.query.summary", name.clone()),
        text("db.query.text", query),
        text(
            "server.address",
            format!("{}-{}.db.shop.internal", service.database, service.nouns[0]),
        ),
        int("server.port", 5432),
        text("network.peer.address", format!("10.3.0.{}", draft.target % 6 + 10)),
    ];
    if operation == "SELECT" {
        attributes.push(int("db.response.returned_rows", random.skewed(40) as i64));
    }
    if random.chance(0.06) {
        attributes.push(text("db.client.connection.pool.name", "main"));
        attributes.push(double(
            "db.client.wait_ms",
            (random.exponential(0.8) * 1000.0).round() / 1000.0,
        ));
    }
    (name, attributes)
}

fn internal(draft: &Draft, service: &Service, user: u64, random: &mut Random) -> (String, Vec<KeyValue>) {
    let noun = service.nouns[draft.target as usize % 4];
    let verb = ["validate", "render", "compute", "serialize"][draft.target as usize / 4];
    let name = format!("{verb}_{noun}");
    let mut attributes = vec![
        text("code.function.name", format!("shop.{noun}.{verb}_{noun}")),
        text(
            "code.file.path",
            format!("/srv/app/src/{noun}/{verb}.{}", &service.language[..2]),
        ),
        int("code.line.number", 17 + draft.target as i64 * 31),
        int("thread.id", random.between(1, 8) as i64),
        text("thread.name", format!("{}-executor-shared", service.name)),
        text("app.tenant", ["emea", "amer", "apac"][user as usize % 3]),
        boolean("app.cache.hit", random.chance(0.8)),
        int("app.items", random.skewed(60) as i64),
    ];
    if random.chance(0.2) {
        attributes.push(text("app.order.id", format!("ord-{}", random.hex(12))));
    }
    if random.chance(0.3) {
        attributes.push(double("app.amount", random.log_normal(4_900.0, 0.9).round() / 100.0));
    }
    (name, attributes)
}

fn messaging(draft: &Draft, callee: &Service, random: &mut Random) -> (String, Vec<KeyValue>) {
    let topic = format!("shop.{}.events", callee.nouns[draft.target as usize % 4]);
    let sends = draft.operation == Operation::Producer;
    let verb = if sends { "send" } else { "process" };
    let name = format!("{verb} {topic}");
    let mut attributes = vec![
        text("messaging.system", "kafka"),
        text("messaging.destination.name", topic),
        text("messaging.operation.type", verb),
        text("messaging.operation.name", verb),
        text("messaging.message.id", random.uuid()),
        int("messaging.message.body.size", random.log_normal(700.0, 0.6) as i64),
        text("messaging.destination.partition.id", random.below(24).to_string()),
        int("messaging.kafka.offset", random.between(1_000_000, 90_000_000) as i64),
        text("server.address", format!("kafka-{}.shop.internal", draft.target % 3)),
        int("server.port", 9092),
    ];
    if !sends {
        attributes.push(text(
            "messaging.consumer.group.name",
            format!("{}-workers", callee.name),
        ));
    }
    (name, attributes)
}

fn events(draft: &Draft, random: &mut Random) -> Vec<Event> {
    let mut events = Vec::new();
    let inside = draft.start + ((draft.end - draft.start) as f64 * random.unit()) as i64;
    if draft.failed && random.chance(0.6) {
        let (kind, message) = FAILURES[draft.target as usize % FAILURES.len()];
        let frames: Vec<String> = (0..3)
            .map(|frame| format!("  at shop.handler.Step{frame}.run(Step{frame}:{})", random.below(400)))
            .collect();
        events.push(event(
            inside,
            "exception",
            vec![
                text("exception.type", kind),
                text("exception.message", message),
                text(
                    "exception.stacktrace",
                    format!("{kind}: {message}\n{}", frames.join("\n")),
                ),
            ],
        ));
    } else if random.chance(0.04) {
        events.push(event(
            inside,
            "cache.miss",
            vec![text("cache.key", format!("item:{}", random.below(1_000_000)))],
        ));
        if random.chance(0.3) {
            events.push(event(
                inside + 40_000,
                "retry",
                vec![int("retry.attempt", random.between(1, 4) as i64)],
            ));
        }
    }
    events
}

fn event(time: i64, name: &str, attributes: Vec<KeyValue>) -> Event {
    Event {
        time_unix_nano: time as u64,
        name: name.to_owned(),
        attributes,
        ..Default::default()
    }
}

fn link(random: &mut Random) -> Vec<Link> {
    let trace_id: [u8; 16] = random.id();
    let span_id: [u8; 8] = random.id();
    vec![Link {
        trace_id: trace_id.to_vec(),
        span_id: span_id.to_vec(),
        attributes: vec![text("messaging.operation.type", "batch")],
        ..Default::default()
    }]
}

fn capital(word: &str) -> String {
    word.split('_')
        .map(|part| {
            part.get(..1)
                .map_or(String::new(), |first| first.to_uppercase() + &part[1..])
        })
        .collect()
}

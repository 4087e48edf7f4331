//! The kinds of calls that services make, with the attributes of the semantic conventions: RPC, HTTP, databases, caches
//! and messages. Each makes the spans of both sides and the durations that both sides record.

use otlp::model::{KeyValue, SpanId, SpanKind};

use crate::context::{Label, Outcome, Request};
use crate::shop::Service;

/// A gRPC call of `service` from where the request is now; `body` is the work of the callee.
pub fn rpc(
    request: &mut Request<'_>,
    service: Service,
    method: &'static str,
    body: impl FnOnce(&mut Request<'_>) -> Outcome,
) -> Outcome {
    let (here, there) = (request.here(), request.pod_of(service));
    let name = format!("{}/{method}", service.rpc());
    let common = || {
        vec![
            KeyValue::new("rpc.system", "grpc"),
            KeyValue::new("rpc.service", service.rpc()),
            KeyValue::new("rpc.method", method),
            KeyValue::new("server.address", format!("{}.shop.svc.cluster.local", service.name())),
            KeyValue::new("server.port", 50051),
        ]
    };
    let mut client = common();
    client.push(KeyValue::new("network.peer.address", request.address(there)));
    client.push(KeyValue::new("network.peer.port", 50051));
    let mut server = common();
    server.push(KeyValue::new("client.address", request.address(here)));
    server.push(KeyValue::new("network.transport", "tcp"));
    request.span(here, SpanKind::CLIENT, name.clone(), client, |request| {
        request.work(0.25);
        let outcome = request.span(there, SpanKind::SERVER, name, server, |request| {
            request.work(0.4);
            let outcome = body(request);
            finish_rpc(request, "rpc.server.call.duration", service, method, &outcome);
            outcome
        });
        request.work(0.2);
        finish_rpc(request, "rpc.client.call.duration", service, method, &outcome);
        outcome
    })
}

fn finish_rpc(
    request: &mut Request<'_>,
    metric: &'static str,
    service: Service,
    method: &'static str,
    outcome: &Outcome,
) {
    let code = outcome.as_ref().map_or_else(|failure| failure.grpc, |()| 0);
    request.set("rpc.grpc.status_code", code);
    request.observe(
        metric,
        vec![
            ("rpc.system", Label::Text("grpc".to_owned())),
            ("rpc.service", Label::Text(service.rpc().to_owned())),
            ("rpc.method", Label::Text(method.to_owned())),
            ("rpc.grpc.status_code", Label::Int(code)),
        ],
    );
}

/// An HTTP call of a service of the shop.
pub fn http(
    request: &mut Request<'_>,
    service: Service,
    method: &'static str,
    route: &'static str,
    path: String,
    body: impl FnOnce(&mut Request<'_>) -> Outcome,
) -> Outcome {
    let (here, there) = (request.here(), request.pod_of(service));
    let host = format!("{}.shop.svc.cluster.local", service.name());
    let client = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("url.full", format!("http://{host}:8080{path}")),
        KeyValue::new("server.address", host.clone()),
        KeyValue::new("server.port", 8080),
        KeyValue::new("network.peer.address", request.address(there)),
        KeyValue::new("network.protocol.version", "1.1"),
    ];
    let server = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.route", route),
        KeyValue::new("url.path", path),
        KeyValue::new("url.scheme", "http"),
        KeyValue::new("server.address", host),
        KeyValue::new("server.port", 8080),
        KeyValue::new("client.address", request.address(here)),
    ];
    request.span(here, SpanKind::CLIENT, method.to_owned(), client, |request| {
        request.work(0.4);
        let outcome = request.span(
            there,
            SpanKind::SERVER,
            format!("{method} {route}"),
            server,
            |request| {
                request.work(0.6);
                let outcome = body(request);
                let status = status(&outcome);
                request.set("http.response.status_code", status);
                request.observe(
                    "http.server.request.duration",
                    vec![
                        ("http.request.method", Label::Text(method.to_owned())),
                        ("http.route", Label::Text(route.to_owned())),
                        ("http.response.status_code", Label::Int(status)),
                        ("url.scheme", Label::Text("http".to_owned())),
                    ],
                );
                outcome
            },
        );
        request.work(0.3);
        request.set("http.response.status_code", status(&outcome));
        outcome
    })
}

/// An HTTP call of somebody else's API, of which only this side is seen.
pub fn external(
    request: &mut Request<'_>,
    method: &'static str,
    host: &'static str,
    path: &str,
    body: impl FnOnce(&mut Request<'_>) -> Outcome,
) -> Outcome {
    let here = request.here();
    let attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("url.full", format!("https://{host}{path}")),
        KeyValue::new("server.address", host),
        KeyValue::new("server.port", 443),
        KeyValue::new("network.protocol.version", "1.1"),
    ];
    request.span(here, SpanKind::CLIENT, method.to_owned(), attributes, |request| {
        let outcome = body(request);
        // A call that timed out has no status.
        if outcome.as_ref().map_or_else(|failure| failure.grpc != 4, |()| true) {
            request.set("http.response.status_code", status(&outcome));
        }
        outcome
    })
}

fn status(outcome: &Outcome) -> i64 {
    outcome.as_ref().map_or_else(|failure| failure.http, |()| 200)
}

/// A statement at a database.
pub struct Statement {
    /// `db.system.name`.
    pub system: &'static str,
    /// `db.operation.name`.
    pub operation: &'static str,
    /// `db.collection.name`.
    pub collection: &'static str,
    /// `db.query.text`, without values.
    pub text: &'static str,
    /// Median duration in ms.
    pub median: f64,
}

/// Runs a statement; `check` says whether it fails, after its time has passed.
pub fn database(
    request: &mut Request<'_>,
    statement: &Statement,
    check: impl FnOnce(&mut Request<'_>) -> Outcome,
) -> Outcome {
    let here = request.here();
    let Statement {
        system,
        operation,
        collection,
        text,
        median,
    } = *statement;
    let attributes = vec![
        KeyValue::new("db.system.name", system),
        KeyValue::new("db.namespace", "shop"),
        KeyValue::new("db.operation.name", operation),
        KeyValue::new("db.collection.name", collection),
        KeyValue::new("db.query.text", text),
        KeyValue::new("server.address", format!("{system}.shop.svc.cluster.local")),
        KeyValue::new("server.port", port(system)),
    ];
    request.span(
        here,
        SpanKind::CLIENT,
        format!("{operation} {collection}"),
        attributes,
        |request| {
            request.work(median);
            let outcome = check(request);
            if outcome.is_ok() && operation == "SELECT" {
                let rows = 1 + request.below(20) as i64;
                request.set("db.response.returned_rows", rows);
            }
            request.observe(
                "db.client.operation.duration",
                vec![
                    ("db.system.name", Label::Text(system.to_owned())),
                    ("db.operation.name", Label::Text(operation.to_owned())),
                    ("db.collection.name", Label::Text(collection.to_owned())),
                ],
            );
            outcome
        },
    )
}

fn port(system: &str) -> i64 {
    match system {
        "postgresql" => 5432,
        "mysql" => 3306,
        _ => 6379,
    }
}

/// Publishes a message and returns the span that did, for consumers to link to.
pub fn publish(request: &mut Request<'_>, topic: &'static str) -> Option<SpanId> {
    let here = request.here();
    let id = crate::shop::uuid(request.bits());
    let partition = request.below(6);
    let mut attributes = messaging(topic, "send", id, partition);
    attributes.push(KeyValue::new(
        "messaging.message.body.size",
        380 + request.below(900) as i64,
    ));
    let mut producer = None;
    // Publishing waits for the broker's acknowledgement, which never fails in this shop.
    let _ = request.span(
        here,
        SpanKind::PRODUCER,
        format!("send {topic}"),
        attributes,
        |request| {
            producer = request.current();
            request.work(1.2);
            Ok(())
        },
    );
    producer
}

/// Processes a published message on a pod of `service`, some time after it was sent.
pub fn consume(
    request: &mut Request<'_>,
    service: Service,
    topic: &'static str,
    producer: Option<SpanId>,
    body: impl FnOnce(&mut Request<'_>) -> Outcome,
) -> Outcome {
    request.work(8.0);
    let there = request.pod_of(service);
    let id = crate::shop::uuid(request.bits());
    let partition = request.below(6);
    let mut attributes = messaging(topic, "process", id, partition);
    attributes.push(KeyValue::new("messaging.consumer.group.name", service.name()));
    attributes.push(KeyValue::new(
        "messaging.kafka.offset",
        400_000 + request.below(100_000) as i64,
    ));
    request.span(
        there,
        SpanKind::CONSUMER,
        format!("process {topic}"),
        attributes,
        |request| {
            if let Some(producer) = producer {
                request.link(producer);
            }
            let outcome = body(request);
            request.observe(
                "messaging.process.duration",
                vec![
                    ("messaging.system", Label::Text("kafka".to_owned())),
                    ("messaging.destination.name", Label::Text(topic.to_owned())),
                    ("messaging.consumer.group.name", Label::Text(service.name().to_owned())),
                ],
            );
            outcome
        },
    )
}

fn messaging(topic: &'static str, operation: &'static str, id: String, partition: u64) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", "kafka"),
        KeyValue::new("messaging.destination.name", topic),
        KeyValue::new("messaging.operation.type", operation),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.message.id", id),
        KeyValue::new("messaging.destination.partition.id", partition.to_string()),
        KeyValue::new("server.address", "kafka.shop.svc.cluster.local"),
        KeyValue::new("server.port", 9092),
    ]
}

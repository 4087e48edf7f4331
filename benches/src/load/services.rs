//! Who sends: 20 services with ten pods each, spread over 50 nodes. One agent a node batches what the four pods there
//! emit and exports it, as OpenTelemetry collectors do: hence a request holds a few resources, and the spans of
//! one trace arrive in several requests.

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::random::Random;

/// Pods of each service.
pub const PODS_PER_SERVICE: usize = 10;
/// Nodes, each with an agent that exports for four pods.
pub const NODES: usize = 50;

/// What a service is, as far as its telemetry shows it.
#[derive(Debug)]
pub struct Service {
    /// `service.name`.
    pub name: &'static str,
    /// `telemetry.sdk.language`.
    pub language: &'static str,
    /// The nouns of its routes, tables and topics.
    pub nouns: [&'static str; 4],
    /// Whether it mostly speaks gRPC (else HTTP).
    pub grpc: bool,
    /// `db.system.name` of its store.
    pub database: &'static str,
}

macro_rules! service {
    ($name:literal, $language:literal, [$($noun:literal),*], $grpc:literal, $database:literal) => {
        Service { name: $name, language: $language, nouns: [$($noun),*], grpc: $grpc, database: $database }
    };
}

/// The services; the first four receive the outside traffic.
pub const SERVICES: [Service; 20] = [
    service!(
        "web-frontend",
        "nodejs",
        ["home", "products", "cart", "account"],
        false,
        "redis"
    ),
    service!(
        "mobile-gateway",
        "go",
        ["feed", "products", "basket", "profile"],
        false,
        "redis"
    ),
    service!(
        "partner-api",
        "java",
        ["orders", "shipments", "invoices", "catalog"],
        false,
        "postgresql"
    ),
    service!(
        "admin-portal",
        "python",
        ["reports", "users", "refunds", "campaigns"],
        false,
        "mysql"
    ),
    service!(
        "checkout",
        "go",
        ["checkouts", "totals", "addresses", "vouchers"],
        true,
        "postgresql"
    ),
    service!(
        "cart",
        "dotnet",
        ["carts", "items", "wishlists", "bundles"],
        true,
        "redis"
    ),
    service!(
        "product-catalog",
        "go",
        ["products", "variants", "categories", "brands"],
        true,
        "postgresql"
    ),
    service!(
        "search",
        "java",
        ["queries", "facets", "suggestions", "synonyms"],
        false,
        "elasticsearch"
    ),
    service!(
        "recommendation",
        "python",
        ["recommendations", "models", "features", "embeddings"],
        true,
        "redis"
    ),
    service!(
        "pricing",
        "rust",
        ["prices", "discounts", "taxes", "currencies"],
        true,
        "postgresql"
    ),
    service!(
        "inventory",
        "java",
        ["stock", "reservations", "warehouses", "transfers"],
        true,
        "mysql"
    ),
    service!(
        "payment",
        "java",
        ["payments", "authorizations", "captures", "refunds"],
        true,
        "postgresql"
    ),
    service!(
        "fraud-detection",
        "python",
        ["scores", "rules", "signals", "cases"],
        true,
        "cassandra"
    ),
    service!(
        "shipping",
        "rust",
        ["quotes", "labels", "parcels", "carriers"],
        false,
        "postgresql"
    ),
    service!(
        "order-management",
        "java",
        ["orders", "order_lines", "returns", "exchanges"],
        true,
        "postgresql"
    ),
    service!(
        "user-profile",
        "go",
        ["users", "preferences", "consents", "devices"],
        true,
        "mongodb"
    ),
    service!(
        "authentication",
        "go",
        ["sessions", "tokens", "challenges", "keys"],
        true,
        "redis"
    ),
    service!(
        "notification",
        "nodejs",
        ["emails", "pushes", "templates", "subscriptions"],
        false,
        "mongodb"
    ),
    service!(
        "loyalty",
        "ruby",
        ["points", "tiers", "rewards", "partners"],
        false,
        "mysql"
    ),
    service!(
        "reviews",
        "php",
        ["reviews", "ratings", "photos", "reports"],
        false,
        "mysql"
    ),
];

/// One running process of a service.
#[derive(Debug)]
pub struct Pod {
    /// Index into [`SERVICES`].
    pub service: usize,
    /// Which node's agent exports its telemetry, `0..NODES`.
    pub node: usize,
    /// Its OTLP resource: 14 attributes.
    pub resource: Resource,
    /// Its cluster address, for `network.peer.address` of callers.
    pub address: String,
}

/// The pods of every service: `SERVICES.len() * PODS_PER_SERVICE` of them, service by service.
pub fn pods(random: &mut Random) -> Vec<Pod> {
    (0..SERVICES.len() * PODS_PER_SERVICE)
        .map(|index| {
            let service = index / PODS_PER_SERVICE;
            // Pods of one service land on different nodes, and each node holds pods of four services.
            let node = (index % PODS_PER_SERVICE) * 5 + service % 5;
            pod(service, node, random)
        })
        .collect()
}

/// One pod of `SERVICES[service]` on `node`, with resource attributes of its own.
pub fn pod(service: usize, node: usize, random: &mut Random) -> Pod {
    let described = &SERVICES[service];
    let zone = ["eu-central-1a", "eu-central-1b", "eu-central-1c"][node % 3];
    let pod_name = format!("{}-{}-{}", described.name, random.hex(9), random.hex(5));
    let attributes = vec![
        text("service.name", described.name),
        text("service.namespace", "shop"),
        text(
            "service.version",
            format!("{}.{}.{}", 1 + service % 4, random.below(30), random.below(10)),
        ),
        text("service.instance.id", random.uuid()),
        text("deployment.environment.name", "production"),
        text("cloud.provider", "aws"),
        text("cloud.availability_zone", zone),
        text("k8s.namespace.name", "shop"),
        text("k8s.pod.name", pod_name.clone()),
        text(
            "k8s.node.name",
            format!("ip-10-2-{}-{}.compute.internal", node / 16, 16 * (node % 16) + 3),
        ),
        text("host.name", pod_name),
        int("process.pid", random.between(1, 4000) as i64),
        text("telemetry.sdk.name", "opentelemetry"),
        text("telemetry.sdk.language", described.language),
    ];
    let address = format!("10.2.{}.{}", random.below(64), random.between(2, 254));
    Pod {
        service,
        node,
        resource: Resource {
            attributes,
            ..Default::default()
        },
        address,
    }
}

/// An instrumentation scope with a name and a version.
pub fn scope(name: &str, version: &str) -> InstrumentationScope {
    InstrumentationScope {
        name: name.to_owned(),
        version: version.to_owned(),
        ..Default::default()
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..Default::default()
    }
}

/// A string attribute.
pub fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// An integer attribute.
pub fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

/// A double attribute.
pub fn double(key: &str, value: f64) -> KeyValue {
    attribute(key, Value::DoubleValue(value))
}

/// A boolean attribute.
pub fn boolean(key: &str, value: bool) -> KeyValue {
    attribute(key, Value::BoolValue(value))
}

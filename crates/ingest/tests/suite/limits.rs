//! What a tenant may send: what is refused, what is rejected out of a request, and what is never refused.

use std::time::Duration;

use ingest::{IngestError, IngestOptions};
use limits::{Allowance, LimitOptions, Limits};
use memory::{Budget, Use};
use otlp::model::Signal;
use telemetry::Telemetry;

use crate::fixture::{World, large, metrics, options, span, tenant, traces};

fn limited(allowance: Allowance) -> IngestOptions {
    let limits = LimitOptions {
        burst: Duration::from_secs(1),
        default: allowance,
        ..LimitOptions::default()
    };
    let memory = Budget::unlimited().account(Use::Limits, u64::MAX);
    IngestOptions {
        limits: Limits::new(limits, Telemetry::new("test", "0"), memory),
        ..options()
    }
}

#[tokio::test]
async fn beyond_its_rate_a_tenant_waits_and_a_retry_of_what_is_stored_does_not() {
    let world = World::new();
    let rate = Allowance {
        bytes_per_second: Some(64 << 10),
        ..Allowance::default()
    };
    let process = world.process("one", limited(rate)).await;
    let first = large("first", 600 << 10);
    process
        .ingest
        .accept(tenant(), Signal::Traces, first.clone())
        .await
        .unwrap();
    let small = traces(vec![span("small", &[])]);
    let refused = process
        .ingest
        .accept(tenant(), Signal::Traces, small.clone())
        .await
        .unwrap_err();
    assert_eq!((refused.grpc_code(), refused.http_status()), (8, 429));
    let delay = refused.retry_after().unwrap();
    assert!(
        (3..=9).contains(&delay.as_secs()),
        "600 KiB take 9.4 s, of which 1 s was there: {delay:?}"
    );
    let text = refused.to_string();
    assert!(
        text.starts_with("tenant default exceeds limits.bytes_per_second (64 KiB/s): retry in ")
            && text.ends_with("or raise limits.tenants.default.bytes_per_second"),
        "{text}"
    );
    let again = process.ingest.accept(tenant(), Signal::Traces, first).await.unwrap();
    assert_eq!(again.accepted, 1);
    let other = schema::TenantId::parse("other").unwrap();
    process.ingest.accept(other, Signal::Traces, small).await.unwrap();
    assert_eq!(process.names().await, ["first"]);
}

#[tokio::test]
async fn items_are_charged_as_they_are_decoded() {
    let world = World::new();
    let rate = Allowance {
        items_per_second: Some(2),
        ..Allowance::default()
    };
    let process = world.process("one", limited(rate)).await;
    let six = traces((0..6).map(|n| span(&format!("{n}"), &[])).collect());
    process.ingest.accept(tenant(), Signal::Traces, six).await.unwrap();
    let one = traces(vec![span("late", &[])]);
    let refused = process.ingest.accept(tenant(), Signal::Traces, one).await.unwrap_err();
    assert!(
        refused.to_string().contains("limits.items_per_second (2 items/s)"),
        "{refused}"
    );
    let delay = refused.retry_after().unwrap();
    assert!(
        delay <= Duration::from_secs(2),
        "six of two a second, two of them at once: {delay:?}"
    );
}

#[tokio::test]
async fn new_series_beyond_the_limit_are_rejected_and_known_ones_go_on() {
    let world = World::new();
    let two = Allowance {
        series: Some(2),
        ..Allowance::default()
    };
    let process = world.process("one", limited(two)).await;
    let send = |names: &'static [&'static str]| process.ingest.accept(tenant(), Signal::Metrics, metrics(names));
    assert_eq!(send(&["a", "b"]).await.unwrap().rejected, 0);
    let partly = send(&["b", "c", "a"]).await.unwrap();
    assert_eq!((partly.accepted, partly.rejected), (2, 1));
    assert!(
        partly.message.contains("limits.series (2)") && partly.message.contains("limits.tenants.default.series"),
        "{}",
        partly.message
    );
    // Nothing of this one can be stored: the sender keeps it and tries again.
    let refused = send(&["c", "d"]).await.unwrap_err();
    assert!(matches!(refused, IngestError::Limited(_)), "{refused}");
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(30)));
    assert_eq!(send(&["a"]).await.unwrap().accepted, 1);
}

#[tokio::test]
async fn new_attribute_keys_beyond_the_limit_are_rejected_wherever_they_stand() {
    let world = World::new();
    // `service.name` of the resource is one of them.
    let three = Allowance {
        attribute_keys: Some(3),
        ..Allowance::default()
    };
    let process = world.process("one", limited(three)).await;
    let send = |spans| process.ingest.accept(tenant(), Signal::Traces, traces(spans));
    let accepted = send(vec![span("ab", &[("a", "1"), ("b", "2")]), span("c", &[("c", "3")])])
        .await
        .unwrap();
    assert_eq!((accepted.accepted, accepted.rejected), (1, 1));
    assert!(
        accepted.message.contains("limits.attribute_keys (3)"),
        "{}",
        accepted.message
    );
    let refused = send(vec![span("d", &[("a", "1"), ("d", "4")])]).await.unwrap_err();
    assert!(matches!(refused, IngestError::Limited(_)), "{refused}");
    assert_eq!(send(vec![span("b", &[("b", "5")])]).await.unwrap().accepted, 1);
    assert_eq!(process.names().await, ["ab", "b"]);
    // A rejected item leaves nothing behind in its neighbours.
    let (_, attributes) = &process.spans().await[1];
    assert_eq!(attributes.get("attr.b").map(String::as_str), Some("5"));
    assert_eq!(attributes.len(), 1, "{attributes:?}");
}

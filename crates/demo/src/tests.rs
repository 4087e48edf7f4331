//! The shop is believable: whole traces, logs and exemplars that point into them, incidents that show.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use schema::ManualClock;

use super::*;

const NOW: i64 = 1_750_000_000_000_000_000;

fn options(endpoint: &str) -> DemoOptions {
    DemoOptions {
        endpoint: endpoint.to_owned(),
        tenant: None,
        traces_per_second: 40.0,
        seed: 11,
        duration: Some(Duration::from_secs(1)),
    }
}

/// Simulates `count` requests at `now`, without sending.
fn simulate(count: usize, now: i64, incident: Option<Incident>) -> (Vec<shop::Pod>, Vec<context::Done>) {
    let mut random = StdRng::seed_from_u64(3);
    let pods = shop::pods(&mut random);
    let done = (0..count)
        .map(|_| {
            let mut request = Request::new(now, incident, &pods, &mut random);
            journeys::any(&mut request);
            request.finish()
        })
        .collect();
    (pods, done)
}

fn failed(done: &context::Done, pods: &[shop::Pod], service: shop::Service) -> bool {
    done.spans
        .iter()
        .any(|(pod, span)| pods[*pod].service == service && span.status.code == otlp::model::StatusCode::ERROR)
}

#[test]
fn traces_are_whole_nested_and_cross_services() {
    let (pods, all) = simulate(500, NOW, None);
    let mut services = HashSet::new();
    for done in &all {
        let spans: HashMap<_, _> = done
            .spans
            .iter()
            .map(|(pod, span)| (span.span_id, (*pod, span)))
            .collect();
        assert_eq!(spans.len(), done.spans.len());
        assert!((2..=80).contains(&spans.len()), "{} spans", spans.len());
        assert_eq!(
            spans.values().filter(|(_, span)| span.parent_span_id.is_none()).count(),
            1
        );
        for (pod, span) in spans.values() {
            services.insert(pods[*pod].service);
            assert_eq!(span.trace_id, done.trace_id);
            assert!(span.end_time_unix_nano > span.start_time_unix_nano);
            if let Some(parent) = span.parent_span_id {
                assert!(
                    span.start_time_unix_nano >= spans[&parent].1.start_time_unix_nano,
                    "{}",
                    span.name
                );
            }
        }
        for (_, record) in &done.logs {
            assert!(spans.contains_key(&record.span_id.expect("logs have context")));
        }
        for observation in &done.observations {
            assert!(spans.contains_key(&observation.span_id));
            assert!(observation.seconds > 0.0);
        }
    }
    assert_eq!(services.len(), 12, "every service takes part: {services:?}");
    assert!(all.iter().any(|done| done.order.is_some()));
    let healthy = all
        .iter()
        .filter(|done| !failed(done, &pods, shop::Service::Frontend))
        .count();
    assert!(healthy > 480, "{healthy} of 500 requests succeed on a good day");
}

#[test]
fn incidents_show_where_they_happen() {
    for (incident, service) in [
        (Incident::AcquirerTimeouts, shop::Service::Payment),
        (Incident::SlowInventoryDatabase, shop::Service::Inventory),
        (Incident::RecommendationCacheDown, shop::Service::Recommendation),
        (Incident::CartCrashLoop, shop::Service::Cart),
        (Incident::CurrencyBadDeploy, shop::Service::Currency),
    ] {
        let (pods, good) = simulate(400, NOW, None);
        let (_, bad) = simulate(400, NOW, Some(incident));
        let count = |all: &[context::Done]| all.iter().filter(|done| failed(done, &pods, service)).count();
        assert!(
            count(&bad) > 3 * count(&good) + 5,
            "{incident:?}: {} against {}",
            count(&bad),
            count(&good)
        );
    }
}

#[test]
fn incidents_are_fixed_by_seed_and_time_and_are_rare() {
    let second = 1_000_000_000;
    let hours: Vec<_> = (0..3 * 3600).map(|at| incident_at(5, NOW + at * second)).collect();
    let again: Vec<_> = (0..3 * 3600).map(|at| incident_at(5, NOW + at * second)).collect();
    assert_eq!(hours, again);
    let on = hours.iter().filter(|incident| incident.is_some()).count();
    assert!((1_000..4_500).contains(&on), "{on} s of three hours");
}

#[test]
fn unusable_options_say_what_is_wrong() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let fail = |options| {
        runtime
            .block_on(run(options, std::future::pending()))
            .expect_err("refused")
            .to_string()
    };
    assert!(fail(options("localhost:4318")).contains("http://"));
    assert!(
        fail(DemoOptions {
            traces_per_second: f64::NAN,
            ..options("http://localhost")
        })
        .contains("positive")
    );
    let tenant = DemoOptions {
        tenant: Some("a\nb".to_owned()),
        ..options("http://localhost")
    };
    assert!(fail(tenant).contains("tenant"));
}

#[derive(Debug, Default)]
struct Received {
    spans: u64,
    logs: u64,
    points: u64,
    refused: bool,
    tenants: HashSet<String>,
}

type Shared = State<Arc<Mutex<Received>>>;

async fn traces(State(received): Shared, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut received = received.lock().expect("not poisoned");
    if !received.refused {
        // The first request is asked to come again.
        received.refused = true;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    assert_eq!(headers["content-type"], "application/x-protobuf");
    received
        .tenants
        .insert(headers["x-scope-orgid"].to_str().expect("ASCII").to_owned());
    let request = ExportTraceServiceRequest::decode(body).expect("valid OTLP");
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    received.spans += scopes.map(|scope| scope.spans.len() as u64).sum::<u64>();
    StatusCode::OK
}

async fn logs(State(received): Shared, body: Bytes) -> StatusCode {
    let request = ExportLogsServiceRequest::decode(body).expect("valid OTLP");
    let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
    received.lock().expect("not poisoned").logs += scopes.map(|scope| scope.log_records.len() as u64).sum::<u64>();
    StatusCode::OK
}

async fn metrics(State(received): Shared, body: Bytes) -> StatusCode {
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    let request = ExportMetricsServiceRequest::decode(body).expect("valid OTLP");
    let scopes = request
        .resource_metrics
        .iter()
        .flat_map(|resource| &resource.scope_metrics);
    let points: usize = scopes
        .flat_map(|scope| &scope.metrics)
        .map(|metric| match metric.data.as_ref().expect("data") {
            Data::Gauge(data) => data.data_points.len(),
            Data::Sum(data) => data.data_points.len(),
            Data::Histogram(data) => {
                assert!(data.data_points.iter().any(|point| !point.exemplars.is_empty()));
                data.data_points.len()
            }
            other => panic!("unexpected {other:?}"),
        })
        .sum();
    received.lock().expect("not poisoned").points += points as u64;
    StatusCode::OK
}

#[tokio::test]
async fn everything_sent_is_valid_otlp_and_counted() {
    let received = Arc::new(Mutex::new(Received::default()));
    let app = Router::new()
        .route("/v1/traces", post(traces))
        .route("/v1/logs", post(logs))
        .route("/v1/metrics", post(metrics))
        .with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}/", listener.local_addr().expect("bound"));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let options = DemoOptions {
        tenant: Some("shop".to_owned()),
        ..options(&endpoint)
    };
    let report = run_with(options, Arc::new(ManualClock::new(NOW)), std::future::pending())
        .await
        .expect("runs");
    server.abort();
    let received = received.lock().expect("not poisoned");
    assert!(report.traces > 10);
    assert_eq!(report.failed_requests, 0);
    assert_eq!(
        (received.spans, received.logs, received.points),
        (report.spans, report.log_records, report.data_points)
    );
    assert!(report.spans > report.traces && report.log_records > 0 && report.data_points > 0);
    assert_eq!(received.tenants, HashSet::from(["shop".to_owned()]));
}

#[tokio::test]
async fn an_absent_server_costs_telemetry_but_not_the_run() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let report = run(options(&endpoint), std::future::pending()).await.expect("runs");
    assert!(report.failed_requests > 0);
    assert_eq!(report.spans, 0);
}

#[tokio::test]
async fn shutdown_ends_the_run() {
    let report = run(
        DemoOptions {
            duration: None,
            ..options("http://127.0.0.1:9")
        },
        async {},
    )
    .await
    .expect("runs");
    assert_eq!(report.traces, 0);
}

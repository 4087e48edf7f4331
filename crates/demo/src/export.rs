//! Sending: OTLP/HTTP with protobuf bodies, one request a pod and signal, as the SDKs in them would.

use std::time::Duration;

use otlp::encode::protobuf::{encode_logs, encode_metrics, encode_traces};
use otlp::model::{
    LogRecord, MetricData, ResourceLogs, ResourceMetrics, ResourceSpans, Scope, ScopeLogs, ScopeSpans, Span,
};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use tokio::task::JoinSet;

use crate::context::Done;
use crate::shop::Pod;
use crate::{DemoError, DemoReport};

/// Requests in flight at once.
const PARALLEL: usize = 8;
/// Sendings of one request before it is given up: a demo has no queue to keep it in.
const ATTEMPTS: u32 = 3;
/// The longest pause that a server's Retry-After is followed; longer ones give the request up sooner.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What one interval left to be sent.
#[derive(Debug, Default)]
pub struct Outbox {
    spans: Vec<(usize, Span)>,
    logs: Vec<(usize, LogRecord)>,
    /// One a pod, when metrics are due.
    pub metrics: Vec<ResourceMetrics>,
    payloads: Vec<Payload>,
}

#[derive(Debug, Clone)]
struct Payload {
    path: &'static str,
    body: Vec<u8>,
    sent: DemoReport,
}

impl Outbox {
    /// Adds what a request recorded.
    pub fn add(&mut self, done: Done) {
        self.spans.extend(done.spans);
        self.logs.extend(done.logs);
    }

    /// Encodes everything, grouped by pod.
    pub fn group(&mut self, pods: &[Pod]) {
        let mut spans: Vec<Vec<Span>> = pods.iter().map(|_| Vec::new()).collect();
        for (pod, span) in self.spans.drain(..) {
            spans[pod].push(span);
        }
        let mut logs: Vec<Vec<LogRecord>> = pods.iter().map(|_| Vec::new()).collect();
        for (pod, record) in self.logs.drain(..) {
            logs[pod].push(record);
        }
        for ((pod, spans), log_records) in pods.iter().zip(spans).zip(logs) {
            let scope = Scope {
                name: "shop.instrumentation".to_owned(),
                version: "1.0.0".to_owned(),
                ..Scope::default()
            };
            if !spans.is_empty() {
                let sent = DemoReport {
                    spans: spans.len() as u64,
                    ..DemoReport::default()
                };
                let resource = pod.resource.clone();
                let scope_spans = vec![ScopeSpans {
                    scope: scope.clone(),
                    spans,
                    ..ScopeSpans::default()
                }];
                let body = encode_traces(&[ResourceSpans {
                    resource,
                    scope_spans,
                    ..ResourceSpans::default()
                }]);
                self.payloads.push(Payload {
                    path: "v1/traces",
                    body,
                    sent,
                });
            }
            if !log_records.is_empty() {
                let sent = DemoReport {
                    log_records: log_records.len() as u64,
                    ..DemoReport::default()
                };
                let resource = pod.resource.clone();
                let scope_logs = vec![ScopeLogs {
                    scope,
                    log_records,
                    ..ScopeLogs::default()
                }];
                let body = encode_logs(&[ResourceLogs {
                    resource,
                    scope_logs,
                    ..ResourceLogs::default()
                }]);
                self.payloads.push(Payload {
                    path: "v1/logs",
                    body,
                    sent,
                });
            }
        }
        for metrics in self.metrics.drain(..) {
            let sent = DemoReport {
                data_points: points(&metrics),
                ..DemoReport::default()
            };
            let body = encode_metrics(&[metrics]);
            self.payloads.push(Payload {
                path: "v1/metrics",
                body,
                sent,
            });
        }
    }
}

fn points(metrics: &ResourceMetrics) -> u64 {
    let all = metrics.scope_metrics.iter().flat_map(|scope| &scope.metrics);
    all.map(|metric| match &metric.data {
        Some(MetricData::Gauge(data)) => data.data_points.len() as u64,
        Some(MetricData::Sum(data)) => data.data_points.len() as u64,
        Some(MetricData::Histogram(data)) => data.data_points.len() as u64,
        // The shop has no others.
        _ => 0,
    })
    .sum()
}

/// The sending side; keeps its connections.
#[derive(Debug, Clone)]
pub struct Exporter {
    client: Client,
    base: Url,
}

impl Exporter {
    /// An exporter to the receiver at `endpoint`.
    ///
    /// # Errors
    /// When the endpoint is no HTTP URL or the tenant no header value.
    pub fn new(endpoint: &str, tenant: Option<&str>) -> Result<Self, DemoError> {
        let wrong = || DemoError::Endpoint(endpoint.to_owned());
        // With a slash at its end, joining appends to the path instead of replacing its last part.
        let base = Url::parse(&format!("{}/", endpoint.trim_end_matches('/'))).map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(wrong());
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if let Some(tenant) = tenant {
            let value = HeaderValue::from_str(tenant).map_err(|_| DemoError::Tenant(tenant.to_owned()))?;
            headers.insert("x-scope-orgid", value);
        }
        let client = Client::builder()
            .default_headers(headers)
            .timeout(Duration::from_secs(10))
            .build()?;
        Ok(Self { client, base })
    }

    /// Sends everything in the outbox and adds what was acknowledged to `report`.
    pub async fn send(&self, outbox: Outbox, report: &mut DemoReport) {
        let mut waiting = outbox.payloads.into_iter();
        let mut flying = JoinSet::new();
        let mut reason = None;
        loop {
            while flying.len() < PARALLEL
                && let Some(payload) = waiting.next()
            {
                let exporter = self.clone();
                flying.spawn(async move { (exporter.deliver(&payload).await, payload.sent) });
            }
            let Some(joined) = flying.join_next().await else { break };
            match joined {
                Ok((Ok(()), sent)) => {
                    report.spans += sent.spans;
                    report.log_records += sent.log_records;
                    report.data_points += sent.data_points;
                }
                Ok((Err(why), _)) => {
                    report.failed_requests += 1;
                    reason = Some(why);
                }
                Err(error) => {
                    report.failed_requests += 1;
                    reason = Some(error.to_string());
                }
            }
        }
        if let Some(reason) = reason {
            tracing::warn!(endpoint = %self.base, %reason, "telemetry was not accepted; is the server running there?");
        }
    }

    /// Sends one request, again after what OTLP calls retryable (OTLP 1.x, "OTLP/HTTP response": 429, 502, 503, 504).
    async fn deliver(&self, payload: &Payload) -> Result<(), String> {
        let url = self.base.join(payload.path).map_err(|error| error.to_string())?;
        let mut pause = Duration::from_millis(100);
        let mut reason = String::new();
        for _ in 0..ATTEMPTS {
            match self.client.post(url.clone()).body(payload.body.clone()).send().await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) => {
                    let status = response.status();
                    reason = format!("{url} answered {status}");
                    if !retryable(status) {
                        return Err(reason);
                    }
                    let asked = response
                        .headers()
                        .get(RETRY_AFTER)
                        .and_then(|value| value.to_str().ok()?.parse().ok());
                    pause = asked.map_or(pause, Duration::from_secs).min(LONGEST_PAUSE);
                }
                Err(error) => reason = error.to_string(),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(reason)
    }
}

fn retryable(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

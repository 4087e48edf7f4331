//! The metrics of every pod: cumulative counters and duration histograms fed by what requests did, with exemplars that
//! point at their spans, and gauges of the runtime that follow the load.

use std::collections::BTreeMap;

use otlp::model::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, KeyValue, Metric, MetricData, Number,
    NumberDataPoint, ResourceMetrics, Scope, ScopeMetrics, Sum,
};
use rand::Rng as _;
use rand::rngs::StdRng;

use crate::context::{Done, Label, Observation};
use crate::incident::Incident;
use crate::shop::{Pod, Service};

/// Advised bounds of request durations in s (semantic conventions for HTTP and RPC metrics).
const BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

type Labels = Vec<(&'static str, Label)>;

/// All metrics of all pods.
#[derive(Debug)]
pub struct Instruments {
    started: u64,
    pods: Vec<Metrics>,
}

#[derive(Debug, Default)]
struct Metrics {
    durations: BTreeMap<&'static str, BTreeMap<Labels, Durations>>,
    requests: BTreeMap<Labels, u64>,
    orders: u64,
    order_cents: u64,
    /// Requests since the last export, which load the runtime.
    recent: u64,
    memory: f64,
}

#[derive(Debug, Default)]
struct Durations {
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
    least: Option<f64>,
    most: Option<f64>,
    /// The latest since the last export, one a bucket.
    exemplars: BTreeMap<usize, Exemplar>,
}

impl Instruments {
    /// Instruments of `pods` processes that started at `started` (ns).
    pub fn new(pods: usize, started: i64) -> Self {
        Self {
            started: started as u64,
            pods: (0..pods).map(|_| Metrics::default()).collect(),
        }
    }

    /// Takes in what one request did.
    pub fn observe(&mut self, done: &Done) {
        for observation in &done.observations {
            let metrics = &mut self.pods[observation.pod];
            metrics.recent += 1;
            if let Some(labels) = request_labels(observation) {
                *metrics.requests.entry(labels).or_default() += 1;
            }
            let series = metrics.durations.entry(observation.metric).or_default();
            series
                .entry(observation.labels.clone())
                .or_default()
                .observe(observation, done);
        }
        if let Some((pod, cents)) = done.order {
            self.pods[pod].orders += 1;
            self.pods[pod].order_cents += cents;
        }
    }

    /// What every pod exports at `now` (ns): one resource a pod.
    pub fn export(
        &mut self,
        now: i64,
        incident: Option<Incident>,
        pods: &[Pod],
        random: &mut StdRng,
    ) -> Vec<ResourceMetrics> {
        let started = self.started;
        self.pods
            .iter_mut()
            .zip(pods)
            .map(|(metrics, pod)| {
                let mut all = metrics.durations(started, now as u64);
                all.extend(metrics.counters(pod.service, started, now as u64));
                all.extend(metrics.runtime(pod.service, incident, now as u64, random));
                let scope = Scope {
                    name: "shop.telemetry".to_owned(),
                    version: "1.0.0".to_owned(),
                    ..Scope::default()
                };
                ResourceMetrics {
                    resource: pod.resource.clone(),
                    scope_metrics: vec![ScopeMetrics {
                        scope,
                        metrics: all,
                        ..ScopeMetrics::default()
                    }],
                    ..ResourceMetrics::default()
                }
            })
            .collect()
    }
}

/// What a served request counts as in `app.requests`; `None` for the durations of callers and databases.
fn request_labels(observation: &Observation) -> Option<Labels> {
    if !matches!(
        observation.metric,
        "http.server.request.duration" | "rpc.server.call.duration"
    ) {
        return None;
    }
    let find = |key: &str| {
        observation
            .labels
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, label)| label)
    };
    let operation = find("http.route").or_else(|| find("rpc.method"))?.clone();
    let failed = match (find("http.response.status_code"), find("rpc.grpc.status_code")) {
        (Some(Label::Int(status)), _) => *status >= 500,
        (_, Some(Label::Int(code))) => *code != 0,
        _ => false,
    };
    let outcome = if failed { "error" } else { "ok" };
    Some(vec![
        ("app.operation", operation),
        ("app.outcome", Label::Text(outcome.to_owned())),
    ])
}

impl Durations {
    fn observe(&mut self, observation: &Observation, done: &Done) {
        let seconds = observation.seconds;
        let bucket = BOUNDS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(BOUNDS.len());
        self.counts[bucket] += 1;
        self.sum += seconds;
        self.least = Some(self.least.map_or(seconds, |least| least.min(seconds)));
        self.most = Some(self.most.map_or(seconds, |most| most.max(seconds)));
        let exemplar = Exemplar {
            time_unix_nano: observation.time as u64,
            value: Some(Number::Double(seconds)),
            span_id: Some(observation.span_id),
            trace_id: Some(done.trace_id),
            ..Exemplar::default()
        };
        self.exemplars.insert(bucket, exemplar);
    }
}

impl Metrics {
    fn durations(&mut self, started: u64, now: u64) -> Vec<Metric> {
        let mut metrics = Vec::with_capacity(self.durations.len());
        for (name, series) in &mut self.durations {
            let data_points = series
                .iter_mut()
                .map(|(labels, durations)| HistogramDataPoint {
                    attributes: attributes(labels),
                    start_time_unix_nano: started,
                    time_unix_nano: now,
                    count: durations.counts.iter().sum(),
                    sum: Some(durations.sum),
                    bucket_counts: durations.counts.to_vec(),
                    explicit_bounds: BOUNDS.to_vec(),
                    exemplars: std::mem::take(&mut durations.exemplars).into_values().collect(),
                    min: durations.least,
                    max: durations.most,
                    ..HistogramDataPoint::default()
                })
                .collect();
            let data = Histogram {
                data_points,
                aggregation_temporality: AggregationTemporality::CUMULATIVE,
            };
            metrics.push(metric(name, "s", "How long it took.", MetricData::Histogram(data)));
        }
        metrics
    }

    fn counters(&self, service: Service, started: u64, now: u64) -> Vec<Metric> {
        let point = |attributes, value| NumberDataPoint {
            attributes,
            start_time_unix_nano: started,
            time_unix_nano: now,
            value: Some(value),
            ..NumberDataPoint::default()
        };
        let mut metrics = Vec::new();
        if !self.requests.is_empty() {
            let points = self
                .requests
                .iter()
                .map(|(labels, count)| point(attributes(labels), integer(*count)))
                .collect();
            metrics.push(metric("app.requests", "{request}", "Requests served.", counter(points)));
        }
        if service == Service::Checkout {
            let orders = vec![point(vec![], integer(self.orders))];
            metrics.push(metric("shop.orders", "{order}", "Orders placed.", counter(orders)));
            let value = vec![point(vec![], Number::Double(self.order_cents as f64 / 100.0))];
            metrics.push(metric(
                "shop.order.value",
                "{EUR}",
                "Value of the orders placed.",
                counter(value),
            ));
        }
        metrics
    }

    fn runtime(&mut self, service: Service, incident: Option<Incident>, now: u64, random: &mut StdRng) -> Vec<Metric> {
        let load = std::mem::take(&mut self.recent) as f64;
        let strained = matches!(
            (service, incident),
            (Service::Inventory, Some(Incident::SlowInventoryDatabase))
                | (Service::Recommendation, Some(Incident::RecommendationCacheDown))
                | (Service::Payment, Some(Incident::AcquirerTimeouts))
        );
        let busy = 0.03 + load / (load + 4_000.0) + if strained { 0.35 } else { 0.0 };
        let cpu = (busy * random.random_range(0.8..1.2)).min(0.99);
        // The heap grows with work until the collector runs.
        self.memory += 0.4e6 + load * 2_000.0;
        if self.memory > 90e6 {
            self.memory = random.random_range(5e6..12e6);
        }
        let threads = 14 + random.random_range(0..4) + if strained { 120 } else { 0 };
        let gauge = |name: &str, unit: &str, about: &str, attributes: Vec<KeyValue>, value: Number| {
            let point = NumberDataPoint {
                attributes,
                time_unix_nano: now,
                value: Some(value),
                ..NumberDataPoint::default()
            };
            metric(
                name,
                unit,
                about,
                MetricData::Gauge(Gauge {
                    data_points: vec![point],
                }),
            )
        };
        let mut metrics = vec![
            gauge(
                "process.cpu.utilization",
                "1",
                "Share of one CPU in use.",
                vec![],
                Number::Double(cpu),
            ),
            gauge(
                "process.memory.usage",
                "By",
                "Resident memory.",
                vec![],
                Number::Int(64_000_000 + self.memory as i64),
            ),
            gauge(
                "process.thread.count",
                "{thread}",
                "Threads.",
                vec![],
                Number::Int(threads),
            ),
        ];
        if matches!(service, Service::Email | Service::Inventory) {
            let lag = random.random_range(0..6) + if strained { 400 } else { 0 };
            let topic = vec![KeyValue::new("messaging.destination.name", "orders")];
            metrics.push(gauge(
                "messaging.consumer.lag",
                "{message}",
                "Messages behind.",
                topic,
                Number::Int(lag),
            ));
        }
        metrics
    }
}

fn integer(value: u64) -> Number {
    Number::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

fn counter(data_points: Vec<NumberDataPoint>) -> MetricData {
    let aggregation_temporality = AggregationTemporality::CUMULATIVE;
    MetricData::Sum(Sum {
        data_points,
        aggregation_temporality,
        is_monotonic: true,
    })
}

fn metric(name: &str, unit: &str, description: &str, data: MetricData) -> Metric {
    Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        description: description.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels
        .iter()
        .map(|(key, label)| match label {
            Label::Text(text) => KeyValue::new(*key, text.as_str()),
            Label::Int(number) => KeyValue::new(*key, *number),
        })
        .collect()
}

//! Metrics: 90 processes of 20 services that export every 15 s all their series at one instant each (with ns jitter
//! from export to export): 19,440 scalar series in all, as a Prometheus would count them, most of them inside
//! explicit histograms with 14 bounds, which count 17 each (15 buckets, sum and count).

mod series;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use prost::Message as _;

use super::random::Random;
use super::services::{self, Pod, SERVICES};
use super::{Plan, Request};
use series::Instruments;

/// The usual export interval of Prometheus-minded set-ups, in ns.
const INTERVAL: i64 = 15_000_000_000;
/// An explicit histogram point with 14 bounds: 15 buckets, sum and count.
pub const HISTOGRAM_SAMPLES: u32 = 17;
/// Scalar series of one process: 9 histograms, 54 series of three metrics and 9 runtime gauges.
pub const SAMPLES_PER_PROCESS: u32 = 9 * HISTOGRAM_SAMPLES + 54 + 9;
/// Processes: the first ten services have four, the others five.
pub const PROCESSES: usize = 90;
/// Exports that a collector batches into one request: about 2,000 scalar samples, 110 kB.
const BATCH: usize = 9;

#[derive(Debug)]
struct Process {
    pod: Pod,
    /// When in the interval it exports, ns.
    phase: i64,
    instruments: Instruments,
}

/// The stream of metrics export requests.
#[derive(Debug)]
pub struct Metrics {
    plan: Plan,
    random: Random,
    processes: Vec<Process>,
    tick: i64,
    next: usize,
    made: u64,
}

impl Metrics {
    /// The load of `plan`; its rate is ignored, time advances by 15 s for each 19,440 samples.
    pub fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed);
        let mut processes: Vec<Process> = (0..PROCESSES)
            .map(|index| {
                let service = if index < 40 { index / 4 } else { 10 + (index - 40) / 5 };
                let pod = services::pod(service, index % services::NODES, &mut random);
                let phase = random.below(INTERVAL as u64) as i64;
                // Cumulative series started when the process did, some hours before.
                let started = plan.start - random.between(600, 90_000) as i64 * 1_000_000_000;
                let instruments = Instruments::new(&SERVICES[service], started, &mut random);
                Process {
                    pod,
                    phase,
                    instruments,
                }
            })
            .collect();
        processes.sort_by_key(|process| process.phase);
        Self {
            plan,
            random,
            processes,
            tick: 0,
            next: 0,
            made: 0,
        }
    }
}

impl Iterator for Metrics {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        if self.made >= self.plan.items {
            return None;
        }
        let last = (self.next + BATCH).min(self.processes.len());
        let mut resource_metrics = Vec::with_capacity(BATCH);
        for process in &mut self.processes[self.next..last] {
            // A timer fires up to some milliseconds late, never early.
            let late = self.random.exponential(900_000.0) as i64;
            let time = self.plan.start + self.tick * INTERVAL + process.phase + late;
            let metrics = process.instruments.export(time as u64, &mut self.random);
            let scope = services::scope("shop.instrumentation", "1.4.2");
            resource_metrics.push(ResourceMetrics {
                resource: Some(process.pod.resource.clone()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope),
                    metrics,
                    ..Default::default()
                }],
                ..Default::default()
            });
        }
        let items = resource_metrics.len() as u32 * SAMPLES_PER_PROCESS;
        self.made += u64::from(items);
        self.next = last;
        if self.next == self.processes.len() {
            self.next = 0;
            self.tick += 1;
        }
        Some(Request {
            bytes: ExportMetricsServiceRequest { resource_metrics }.encode_to_vec().into(),
            items,
        })
    }
}

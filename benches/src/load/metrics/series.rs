//! The instruments of one process and how their values move: counters by Poisson-like steps, some of them idle,
//! gauges as random walks (integers, decimals as humans write them, doubles with all their bits), histograms of
//! log-normal latencies.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};

use crate::load::random::Random;
use crate::load::services::{Service, int, text};

/// The advised bounds of `http.server.request.duration`, in s (semantic conventions, HTTP metrics).
const BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Runtime gauges of a process: name, unit and how the value moves.
const RUNTIME: [(&str, &str, Motion); 9] = [
    ("process.cpu.utilization", "1", Motion::Double),
    ("system.cpu.load_average.1m", "{thread}", Motion::Decimal(100.0)),
    ("process.memory.usage", "By", Motion::Integer(4096)),
    ("process.runtime.heap.used", "By", Motion::Integer(64)),
    ("process.thread.count", "{thread}", Motion::Integer(1)),
    ("process.open_file_descriptor.count", "{fd}", Motion::Integer(1)),
    ("system.memory.utilization", "1", Motion::Double),
    ("process.runtime.event_loop.delay.mean", "s", Motion::Double),
    ("hw.temperature", "Cel", Motion::Decimal(10.0)),
];

#[derive(Debug, Clone, Copy)]
enum Motion {
    /// Multiples of the step.
    Integer(i64),
    /// Multiples of one over this.
    Decimal(f64),
    /// Every bit matters.
    Double,
}

#[derive(Debug)]
struct Number {
    attributes: Vec<KeyValue>,
    value: f64,
    /// Mean events in 15 s; 0 for an idle series.
    rate: f64,
}

#[derive(Debug)]
struct Latency {
    attributes: Vec<KeyValue>,
    rate: f64,
    median: f64,
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
    least: f64,
    most: f64,
}

/// All instruments of one process.
#[derive(Debug)]
pub struct Instruments {
    started: u64,
    latencies: Vec<Latency>,
    requests: Vec<Number>,
    time: Vec<Number>,
    depth: Vec<Number>,
    runtime: Vec<f64>,
}

impl Instruments {
    /// The instruments of a process of `service` that started at `started` (ns), with values as of some hours later.
    pub fn new(service: &Service, started: i64, random: &mut Random) -> Self {
        let rate = |random: &mut Random| {
            if random.chance(0.25) {
                0.0
            } else {
                random.log_normal(12.0, 1.2)
            }
        };
        let mut latencies = Vec::new();
        let mut requests = Vec::new();
        let mut time = Vec::new();
        let mut depth = Vec::new();
        for noun in &service.nouns[..3] {
            for (method, status) in [("GET", 200), ("POST", 201), ("GET", 500)] {
                let attributes = vec![
                    text("http.request.method", method),
                    text("http.route", format!("/api/v1/{noun}/{{id}}")),
                    int("http.response.status_code", status),
                    text("network.protocol.version", "1.1"),
                    text("url.scheme", "https"),
                ];
                let mut latency = Latency {
                    attributes,
                    rate: if status == 500 {
                        0.3
                    } else {
                        random.log_normal(15.0, 0.8)
                    },
                    median: random.log_normal(0.03, 0.8),
                    counts: [0; BOUNDS.len() + 1],
                    sum: 0.0,
                    least: f64::INFINITY,
                    most: 0.0,
                };
                for _ in 0..random.between(200, 3000) {
                    latency.observe(random);
                }
                latencies.push(latency);
            }
        }
        for series in 0..18 {
            let noun = service.nouns[series % 3];
            let route = text(
                "http.route",
                format!("/api/v1/{noun}{}", if series % 6 < 3 { "" } else { "/{id}" }),
            );
            let status = int("http.response.status_code", [200, 404, 503][series / 6]);
            let start = random.below(900_000) as f64;
            let scheme = text("url.scheme", "https");
            requests.push(Number {
                attributes: vec![route, status, scheme],
                value: start,
                rate: rate(random),
            });
            let attributes = vec![
                text("db.system.name", service.database),
                text("db.collection.name", noun),
                text(
                    "db.operation.name",
                    ["SELECT", "INSERT", "UPDATE", "DELETE", "UPSERT", "COUNT"][series / 3],
                ),
            ];
            time.push(Number {
                attributes,
                value: random.below(9_000_000) as f64,
                rate: rate(random),
            });
            let attributes = vec![
                text("messaging.system", "kafka"),
                text("messaging.destination.name", format!("shop.{noun}.events")),
                text("messaging.destination.partition.id", (series / 3).to_string()),
            ];
            depth.push(Number {
                attributes,
                value: random.below(200) as f64,
                rate: rate(random),
            });
        }
        let runtime = RUNTIME.iter().map(|_| random.unit()).collect();
        Self {
            started: started as u64,
            latencies,
            requests,
            time,
            depth,
            runtime,
        }
    }

    /// Everything the process exports at `time` (ns since the Unix epoch), after one more interval of work.
    pub fn export(&mut self, time: u64, random: &mut Random) -> Vec<Metric> {
        let started = self.started;
        let mut metrics = Vec::with_capacity(4 + RUNTIME.len());
        let points = self
            .latencies
            .iter_mut()
            .map(|latency| latency.point(started, time, random))
            .collect();
        let data = Histogram {
            data_points: points,
            aggregation_temporality: AggregationTemporality::Cumulative as i32,
        };
        metrics.push(metric("http.server.request.duration", "s", Data::Histogram(data)));

        let points = step(&mut self.requests, started, time, random, |series, random| {
            series.value += (series.rate * 2.0 * random.unit()).round();
            Value::AsInt(series.value as i64)
        });
        metrics.push(metric("http.server.requests", "{request}", sum(points, true)));

        // Cumulative seconds with millisecond resolution, as timers of databases report them.
        let points = step(&mut self.time, started, time, random, |series, random| {
            series.value += (series.rate * random.exponential(8.0)).round();
            Value::AsDouble(series.value / 1000.0)
        });
        metrics.push(metric("db.client.operation.time", "s", sum(points, true)));

        let points = step(&mut self.depth, started, time, random, |series, random| {
            series.value = (series.value + (series.rate * (random.unit() - 0.5)).round()).max(0.0);
            Value::AsInt(series.value as i64)
        });
        metrics.push(metric("messaging.queue.depth", "{message}", sum(points, false)));

        for ((name, unit, motion), state) in RUNTIME.iter().zip(&mut self.runtime) {
            *state = (*state + 0.06 * (random.unit() - 0.5)).clamp(0.01, 0.99);
            let value = match motion {
                Motion::Double => Value::AsDouble(*state * 0.9 + 0.1 * random.unit()),
                Motion::Decimal(scale) => Value::AsDouble((*state * 60.0 * scale).round() / scale),
                Motion::Integer(unit) => Value::AsInt((*state * 4_000.0) as i64 * unit),
            };
            let point = NumberDataPoint {
                time_unix_nano: time,
                value: Some(value),
                ..Default::default()
            };
            metrics.push(metric(
                name,
                unit,
                Data::Gauge(Gauge {
                    data_points: vec![point],
                }),
            ));
        }
        metrics
    }
}

impl Latency {
    fn observe(&mut self, random: &mut Random) {
        let seconds = random.log_normal(self.median, 0.7);
        let bucket = BOUNDS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(BOUNDS.len());
        self.counts[bucket] += 1;
        self.sum += seconds;
        self.least = self.least.min(seconds);
        self.most = self.most.max(seconds);
    }

    fn point(&mut self, started: u64, time: u64, random: &mut Random) -> HistogramDataPoint {
        for _ in 0..random.exponential(self.rate) as u64 {
            self.observe(random);
        }
        HistogramDataPoint {
            attributes: self.attributes.clone(),
            start_time_unix_nano: started,
            time_unix_nano: time,
            count: self.counts.iter().sum(),
            sum: Some(self.sum),
            bucket_counts: self.counts.to_vec(),
            explicit_bounds: BOUNDS.to_vec(),
            min: Some(self.least),
            max: Some(self.most),
            ..Default::default()
        }
    }
}

fn step(
    numbers: &mut [Number],
    started: u64,
    time: u64,
    random: &mut Random,
    mut next: impl FnMut(&mut Number, &mut Random) -> Value,
) -> Vec<NumberDataPoint> {
    numbers
        .iter_mut()
        .map(|series| {
            let value = Some(next(series, random));
            NumberDataPoint {
                attributes: series.attributes.clone(),
                start_time_unix_nano: started,
                time_unix_nano: time,
                value,
                ..Default::default()
            }
        })
        .collect()
}

fn sum(data_points: Vec<NumberDataPoint>, is_monotonic: bool) -> Data {
    let aggregation_temporality = AggregationTemporality::Cumulative as i32;
    Data::Sum(Sum {
        data_points,
        aggregation_temporality,
        is_monotonic,
    })
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    let description = format!("{} of the process.", name.replace('.', " "));
    Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        description,
        data: Some(data),
        ..Default::default()
    }
}

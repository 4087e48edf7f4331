//! Random requests that are mostly valid, and share keys as real ones do.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Metric, metric::Data};
use opentelemetry_proto::tonic::resource::v1::Resource;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::oracle::{Random, logs_request, metrics_request, traces_request};

/// Makes requests from one seed.
pub struct Messages {
    random: Random,
    rng: StdRng,
}

impl Messages {
    pub fn new(seed: u64) -> Self {
        Messages {
            random: Random::new(seed),
            rng: StdRng::seed_from_u64(!seed),
        }
    }

    pub fn traces(&mut self) -> ExportTraceServiceRequest {
        let mut request = traces_request(&self.random.traces());
        for spans in &mut request.resource_spans {
            self.resource(&mut spans.resource);
            for scope in &mut spans.scope_spans {
                self.attributes(&mut scope.scope.as_mut().unwrap().attributes);
                for span in &mut scope.spans {
                    self.attributes(&mut span.attributes);
                    self.times([&mut span.start_time_unix_nano, &mut span.end_time_unix_nano]);
                    for event in &mut span.events {
                        self.attributes(&mut event.attributes);
                        self.times([&mut event.time_unix_nano]);
                    }
                    for link in &mut span.links {
                        self.attributes(&mut link.attributes);
                    }
                    if self.rng.random_bool(0.02) {
                        span.span_id = vec![0; 8];
                    }
                }
            }
        }
        request
    }

    pub fn logs(&mut self) -> ExportLogsServiceRequest {
        let mut request = logs_request(&self.random.logs());
        for logs in &mut request.resource_logs {
            self.resource(&mut logs.resource);
            for scope in &mut logs.scope_logs {
                self.attributes(&mut scope.scope.as_mut().unwrap().attributes);
                for record in &mut scope.log_records {
                    self.attributes(&mut record.attributes);
                    self.times([&mut record.time_unix_nano, &mut record.observed_time_unix_nano]);
                }
            }
        }
        request
    }

    pub fn metrics(&mut self) -> ExportMetricsServiceRequest {
        let mut request = metrics_request(&self.random.metrics());
        for metrics in &mut request.resource_metrics {
            self.resource(&mut metrics.resource);
            for scope in &mut metrics.scope_metrics {
                self.attributes(&mut scope.scope.as_mut().unwrap().attributes);
                scope.metrics.retain(|metric| metric.data.is_some());
                for metric in &mut scope.metrics {
                    self.metric(metric);
                }
            }
        }
        request
    }

    /// Makes what does not identify a metric follow from what does, and its points mostly valid.
    fn metric(&mut self, metric: &mut Metric) {
        metric.name = format!("metric.{}{}", self.rng.random_range(0..4), metric.unit);
        metric.description = format!("describes {}", metric.name);
        metric.metadata = vec![text("of", &metric.name)];
        match metric.data.as_mut().unwrap() {
            Data::Gauge(gauge) => {
                for p in &mut gauge.data_points {
                    self.point(
                        [&mut p.time_unix_nano, &mut p.start_time_unix_nano],
                        &mut p.attributes,
                        &mut p.exemplars,
                    );
                }
            }
            Data::Sum(sum) => {
                sum.aggregation_temporality %= 3;
                for p in &mut sum.data_points {
                    self.point(
                        [&mut p.time_unix_nano, &mut p.start_time_unix_nano],
                        &mut p.attributes,
                        &mut p.exemplars,
                    );
                }
            }
            Data::Histogram(histogram) => {
                histogram.aggregation_temporality %= 3;
                for p in &mut histogram.data_points {
                    self.point(
                        [&mut p.time_unix_nano, &mut p.start_time_unix_nano],
                        &mut p.attributes,
                        &mut p.exemplars,
                    );
                    if self.rng.random_bool(0.9) {
                        p.explicit_bounds
                            .resize(p.bucket_counts.len().saturating_sub(1), f64::NAN);
                    }
                }
            }
            Data::ExponentialHistogram(histogram) => {
                histogram.aggregation_temporality %= 3;
                for p in &mut histogram.data_points {
                    self.point(
                        [&mut p.time_unix_nano, &mut p.start_time_unix_nano],
                        &mut p.attributes,
                        &mut p.exemplars,
                    );
                }
            }
            Data::Summary(summary) => {
                for p in &mut summary.data_points {
                    self.point(
                        [&mut p.time_unix_nano, &mut p.start_time_unix_nano],
                        &mut p.attributes,
                        &mut [],
                    );
                }
            }
        }
    }

    fn point(&mut self, times: [&mut u64; 2], attributes: &mut Vec<KeyValue>, exemplars: &mut [Exemplar]) {
        self.times(times);
        self.attributes(attributes);
        for exemplar in exemplars {
            self.times([&mut exemplar.time_unix_nano]);
            self.attributes(&mut exemplar.filtered_attributes);
        }
    }

    fn resource(&mut self, resource: &mut Option<Resource>) {
        let resource = resource.as_mut().unwrap();
        self.attributes(&mut resource.attributes);
        if self.rng.random_bool(0.8) {
            resource.attributes.push(text(
                "service.name",
                &format!("service-{}", self.rng.random_range(0..3)),
            ));
        }
        // It does not identify the resource, so it must follow from what does.
        resource.dropped_attributes_count = 0;
    }

    fn times<const N: usize>(&mut self, times: [&mut u64; N]) {
        for time in times {
            if self.rng.random_bool(0.98) {
                *time &= i64::MAX as u64;
            }
        }
    }

    /// Adds attributes under a few keys, some of them twice and with several types.
    fn attributes(&mut self, attributes: &mut Vec<KeyValue>) {
        const KEYS: [&str; 9] = [
            "",
            "a",
            "a:int",
            "a:bool",
            "http.status",
            "user",
            "user.id",
            "service.name",
            "a:int:double",
        ];
        for _ in 0..self.rng.random_range(0..6) {
            let key = match self.rng.random_range(0..50) {
                0 => "long".repeat(50),
                1 => "long".repeat(51),
                n => KEYS[n % KEYS.len()].to_owned(),
            };
            let value = match self.rng.random_range(0..8) {
                0 => Some(Any::IntValue(self.rng.random_range(-5..5))),
                1 => Some(Any::DoubleValue(self.rng.random_range(-5..5) as f64 / 4.0)),
                2 => Some(Any::BoolValue(self.rng.random())),
                3 => Some(Any::BytesValue(vec![1, 2, 3])),
                4 => None,
                _ => Some(Any::StringValue(format!("v{}", self.rng.random_range(0..20)))),
            };
            attributes.push(KeyValue {
                key,
                value: Some(AnyValue { value }),
                ..Default::default()
            });
        }
    }
}

pub fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(Any::StringValue(value.to_owned()));
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value }),
        ..Default::default()
    }
}

//! Random messages that visit every field, its default, and the edges of its type.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::model::*;

pub(crate) struct Random(StdRng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(StdRng::seed_from_u64(seed))
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.0.random_bool(0.6).then(|| make(self))
    }

    fn some<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        let many = if self.0.random_bool(0.05) { 200 } else { 3 };
        let count = self.0.random_range(0..=many);
        (0..count).map(|_| make(self)).collect()
    }

    fn few<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        let count = self.0.random_range(0..=2);
        (0..count).map(|_| make(self)).collect()
    }

    fn string(&mut self) -> String {
        const CHARS: &[char] = &[
            'a',
            'Z',
            '0',
            ' ',
            '"',
            '\\',
            '/',
            '\n',
            '\r',
            '\t',
            '\u{0}',
            '\u{8}',
            '\u{c}',
            '\u{1f}',
            '\u{7f}',
            'é',
            '漢',
            '\u{2028}',
            '🦀',
            '\u{10ffff}',
        ];
        self.some(|r| CHARS[r.0.random_range(0..CHARS.len())])
            .into_iter()
            .collect()
    }

    fn u64(&mut self) -> u64 {
        match self.0.random_range(0..4) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << self.0.random_range(0..64),
            _ => self.0.random(),
        }
    }

    fn u32(&mut self) -> u32 {
        (self.u64() >> self.0.random_range(0..33)) as u32
    }

    fn f64(&mut self) -> f64 {
        match self.0.random_range(0..8) {
            0 => 0.0,
            1 => -0.0,
            2 => f64::INFINITY,
            3 => f64::NEG_INFINITY,
            4 => f64::MIN_POSITIVE / 8.0,
            5 => self.0.random_range(-1_000i32..1_000).into(),
            // Any bits at all, NaN apart: it equals nothing.
            _ => Some(f64::from_bits(self.0.random()))
                .filter(|v| !v.is_nan())
                .unwrap_or(f64::MAX),
        }
    }

    fn value(&mut self, depth: usize) -> AnyValue {
        let leaf = if depth == 0 { 6 } else { 8 };
        match self.0.random_range(0..leaf) {
            0 => AnyValue::Empty,
            1 => AnyValue::String(self.string()),
            2 => AnyValue::Bool(self.0.random()),
            3 => AnyValue::Int(self.u64() as i64),
            4 => AnyValue::Double(self.f64()),
            5 => AnyValue::Bytes(self.some(|r| r.0.random())),
            6 => AnyValue::Array(self.few(|r| r.value(depth - 1))),
            _ => AnyValue::KvList(self.few(|r| KeyValue {
                key: r.string(),
                value: r.value(depth - 1),
            })),
        }
    }

    fn attributes(&mut self) -> Vec<KeyValue> {
        self.few(|r| KeyValue {
            key: r.string(),
            value: r.value(3),
        })
    }

    fn resource(&mut self) -> Resource {
        Resource {
            attributes: self.attributes(),
            dropped_attributes_count: self.u32(),
            entity_refs: self.few(|r| EntityRef {
                schema_url: r.string(),
                kind: r.string(),
                id_keys: r.few(Self::string),
                description_keys: r.few(Self::string),
            }),
        }
    }

    fn scope(&mut self) -> Scope {
        Scope {
            name: self.string(),
            version: self.string(),
            attributes: self.attributes(),
            dropped_attributes_count: self.u32(),
        }
    }

    pub(crate) fn traces(&mut self) -> Vec<ResourceSpans> {
        self.few(|r| ResourceSpans {
            resource: r.resource(),
            scope_spans: r.few(|r| ScopeSpans {
                scope: r.scope(),
                spans: r.some(Self::span),
                schema_url: r.string(),
            }),
            schema_url: r.string(),
        })
    }

    fn span(&mut self) -> Span {
        Span {
            trace_id: self.0.random(),
            span_id: self.0.random(),
            trace_state: self.string(),
            parent_span_id: self.maybe(|r| r.0.random()),
            flags: self.u32(),
            name: self.string(),
            kind: SpanKind(self.0.random_range(-1..8)),
            start_time_unix_nano: self.u64(),
            end_time_unix_nano: self.u64(),
            attributes: self.attributes(),
            dropped_attributes_count: self.u32(),
            events: self.few(|r| Event {
                time_unix_nano: r.u64(),
                name: r.string(),
                attributes: r.attributes(),
                dropped_attributes_count: r.u32(),
            }),
            dropped_events_count: self.u32(),
            links: self.few(|r| Link {
                trace_id: r.0.random(),
                span_id: r.0.random(),
                trace_state: r.string(),
                attributes: r.attributes(),
                dropped_attributes_count: r.u32(),
                flags: r.u32(),
            }),
            dropped_links_count: self.u32(),
            status: Status {
                message: self.string(),
                code: StatusCode(self.0.random_range(0..4)),
            },
        }
    }

    pub(crate) fn logs(&mut self) -> Vec<ResourceLogs> {
        self.few(|r| ResourceLogs {
            resource: r.resource(),
            scope_logs: r.few(|r| ScopeLogs {
                scope: r.scope(),
                log_records: r.some(|r| LogRecord {
                    time_unix_nano: r.u64(),
                    observed_time_unix_nano: r.u64(),
                    severity_number: SeverityNumber(r.0.random_range(0..30)),
                    severity_text: r.string(),
                    body: r.maybe(|r| r.value(4)),
                    attributes: r.attributes(),
                    dropped_attributes_count: r.u32(),
                    flags: r.u32(),
                    trace_id: r.maybe(|r| r.0.random()),
                    span_id: r.maybe(|r| r.0.random()),
                    event_name: r.string(),
                }),
                schema_url: r.string(),
            }),
            schema_url: r.string(),
        })
    }

    pub(crate) fn metrics(&mut self) -> Vec<ResourceMetrics> {
        self.few(|r| ResourceMetrics {
            resource: r.resource(),
            scope_metrics: r.few(|r| ScopeMetrics {
                scope: r.scope(),
                metrics: r.few(|r| Metric {
                    name: r.string(),
                    description: r.string(),
                    unit: r.string(),
                    data: r.maybe(Self::metric_data),
                    metadata: r.attributes(),
                }),
                schema_url: r.string(),
            }),
            schema_url: r.string(),
        })
    }

    fn metric_data(&mut self) -> MetricData {
        let aggregation_temporality = AggregationTemporality(self.0.random_range(0..4));
        match self.0.random_range(0..5) {
            0 => MetricData::Gauge(Gauge {
                data_points: self.some(Self::number_point),
            }),
            1 => MetricData::Sum(Sum {
                data_points: self.some(Self::number_point),
                aggregation_temporality,
                is_monotonic: self.0.random(),
            }),
            2 => MetricData::Histogram(Histogram {
                data_points: self.few(Self::histogram_point),
                aggregation_temporality,
            }),
            3 => MetricData::ExponentialHistogram(ExponentialHistogram {
                data_points: self.few(Self::exponential_point),
                aggregation_temporality,
            }),
            _ => MetricData::Summary(Summary {
                data_points: self.few(|r| SummaryDataPoint {
                    attributes: r.attributes(),
                    start_time_unix_nano: r.u64(),
                    time_unix_nano: r.u64(),
                    count: r.u64(),
                    sum: r.f64(),
                    quantile_values: r.few(|r| ValueAtQuantile {
                        quantile: r.f64(),
                        value: r.f64(),
                    }),
                    flags: r.u32(),
                }),
            }),
        }
    }

    fn number(&mut self) -> Number {
        if self.0.random() {
            Number::Int(self.u64() as i64)
        } else {
            Number::Double(self.f64())
        }
    }

    fn exemplar(&mut self) -> Exemplar {
        Exemplar {
            filtered_attributes: self.attributes(),
            time_unix_nano: self.u64(),
            value: self.maybe(Self::number),
            span_id: self.maybe(|r| r.0.random()),
            trace_id: self.maybe(|r| r.0.random()),
        }
    }

    fn number_point(&mut self) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            value: self.maybe(Self::number),
            exemplars: self.few(Self::exemplar),
            flags: self.u32(),
        }
    }

    fn histogram_point(&mut self) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            count: self.u64(),
            sum: self.maybe(Self::f64),
            bucket_counts: self.some(Self::u64),
            explicit_bounds: self.some(Self::f64),
            exemplars: self.few(Self::exemplar),
            flags: self.u32(),
            min: self.maybe(Self::f64),
            max: self.maybe(Self::f64),
        }
    }

    fn exponential_point(&mut self) -> ExponentialHistogramDataPoint {
        let buckets = |r: &mut Self| Buckets {
            offset: r.u64() as i32,
            bucket_counts: r.some(Self::u64),
        };
        ExponentialHistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            count: self.u64(),
            sum: self.maybe(Self::f64),
            scale: self.u64() as i32,
            zero_count: self.u64(),
            positive: self.maybe(buckets),
            negative: self.maybe(buckets),
            flags: self.u32(),
            exemplars: self.few(Self::exemplar),
            min: self.maybe(Self::f64),
            max: self.maybe(Self::f64),
            zero_threshold: self.f64(),
        }
    }
}

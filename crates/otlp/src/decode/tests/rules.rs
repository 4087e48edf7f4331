//! Items that break a rule: exactly they are rejected, with their reason, and their neighbours stay.

use arrow::array::AsArray;
use arrow::datatypes::DataType;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
    metric::Data, number_data_point::Value as Number,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use prost::Message;
use schema::Dataset;
use serde_json::json;

use super::context;
use super::messages::text;
use super::rows::{Cell, Finish, finish};
use crate::decode::{DecodeLimits, ItemError, KnownIds, Outcome, TenantBatch};
use crate::model::Signal;

/// Stands for text that is not UTF-8: prost holds none, so it is spoiled once encoded.
const MARK: &str = "\u{1}NOT-UTF8\u{1}";

fn spoil(mut bytes: Vec<u8>) -> Vec<u8> {
    while let Some(at) = memchr::memmem::find(&bytes, MARK.as_bytes()) {
        bytes[at] = 0xff;
    }
    bytes
}

fn run(signal: Signal, bytes: &[u8]) -> (Outcome, Finish) {
    let known = KnownIds::default();
    let mut batch = TenantBatch::default();
    let outcome = batch.append(signal, bytes, context(&known)).unwrap();
    (outcome, finish(&mut batch))
}

fn good_span() -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "good".to_owned(),
        ..Span::default()
    }
}

fn traces(resource: Resource, scope: InstrumentationScope, spans: Vec<Span>) -> ResourceSpans {
    let scoped = ScopeSpans {
        scope: Some(scope),
        spans,
        ..Default::default()
    };
    ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scoped],
        ..Default::default()
    }
}

/// Sends the bad span between good ones and returns the reason.
fn reason_of_span(bad: Span) -> ItemError {
    let good = traces(
        Resource::default(),
        InstrumentationScope::default(),
        vec![good_span(), bad, good_span()],
    );
    let bytes = ExportTraceServiceRequest {
        resource_spans: vec![good],
    }
    .encode_to_vec();
    let (outcome, finished) = run(Signal::Traces, &spoil(bytes));
    assert_eq!(
        (outcome.accepted, outcome.rejected, outcome.reasons.len()),
        (2, 1, 1),
        "{outcome:?}"
    );
    let rows = finished.of(Dataset::Spans);
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(row["name"], Cell::Text("good".to_owned()));
        assert!(!row.contains_key("events") && !row.contains_key("links") && !row.contains_key("status_message"));
        assert!(
            !row.keys().any(|name| name.starts_with("attr")),
            "a piece of the bad span is left: {row:?}"
        );
    }
    outcome.reasons[0].clone()
}

fn nested(levels: usize) -> Option<AnyValue> {
    let mut value = AnyValue {
        value: Some(Any::IntValue(1)),
    };
    for level in 0..levels {
        let inner = if level % 2 == 0 {
            Any::ArrayValue(ArrayValue { values: vec![value] })
        } else {
            let values = vec![KeyValue {
                key: "k".to_owned(),
                value: Some(value),
                ..Default::default()
            }];
            Any::KvlistValue(KeyValueList { values })
        };
        value = AnyValue { value: Some(inner) };
    }
    Some(value)
}

fn deep(levels: usize) -> KeyValue {
    KeyValue {
        key: "deep".to_owned(),
        value: nested(levels),
        ..Default::default()
    }
}

#[test]
fn spans_with_bad_ids() {
    for len in [0usize, 1, 15, 17, 32] {
        assert_eq!(
            reason_of_span(Span {
                trace_id: vec![1; len],
                ..good_span()
            }),
            ItemError::TraceId(len)
        );
    }
    for len in [0usize, 7, 9, 16] {
        assert_eq!(
            reason_of_span(Span {
                span_id: vec![1; len],
                ..good_span()
            }),
            ItemError::SpanId(len)
        );
    }
    assert_eq!(
        reason_of_span(Span {
            trace_id: vec![0; 16],
            ..good_span()
        }),
        ItemError::TraceId(16)
    );
    assert_eq!(
        reason_of_span(Span {
            span_id: vec![0; 8],
            ..good_span()
        }),
        ItemError::SpanId(8)
    );
    assert_eq!(
        reason_of_span(Span {
            parent_span_id: vec![1; 9],
            ..good_span()
        }),
        ItemError::ParentSpanId(9)
    );
    let link = |trace, span| span::Link {
        trace_id: vec![1; trace],
        span_id: vec![1; span],
        ..Default::default()
    };
    let with = |link| Span {
        links: vec![link],
        ..good_span()
    };
    assert_eq!(reason_of_span(with(link(15, 8))), ItemError::TraceId(15));
    assert_eq!(reason_of_span(with(link(16, 0))), ItemError::SpanId(0));
}

#[test]
fn spans_with_text_that_is_not_utf8() {
    let bad = || MARK.to_owned();
    let nested_bad = AnyValue {
        value: Some(Any::ArrayValue(ArrayValue {
            values: vec![text("", MARK).value.unwrap()],
        })),
    };
    let nested_bad = KeyValue {
        key: "k".to_owned(),
        value: Some(nested_bad),
        ..Default::default()
    };
    let map_key = AnyValue {
        value: Some(Any::KvlistValue(KeyValueList {
            values: vec![text(MARK, "v")],
        })),
    };
    let map_key = KeyValue {
        key: "k".to_owned(),
        value: Some(map_key),
        ..Default::default()
    };
    let attributes = [text(MARK, "value"), text("key", MARK), nested_bad, map_key];
    let mut spans = vec![
        Span {
            name: bad(),
            ..good_span()
        },
        Span {
            trace_state: bad(),
            ..good_span()
        },
        Span {
            status: Some(Status {
                message: bad(),
                code: 2,
            }),
            ..good_span()
        },
        Span {
            events: vec![span::Event {
                name: bad(),
                ..Default::default()
            }],
            ..good_span()
        },
        Span {
            links: vec![span::Link {
                trace_id: vec![1; 16],
                span_id: vec![1; 8],
                trace_state: bad(),
                ..Default::default()
            }],
            ..good_span()
        },
    ];
    for attribute in &attributes {
        let attributes = vec![text("fine", "x"), attribute.clone()];
        spans.push(Span {
            attributes: attributes.clone(),
            ..good_span()
        });
        spans.push(Span {
            events: vec![span::Event {
                attributes,
                ..Default::default()
            }],
            ..good_span()
        });
    }
    for span in spans {
        assert!(
            matches!(reason_of_span(span.clone()), ItemError::InvalidUtf8(_)),
            "{span:?}"
        );
    }
}

#[test]
fn resources_and_scopes_with_bad_text_take_their_items_along() {
    let bad_resources =
        [text(MARK, "v"), text("k", MARK), text("service.name", MARK), deep(65)].map(|attribute| Resource {
            attributes: vec![text("fine", "x"), attribute],
            ..Default::default()
        });
    let bad_scopes = [
        InstrumentationScope {
            name: MARK.to_owned(),
            ..Default::default()
        },
        InstrumentationScope {
            version: MARK.to_owned(),
            ..Default::default()
        },
        InstrumentationScope {
            attributes: vec![text("fine", "x"), text("k", MARK)],
            ..Default::default()
        },
        InstrumentationScope {
            attributes: vec![deep(65)],
            ..Default::default()
        },
    ];
    let mut groups = Vec::new();
    for resource in bad_resources {
        groups.push((resource, InstrumentationScope::default()));
    }
    for scope in bad_scopes {
        groups.push((Resource::default(), scope));
    }
    for (resource, scope) in groups {
        let good_resource = Resource {
            attributes: vec![text("service.name", "shop")],
            ..Default::default()
        };
        let good = || {
            (
                good_resource.clone(),
                InstrumentationScope {
                    name: "lib".to_owned(),
                    ..Default::default()
                },
            )
        };
        let request = [good(), (resource.clone(), scope.clone()), good()];

        let spans = request
            .clone()
            .map(|(r, s)| traces(r, s, vec![good_span(), good_span()]));
        let bytes = ExportTraceServiceRequest {
            resource_spans: spans.to_vec(),
        }
        .encode_to_vec();
        let (outcome, finished) = run(Signal::Traces, &spoil(bytes));
        assert_eq!((outcome.accepted, outcome.rejected), (4, 2), "{outcome:?}");
        assert_eq!(finished.of(Dataset::Spans).len(), 4);

        let logs = request.clone().map(|(r, s)| {
            let scoped = ScopeLogs {
                scope: Some(s),
                log_records: vec![LogRecord::default(); 3],
                ..Default::default()
            };
            ResourceLogs {
                resource: Some(r),
                scope_logs: vec![scoped],
                ..Default::default()
            }
        });
        let bytes = ExportLogsServiceRequest {
            resource_logs: logs.to_vec(),
        }
        .encode_to_vec();
        let (outcome, finished) = run(Signal::Logs, &spoil(bytes));
        assert_eq!((outcome.accepted, outcome.rejected), (6, 3), "{outcome:?}");
        assert_eq!(finished.of(Dataset::Logs).len(), 6);

        let metrics = request.map(|(r, s)| {
            let metrics = vec![gauge("m", vec![point(1.0); 2])];
            let scoped = ScopeMetrics {
                scope: Some(s),
                metrics,
                ..Default::default()
            };
            ResourceMetrics {
                resource: Some(r),
                scope_metrics: vec![scoped],
                ..Default::default()
            }
        });
        let bytes = ExportMetricsServiceRequest {
            resource_metrics: metrics.to_vec(),
        }
        .encode_to_vec();
        let (outcome, finished) = run(Signal::Metrics, &spoil(bytes));
        assert_eq!((outcome.accepted, outcome.rejected), (4, 2), "{outcome:?}");
        assert_eq!(
            (
                finished.of(Dataset::MetricSamples).len(),
                finished.of(Dataset::MetricSeries).len()
            ),
            (4, 1)
        );
    }
}

#[test]
fn values_may_nest_up_to_the_limit() {
    let max = DecodeLimits::default().max_depth;
    assert_eq!(
        reason_of_span(Span {
            attributes: vec![deep(max + 1)],
            ..good_span()
        }),
        ItemError::TooDeep
    );
    assert_eq!(
        reason_of_span(Span {
            attributes: vec![deep(500)],
            ..good_span()
        }),
        ItemError::TooDeep
    );
    let event = span::Event {
        attributes: vec![deep(max + 1)],
        ..Default::default()
    };
    assert_eq!(
        reason_of_span(Span {
            events: vec![event],
            ..good_span()
        }),
        ItemError::TooDeep
    );
    let span = Span {
        attributes: vec![deep(max)],
        ..good_span()
    };
    let spans = traces(Resource::default(), InstrumentationScope::default(), vec![span]);
    let (outcome, finished) = run(
        Signal::Traces,
        &ExportTraceServiceRequest {
            resource_spans: vec![spans],
        }
        .encode_to_vec(),
    );
    assert_eq!(outcome.accepted, 1);
    assert!(finished.of(Dataset::Spans)[0].contains_key("attributes_rest"));
    let (outcome, _) = logs(vec![
        LogRecord {
            body: nested(max + 1),
            ..Default::default()
        },
        LogRecord::default(),
    ]);
    assert_eq!(
        (outcome.accepted, outcome.rejected, &outcome.reasons[..]),
        (1, 1, &[ItemError::TooDeep][..])
    );
}

#[test]
fn times_outside_of_the_stored_range() {
    let late = i64::MAX as u64 + 1;
    for at in [late, u64::MAX, (-1_i64) as u64, (-9_214_560_000_000_000_000_i64) as u64] {
        let start = Span {
            start_time_unix_nano: at,
            ..good_span()
        };
        assert_eq!(
            reason_of_span(start),
            ItemError::TimeOutOfRange("start_time_unix_nano", at)
        );
        let end = Span {
            end_time_unix_nano: at,
            ..good_span()
        };
        assert_eq!(reason_of_span(end), ItemError::TimeOutOfRange("end_time_unix_nano", at));
        let event = span::Event {
            time_unix_nano: at,
            ..Default::default()
        };
        let reason = reason_of_span(Span {
            events: vec![event],
            ..good_span()
        });
        assert!(matches!(reason, ItemError::TimeOutOfRange(_, time) if time == at));
        let (outcome, _) = logs(vec![
            LogRecord {
                time_unix_nano: at,
                ..Default::default()
            },
            LogRecord {
                observed_time_unix_nano: at,
                ..Default::default()
            },
            LogRecord {
                time_unix_nano: i64::MAX as u64,
                ..Default::default()
            },
        ]);
        assert_eq!((outcome.accepted, outcome.rejected), (1, 2));
        let (outcome, _) = metric(gauge(
            "m",
            vec![
                NumberDataPoint {
                    time_unix_nano: at,
                    ..point(1.0)
                },
                NumberDataPoint {
                    start_time_unix_nano: at,
                    ..point(1.0)
                },
                NumberDataPoint {
                    exemplars: vec![Exemplar {
                        time_unix_nano: at,
                        ..Default::default()
                    }],
                    ..point(1.0)
                },
                point(2.0),
            ],
        ));
        assert_eq!((outcome.accepted, outcome.rejected), (1, 3));
    }
    let (whole, _) = run(
        Signal::Traces,
        &ExportTraceServiceRequest {
            resource_spans: vec![traces(
                Resource::default(),
                InstrumentationScope::default(),
                vec![Span {
                    start_time_unix_nano: late - 1,
                    end_time_unix_nano: 0,
                    ..good_span()
                }],
            )],
        }
        .encode_to_vec(),
    );
    assert_eq!(
        whole.accepted, 1,
        "the last moment that fits, and an end before the start"
    );
    assert!(
        ItemError::TimeOutOfRange("t", u64::MAX)
            .to_string()
            .contains("18446744073709551615")
    );
}

fn logs(log_records: Vec<LogRecord>) -> (Outcome, Finish) {
    let scoped = ScopeLogs {
        log_records,
        ..Default::default()
    };
    let logs = ResourceLogs {
        scope_logs: vec![scoped],
        ..Default::default()
    };
    run(
        Signal::Logs,
        &spoil(
            ExportLogsServiceRequest {
                resource_logs: vec![logs],
            }
            .encode_to_vec(),
        ),
    )
}

#[test]
fn log_records_with_bad_parts() {
    let body = |value| Some(AnyValue { value: Some(value) });
    let bad = [
        (
            LogRecord {
                trace_id: vec![1; 3],
                ..Default::default()
            },
            ItemError::TraceId(3),
        ),
        (
            LogRecord {
                span_id: vec![1; 16],
                ..Default::default()
            },
            ItemError::SpanId(16),
        ),
        (
            LogRecord {
                severity_text: MARK.to_owned(),
                ..Default::default()
            },
            ItemError::InvalidUtf8("severity_text"),
        ),
        (
            LogRecord {
                event_name: MARK.to_owned(),
                ..Default::default()
            },
            ItemError::InvalidUtf8("event_name"),
        ),
        (
            LogRecord {
                body: body(Any::StringValue(MARK.to_owned())),
                ..Default::default()
            },
            ItemError::InvalidUtf8("a log body"),
        ),
        (
            LogRecord {
                body: body(Any::KvlistValue(KeyValueList {
                    values: vec![text(MARK, "")],
                })),
                ..Default::default()
            },
            ItemError::InvalidUtf8("an attribute's key"),
        ),
    ];
    for (record, reason) in bad {
        let good = LogRecord {
            trace_id: vec![0; 16],
            span_id: vec![0; 8],
            ..Default::default()
        };
        let (outcome, finished) = logs(vec![good.clone(), record, good]);
        assert_eq!(
            (outcome.accepted, outcome.rejected, &outcome.reasons[..]),
            (2, 1, &[reason][..])
        );
        for row in finished.of(Dataset::Logs) {
            assert_eq!(
                row.keys().map(String::as_str).collect::<Vec<_>>(),
                ["resource_id", "timestamp"]
            );
        }
    }
}

fn point(value: f64) -> NumberDataPoint {
    NumberDataPoint {
        time_unix_nano: 5,
        value: Some(Number::AsDouble(value)),
        ..Default::default()
    }
}

fn gauge(name: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    Metric {
        name: name.to_owned(),
        data: Some(Data::Gauge(Gauge { data_points })),
        ..Default::default()
    }
}

/// Sends the metric between good ones, and expects these to arrive.
fn metric(metric: Metric) -> (Outcome, Finish) {
    let metrics = vec![gauge("good", vec![point(1.0)]), metric, gauge("good", vec![point(3.0)])];
    let scoped = ScopeMetrics {
        metrics,
        ..Default::default()
    };
    let resource = ResourceMetrics {
        scope_metrics: vec![scoped],
        ..Default::default()
    };
    let bytes = ExportMetricsServiceRequest {
        resource_metrics: vec![resource],
    }
    .encode_to_vec();
    let (mut outcome, finished) = run(Signal::Metrics, &spoil(bytes));
    let samples = finished.of(Dataset::MetricSamples);
    assert_eq!(
        samples.first().map(|row| &row["value"]),
        Some(&Cell::Double(1f64.to_bits()))
    );
    assert_eq!(
        samples.last().map(|row| &row["value"]),
        Some(&Cell::Double(3f64.to_bits()))
    );
    outcome.accepted -= 2;
    (outcome, finished)
}

#[test]
fn metrics_without_name_data_or_value() {
    let (outcome, _) = metric(gauge("", vec![point(1.0); 3]));
    assert_eq!(
        (outcome.accepted, outcome.rejected, &outcome.reasons[..]),
        (0, 3, &[ItemError::NoMetricName][..])
    );
    let (outcome, _) = metric(Metric {
        name: "empty".to_owned(),
        ..Default::default()
    });
    assert_eq!((outcome.accepted, outcome.rejected), (0, 1));
    assert_eq!(outcome.reasons, [ItemError::NoMetricData("empty".to_owned())]);
    let none = NumberDataPoint {
        value: None,
        ..point(0.0)
    };
    let stale = NumberDataPoint {
        flags: 1,
        ..none.clone()
    };
    let (outcome, finished) = metric(gauge("m", vec![none, stale]));
    assert_eq!(
        (outcome.accepted, outcome.rejected, &outcome.reasons[..]),
        (1, 1, &[ItemError::NoValue][..])
    );
    let stale = &finished.of(Dataset::MetricSamples)[1];
    assert_eq!(stale["flags"], Cell::UInt(1));
    assert!(!stale.contains_key("value") && !stale.contains_key("value_int"));
    for bad in [
        Metric {
            name: MARK.to_owned(),
            ..gauge("", vec![point(1.0); 2])
        },
        Metric {
            unit: MARK.to_owned(),
            ..gauge("m", vec![point(1.0); 2])
        },
        Metric {
            description: MARK.to_owned(),
            ..gauge("m", vec![point(1.0); 2])
        },
        Metric {
            metadata: vec![text("k", MARK)],
            ..gauge("m", vec![point(1.0); 2])
        },
    ] {
        let (outcome, finished) = metric(bad);
        assert_eq!((outcome.accepted, outcome.rejected), (0, 2));
        assert!(matches!(outcome.reasons[..], [ItemError::InvalidUtf8(_)]));
        assert_eq!(finished.of(Dataset::MetricSeries).len(), 1);
    }
}

#[test]
fn points_with_bad_exemplars_or_attributes() {
    let exemplar = |trace, span| Exemplar {
        trace_id: vec![1; trace],
        span_id: vec![1; span],
        ..Default::default()
    };
    let with = |exemplar| NumberDataPoint {
        exemplars: vec![Exemplar::default(), exemplar],
        ..point(9.0)
    };
    let bad = [
        with(exemplar(3, 0)),
        with(exemplar(16, 9)),
        with(Exemplar {
            filtered_attributes: vec![text("k", MARK)],
            ..Default::default()
        }),
        NumberDataPoint {
            attributes: vec![text(MARK, "v")],
            ..point(9.0)
        },
        NumberDataPoint {
            attributes: vec![text("k", MARK)],
            ..point(9.0)
        },
    ];
    for bad in bad {
        let zero = Exemplar {
            trace_id: vec![0; 16],
            span_id: vec![0; 8],
            ..Default::default()
        };
        let good = NumberDataPoint {
            exemplars: vec![zero],
            ..point(2.0)
        };
        let (outcome, finished) = metric(gauge("m", vec![bad, good]));
        assert_eq!((outcome.accepted, outcome.rejected), (1, 1), "{outcome:?}");
        assert_eq!(finished.of(Dataset::MetricSamples).len(), 3);
        let exemplars = finished.of(Dataset::Exemplars);
        assert_eq!(exemplars.len(), 1, "those of the rejected point went with it");
        assert!(!exemplars[0].contains_key("trace_id") && !exemplars[0].contains_key("span_id"));
    }
}

#[test]
fn histograms_whose_counts_do_not_fit_their_bounds() {
    let h = |counts: usize, bounds: usize| HistogramDataPoint {
        bucket_counts: vec![1; counts],
        explicit_bounds: vec![0.5; bounds],
        sum: Some(1.0),
        ..Default::default()
    };
    for (counts, bounds) in [(0, 1), (1, 1), (2, 2), (3, 1), (4, 0)] {
        let data_points = vec![h(0, 0), h(counts, bounds), h(1, 0), h(3, 2)];
        let data = Some(Data::Histogram(Histogram {
            data_points,
            aggregation_temporality: 2,
        }));
        let (outcome, finished) = metric(Metric {
            name: "h".to_owned(),
            data,
            ..Default::default()
        });
        assert_eq!((outcome.accepted, outcome.rejected), (3, 1));
        assert_eq!(outcome.reasons, [ItemError::BucketCounts { counts, bounds }]);
        let rows = finished.of(Dataset::MetricHistograms);
        assert_eq!(rows.len(), 3);
        assert!(!rows[0].contains_key("bounds") && !rows[0].contains_key("bucket_counts"));
        assert_eq!(
            (&rows[1]["bounds"], &rows[1]["bucket_counts"]),
            (&Cell::List(vec![]), &Cell::List(vec![Cell::UInt(1)]))
        );
    }
}

#[test]
fn nan_and_infinity_are_values() {
    let values = [
        f64::NAN,
        f64::from_bits(0x7ff0_0000_0000_0002),
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
    ];
    let (outcome, finished) = metric(gauge("m", values.map(point).to_vec()));
    assert_eq!(outcome.rejected, 0);
    for (row, value) in finished.of(Dataset::MetricSamples)[1..].iter().zip(values) {
        assert_eq!(
            row["value"],
            Cell::Double(value.to_bits()),
            "the staleness NaN is a NaN of its own"
        );
    }
    let double = |v| AnyValue {
        value: Some(Any::DoubleValue(v)),
    };
    let array = AnyValue {
        value: Some(Any::ArrayValue(ArrayValue {
            values: values.map(double).to_vec(),
        })),
    };
    let record = LogRecord {
        body: Some(array),
        attributes: vec![KeyValue {
            key: "nan".to_owned(),
            value: Some(double(f64::NAN)),
            ..Default::default()
        }],
        ..Default::default()
    };
    let (_, finished) = logs(vec![record]);
    let row = &finished.of(Dataset::Logs)[0];
    assert_eq!(row["attr.nan:double"], Cell::Double(f64::NAN.to_bits()));
    let (nan, inf, minus) = (
        json!({"$double": "NaN"}),
        json!({"$double": "Infinity"}),
        json!({"$double": "-Infinity"}),
    );
    assert_eq!(row["body"], Cell::Json(json!([nan, nan, inf, minus, -0.0])));
}

#[test]
fn what_a_scope_repeats_may_not_multiply_a_request() {
    // 100 kB of attributes over 5,000 spans of 30 B would be 500 MB of rows.
    let big = KeyValue {
        key: "big".to_owned(),
        value: Some(AnyValue {
            value: Some(Any::ArrayValue(ArrayValue {
                values: vec![text("", &"x".repeat(100_000)).value.unwrap()],
            })),
        }),
        ..Default::default()
    };
    let scope = |attributes| InstrumentationScope {
        attributes,
        ..Default::default()
    };
    let request = |spans: usize| {
        let bad = traces(Resource::default(), scope(vec![big.clone()]), vec![good_span(); spans]);
        let good = traces(
            Resource::default(),
            scope(vec![text("a", "b")]),
            vec![good_span(); 5_000],
        );
        ExportTraceServiceRequest {
            resource_spans: vec![bad, good],
        }
        .encode_to_vec()
    };
    let (outcome, _) = run(Signal::Traces, &request(10));
    assert_eq!((outcome.accepted, outcome.rejected), (5_010, 0));
    let (outcome, _) = run(Signal::Traces, &request(5_000));
    assert_eq!((outcome.accepted, outcome.rejected), (5_000, 5_000));
    assert!(matches!(outcome.reasons[..], [ItemError::TooMuchRepeated(..)]));
    // The same by a metric's texts.
    let point = |n: i64| NumberDataPoint {
        attributes: vec![text("n", &n.to_string())],
        ..point(1.0)
    };
    let large = Metric {
        description: "d".repeat(200_000),
        ..gauge("m", (0..5_000).map(point).collect())
    };
    let (outcome, _) = metric(large);
    assert_eq!((outcome.accepted, outcome.rejected), (0, 5_000));
}

#[test]
fn of_a_repeated_key_the_last_value_wins_whatever_the_types() {
    let int = |key: &str, n| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Any::IntValue(n)),
        }),
        ..Default::default()
    };
    let array = |key: &str, n: usize| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Any::ArrayValue(ArrayValue {
                values: vec![AnyValue::default(); n],
            })),
        }),
        ..Default::default()
    };
    let attributes = vec![
        text("a", "first"),
        array("b", 1),
        int("a", 5),
        text("c", "x"),
        array("b", 2),
        array("d", 1),
        text("d", "a column after the rest"),
        array("c", 3),
        array("only", 0),
        array("b", 0),
    ];
    let record = || LogRecord {
        attributes: attributes.clone(),
        ..Default::default()
    };
    let event = span::Event {
        attributes: vec![text("k", "old"), int("k", 2), text("k", "new")],
        ..Default::default()
    };
    let (_, finished) = logs(vec![
        record(),
        LogRecord {
            attributes: vec![int("a", 1)],
            ..Default::default()
        },
        record(),
    ]);
    for row in [&finished.of(Dataset::Logs)[0], &finished.of(Dataset::Logs)[2]] {
        assert_eq!(row["attr.a:int"], Cell::Int(5));
        assert_eq!(row["attr.d"], Cell::Text("a column after the rest".to_owned()));
        assert!(!row.contains_key("attr.a") && !row.contains_key("attr.c"));
        assert_eq!(
            row["attributes_rest"],
            Cell::Json(json!({"c": [null, null, null], "only": [], "b": []}))
        );
    }
    let known = KnownIds::default();
    let mut batch = TenantBatch::default();
    let spans = traces(
        Resource::default(),
        InstrumentationScope::default(),
        vec![Span {
            events: vec![event],
            attributes: vec![array("b", 1), array("b", 0)],
            ..good_span()
        }],
    );
    let bytes = ExportTraceServiceRequest {
        resource_spans: vec![spans],
    }
    .encode_to_vec();
    batch.append(Signal::Traces, &bytes, context(&known)).unwrap();
    let (finished, _) = batch.finish().unwrap();
    // As text: a parser would hide a key that is there twice.
    let spans = &finished.iter().find(|f| f.dataset == Dataset::Spans).unwrap().batch;
    let rest = spans.column_by_name("attributes_rest").unwrap();
    assert_eq!(rest.as_string::<i32>().value(0), r#"{"b":[]}"#);
    let events = spans.column_by_name("events").unwrap().as_list::<i32>().value(0);
    let attributes = events.as_struct().column_by_name("attributes").unwrap();
    assert_eq!(attributes.as_string::<i32>().value(0), r#"{"k":"new"}"#);
}

#[test]
fn a_resource_is_the_same_in_any_order_and_with_repeated_keys() {
    let ids = |attributes: &[(&str, &str)]| {
        let attributes = attributes.iter().map(|(k, v)| text(k, v)).collect();
        let spans = traces(
            Resource {
                attributes,
                ..Default::default()
            },
            Default::default(),
            vec![good_span()],
        );
        run(
            Signal::Traces,
            &ExportTraceServiceRequest {
                resource_spans: vec![spans],
            }
            .encode_to_vec(),
        )
        .1
        .ids
    };
    let id = ids(&[("a", "1"), ("b", "2")]);
    assert_eq!(id, ids(&[("b", "2"), ("a", "1")]));
    assert_eq!(id, ids(&[("a", "0"), ("b", "2"), ("a", "1")]));
    assert_ne!(id, ids(&[("a", "2"), ("b", "1")]));
    assert_ne!(id, ids(&[("a1", ""), ("b", "2")]));
}

#[test]
fn a_key_that_looks_like_another_keys_column_gets_none() {
    let int = KeyValue {
        key: "a".to_owned(),
        value: Some(AnyValue {
            value: Some(Any::IntValue(1)),
        }),
        ..Default::default()
    };
    let (_, finished) = logs(vec![LogRecord {
        attributes: vec![int, text("a:int", "text")],
        ..Default::default()
    }]);
    let row = &finished.of(Dataset::Logs)[0];
    assert_eq!(row["attr.a:int"], Cell::Int(1));
    assert_eq!(row["attributes_rest"], Cell::Json(json!({"a:int": "text"})));
}

#[test]
fn a_key_with_five_types_has_a_column_for_each_that_can() {
    let values = [
        Any::StringValue("s".to_owned()),
        Any::IntValue(1),
        Any::DoubleValue(1.5),
        Any::BoolValue(true),
        Any::BytesValue(vec![0xff]),
    ];
    let records = values.map(|value| LogRecord {
        attributes: vec![KeyValue {
            key: "k".to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..Default::default()
        }],
        ..Default::default()
    });
    let (_, finished) = logs(records.to_vec());
    let names = [
        "attr.k",
        "attr.k:int",
        "attr.k:double",
        "attr.k:bool",
        "attributes_rest",
    ];
    for (row, name) in finished.of(Dataset::Logs).iter().zip(names) {
        assert!(row.contains_key(name) && row.len() == 3, "{row:?}");
    }
}

#[test]
fn many_rows_that_share_long_texts_keep_a_dictionary() {
    // 70 distinct texts in 130 rows, one of them long: most are distinct, yet plain text would repeat the long one.
    let long = "l".repeat(1_000_000);
    let records = (0..130).map(|i| {
        let value = if i < 69 { i.to_string() } else { long.clone() };
        LogRecord {
            severity_text: value,
            ..Default::default()
        }
    });
    let scoped = ScopeLogs {
        log_records: records.collect(),
        ..Default::default()
    };
    let request = ResourceLogs {
        scope_logs: vec![scoped],
        ..Default::default()
    };
    let mut batch = TenantBatch::default();
    let known = KnownIds::default();
    let bytes = ExportLogsServiceRequest {
        resource_logs: vec![request],
    }
    .encode_to_vec();
    batch.append(Signal::Logs, &bytes, context(&known)).unwrap();
    let (finished, _) = batch.finish().unwrap();
    let logs = &finished.iter().find(|f| f.dataset == Dataset::Logs).unwrap().batch;
    let column = logs.column_by_name("severity_text").unwrap();
    assert!(matches!(column.data_type(), DataType::Dictionary(_, _)));
}

#[test]
fn the_message_to_the_sender_counts_and_explains() {
    let (outcome, _) = logs(vec![
        LogRecord {
            trace_id: vec![1],
            ..Default::default()
        };
        2
    ]);
    assert_eq!(
        outcome.message(),
        "2 rejected: trace_id must be 16 bytes and not all zero, got 1 bytes"
    );
    assert_eq!(Outcome::default().message(), "");
}

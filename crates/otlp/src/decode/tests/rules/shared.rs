//! Rules that hold for every signal: text, nesting, times, and what is sent once for many items.

use super::*;

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

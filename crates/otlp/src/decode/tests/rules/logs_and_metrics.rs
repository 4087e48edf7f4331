//! Log records, metrics and their points.

use super::*;

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

//! Keys, and the columns that they get.

use super::*;

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
    let spans = finished.iter().find(|f| f.dataset == Dataset::Spans).unwrap();
    let spans = spans.batch.to_dense().unwrap();
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
    let column = logs.column("severity_text").unwrap();
    assert!(matches!(column.data_type(), DataType::Dictionary(_, _)));
}

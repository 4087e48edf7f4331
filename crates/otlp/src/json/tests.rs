use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use super::*;

mod hostile;

fn traces(json: &str) -> Result<ExportTraceServiceRequest, JsonError> {
    let mut out = Vec::new();
    traces_to_protobuf(json.as_bytes(), &mut out, JsonLimits::default())?;
    Ok(ExportTraceServiceRequest::decode(&*out).unwrap())
}

fn logs(json: &str) -> Result<ExportLogsServiceRequest, JsonError> {
    let mut out = Vec::new();
    logs_to_protobuf(json.as_bytes(), &mut out, JsonLimits::default())?;
    Ok(ExportLogsServiceRequest::decode(&*out).unwrap())
}

fn metrics(json: &str) -> Result<ExportMetricsServiceRequest, JsonError> {
    let mut out = Vec::new();
    metrics_to_protobuf(json.as_bytes(), &mut out, JsonLimits::default())?;
    Ok(ExportMetricsServiceRequest::decode(&*out).unwrap())
}

/// The one span of a request whose span has these members.
fn span(members: &str) -> Result<Span, JsonError> {
    let request = traces(&format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{members}}}]}}]}}]}}"#
    ))?;
    Ok(request.resource_spans[0].scope_spans[0].spans[0].clone())
}

/// A log body from the JSON of its `AnyValue`.
fn body(value: &str) -> Result<Option<Value>, JsonError> {
    let request = logs(&format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{value}}}]}}]}}]}}"#
    ))?;
    let record = &request.resource_logs[0].scope_logs[0].log_records[0];
    Ok(record.body.clone().and_then(|body| body.value))
}

fn message<T: std::fmt::Debug>(result: Result<T, JsonError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_span_as_exporters_send_it() {
    let request = traces(
        r#" {
          "resourceSpans": [ {
            "resource": { "attributes": [ { "key": "service.name", "value": { "stringValue": "my.service" } } ] },
            "scopeSpans": [ {
              "scope": { "name": "my.library", "version": "1.0.0" },
              "spans": [ {
                "traceId": "5B8EFFF798038103D269B633813FC60C",
                "spanId": "eee19b7ec3c1b174",
                "parentSpanId": "",
                "name": "I'm a server span",
                "startTimeUnixNano": "1544712660000000000",
                "endTimeUnixNano": 1544712661000000001,
                "kind": 2,
                "flags": 257,
                "attributes": [ { "key": "my.span.attr", "value": { "intValue": 7 } } ],
                "status": { "code": "STATUS_CODE_ERROR", "message": "boom" },
                "links": null,
                "somethingNew": { "nested": [1, {"a": null}, "x\"", true, -1.5e+3] }
              } ]
            } ],
            "schemaUrl": "https://opentelemetry.io/schemas/1.30.0"
          } ]
        } "#,
    )
    .unwrap();
    let resource_spans = &request.resource_spans[0];
    assert_eq!(resource_spans.schema_url, "https://opentelemetry.io/schemas/1.30.0");
    assert_eq!(
        resource_spans.resource.as_ref().unwrap().attributes[0].key,
        "service.name"
    );
    let scope_spans = &resource_spans.scope_spans[0];
    assert_eq!(scope_spans.scope.as_ref().unwrap().version, "1.0.0");
    let span = &scope_spans.spans[0];
    assert_eq!(
        span.trace_id,
        b"\x5b\x8e\xff\xf7\x98\x03\x81\x03\xd2\x69\xb6\x33\x81\x3f\xc6\x0c"
    );
    assert_eq!(span.span_id, b"\xee\xe1\x9b\x7e\xc3\xc1\xb1\x74");
    assert_eq!(span.parent_span_id, b"");
    assert_eq!(span.name, "I'm a server span");
    assert_eq!(span.start_time_unix_nano, 1_544_712_660_000_000_000);
    assert_eq!(span.end_time_unix_nano, 1_544_712_661_000_000_001);
    assert_eq!((span.kind, span.flags), (2, 257));
    assert_eq!(
        span.attributes[0].value.as_ref().unwrap().value,
        Some(Value::IntValue(7))
    );
    assert_eq!(span.status.as_ref().unwrap().code, 2);
    assert_eq!(span.status.as_ref().unwrap().message, "boom");
    assert!(span.links.is_empty());
}

#[test]
fn original_proto_names_are_keys_too() {
    let request = metrics(
        r#"{"resource_metrics":[{"scope_metrics":[{"metrics":[
          {"name":"m","sum":{"aggregation_temporality":"AGGREGATION_TEMPORALITY_DELTA","is_monotonic":true,
            "data_points":[{"time_unix_nano":"5","as_int":"-9"},{"asDouble":"Infinity"}]}},
          {"name":"h","histogram":{"dataPoints":[{"bucketCounts":["1",2],"explicitBounds":[0.5],"sum":"1.25","count":3}]}},
          {"name":"e","exponentialHistogram":{"dataPoints":[{"scale":-2,"positive":{"offset":3,"bucketCounts":[1,"18446744073709551615"]}}]}},
          {"name":"s","summary":{"dataPoints":[{"quantileValues":[{"quantile":0.99,"value":1e3}]}]}}
        ]}]}]}"#,
    )
    .unwrap();
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let Some(Data::Sum(sum)) = &metrics[0].data else {
        panic!("{metrics:?}")
    };
    assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (1, true));
    assert_eq!(sum.data_points[0].time_unix_nano, 5);
    assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsInt(-9)));
    assert_eq!(
        sum.data_points[1].value,
        Some(number_data_point::Value::AsDouble(f64::INFINITY))
    );
    let Some(Data::Histogram(histogram)) = &metrics[1].data else {
        panic!("{metrics:?}")
    };
    let point = &histogram.data_points[0];
    assert_eq!(
        (&*point.bucket_counts, &*point.explicit_bounds),
        (&[1, 2][..], &[0.5][..])
    );
    assert_eq!((point.sum, point.count), (Some(1.25), 3));
    let Some(Data::ExponentialHistogram(histogram)) = &metrics[2].data else {
        panic!()
    };
    assert_eq!(histogram.data_points[0].scale, -2);
    let positive = histogram.data_points[0].positive.as_ref().unwrap();
    assert_eq!((positive.offset, &*positive.bucket_counts), (3, &[1, u64::MAX][..]));
    let Some(Data::Summary(summary)) = &metrics[3].data else {
        panic!("{metrics:?}")
    };
    assert_eq!(summary.data_points[0].quantile_values[0].value, 1e3);
}

#[test]
fn every_json_name_is_its_proto_name_in_camel_case() {
    fn visit(message: &'static schema::Message, seen: &mut Vec<*const schema::Message>) {
        if seen.contains(&std::ptr::from_ref(message)) {
            return;
        }
        seen.push(message);
        assert!(message.fields.len() <= 32, "the transcoder keeps one bit a field");
        let mut numbers: Vec<u32> = message.fields.iter().map(|f| f.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), message.fields.len());
        for field in message.fields {
            let mut camel = String::new();
            for (i, word) in field.proto.split('_').enumerate() {
                let (head, tail) = word.split_at(1);
                camel += &if i == 0 { head.to_owned() } else { head.to_uppercase() };
                camel += tail;
            }
            assert_eq!(camel, field.json);
            if let schema::Kind::Message(nested) = field.kind {
                visit(nested, seen);
            }
        }
    }
    let mut seen = Vec::new();
    for root in [&schema::TRACES, &schema::LOGS, &schema::METRICS] {
        visit(root, &mut seen);
    }
    assert_eq!(seen.len(), 34);
}

#[test]
fn ids_are_hex_of_any_length() {
    assert_eq!(span(r#""traceId":"""#).unwrap().trace_id, b"");
    assert_eq!(span(r#""traceId":"aB""#).unwrap().trace_id, b"\xab");
    let path = "resourceSpans[0].scopeSpans[0].spans[0].traceId";
    let expected = "expected hex digits, two for each byte (OTLP/JSON ids are not base64)";
    for (id, found) in [
        (r#""abc""#, r#""abc""#),
        (r#""W47/95gDgQPSabYzgT/GDA==""#, r#""W47/95gDgQPSabYzgT/GDA==""#),
        ("7", "a number"),
        (r#""+1""#, r#""+1""#),
    ] {
        assert_eq!(
            message(span(&format!(r#""traceId":{id}"#))),
            format!("{path}: {expected}, found {found}")
        );
    }
}

#[test]
fn enumerations_are_numbers_or_names() {
    for (kind, want) in [
        ("3", 3),
        (r#""SPAN_KIND_CLIENT""#, 3),
        (r#""3""#, 3),
        ("99", 99),
        ("-1", -1),
        ("2.0", 2),
    ] {
        assert_eq!(span(&format!(r#""kind":{kind}"#)).unwrap().kind, want, "{kind}");
    }
    for kind in [
        r#""CLIENT""#,
        r#""span_kind_client""#,
        "1.5",
        "2147483648",
        "true",
        r#""""#,
    ] {
        assert!(span(&format!(r#""kind":{kind}"#)).is_err(), "{kind}");
    }
    let record = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":"SEVERITY_NUMBER_WARN3"}]}]}]}"#;
    let request = logs(record).unwrap();
    assert_eq!(
        request.resource_logs[0].scope_logs[0].log_records[0].severity_number,
        15
    );
}

#[test]
fn integers_are_strings_or_numbers_within_their_range() {
    for (text, want) in [
        ("0", 0),
        (r#""-5""#, -5),
        ("-9223372036854775808", i64::MIN),
        (r#""9223372036854775807""#, i64::MAX),
        ("1e3", 1000),
        (r#""1.0""#, 1),
        ("-0", 0),
    ] {
        let value = body(&format!(r#"{{"intValue":{text}}}"#)).unwrap();
        assert_eq!(value, Some(Value::IntValue(want)), "{text}");
    }
    for text in [
        "9223372036854775808",
        "-9223372036854775809",
        "9223372036854775808.0",
        "1e400",
        "1.5",
        r#""""#,
        r#"" 1""#,
        r#""+1""#,
        r#""+9223372036854775808""#,
        r#""0x10""#,
        r#""Infinity""#,
        "true",
        "[1]",
    ] {
        assert!(body(&format!(r#"{{"intValue":{text}}}"#)).is_err(), "{text}");
    }
    assert_eq!(
        span(r#""endTimeUnixNano":"18446744073709551615""#)
            .unwrap()
            .end_time_unix_nano,
        u64::MAX
    );
    for bad in [
        r#""endTimeUnixNano":-1"#,
        r#""endTimeUnixNano":"18446744073709551616""#,
        r#""flags":4294967296"#,
        r#""droppedLinksCount":-1"#,
    ] {
        assert!(span(bad).is_err(), "{bad}");
    }
}

#[test]
fn doubles_are_numbers_strings_or_names() {
    for (text, want) in [
        ("1", 1.0),
        ("-0.0", -0.0),
        ("0.1", 0.1),
        (r#""1.5e-7""#, 1.5e-7),
        (r#""Infinity""#, f64::INFINITY),
        (r#""-Infinity""#, f64::NEG_INFINITY),
        ("1.7976931348623157e308", f64::MAX),
        ("9007199254740993", 9_007_199_254_740_992.0),
    ] {
        let Some(Value::DoubleValue(value)) = body(&format!(r#"{{"doubleValue":{text}}}"#)).unwrap() else {
            panic!("{text}");
        };
        assert_eq!(value.to_bits(), want.to_bits(), "{text}");
    }
    let nan = body(r#"{"doubleValue":"NaN"}"#).unwrap();
    assert!(matches!(nan, Some(Value::DoubleValue(v)) if v.is_nan()));
    for text in [
        r#""inf""#,
        r#""nan""#,
        r#""+1""#,
        r#""""#,
        "1e999",
        r#""infinity""#,
        "{}",
        r#""1,5""#,
    ] {
        assert!(body(&format!(r#"{{"doubleValue":{text}}}"#)).is_err(), "{text}");
    }
}

#[test]
fn bytes_are_base64_of_either_kind() {
    for text in ["+/8=", "-_8=", "-_8", "+/8", "\\u002b\\/8="] {
        let value = body(&format!(r#"{{"bytesValue":"{text}"}}"#)).unwrap();
        assert_eq!(value, Some(Value::BytesValue(vec![0xfb, 0xff])), "{text}");
    }
    assert_eq!(body(r#"{"bytesValue":""}"#).unwrap(), Some(Value::BytesValue(vec![])));
    for text in ["A", "A*==", "AA==AA==", "=", "A A="] {
        assert!(body(&format!(r#"{{"bytesValue":"{text}"}}"#)).is_err(), "{text}");
    }
}

#[test]
fn values_of_every_type() {
    assert_eq!(body("{}").unwrap(), None);
    assert_eq!(body("null").unwrap(), None);
    assert_eq!(body(r#"{"intValue":null}"#).unwrap(), None);
    assert_eq!(body(r#"{"boolValue":false}"#).unwrap(), Some(Value::BoolValue(false)));
    let nested =
        body(r#"{"kvlistValue":{"values":[{"key":"k","value":{"arrayValue":{"values":[{"stringValue":""},{}]}}}]}}"#);
    let Some(Value::KvlistValue(list)) = nested.unwrap() else {
        panic!()
    };
    let Some(Value::ArrayValue(array)) = list.values[0].value.clone().unwrap().value else {
        panic!()
    };
    assert_eq!(array.values.len(), 2);
    assert_eq!(array.values[0].value, Some(Value::StringValue(String::new())));
    assert_eq!(array.values[1].value, None);
    assert!(body(r#"{"boolValue":"true"}"#).is_err());
    assert!(body(r#"{"stringValue":5}"#).is_err());
    assert!(body(r#"{"arrayValue":[]}"#).is_err());
}

#[test]
fn strings_unescape() {
    for (text, want) in [
        (r#"a\"\\\/\b\f\n\r\tz"#, "a\"\\/\u{8}\u{c}\n\r\tz"),
        (r"\u00e9\u6F22", "é漢"),
        (r"\ud83e\udd80", "🦀"),
        (r"\ud83e", "\u{fffd}"),
        (r"\udd80x", "\u{fffd}x"),
        (r"\ud83e\u0041", "\u{fffd}A"),
        (r"\ud83e\ud83e\udd80", "\u{fffd}🦀"),
        (r"\ud83e\n", "\u{fffd}\n"),
        ("🦀\u{7f}", "🦀\u{7f}"),
        (r"\u0000", "\0"),
    ] {
        let value = body(&format!(r#"{{"stringValue":"{text}"}}"#)).unwrap();
        assert_eq!(value, Some(Value::StringValue(want.to_owned())), "{text}");
    }
    for text in [r"\x", r"\u12", r"\u12g4", "\n", "\u{1}", r"\", r"\ud83e\uzzzz"] {
        assert!(body(&format!(r#"{{"stringValue":"{text}"}}"#)).is_err(), "{text}");
    }
    // Escapes in keys and ids work as anywhere else.
    assert_eq!(span(r#""\u006eame":"n","spanId":"\u0061b""#).unwrap().span_id, b"\xab");
}

#[test]
fn what_contradicts_itself_is_an_error() {
    let path = "resourceSpans[0].scopeSpans[0].spans[0]";
    assert_eq!(
        message(span(r#""name":"a","name":"a""#)),
        format!("{path}.name: given twice")
    );
    assert_eq!(
        message(span(r#""traceId":"","trace_id":"""#)),
        format!("{path}.traceId: given twice")
    );
    assert_eq!(
        message(body(r#"{"stringValue":"a","intValue":1}"#)),
        "resourceLogs[0].scopeLogs[0].logRecords[0].body.intValue: given beside another field that excludes it"
    );
    assert!(body(r#"{"stringValue":"a","intValue":null}"#).is_ok());
}

#[test]
fn errors_name_the_path() {
    for (json, want) in [
        ("", "malformed JSON at byte 0: expected a value, found the end"),
        ("[]", "$: expected an object, found a list"),
        ("{} x", "malformed JSON at byte 3: expected the end"),
        (
            r#"{"resourceSpans":{}}"#,
            "resourceSpans: expected a list, found an object",
        ),
        (
            r#"{"resourceSpans":[{},{"scopeSpans":[null]}]}"#,
            "resourceSpans[1].scopeSpans[0]: expected an object, found null",
        ),
        (
            r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"k","value":"v"}]}}]}"#,
            "resourceSpans[0].resource.attributes[0].value: expected an object, found a string",
        ),
        (
            r#"{"resourceSpans":[{"schemaUrl":tru}]}"#,
            "resourceSpans[0].schemaUrl: expected a string, found a boolean",
        ),
        (
            r#"{"resourceSpans":[{"schemaUrl":"x]}"#,
            "malformed JSON at byte 31 (resourceSpans[0].schemaUrl): the string does not end",
        ),
        (
            r#"{"resourceSpans":[{}"#,
            "malformed JSON at byte 20 (resourceSpans): expected a comma or the end of the list",
        ),
        (r#"{"a":[1,]}"#, "malformed JSON at byte 8: expected a value"),
        (r#"{"a":1,}"#, "malformed JSON at byte 7: expected a string"),
        (r#"{a:1}"#, "malformed JSON at byte 1: expected a string"),
        (
            r#"{"a":01}"#,
            "malformed JSON at byte 6: expected a comma or the end of the object",
        ),
        (r#"{"a":nul}"#, "malformed JSON at byte 5: expected null, true or false"),
    ] {
        assert_eq!(message(traces(json)), want, "{json}");
    }
    let long = format!(r#""kind":"{}""#, "ß".repeat(1_000));
    assert!(message(span(&long)).ends_with("ßß...\""));
}

#[test]
fn output_is_appended_or_left_alone() {
    let mut out = b"before".to_vec();
    let limits = JsonLimits::default();
    traces_to_protobuf(br#"{"resourceSpans":[{"schemaUrl":"a"}]}"#, &mut out, limits).unwrap();
    assert_eq!(out, b"before\x0a\x03\x1a\x01a");
    let error = traces_to_protobuf(br#"{"resourceSpans":[{"schemaUrl":"a"}]"#, &mut out, limits);
    assert!(error.is_err());
    assert_eq!(out, b"before\x0a\x03\x1a\x01a");
    let error = logs_to_protobuf(b"{\"x\":\"\xff\"}", &mut out, limits);
    assert_eq!(error, Err(JsonError::NotUtf8 { offset: 6 }));
}

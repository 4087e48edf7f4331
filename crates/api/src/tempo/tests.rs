use http_body_util::BodyExt;
use memory::{Budget, Use};
use otlp::model::{
    AnyValue, Event, KeyValue, Link, Resource, ResourceSpans, Scope, ScopeSpans, Span, SpanKind, Status,
    StatusCode as Outcome,
};

use super::*;
use crate::request::PARTIAL_HEADER;

fn example(partial: Option<&str>) -> Trace {
    let span = Span {
        trace_id: [1; 16],
        span_id: [2; 8],
        parent_span_id: Some([3; 8]),
        flags: 257,
        name: "GET /".into(),
        kind: SpanKind::SERVER,
        start_time_unix_nano: 1_700_000_000_000_000_001,
        end_time_unix_nano: 1_700_000_000_000_000_002,
        attributes: vec![
            KeyValue::new("int", 1i64 << 60),
            KeyValue::new("nan", f64::NAN),
            KeyValue::new("half", 0.5),
            KeyValue::new("yes", true),
            KeyValue::new("bytes", AnyValue::Bytes(vec![0xff])),
            KeyValue::new("list", AnyValue::Array(vec!["a".into(), AnyValue::Empty])),
            KeyValue::new("map", AnyValue::KvList(vec![KeyValue::new("k", "v")])),
        ],
        events: vec![Event {
            time_unix_nano: 5,
            name: "e".into(),
            ..Default::default()
        }],
        links: vec![Link {
            trace_id: [4; 16],
            span_id: [5; 8],
            ..Default::default()
        }],
        status: Status {
            message: "broken".into(),
            code: Outcome::ERROR,
        },
        ..Default::default()
    };
    let scope = Scope {
        name: "lib".into(),
        ..Default::default()
    };
    let resource = Resource {
        attributes: vec![KeyValue::new("service.name", "shop")],
        ..Default::default()
    };
    let spans = vec![
        span,
        Span {
            kind: SpanKind(9),
            ..Default::default()
        },
    ];
    let scope_spans = vec![ScopeSpans {
        scope,
        spans,
        ..Default::default()
    }];
    Trace {
        resource_spans: vec![ResourceSpans {
            resource,
            scope_spans,
            ..Default::default()
        }],
        partial: partial.map(str::to_owned),
    }
}

/// What a list of resource spans looks like in Tempo's JSON.
const RESOURCE_SPANS: &str = concat!(
    r#"[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"#,
    r#""scopeSpans":[{"scope":{"name":"lib"},"spans":[{"traceId":"AQEBAQEBAQEBAQEBAQEBAQ==","spanId":"AgICAgICAgI=","#,
    r#""parentSpanId":"AwMDAwMDAwM=","flags":257,"name":"GET /","kind":"SPAN_KIND_SERVER","#,
    r#""startTimeUnixNano":"1700000000000000001","endTimeUnixNano":"1700000000000000002","attributes":["#,
    r#"{"key":"int","value":{"intValue":"1152921504606846976"}},{"key":"nan","value":{"doubleValue":"NaN"}},"#,
    r#"{"key":"half","value":{"doubleValue":0.5}},{"key":"yes","value":{"boolValue":true}},"#,
    r#"{"key":"bytes","value":{"bytesValue":"/w=="}},"#,
    r#"{"key":"list","value":{"arrayValue":{"values":[{"stringValue":"a"},{}]}}},"#,
    r#"{"key":"map","value":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}}],"#,
    r#""events":[{"timeUnixNano":"5","name":"e"}],"#,
    r#""links":[{"traceId":"BAQEBAQEBAQEBAQEBAQEBA==","spanId":"BQUFBQUFBQU="}],"#,
    r#""status":{"message":"broken","code":"STATUS_CODE_ERROR"}},"#,
    r#"{"traceId":"AAAAAAAAAAAAAAAAAAAAAA==","spanId":"AAAAAAAAAAA=","kind":9,"status":{}}]}]}]"#,
);

#[test]
fn golden_json() {
    let trace = example(None);
    let v1 = String::from_utf8(json::trace(&trace.resource_spans)).unwrap();
    assert_eq!(v1, format!("{{\"batches\":{RESOURCE_SPANS}}}"));
    let v2 = String::from_utf8(json::trace_by_id_response(&trace)).unwrap();
    let expected =
        format!("{{\"trace\":{{\"resourceSpans\":{RESOURCE_SPANS}}},\"metrics\":{{}},\"status\":\"COMPLETE\"}}");
    assert_eq!(v2, expected);
    let partial: serde_json::Value =
        serde_json::from_slice(&json::trace_by_id_response(&example(Some("too large")))).unwrap();
    assert_eq!(
        (&partial["status"], &partial["message"]),
        (&"PARTIAL".into(), &"too large".into())
    );
}

#[test]
fn protobuf_wraps_the_trace() {
    let trace = example(Some("why"));
    let inner = protobuf::trace(&trace.resource_spans);
    let outer = protobuf::trace_by_id_response(&trace);
    // Field 1, a length of two bytes, the trace; then status = 1 (field 3) and the message (field 4).
    assert_eq!(outer[0], 0x0a);
    assert_eq!(usize::from(outer[1] & 0x7f) | usize::from(outer[2]) << 7, inner.len());
    assert_eq!(&outer[3..3 + inner.len()], inner);
    assert_eq!(&outer[3 + inner.len()..], b"\x18\x01\x22\x03why");
    assert_eq!(protobuf::trace_by_id_response(&example(None)).len(), inner.len() + 3);
}

#[tokio::test]
async fn answers_by_version_and_accept() {
    for (version, protobuf, kind) in [
        (Version::V1, true, "application/protobuf"),
        (Version::V2, true, "application/protobuf"),
        (Version::V1, false, "application/json"),
        (Version::V2, false, "application/json"),
    ] {
        let account = Budget::unlimited().account(Use::Query, 1 << 20);
        let memory = account.try_reserve(1 << 20).unwrap();
        let response = respond(version, protobuf, Some(FoundTrace::new(example(Some("why")), memory)));
        assert_eq!(response.status(), StatusCode::OK);
        // What is held is what is still to be sent.
        let held = account.used();
        assert_eq!(response.headers()[header::CONTENT_TYPE], kind);
        assert_eq!(response.headers()[PARTIAL_HEADER], "why");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!((held, account.used()), (body.len() as u64, held));
        drop(body);
        assert_eq!(account.used(), 0);
        let missing = respond(version, protobuf, None);
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
        assert_eq!(
            missing.into_body().collect().await.unwrap().to_bytes(),
            "trace not found\n"
        );
    }
}

#[test]
fn parses_ids() {
    for (text, expected) in [
        ("1", 1u128),
        ("0", 0),
        ("abc", 0xabc),
        ("ABCDEF", 0xab_cdef),
        ("00000000000000000000000000000001", 1),
        ("ffffffffffffffffffffffffffffffff", u128::MAX),
        (
            "463ac35c9f6413ad48485a3953bb6124",
            0x463a_c35c_9f64_13ad_4848_5a39_53bb_6124,
        ),
    ] {
        assert_eq!(parse_trace_id(text), Ok(expected.to_be_bytes()), "{text}");
    }
    for bad in ["", "xyz", " ", "0x1", "1 ", "-1", "+1", "ü", &"0".repeat(33)] {
        assert!(parse_trace_id(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn parses_ranges() {
    let range =
        |pairs: &[(&str, &str)]| parse_range(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
    assert_eq!(range(&[]), Ok(None));
    assert_eq!(range(&[("start", "0"), ("end", "0")]), Ok(None));
    assert_eq!(
        range(&[("start", "1"), ("end", "2")]),
        Ok(Some((1_000_000_000, 2_999_999_999)))
    );
    assert_eq!(range(&[("start", "1")]), Ok(Some((1_000_000_000, i64::MAX))));
    assert_eq!(range(&[("end", "9223372036854775807")]), Ok(Some((0, i64::MAX))));
    for bad in [
        [("start", "x"), ("end", "1")],
        [("start", "-1"), ("end", "1")],
        [("start", "2"), ("end", "1")],
    ] {
        assert!(range(&bad).is_err(), "{bad:?}");
    }
}

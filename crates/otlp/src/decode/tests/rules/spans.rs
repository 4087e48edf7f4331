//! Spans.

use super::*;

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

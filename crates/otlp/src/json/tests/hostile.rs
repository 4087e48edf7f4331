//! Input from nobody's exporter: it must end in an error, soon, and never in a panic or an overflown stack.

use proptest::prelude::*;

use super::*;
use crate::encode;
use crate::oracle::Random;
use testkit::fuzz;

type Transcode = fn(&[u8], &mut Vec<u8>, JsonLimits) -> Result<(), JsonError>;

const ALL: [Transcode; 3] = [traces_to_protobuf, logs_to_protobuf, metrics_to_protobuf];

fn nested(levels: usize) -> String {
    let open = r#"{"arrayValue":{"values":["#;
    format!("{}{}", open.repeat(levels), "]}}".repeat(levels))
}

#[test]
fn nesting_stops_at_the_limit() {
    // The body object, three lists and three objects around the value; then three levels for each list in it.
    assert!(body(&nested(40)).is_ok());
    let error = body(&nested(41)).unwrap_err();
    let JsonError::TooDeep { path, limit: 128 } = error else {
        panic!("{error}")
    };
    assert!(path.starts_with("resourceLogs[0].scopeLogs[0].logRecords[0].body.arrayValue.values[0]"));
    assert!(path.len() < 300 && path.ends_with("..."));
    for depth in [0, 1, 6] {
        let mut out = Vec::new();
        let json = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}"#;
        let result = logs_to_protobuf(json, &mut out, JsonLimits { max_depth: depth });
        assert!(matches!(result, Err(JsonError::TooDeep { limit, .. }) if limit == depth));
    }
    let mut out = Vec::new();
    let json = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}"#;
    logs_to_protobuf(json, &mut out, JsonLimits { max_depth: 7 }).unwrap();
}

#[test]
fn a_hundred_thousand_levels_do_not_overflow_the_stack() {
    let limits = JsonLimits { max_depth: usize::MAX };
    let value = nested(100_000);
    let closed = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{value}}}]}}]}}]}}"#);
    let mut out = Vec::new();
    let error = logs_to_protobuf(closed.as_bytes(), &mut out, limits).unwrap_err();
    assert!(matches!(error, JsonError::TooDeep { limit: 256, .. }), "{error}");
    for open in ["[", "{\"a\":", "{\"resourceLogs\":[", "{\"x\":[{\"y\":"] {
        let json = format!("{{\"unknown\":{}", open.repeat(100_000));
        for transcode in ALL {
            assert!(matches!(
                transcode(json.as_bytes(), &mut out, limits),
                Err(JsonError::TooDeep { .. })
            ));
        }
    }
    assert!(out.is_empty());
}

#[test]
fn every_truncation_is_an_error() {
    for seed in 0..10 {
        let json = encode::json::encode_metrics(&Random::new(seed).metrics());
        let mut out = Vec::new();
        let step = (json.len() / 500).max(1);
        for end in (0..json.len()).step_by(step) {
            assert!(metrics_to_protobuf(&json[..end], &mut out, JsonLimits::default()).is_err());
            assert!(out.is_empty());
        }
    }
}

#[test]
fn values_of_every_wrong_type_are_errors_or_ignored() {
    let value = [
        "null",
        "true",
        "1",
        "-1.5",
        "\"x\"",
        "[]",
        "{}",
        "[[]]",
        "[null]",
        "[{\"values\":1}]",
    ];
    let json = encode::json::encode_traces(&Random::new(3).traces());
    let mut json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    fn swap(at: &mut serde_json::Value, countdown: &mut usize, with: &serde_json::Value) -> bool {
        if *countdown == 0 {
            *at = with.clone();
            return true;
        }
        *countdown -= 1;
        match at {
            serde_json::Value::Array(list) => list.iter_mut().any(|v| swap(v, countdown, with)),
            serde_json::Value::Object(map) => map.values_mut().any(|v| swap(v, countdown, with)),
            _ => false,
        }
    }
    for with in value {
        let with = serde_json::from_str(with).unwrap();
        for place in 0..60 {
            let original = json.clone();
            swap(&mut json, &mut { place }, &with);
            for transcode in ALL {
                let mut out = Vec::new();
                let _ = transcode(json.to_string().as_bytes(), &mut out, JsonLimits::default());
            }
            json = original;
        }
    }
}

/// What is taken is protobuf, and what is refused leaves nothing behind.
#[test]
fn mutated_requests_of_the_corpus_end() {
    fuzz::run(&fuzz::corpus("otlp_json"), 3_000, |input| {
        for (number, transcode) in ALL.into_iter().enumerate() {
            let mut out = Vec::new();
            if transcode(input, &mut out, JsonLimits::default()).is_err() {
                assert!(out.is_empty());
                continue;
            }
            match number {
                0 => drop(ExportTraceServiceRequest::decode(&*out).unwrap()),
                1 => drop(ExportLogsServiceRequest::decode(&*out).unwrap()),
                _ => drop(ExportMetricsServiceRequest::decode(&*out).unwrap()),
            }
        }
    });
}

proptest! {
    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for transcode in ALL {
            let mut out = Vec::new();
            if transcode(&bytes, &mut out, JsonLimits::default()).is_err() {
                prop_assert!(out.is_empty());
            }
        }
    }

    /// Whether a text is JSON, serde_json says too; keys here are all unknown, so that only the grammar matters.
    #[test]
    fn the_grammar_is_that_of_json(text in r#"([\[\]{},:"\\ \ntrufalsn0-9.eE+-]|"a":|"x"|null|true|1\.5){0,12}"#) {
        let text = format!(r#"{{"unknown":{text}}}"#);
        let ours = traces(&text).is_ok();
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(ours, theirs, "{}", text);
    }
}

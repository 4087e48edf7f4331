use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;

use super::{json, protobuf};
use crate::json::{JsonLimits, logs_to_protobuf, metrics_to_protobuf, traces_to_protobuf};
use crate::model::*;
use crate::oracle::{Random, logs_request, metrics_request, traces_request};

const SEEDS: u64 = 150;

type Transcode = fn(&[u8], &mut Vec<u8>, JsonLimits) -> Result<(), crate::json::JsonError>;

fn transcoded(transcode: Transcode, json: &[u8]) -> Vec<u8> {
    serde_json::from_slice::<serde_json::Value>(json).unwrap();
    let mut out = Vec::new();
    transcode(json, &mut out, JsonLimits::default()).unwrap();
    out
}

#[test]
fn random_traces_are_what_prost_reads() {
    for seed in 0..SEEDS {
        let model = Random::new(seed).traces();
        let want = traces_request(&model);
        let bytes = protobuf::encode_traces(&model);
        let read = ExportTraceServiceRequest::decode(&*bytes).unwrap();
        assert_eq!(read, want, "protobuf, seed {seed}");
        let bytes = transcoded(traces_to_protobuf, &json::encode_traces(&model));
        let read = ExportTraceServiceRequest::decode(&*bytes).unwrap();
        assert_eq!(read, want, "json, seed {seed}");
    }
}

#[test]
fn random_logs_are_what_prost_reads() {
    for seed in 0..SEEDS {
        let model = Random::new(seed).logs();
        let want = logs_request(&model);
        let bytes = protobuf::encode_logs(&model);
        let read = ExportLogsServiceRequest::decode(&*bytes).unwrap();
        assert_eq!(read, want, "protobuf, seed {seed}");
        let bytes = transcoded(logs_to_protobuf, &json::encode_logs(&model));
        let read = ExportLogsServiceRequest::decode(&*bytes).unwrap();
        assert_eq!(read, want, "json, seed {seed}");
    }
}

#[test]
fn random_metrics_are_what_prost_reads() {
    for seed in 0..SEEDS {
        let model = Random::new(seed).metrics();
        let want = metrics_request(&model);
        let bytes = protobuf::encode_metrics(&model);
        let read = ExportMetricsServiceRequest::decode(&*bytes).unwrap();
        assert_eq!(read, want, "protobuf, seed {seed}");
        let bytes = transcoded(metrics_to_protobuf, &json::encode_metrics(&model));
        let read = ExportMetricsServiceRequest::decode(&*bytes).unwrap();
        assert_eq!(read, want, "json, seed {seed}");
    }
}

#[test]
fn doubles_survive_bit_for_bit() {
    for seed in 0..2_000u64 {
        let value = f64::from_bits(xxhash_rust::xxh3::xxh3_64(&seed.to_le_bytes()));
        if value.is_nan() {
            continue;
        }
        let logs = [ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: vec![LogRecord {
                    body: Some(AnyValue::Double(value)),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }];
        let bytes = transcoded(logs_to_protobuf, &json::encode_logs(&logs));
        assert_eq!(bytes, protobuf::encode_logs(&logs), "{value:e}");
    }
}

#[test]
fn otlp_json_looks_as_the_specification_says() {
    let logs = [ResourceLogs {
        resource: Resource {
            attributes: vec![KeyValue::new("service.name", "cart")],
            ..Default::default()
        },
        scope_logs: vec![ScopeLogs {
            log_records: vec![LogRecord {
                time_unix_nano: 1_544_712_660_300_000_000,
                severity_number: SeverityNumber::INFO,
                body: Some(AnyValue::Bytes(vec![0xfb, 0xff])),
                attributes: vec![
                    KeyValue::new("n", i64::MIN),
                    KeyValue::new("d", f64::NEG_INFINITY),
                    KeyValue::new("e", AnyValue::Array(vec![f64::NAN.into(), false.into()])),
                ],
                trace_id: Some(*b"\x5b\x8e\xff\xf7\x98\x03\x81\x03\xd2\x69\xb6\x33\x81\x3f\xc6\x0c"),
                flags: 1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }];
    assert_eq!(
        String::from_utf8(json::encode_logs(&logs)).unwrap(),
        concat!(
            r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}}]},"#,
            r#""scopeLogs":[{"scope":{},"logRecords":[{"timeUnixNano":"1544712660300000000","severityNumber":9,"#,
            r#""body":{"bytesValue":"+/8="},"attributes":[{"key":"n","value":{"intValue":"-9223372036854775808"}},"#,
            r#"{"key":"d","value":{"doubleValue":"-Infinity"}},"#,
            r#"{"key":"e","value":{"arrayValue":{"values":[{"doubleValue":"NaN"},{"boolValue":false}]}}}],"#,
            r#""flags":1,"traceId":"5b8efff798038103d269b633813fc60c"}]}]}]}"#
        )
    );
    assert_eq!(json::encode_traces(&[]), b"{}");
    assert_eq!(protobuf::encode_traces(&[]), b"");
}

#[test]
fn responses_say_what_was_refused() {
    assert_eq!(protobuf::export_response(0, ""), b"");
    let bytes = protobuf::export_response(3, "trace_id is not 16 bytes");
    let traces = ExportTraceServiceResponse::decode(&*bytes).unwrap();
    let logs = ExportLogsServiceResponse::decode(&*bytes).unwrap();
    let metrics = ExportMetricsServiceResponse::decode(&*bytes).unwrap();
    let partial = traces.partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 3);
    assert_eq!(partial.error_message, "trace_id is not 16 bytes");
    assert_eq!(logs.partial_success.unwrap().rejected_log_records, 3);
    assert_eq!(metrics.partial_success.unwrap().rejected_data_points, 3);

    let text = |signal, rejected, message| String::from_utf8(json::export_response(signal, rejected, message)).unwrap();
    assert_eq!(text(Signal::Traces, 0, ""), "{}");
    for (signal, name) in [
        (Signal::Traces, "rejectedSpans"),
        (Signal::Logs, "rejectedLogRecords"),
        (Signal::Metrics, "rejectedDataPoints"),
    ] {
        assert_eq!(
            text(signal, 3, "a \"b\""),
            format!(r#"{{"partialSuccess":{{"{name}":"3","errorMessage":"a \"b\""}}}}"#)
        );
    }
    assert_eq!(
        text(Signal::Logs, 0, "careful"),
        r#"{"partialSuccess":{"errorMessage":"careful"}}"#
    );
}

/// google/rpc/status.proto, google/rpc/error_details.proto and google/protobuf/{any,duration}.proto.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[test]
fn status_carries_the_retry_delay() {
    let delay = Duration::new(2, 500_000_000);
    let bytes = protobuf::google_rpc_status(8, "too busy", Some(delay));
    let status = Status::decode(&*bytes).unwrap();
    assert_eq!((status.code, &*status.message), (8, "too busy"));
    assert_eq!(status.details.len(), 1);
    assert_eq!(status.details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
    let info = RetryInfo::decode(&*status.details[0].value).unwrap();
    let delay = info.retry_delay.unwrap();
    assert_eq!((delay.seconds, delay.nanos), (2, 500_000_000));
    assert!(
        Status::decode(&*protobuf::google_rpc_status(3, "no", None))
            .unwrap()
            .details
            .is_empty()
    );

    for (delay, text) in [
        (Duration::from_secs(7), "7s"),
        (Duration::from_millis(2_500), "2.500s"),
        (Duration::from_micros(10), "0.000010s"),
        (Duration::from_nanos(1), "0.000000001s"),
    ] {
        let json = json::google_rpc_status(14, "later", Some(delay));
        assert_eq!(
            String::from_utf8(json).unwrap(),
            format!(
                r#"{{"code":14,"message":"later","details":[{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{text}"}}]}}"#
            )
        );
    }
    assert_eq!(json::google_rpc_status(3, "no", None), br#"{"code":3,"message":"no"}"#);
}

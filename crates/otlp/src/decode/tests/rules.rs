//! Items that break a rule: exactly they are rejected, with their reason, and their neighbours stay.

mod attributes;
mod logs_and_metrics;
mod shared;
mod spans;

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

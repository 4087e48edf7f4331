//! The model as prost's generated types.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::logs::v1 as logs;
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::resource::v1 as resource;
use opentelemetry_proto::tonic::trace::v1 as trace;

use crate::model::*;

fn each<A, B>(items: &[A], convert: impl Fn(&A) -> B) -> Vec<B> {
    items.iter().map(convert).collect()
}

fn value(value: &AnyValue) -> common::AnyValue {
    use common::any_value::Value;
    common::AnyValue {
        value: match value {
            AnyValue::Empty => None,
            AnyValue::String(v) => Some(Value::StringValue(v.clone())),
            AnyValue::Bool(v) => Some(Value::BoolValue(*v)),
            AnyValue::Int(v) => Some(Value::IntValue(*v)),
            AnyValue::Double(v) => Some(Value::DoubleValue(*v)),
            AnyValue::Bytes(v) => Some(Value::BytesValue(v.clone())),
            AnyValue::Array(v) => Some(Value::ArrayValue(common::ArrayValue {
                values: each(v, self::value),
            })),
            AnyValue::KvList(v) => Some(Value::KvlistValue(common::KeyValueList { values: attributes(v) })),
        },
    }
}

fn attributes(attributes: &[KeyValue]) -> Vec<common::KeyValue> {
    each(attributes, |a| common::KeyValue {
        key: a.key.clone(),
        value: Some(value(&a.value)),
        ..Default::default()
    })
}

fn resource(r: &Resource) -> Option<resource::Resource> {
    Some(resource::Resource {
        attributes: attributes(&r.attributes),
        dropped_attributes_count: r.dropped_attributes_count,
        entity_refs: each(&r.entity_refs, |e| common::EntityRef {
            schema_url: e.schema_url.clone(),
            r#type: e.kind.clone(),
            id_keys: e.id_keys.clone(),
            description_keys: e.description_keys.clone(),
        }),
    })
}

fn scope(s: &Scope) -> Option<common::InstrumentationScope> {
    Some(common::InstrumentationScope {
        name: s.name.clone(),
        version: s.version.clone(),
        attributes: attributes(&s.attributes),
        dropped_attributes_count: s.dropped_attributes_count,
    })
}

fn id<const N: usize>(id: &Option<[u8; N]>) -> Vec<u8> {
    id.map(Vec::from).unwrap_or_default()
}

pub(crate) fn traces_request(spans: &[ResourceSpans]) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: each(spans, |r| trace::ResourceSpans {
            resource: resource(&r.resource),
            scope_spans: each(&r.scope_spans, |s| trace::ScopeSpans {
                scope: scope(&s.scope),
                spans: each(&s.spans, span),
                schema_url: s.schema_url.clone(),
            }),
            schema_url: r.schema_url.clone(),
        }),
    }
}

fn span(s: &Span) -> trace::Span {
    trace::Span {
        trace_id: s.trace_id.to_vec(),
        span_id: s.span_id.to_vec(),
        trace_state: s.trace_state.clone(),
        parent_span_id: id(&s.parent_span_id),
        flags: s.flags,
        name: s.name.clone(),
        kind: s.kind.0,
        start_time_unix_nano: s.start_time_unix_nano,
        end_time_unix_nano: s.end_time_unix_nano,
        attributes: attributes(&s.attributes),
        dropped_attributes_count: s.dropped_attributes_count,
        events: each(&s.events, |e| trace::span::Event {
            time_unix_nano: e.time_unix_nano,
            name: e.name.clone(),
            attributes: attributes(&e.attributes),
            dropped_attributes_count: e.dropped_attributes_count,
        }),
        dropped_events_count: s.dropped_events_count,
        links: each(&s.links, |l| trace::span::Link {
            trace_id: l.trace_id.to_vec(),
            span_id: l.span_id.to_vec(),
            trace_state: l.trace_state.clone(),
            attributes: attributes(&l.attributes),
            dropped_attributes_count: l.dropped_attributes_count,
            flags: l.flags,
        }),
        dropped_links_count: s.dropped_links_count,
        status: Some(trace::Status {
            message: s.status.message.clone(),
            code: s.status.code.0,
        }),
    }
}

pub(crate) fn logs_request(records: &[ResourceLogs]) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest {
        resource_logs: each(records, |r| logs::ResourceLogs {
            resource: resource(&r.resource),
            scope_logs: each(&r.scope_logs, |s| logs::ScopeLogs {
                scope: scope(&s.scope),
                log_records: each(&s.log_records, |l| logs::LogRecord {
                    time_unix_nano: l.time_unix_nano,
                    observed_time_unix_nano: l.observed_time_unix_nano,
                    severity_number: l.severity_number.0,
                    severity_text: l.severity_text.clone(),
                    body: l.body.as_ref().map(value),
                    attributes: attributes(&l.attributes),
                    dropped_attributes_count: l.dropped_attributes_count,
                    flags: l.flags,
                    trace_id: id(&l.trace_id),
                    span_id: id(&l.span_id),
                    event_name: l.event_name.clone(),
                }),
                schema_url: s.schema_url.clone(),
            }),
            schema_url: r.schema_url.clone(),
        }),
    }
}

pub(crate) fn metrics_request(all: &[ResourceMetrics]) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest {
        resource_metrics: each(all, |r| metrics::ResourceMetrics {
            resource: resource(&r.resource),
            scope_metrics: each(&r.scope_metrics, |s| metrics::ScopeMetrics {
                scope: scope(&s.scope),
                metrics: each(&s.metrics, |m| metrics::Metric {
                    name: m.name.clone(),
                    description: m.description.clone(),
                    unit: m.unit.clone(),
                    metadata: attributes(&m.metadata),
                    data: m.data.as_ref().map(metric_data),
                }),
                schema_url: s.schema_url.clone(),
            }),
            schema_url: r.schema_url.clone(),
        }),
    }
}

fn metric_data(data: &MetricData) -> metrics::metric::Data {
    use metrics::metric::Data;
    match data {
        MetricData::Gauge(v) => Data::Gauge(metrics::Gauge {
            data_points: each(&v.data_points, number_point),
        }),
        MetricData::Sum(v) => Data::Sum(metrics::Sum {
            data_points: each(&v.data_points, number_point),
            aggregation_temporality: v.aggregation_temporality.0,
            is_monotonic: v.is_monotonic,
        }),
        MetricData::Histogram(v) => Data::Histogram(metrics::Histogram {
            data_points: each(&v.data_points, histogram_point),
            aggregation_temporality: v.aggregation_temporality.0,
        }),
        MetricData::ExponentialHistogram(v) => Data::ExponentialHistogram(metrics::ExponentialHistogram {
            data_points: each(&v.data_points, exponential_point),
            aggregation_temporality: v.aggregation_temporality.0,
        }),
        MetricData::Summary(v) => Data::Summary(metrics::Summary {
            data_points: each(&v.data_points, |p| metrics::SummaryDataPoint {
                attributes: attributes(&p.attributes),
                start_time_unix_nano: p.start_time_unix_nano,
                time_unix_nano: p.time_unix_nano,
                count: p.count,
                sum: p.sum,
                quantile_values: each(&p.quantile_values, |q| metrics::summary_data_point::ValueAtQuantile {
                    quantile: q.quantile,
                    value: q.value,
                }),
                flags: p.flags,
            }),
        }),
    }
}

fn number_point(p: &NumberDataPoint) -> metrics::NumberDataPoint {
    use metrics::number_data_point::Value;
    metrics::NumberDataPoint {
        attributes: attributes(&p.attributes),
        start_time_unix_nano: p.start_time_unix_nano,
        time_unix_nano: p.time_unix_nano,
        exemplars: each(&p.exemplars, exemplar),
        flags: p.flags,
        value: p.value.map(|v| match v {
            Number::Double(v) => Value::AsDouble(v),
            Number::Int(v) => Value::AsInt(v),
        }),
    }
}

fn exemplar(e: &Exemplar) -> metrics::Exemplar {
    use metrics::exemplar::Value;
    metrics::Exemplar {
        filtered_attributes: attributes(&e.filtered_attributes),
        time_unix_nano: e.time_unix_nano,
        span_id: id(&e.span_id),
        trace_id: id(&e.trace_id),
        value: e.value.map(|v| match v {
            Number::Double(v) => Value::AsDouble(v),
            Number::Int(v) => Value::AsInt(v),
        }),
    }
}

fn histogram_point(p: &HistogramDataPoint) -> metrics::HistogramDataPoint {
    metrics::HistogramDataPoint {
        attributes: attributes(&p.attributes),
        start_time_unix_nano: p.start_time_unix_nano,
        time_unix_nano: p.time_unix_nano,
        count: p.count,
        sum: p.sum,
        bucket_counts: p.bucket_counts.clone(),
        explicit_bounds: p.explicit_bounds.clone(),
        exemplars: each(&p.exemplars, exemplar),
        flags: p.flags,
        min: p.min,
        max: p.max,
    }
}

fn exponential_point(p: &ExponentialHistogramDataPoint) -> metrics::ExponentialHistogramDataPoint {
    let buckets = |b: &Buckets| metrics::exponential_histogram_data_point::Buckets {
        offset: b.offset,
        bucket_counts: b.bucket_counts.clone(),
    };
    metrics::ExponentialHistogramDataPoint {
        attributes: attributes(&p.attributes),
        start_time_unix_nano: p.start_time_unix_nano,
        time_unix_nano: p.time_unix_nano,
        count: p.count,
        sum: p.sum,
        scale: p.scale,
        zero_count: p.zero_count,
        positive: p.positive.as_ref().map(buckets),
        negative: p.negative.as_ref().map(buckets),
        flags: p.flags,
        exemplars: each(&p.exemplars, exemplar),
        min: p.min,
        max: p.max,
        zero_threshold: p.zero_threshold,
    }
}

//! The documented mapping, written a second time: from prost's messages to rows, one item at a time.

use base64::Engine as _;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use schema::columns::AttributeType;
use serde_json::{Map, Value, json};

use super::rows::{Cell, Row};

/// Which attribute columns may exist.
pub type Admit<'a> = &'a dyn Fn(&str) -> bool;

trait Put {
    fn put(&mut self, name: &str, cell: Cell);
    fn text(&mut self, name: &str, text: &str);
    fn count(&mut self, name: &str, count: u32);
    fn json(&mut self, name: &str, attributes: &[KeyValue]);
}

impl Put for Row {
    fn put(&mut self, name: &str, cell: Cell) {
        self.insert(name.to_owned(), cell);
    }

    fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.put(name, Cell::Text(text.to_owned()));
        }
    }

    fn count(&mut self, name: &str, count: u32) {
        if count > 0 {
            self.put(name, Cell::UInt(count.into()));
        }
    }

    fn json(&mut self, name: &str, attributes: &[KeyValue]) {
        if !attributes.is_empty() {
            self.put(name, Cell::Json(object(attributes)));
        }
    }
}

fn any(value: &Option<AnyValue>) -> Option<&Any> {
    value.as_ref().and_then(|value| value.value.as_ref())
}

fn to_json(value: Option<&Any>) -> Value {
    match value {
        None => Value::Null,
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(flag)) => json!(flag),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) if number.is_finite() => json!(number),
        Some(Any::DoubleValue(number)) if number.is_nan() => json!({"$double": "NaN"}),
        Some(Any::DoubleValue(number)) if *number > 0.0 => json!({"$double": "Infinity"}),
        Some(Any::DoubleValue(_)) => json!({"$double": "-Infinity"}),
        Some(Any::BytesValue(bytes)) => json!({"$bytes": base64::engine::general_purpose::STANDARD.encode(bytes)}),
        Some(Any::ArrayValue(array)) => array.values.iter().map(|v| to_json(v.value.as_ref())).collect(),
        Some(Any::KvlistValue(list)) => object(&list.values),
        Some(other) => panic!("not a value of these signals: {other:?}"),
    }
}

fn object(attributes: &[KeyValue]) -> Value {
    let pairs = attributes.iter().map(|a| (a.key.clone(), to_json(any(&a.value))));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// Attributes as columns and rest; `owned` pairs each set with its prefix and what its rest keys start with.
fn attributes(row: &mut Row, owned: [(&str, &str, &[KeyValue]); 2], admit: Admit<'_>) {
    let mut rest = Map::new();
    for (prefix, rest_prefix, attributes) in owned {
        for (i, attribute) in attributes.iter().enumerate() {
            let key = &attribute.key;
            if attributes[i + 1..].iter().any(|later| &later.key == key) {
                continue;
            }
            let value = any(&attribute.value);
            let column = match value {
                Some(Any::StringValue(v)) => Some((AttributeType::Utf8, Cell::Text(v.clone()))),
                Some(Any::IntValue(v)) => Some((AttributeType::Int64, Cell::Int(*v))),
                Some(Any::DoubleValue(v)) => Some((AttributeType::Float64, Cell::Double(v.to_bits()))),
                Some(Any::BoolValue(v)) => Some((AttributeType::Bool, Cell::Bool(*v))),
                _ => None,
            };
            let column = column.map(|(kind, cell)| (format!("{prefix}{key}{}", kind.suffix()), kind, cell));
            match column {
                Some((name, kind, cell))
                    if (1..=200).contains(&key.len())
                        && !(kind == AttributeType::Utf8
                            && [":int", ":double", ":bool"].iter().any(|s| key.ends_with(s)))
                        && admit(&name) =>
                {
                    row.put(&name, cell);
                }
                _ => {
                    rest.insert(format!("{rest_prefix}{key}"), to_json(value));
                }
            }
        }
    }
    if !rest.is_empty() {
        row.put("attributes_rest", Cell::Json(Value::Object(rest)));
    }
}

fn fits(times: &[u64]) -> bool {
    times.iter().all(|&time| i64::try_from(time).is_ok())
}

fn time(time: u64) -> Cell {
    Cell::Int(time.try_into().unwrap())
}

fn id(row: &mut Row, name: &str, id: &[u8]) {
    if id.iter().any(|&byte| byte != 0) {
        row.put(name, Cell::Bytes(id.to_vec()));
    }
}

fn service(resource: &Resource) -> String {
    let named = resource.attributes.iter().rfind(|a| a.key == "service.name");
    match named.and_then(|a| any(&a.value)) {
        Some(Any::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}

/// A resource's row, without `resource_id` and `seen_at`.
pub fn resource(resource: &Resource, schema_url: &str, admit: Admit<'_>) -> Row {
    let mut row = Row::new();
    attributes(
        &mut row,
        [("attr.", "", &resource.attributes), ("scope.", "scope.", &[])],
        admit,
    );
    row.text("service_name", &service(resource));
    row.text("schema_url", schema_url);
    row.count("dropped_attributes_count", resource.dropped_attributes_count);
    row
}

/// What an item inherits: resource, scope and the scope's schema URL.
pub struct Parents<'a> {
    pub resource: &'a Resource,
    pub scope: &'a InstrumentationScope,
    pub schema_url: &'a str,
}

fn inherit(row: &mut Row, parents: &Parents<'_>, own: &[KeyValue], admit: Admit<'_>) {
    row.text("service_name", &service(parents.resource));
    row.text("scope_name", &parents.scope.name);
    row.text("scope_version", &parents.scope.version);
    row.text("scope_schema_url", parents.schema_url);
    attributes(
        row,
        [("attr.", "", own), ("scope.", "scope.", &parents.scope.attributes)],
        admit,
    );
}

/// A span's row without `resource_id`, or `None` if it breaks a rule.
pub fn span(s: &Span, parents: &Parents<'_>, admit: Admit<'_>) -> Option<Row> {
    let mut times = vec![s.start_time_unix_nano, s.end_time_unix_nano];
    times.extend(s.events.iter().map(|e| e.time_unix_nano));
    if !fits(&times) || s.trace_id == [0; 16] || s.span_id == [0; 8] {
        return None;
    }
    let mut row = Row::new();
    inherit(&mut row, parents, &s.attributes, admit);
    row.put("trace_id", Cell::Bytes(s.trace_id.clone()));
    row.put("span_id", Cell::Bytes(s.span_id.clone()));
    id(&mut row, "parent_span_id", &s.parent_span_id);
    row.put("start_time", time(s.start_time_unix_nano));
    row.put(
        "duration",
        Cell::Int(s.end_time_unix_nano as i64 - s.start_time_unix_nano as i64),
    );
    row.put("name", Cell::Text(s.name.clone()));
    let kinds = ["unspecified", "internal", "server", "client", "producer", "consumer"];
    let name = |names: &[&str], number: i32| {
        let known = usize::try_from(number).ok().and_then(|n| names.get(n));
        Cell::Text(known.map_or(number.to_string(), |name| (*name).to_owned()))
    };
    row.put("kind", name(&kinds, s.kind));
    let status = s.status.clone().unwrap_or_default();
    row.put("status_code", name(&["unset", "ok", "error"], status.code));
    row.text("status_message", &status.message);
    row.text("trace_state", &s.trace_state);
    row.count("flags", s.flags);
    row.count("dropped_attributes_count", s.dropped_attributes_count);
    row.count("dropped_events_count", s.dropped_events_count);
    row.count("dropped_links_count", s.dropped_links_count);
    let events = s.events.iter().map(|e| {
        let mut row = Row::new();
        row.put("time", time(e.time_unix_nano));
        row.put("name", Cell::Text(e.name.clone()));
        row.json("attributes", &e.attributes);
        row.count("dropped_attributes_count", e.dropped_attributes_count);
        row
    });
    if !s.events.is_empty() {
        row.put("events", Cell::Rows(events.collect()));
    }
    let links = s.links.iter().map(|l| {
        let mut row = Row::new();
        row.put("trace_id", Cell::Bytes(l.trace_id.clone()));
        row.put("span_id", Cell::Bytes(l.span_id.clone()));
        row.text("trace_state", &l.trace_state);
        row.count("flags", l.flags);
        row.json("attributes", &l.attributes);
        row.count("dropped_attributes_count", l.dropped_attributes_count);
        row
    });
    if !s.links.is_empty() {
        row.put("links", Cell::Rows(links.collect()));
    }
    Some(row)
}

/// A log record's row without `resource_id`.
pub fn log(l: &LogRecord, parents: &Parents<'_>, now: i64, admit: Admit<'_>) -> Option<Row> {
    if !fits(&[l.time_unix_nano, l.observed_time_unix_nano]) {
        return None;
    }
    let mut row = Row::new();
    inherit(&mut row, parents, &l.attributes, admit);
    let effective = match (l.time_unix_nano, l.observed_time_unix_nano) {
        (0, 0) => Cell::Int(now),
        (0, observed) => time(observed),
        (at, _) => time(at),
    };
    row.put("timestamp", effective);
    if l.observed_time_unix_nano != 0 {
        row.put("observed_time", time(l.observed_time_unix_nano));
    }
    if l.severity_number != 0 {
        row.put("severity_number", Cell::Int(l.severity_number.into()));
    }
    row.text("severity_text", &l.severity_text);
    row.text("event_name", &l.event_name);
    row.count("flags", l.flags);
    row.count("dropped_attributes_count", l.dropped_attributes_count);
    id(&mut row, "trace_id", &l.trace_id);
    id(&mut row, "span_id", &l.span_id);
    let body = any(&l.body);
    let kind = match body {
        None => return Some(row),
        Some(Any::StringValue(text)) => {
            row.put("body", Cell::Text(text.clone()));
            return Some(row);
        }
        Some(Any::BoolValue(_)) => "bool",
        Some(Any::IntValue(_)) => "int",
        Some(Any::DoubleValue(_)) => "double",
        Some(Any::BytesValue(_)) => "bytes",
        Some(Any::ArrayValue(_)) => "array",
        Some(Any::KvlistValue(_)) => "map",
        Some(other) => panic!("not a value of logs: {other:?}"),
    };
    row.text("body_type", kind);
    row.put("body", Cell::Json(to_json(body)));
    Some(row)
}

/// The row of a series without `series_id`, `resource_id` and `seen_at`.
pub fn series(metric: &metrics::Metric, point: &[KeyValue], parents: &Parents<'_>, admit: Admit<'_>) -> Row {
    use metrics::metric::Data;
    let mut row = Row::new();
    inherit(&mut row, parents, point, admit);
    row.text("name", &metric.name);
    row.text("unit", &metric.unit);
    row.text("description", &metric.description);
    row.json("metadata", &metric.metadata);
    let (kind, temporality) = match metric.data.as_ref().unwrap() {
        Data::Gauge(_) => ("gauge", 0),
        Data::Sum(sum) => {
            row.put("monotonic", Cell::Bool(sum.is_monotonic));
            ("sum", sum.aggregation_temporality)
        }
        Data::Histogram(h) => ("histogram", h.aggregation_temporality),
        Data::ExponentialHistogram(h) => ("exponential_histogram", h.aggregation_temporality),
        Data::Summary(_) => ("summary", 0),
    };
    row.text("type", kind);
    row.text("temporality", ["", "delta", "cumulative"][temporality as usize]);
    row
}

/// The row of a point without `series_id`, and those of its exemplars.
pub type Point = (Row, Vec<Row>);

fn point(at: u64, start: u64, flags: u32, exemplars: &[metrics::Exemplar]) -> Option<Point> {
    let mut times = vec![at, start];
    times.extend(exemplars.iter().map(|e| e.time_unix_nano));
    if !fits(&times) {
        return None;
    }
    let mut row = Row::new();
    row.put("timestamp", time(at));
    if start != 0 {
        row.put("start_time", time(start));
    }
    row.count("flags", flags);
    Some((row, exemplars.iter().map(exemplar).collect()))
}

fn exemplar(e: &metrics::Exemplar) -> Row {
    use metrics::exemplar::Value;
    let mut row = Row::new();
    row.put("timestamp", time(e.time_unix_nano));
    match e.value {
        Some(Value::AsDouble(v)) => row.put("value", double(v)),
        Some(Value::AsInt(v)) => row.put("value_int", Cell::Int(v)),
        None => {}
    }
    id(&mut row, "trace_id", &e.trace_id);
    id(&mut row, "span_id", &e.span_id);
    row.json("attributes", &e.filtered_attributes);
    row
}

fn double(value: f64) -> Cell {
    Cell::Double(value.to_bits())
}

fn doubles(values: &[f64]) -> Cell {
    Cell::List(values.iter().copied().map(double).collect())
}

fn counts(values: &[u64]) -> Cell {
    Cell::List(values.iter().copied().map(Cell::UInt).collect())
}

fn optional(row: &mut Row, values: [(&str, Option<f64>); 3]) {
    for (name, value) in values {
        if let Some(value) = value {
            row.put(name, double(value));
        }
    }
}

pub fn number(p: &metrics::NumberDataPoint) -> Option<Point> {
    use metrics::number_data_point::Value;
    let (mut row, exemplars) = point(p.time_unix_nano, p.start_time_unix_nano, p.flags, &p.exemplars)?;
    match p.value {
        Some(Value::AsDouble(v)) => row.put("value", double(v)),
        Some(Value::AsInt(v)) => row.put("value_int", Cell::Int(v)),
        None if p.flags & 1 == 1 => {}
        None => return None,
    }
    Some((row, exemplars))
}

pub fn histogram(p: &metrics::HistogramDataPoint) -> Option<Point> {
    let (mut row, exemplars) = point(p.time_unix_nano, p.start_time_unix_nano, p.flags, &p.exemplars)?;
    row.put("count", Cell::UInt(p.count));
    optional(&mut row, [("sum", p.sum), ("min", p.min), ("max", p.max)]);
    match (p.bucket_counts.len(), p.explicit_bounds.len()) {
        (0, 0) => {}
        (n, m) if n == m + 1 => {
            row.put("bucket_counts", counts(&p.bucket_counts));
            row.put("bounds", doubles(&p.explicit_bounds));
        }
        _ => return None,
    }
    Some((row, exemplars))
}

pub fn exponential(p: &metrics::ExponentialHistogramDataPoint) -> Option<Point> {
    let (mut row, exemplars) = point(p.time_unix_nano, p.start_time_unix_nano, p.flags, &p.exemplars)?;
    row.put("count", Cell::UInt(p.count));
    optional(&mut row, [("sum", p.sum), ("min", p.min), ("max", p.max)]);
    row.put("scale", Cell::Int(p.scale.into()));
    row.put("zero_count", Cell::UInt(p.zero_count));
    // proto3 leaves a zero out.
    if p.zero_threshold != 0.0 {
        row.put("zero_threshold", double(p.zero_threshold));
    }
    for (name, buckets) in [("positive", &p.positive), ("negative", &p.negative)] {
        if let Some(buckets) = buckets {
            row.put(&format!("{name}_offset"), Cell::Int(buckets.offset.into()));
            row.put(&format!("{name}_counts"), counts(&buckets.bucket_counts));
        }
    }
    Some((row, exemplars))
}

pub fn summary(p: &metrics::SummaryDataPoint) -> Option<Point> {
    let (mut row, exemplars) = point(p.time_unix_nano, p.start_time_unix_nano, p.flags, &[])?;
    row.put("count", Cell::UInt(p.count));
    row.put("sum", double(p.sum));
    row.put(
        "quantiles",
        doubles(&p.quantile_values.iter().map(|q| q.quantile).collect::<Vec<_>>()),
    );
    row.put(
        "quantile_values",
        doubles(&p.quantile_values.iter().map(|q| q.value).collect::<Vec<_>>()),
    );
    Some((row, exemplars))
}

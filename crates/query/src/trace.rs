//! A trace by its id: straight to its rows, without planning.
//!
//! Slices are searched in memory; of each part `lake` reads what holds the trace's rows (`Lake::trace_rows`).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampNanosecondType, UInt32Type};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use catalog::Part;
use datafusion::error::DataFusionError;
use futures::{StreamExt, TryStreamExt, stream};
use lake::LakeError;
use otlp::model::{
    AnyValue, Event, KeyValue, Link, Resource, ResourceSpans, Scope, ScopeSpans, Span, SpanKind, Status, StatusCode,
};
use schema::columns::{ATTRIBUTE_PREFIX, ATTRIBUTES_REST, AttributeType, SCOPE_PREFIX, parse_physical};
use schema::sparse::SparseBatch;
use schema::{Dataset, TenantId};

use crate::holding::{FoundTrace, Holding};
use crate::lookup::Lookup;
use crate::partial::LeftOut;
use crate::{QueryEngine, QueryError};

/// A trace as it was sent: spans grouped by resource and scope, ordered by start.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// The spans.
    pub resource_spans: Vec<ResourceSpans>,
    /// Why spans may be missing; `None` if the trace is complete.
    pub partial: Option<String>,
}

/// Parts asked at once.
const CONCURRENT_PARTS: usize = 16;

impl QueryEngine {
    /// All spans of a trace, or `None` if there is none. If none was found but objects are in quarantine that may hold some,
    /// the trace is empty and partial. `range` (ns, inclusive) only narrows where to look. A trace has the limits of any query: its
    /// spans are rows, and what they and their answer take counts as `query.max_memory`.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn trace(
        &self,
        tenant: &TenantId,
        trace_id: [u8; 16],
        range: Option<(i64, i64)>,
    ) -> Result<Option<FoundTrace>, QueryError> {
        let _permit = self.admit().await?;
        let timeout = self.options().timeout;
        let found = tokio::time::timeout(timeout, self.find_trace(tenant, trace_id, range)).await;
        found.map_err(|_| QueryError::Timeout(timeout))?
    }

    async fn find_trace(
        &self,
        tenant: &TenantId,
        trace_id: [u8; 16],
        range: Option<(i64, i64)>,
    ) -> Result<Option<FoundTrace>, QueryError> {
        let holding = Holding::new(self.memory(), self.options());
        // One snapshot for both, but a time range must not hide resources, which are seen at other times.
        let snapshot = self
            .snapshot(tenant, &[Dataset::Spans, Dataset::Resources], None)
            .await?;
        let within = |min: i64, max: i64| range.is_none_or(|(from, to)| min <= to && max >= from);
        let slices = snapshot
            .slices
            .iter()
            .filter(|s| s.dataset == Dataset::Spans && within(s.min_ts, s.max_ts));
        let slices = slices.cloned().collect::<Vec<_>>();
        let parts = snapshot
            .parts
            .iter()
            .filter(|p| p.dataset == Dataset::Spans && within(p.min_ts, p.max_ts));
        let mut batches = Vec::new();
        // One after the other: all of them together may be more than memory holds.
        for slice in &slices {
            let rows = self.lake().slice(slice).await?;
            if let Some(found) = select(&rows, &trace_id)? {
                holding.holds(&found)?;
                batches.push(found);
            }
        }
        let of_parts: Vec<Vec<RecordBatch>> = stream::iter(parts.cloned().collect::<Vec<_>>())
            .map(|part| self.rows_of_part(part, trace_id, &holding))
            .buffered(CONCURRENT_PARTS)
            .try_collect()
            .await?;
        batches.extend(of_parts.into_iter().flatten());
        let left_out = LeftOut::default();
        left_out.add(snapshot.quarantined.iter().filter(|entry| match entry.dataset {
            Dataset::Spans => within(entry.min_ts, entry.max_ts),
            _ => true,
        }));
        let partial = left_out.reason();
        if batches.is_empty() {
            let nothing = partial.map(|reason| Trace {
                resource_spans: Vec::new(),
                partial: Some(reason),
            });
            return Ok(nothing.map(|trace| FoundTrace::new(trace, holding.into_memory())));
        }
        let datasets = [Dataset::Resources];
        let resources = self.lookup(tenant, &snapshot, Dataset::Resources, &datasets).await?;
        let mut groups = Groups::new(resources);
        for batch in batches {
            groups.add(&batch).map_err(QueryError::from)?;
        }
        let trace = Trace {
            resource_spans: groups.finish(),
            partial,
        };
        Ok(Some(FoundTrace::new(trace, holding.into_memory())))
    }

    async fn rows_of_part(
        &self,
        part: Part,
        trace_id: [u8; 16],
        holding: &Holding<'_>,
    ) -> Result<Vec<RecordBatch>, QueryError> {
        let mut blocks = self.lake().trace_rows(&part, &trace_id).await?;
        holding.reads(blocks.bytes())?;
        let mut found = Vec::new();
        while let Some(rows) = blocks.next().await? {
            holding.holds(&rows)?;
            found.push(rows);
        }
        Ok(found)
    }
}

fn matches(ids: &ArrayRef, trace_id: &[u8; 16]) -> BooleanArray {
    match ids.as_fixed_size_binary_opt() {
        Some(ids) => ids
            .value_data()
            .chunks_exact(16)
            .map(|id| Some(id == trace_id))
            .collect(),
        None => BooleanArray::from(vec![false; ids.len()]),
    }
}

/// The rows of a slice that belong to the trace.
fn select(slice: &SparseBatch, trace_id: &[u8; 16]) -> Result<Option<RecordBatch>, QueryError> {
    let Some(ids) = slice.column("trace_id") else {
        return Ok(None);
    };
    // A span without a trace id is never stored: there is a value in every row.
    let keep = matches(ids.values(), trace_id);
    if keep.true_count() == 0 {
        return Ok(None);
    }
    let dense = slice.to_dense().map_err(LakeError::from)?;
    let kept = filter_record_batch(&dense, &keep).map_err(LakeError::from)?;
    Ok(Some(kept))
}

/// Spans of one resource by scope and the scope's schema.
type Scopes = Vec<(Scope, String, Vec<Span>)>;

/// Spans by resource and scope.
struct Groups {
    resources: Option<Arc<Lookup>>,
    by_resource: BTreeMap<[u8; 16], Scopes>,
}

/// The columns of a batch, text as plain UTF-8.
struct Row<'a> {
    columns: &'a [(String, ArrayRef)],
    row: usize,
}

impl Row<'_> {
    fn column(&self, name: &str) -> Option<&ArrayRef> {
        let found = self.columns.iter().find(|(n, _)| n == name).map(|(_, c)| c);
        found.filter(|c| c.is_valid(self.row))
    }

    fn text(&self, name: &str) -> Option<&str> {
        Some(self.column(name)?.as_string_opt::<i32>()?.value(self.row))
    }

    fn number(&self, name: &str) -> u32 {
        let column = self.column(name).and_then(|c| c.as_primitive_opt::<UInt32Type>());
        column.map_or(0, |c| c.value(self.row))
    }

    fn id<const N: usize>(&self, name: &str) -> Option<[u8; N]> {
        self.column(name)?
            .as_fixed_size_binary_opt()?
            .value(self.row)
            .try_into()
            .ok()
    }

    fn nanos(&self, name: &str) -> i64 {
        let column = self
            .column(name)
            .and_then(|c| c.as_primitive_opt::<TimestampNanosecondType>());
        column.map_or(0, |c| c.value(self.row))
    }

    /// Attributes of a prefix: those with a column, then those in the rest.
    fn attributes(&self, prefix: &str) -> Vec<KeyValue> {
        let mut out = Vec::new();
        for (name, column) in self.columns {
            if column.is_null(self.row) {
                continue;
            }
            let Some((found, key, kind)) = parse_physical(name, column.data_type()) else {
                continue;
            };
            if found != prefix {
                continue;
            }
            let value = match kind {
                AttributeType::Utf8 => column.as_string_opt::<i32>().map(|c| AnyValue::from(c.value(self.row))),
                AttributeType::Int64 => column.as_primitive_opt::<Int64Type>().map(|c| c.value(self.row).into()),
                AttributeType::Float64 => column
                    .as_primitive_opt::<Float64Type>()
                    .map(|c| c.value(self.row).into()),
                AttributeType::Bool => column.as_boolean_opt().map(|c| c.value(self.row).into()),
            };
            out.extend(value.map(|value| KeyValue { key, value }));
        }
        for attribute in self.text(ATTRIBUTES_REST).map(json_attributes).unwrap_or_default() {
            match attribute.key.strip_prefix(SCOPE_PREFIX) {
                Some(key) if prefix == SCOPE_PREFIX => {
                    out.push(KeyValue {
                        key: key.to_owned(),
                        value: attribute.value,
                    });
                }
                None if prefix == ATTRIBUTE_PREFIX => out.push(attribute),
                _ => {}
            }
        }
        out
    }
}

impl Groups {
    fn new(resources: Option<Arc<Lookup>>) -> Self {
        Self {
            resources,
            by_resource: BTreeMap::new(),
        }
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), DataFusionError> {
        let columns = plain_columns(batch)?;
        for row in 0..batch.num_rows() {
            let row = Row { columns: &columns, row };
            let scope = Scope {
                name: row.text("scope_name").unwrap_or_default().to_owned(),
                version: row.text("scope_version").unwrap_or_default().to_owned(),
                attributes: row.attributes(SCOPE_PREFIX),
                dropped_attributes_count: 0,
            };
            let schema_url = row.text("scope_schema_url").unwrap_or_default().to_owned();
            let scopes = self
                .by_resource
                .entry(row.id("resource_id").unwrap_or_default())
                .or_default();
            let index = match scopes.iter().position(|(s, url, _)| *s == scope && *url == schema_url) {
                Some(index) => index,
                None => {
                    scopes.push((scope, schema_url, Vec::new()));
                    scopes.len() - 1
                }
            };
            scopes[index].2.push(span(&row));
        }
        Ok(())
    }

    fn finish(self) -> Vec<ResourceSpans> {
        let mut out = Vec::new();
        for (id, scopes) in self.by_resource {
            let (resource, schema_url) = self
                .resources
                .as_ref()
                .and_then(|l| resource(l, &id))
                .unwrap_or_default();
            let scope_spans = scopes.into_iter().map(|(scope, schema_url, mut spans)| {
                spans.sort_by_key(|s| (s.start_time_unix_nano, s.span_id));
                ScopeSpans {
                    scope,
                    spans,
                    schema_url,
                }
            });
            out.push(ResourceSpans {
                resource,
                scope_spans: scope_spans.collect(),
                schema_url,
            });
        }
        let first = |r: &ResourceSpans| {
            r.scope_spans
                .iter()
                .flat_map(|s| s.spans.first())
                .map(|s| s.start_time_unix_nano)
                .min()
        };
        out.sort_by_key(first);
        out
    }
}

fn plain_columns(batch: &RecordBatch) -> Result<Vec<(String, ArrayRef)>, DataFusionError> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let column = match column.data_type() {
            DataType::Dictionary(_, _) => cast(column, &DataType::Utf8)?,
            _ => Arc::clone(column),
        };
        Ok((field.name().clone(), column))
    });
    columns.collect()
}

/// A resource and its schema URL.
fn resource(lookup: &Lookup, id: &[u8; 16]) -> Option<(Resource, String)> {
    let row = lookup.row(id)?;
    let columns = lookup.schema.fields().iter();
    let columns = columns.filter_map(|f| Some((f.name().clone(), Arc::clone(lookup.column(f.name())?))));
    let columns = columns.collect::<Vec<_>>();
    let row = Row { columns: &columns, row };
    let resource = Resource {
        attributes: row.attributes(ATTRIBUTE_PREFIX),
        dropped_attributes_count: row.number("dropped_attributes_count"),
        entity_refs: Vec::new(),
    };
    Some((resource, row.text("schema_url").unwrap_or_default().to_owned()))
}

/// The number of an enum's stored name; a number that had no name is stored as its digits.
fn enum_number(names: &[&str], text: &str) -> i32 {
    let known = names.iter().position(|n| *n == text).map(|n| n as i32);
    known.or_else(|| text.parse().ok()).unwrap_or(0)
}

fn span(row: &Row<'_>) -> Span {
    let start = row.nanos("start_time");
    let duration = row.column("duration").and_then(|c| c.as_primitive_opt::<Int64Type>());
    let end = start.wrapping_add(duration.map_or(0, |c| c.value(row.row)));
    let kinds = ["unspecified", "internal", "server", "client", "producer", "consumer"];
    Span {
        trace_id: row.id("trace_id").unwrap_or_default(),
        span_id: row.id("span_id").unwrap_or_default(),
        trace_state: row.text("trace_state").unwrap_or_default().to_owned(),
        parent_span_id: row.id("parent_span_id"),
        flags: row.number("flags"),
        name: row.text("name").unwrap_or_default().to_owned(),
        kind: SpanKind(enum_number(&kinds, row.text("kind").unwrap_or_default())),
        start_time_unix_nano: start as u64,
        end_time_unix_nano: end as u64,
        attributes: row.attributes(ATTRIBUTE_PREFIX),
        dropped_attributes_count: row.number("dropped_attributes_count"),
        events: items(row, "events")
            .map(|rows| rows.iter().map(event).collect())
            .unwrap_or_default(),
        dropped_events_count: row.number("dropped_events_count"),
        links: items(row, "links")
            .map(|rows| rows.iter().map(link).collect())
            .unwrap_or_default(),
        dropped_links_count: row.number("dropped_links_count"),
        status: Status {
            message: row.text("status_message").unwrap_or_default().to_owned(),
            code: StatusCode(enum_number(
                &["unset", "ok", "error"],
                row.text("status_code").unwrap_or_default(),
            )),
        },
    }
}

/// The structs of a list column's cell.
struct Items {
    columns: Vec<(String, ArrayRef)>,
    len: usize,
}

impl Items {
    fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.len).map(|row| Row {
            columns: &self.columns,
            row,
        })
    }
}

fn items(row: &Row<'_>, name: &str) -> Option<Items> {
    let list = row.column(name)?.as_list_opt::<i32>()?.value(row.row);
    let structs = list.as_struct_opt()?;
    let columns = structs.fields().iter().zip(structs.columns());
    let columns = columns.map(|(f, c)| (f.name().clone(), Arc::clone(c))).collect();
    Some(Items {
        columns,
        len: structs.len(),
    })
}

fn event(row: Row<'_>) -> Event {
    Event {
        time_unix_nano: row.nanos("time") as u64,
        name: row.text("name").unwrap_or_default().to_owned(),
        attributes: row.text("attributes").map(json_attributes).unwrap_or_default(),
        dropped_attributes_count: row.number("dropped_attributes_count"),
    }
}

fn link(row: Row<'_>) -> Link {
    Link {
        trace_id: row.id("trace_id").unwrap_or_default(),
        span_id: row.id("span_id").unwrap_or_default(),
        trace_state: row.text("trace_state").unwrap_or_default().to_owned(),
        attributes: row.text("attributes").map(json_attributes).unwrap_or_default(),
        dropped_attributes_count: row.number("dropped_attributes_count"),
        flags: row.number("flags"),
    }
}

/// Attributes of a stored JSON object; see `otlp::decode::any_value` for the form.
fn json_attributes(text: &str) -> Vec<KeyValue> {
    let parsed: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
    parsed
        .into_iter()
        .map(|(key, value)| KeyValue {
            key,
            value: json_value(value),
        })
        .collect()
}

fn json_value(value: serde_json::Value) -> AnyValue {
    use serde_json::Value;
    match value {
        Value::Null => AnyValue::Empty,
        Value::Bool(flag) => AnyValue::Bool(flag),
        Value::Number(number) => match number.as_i64() {
            Some(number) => AnyValue::Int(number),
            None => AnyValue::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => AnyValue::String(text),
        Value::Array(items) => AnyValue::Array(items.into_iter().map(json_value).collect()),
        Value::Object(map) => {
            if map.len() == 1 {
                if let Some(bytes) = map.get("$bytes").and_then(Value::as_str) {
                    return AnyValue::Bytes(STANDARD.decode(bytes).unwrap_or_default());
                }
                match map.get("$double").and_then(Value::as_str) {
                    Some("NaN") => return AnyValue::Double(f64::NAN),
                    Some("Infinity") => return AnyValue::Double(f64::INFINITY),
                    Some("-Infinity") => return AnyValue::Double(f64::NEG_INFINITY),
                    _ => {}
                }
            }
            let pairs = map.into_iter().map(|(key, value)| KeyValue {
                key,
                value: json_value(value),
            });
            AnyValue::KvList(pairs.collect())
        }
    }
}

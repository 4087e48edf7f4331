//! Log records (opentelemetry/proto/logs/v1/logs.proto).

use arrow::datatypes::{DataType, Int32Type, TimestampNanosecondType, UInt32Type};
use schema::{Dataset, UnixNanos, columns};

use super::any_value::{AnyRef, any_value, write_json};
use super::batch::{Columns, Context, TenantBatch};
use super::outcome::{repeated, time};
use super::resource::{ResourceItems, ScopeCodes, ScopeColumns, count_items, scope_of};
use super::{Fault, ItemError, Outcome};
use crate::columns::{AttributeColumns, ColumnAdmission, IdColumn, NumberColumn, Owner, PlainTextColumn, TextColumn};
use crate::wire::{Reader, WireError};

/// Log rows under construction.
#[derive(Debug, Default)]
pub(super) struct LogRows {
    rows: u32,
    timestamp: NumberColumn<TimestampNanosecondType>,
    observed_time: NumberColumn<TimestampNanosecondType>,
    severity_number: NumberColumn<Int32Type>,
    severity_text: TextColumn,
    body: PlainTextColumn,
    body_type: TextColumn,
    event_name: TextColumn,
    trace_id: IdColumn<16>,
    span_id: IdColumn<8>,
    flags: NumberColumn<UInt32Type>,
    service: TextColumn,
    resource_id: IdColumn<16>,
    dropped_attributes: NumberColumn<UInt32Type>,
    scope: ScopeColumns,
    attributes: AttributeColumns,
    json: Vec<u8>,
}

struct Shared<'a> {
    resource_id: [u8; 16],
    service: Option<u32>,
    scope: ScopeCodes,
    scope_attributes: &'a [&'a [u8]],
    max_depth: usize,
    admission: &'a dyn ColumnAdmission,
    now: UnixNanos,
}

impl TenantBatch {
    pub(super) fn append_resource_logs(
        &mut self,
        message: &[u8],
        context: Context<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), WireError> {
        let items = ResourceItems::parse(message)?;
        let resource = self.resources.resolve(
            items.resource,
            items.schema_url,
            context.known,
            context.now,
            context.limits,
            context.admissions.for_dataset(Dataset::Resources),
        );
        let resource = match resource {
            Ok(resource) => resource,
            Err(Fault::Item(reason)) => {
                outcome.reject(count_items(&items.scopes)?, reason);
                return Ok(());
            }
            Err(Fault::Wire(error)) => return Err(error),
        };
        let service = resource
            .service
            .as_deref()
            .and_then(|text| self.logs.service.code(text).ok());
        for message in &items.scopes {
            let (scope, messages) = scope_of(message)?;
            let count = messages.len() as u64;
            if let Err(reason) = repeated("scope attributes", scope.attribute_bytes, count, items.bytes) {
                outcome.reject(count, reason);
                continue;
            }
            let codes = match self.logs.scope.codes(&scope) {
                Ok(codes) => codes,
                Err(reason) => {
                    outcome.reject(count, reason);
                    continue;
                }
            };
            let shared = Shared {
                resource_id: resource.id,
                service,
                scope: codes,
                scope_attributes: &scope.attributes,
                max_depth: context.limits.max_depth,
                admission: context.admissions.for_dataset(Dataset::Logs),
                now: context.now,
            };
            for message in messages {
                match self.logs.push(message, &shared) {
                    Ok(()) => outcome.accepted += 1,
                    Err(Fault::Item(reason)) => {
                        self.logs.truncate(self.logs.rows as usize);
                        outcome.reject(1, reason);
                    }
                    Err(Fault::Wire(error)) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

impl LogRows {
    pub(super) const fn rows(&self) -> u32 {
        self.rows
    }

    /// Appends one `LogRecord` message. After an item error the row is half written: truncate.
    fn push(&mut self, message: &[u8], shared: &Shared<'_>) -> Result<(), Fault> {
        let row = self.rows;
        let (mut at, mut observed, mut severity, mut flags, mut dropped) = (0, 0, 0, 0, 0);
        let (mut severity_text, mut event_name, mut trace_id, mut span_id) = (&[][..], &[][..], &[][..], &[][..]);
        let mut body = None;
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next()? {
            match field {
                6 => self
                    .attributes
                    .push(Owner::Item, row, content.bytes()?, shared.max_depth, shared.admission)?,
                1 => at = content.fixed64()?,
                2 => severity = content.int32()?,
                3 => severity_text = content.bytes()?,
                5 => body = Some(content.bytes()?),
                7 => dropped = content.uint32()?,
                8 => flags = content.fixed32()?,
                9 => trace_id = content.bytes()?,
                10 => span_id = content.bytes()?,
                11 => observed = content.fixed64()?,
                12 => event_name = content.bytes()?,
                _ => {}
            }
        }
        let at = time("time_unix_nano", at)?;
        let observed = time("observed_time_unix_nano", observed)?;
        if !trace_id.is_empty() {
            let id: &[u8; 16] = trace_id.try_into().map_err(|_| ItemError::TraceId(trace_id.len()))?;
            if id != &[0; 16] {
                self.trace_id.push(row, id);
            }
        }
        if !span_id.is_empty() {
            let id: &[u8; 8] = span_id.try_into().map_err(|_| ItemError::SpanId(span_id.len()))?;
            if id != &[0; 8] {
                self.span_id.push(row, id);
            }
        }
        for message in shared.scope_attributes {
            self.attributes
                .push(Owner::Scope, row, message, shared.max_depth, shared.admission)?;
        }
        if let Some(message) = body {
            self.push_body(row, message, shared.max_depth)?;
        }
        let text = |column: &mut TextColumn, bytes: &[u8], what| match bytes {
            [] => Ok(()),
            bytes => column.push(row, bytes).map_err(|_| ItemError::InvalidUtf8(what)),
        };
        text(&mut self.severity_text, severity_text, "severity_text")?;
        text(&mut self.event_name, event_name, "event_name")?;
        // OpenTelemetry logs data model, "Timestamp": without one, recipients use ObservedTimestamp.
        let effective = [at, observed].into_iter().find(|&t| t != 0).unwrap_or(shared.now);
        self.timestamp.push(row, effective);
        if observed != 0 {
            self.observed_time.push(row, observed);
        }
        if severity != 0 {
            self.severity_number.push(row, severity);
        }
        if flags != 0 {
            self.flags.push(row, flags);
        }
        if dropped > 0 {
            self.dropped_attributes.push(row, dropped);
        }
        if let Some(code) = shared.service {
            self.service.push_code(row, code);
        }
        self.resource_id.push(row, &shared.resource_id);
        self.scope.push(row, shared.scope);
        self.attributes.end_row(row);
        self.rows += 1;
        Ok(())
    }

    /// Text bodies are stored as they are; any other value as its JSON text, with its type beside it.
    fn push_body(&mut self, row: u32, message: &[u8], max_depth: usize) -> Result<(), Fault> {
        let value = any_value(message)?;
        let kind: &[u8] = match value {
            AnyRef::Text(text) => {
                self.body
                    .push(row, text)
                    .map_err(|_| ItemError::InvalidUtf8("a log body"))?;
                return Ok(());
            }
            AnyRef::Empty => return Ok(()),
            AnyRef::Bool(_) => b"bool",
            AnyRef::Int(_) => b"int",
            AnyRef::Double(_) => b"double",
            AnyRef::Array(_) => b"array",
            AnyRef::Map(_) => b"map",
            AnyRef::Bytes(_) => b"bytes",
        };
        self.json.clear();
        write_json(value, &mut self.json, max_depth)?;
        self.body
            .push(row, &self.json)
            .map_err(|_| ItemError::InvalidUtf8("a log body"))?;
        self.body_type
            .push(row, kind)
            .map_err(|_| ItemError::InvalidUtf8("a log body").into())
    }

    /// Drops rows from `rows` on.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.rows = rows as u32;
        self.timestamp.truncate(rows);
        self.observed_time.truncate(rows);
        self.severity_number.truncate(rows);
        for text in [
            &mut self.severity_text,
            &mut self.body_type,
            &mut self.event_name,
            &mut self.service,
        ] {
            text.truncate(rows);
        }
        self.body.truncate(rows);
        self.trace_id.truncate(rows);
        self.span_id.truncate(rows);
        self.resource_id.truncate(rows);
        self.flags.truncate(rows);
        self.dropped_attributes.truncate(rows);
        self.scope.truncate(rows);
        self.attributes.truncate(rows);
    }

    pub(super) fn finish(&mut self) -> (usize, Columns) {
        let rows = self.rows as usize;
        let mut out = Columns::default();
        out.add("timestamp", self.timestamp.finish(rows, &columns::timestamp()));
        out.add("observed_time", self.observed_time.finish(rows, &columns::timestamp()));
        out.add("severity_number", self.severity_number.finish(rows, &DataType::Int32));
        out.add("severity_text", self.severity_text.finish(rows));
        out.add("body", self.body.finish(rows));
        out.add("body_type", self.body_type.finish(rows));
        out.add("event_name", self.event_name.finish(rows));
        out.add("trace_id", self.trace_id.finish(rows));
        out.add("span_id", self.span_id.finish(rows));
        out.add("flags", self.flags.finish(rows, &DataType::UInt32));
        out.add("service_name", self.service.finish(rows));
        out.add("resource_id", self.resource_id.finish(rows));
        out.add(
            "dropped_attributes_count",
            self.dropped_attributes.finish(rows, &DataType::UInt32),
        );
        self.scope.finish(rows, &mut out);
        self.attributes.finish(rows, &mut out.0);
        self.rows = 0;
        (rows, out)
    }
}

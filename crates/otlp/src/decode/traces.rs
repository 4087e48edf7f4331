//! Spans (opentelemetry/proto/trace/v1/trace.proto).

use arrow::datatypes::{DataType, Int64Type, TimestampNanosecondType, UInt32Type};
use schema::sparse::SparseArray;
use schema::{Dataset, columns};

use super::batch::{Columns, Context, TenantBatch};
use super::outcome::{repeated, time};
use super::resource::{ResourceItems, ScopeCodes, ScopeColumns, count_items, scope_of};
use super::span_lists::{EventRows, LinkRows};
use super::{Fault, ItemError, Outcome};
use crate::columns::{AttributeColumns, ColumnAdmission, IdColumn, NumberColumn, Owner, TextColumn};
use crate::wire::{Reader, WireError};

/// Span rows under construction.
#[derive(Debug, Default)]
pub(super) struct SpanRows {
    rows: u32,
    trace_id: IdColumn<16>,
    span_id: IdColumn<8>,
    parent_span_id: IdColumn<8>,
    start_time: NumberColumn<TimestampNanosecondType>,
    duration: NumberColumn<Int64Type>,
    name: TextColumn,
    kind: EnumColumn<6>,
    status_code: EnumColumn<3>,
    status_message: TextColumn,
    trace_state: TextColumn,
    flags: NumberColumn<UInt32Type>,
    service: TextColumn,
    resource_id: IdColumn<16>,
    events: EventRows,
    links: LinkRows,
    dropped_attributes: NumberColumn<UInt32Type>,
    dropped_events: NumberColumn<UInt32Type>,
    dropped_links: NumberColumn<UInt32Type>,
    scope: ScopeColumns,
    attributes: AttributeColumns,
}

/// What all spans of a scope share.
struct Shared<'a> {
    resource_id: [u8; 16],
    service: Option<u32>,
    scope: ScopeCodes,
    scope_attributes: &'a [&'a [u8]],
    max_depth: usize,
    admission: &'a dyn ColumnAdmission,
}

/// Names of `Span.SpanKind`.
const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];
/// Names of `Status.StatusCode`.
const STATUS_CODES: [&str; 3] = ["unset", "ok", "error"];

/// An enum as text: the name of its number, or the number itself where this version of OTLP has no name for it.
#[derive(Debug)]
struct EnumColumn<const N: usize> {
    texts: TextColumn,
    /// Codes of the names within this batch, once used.
    codes: [Option<u32>; N],
}

impl<const N: usize> Default for EnumColumn<N> {
    fn default() -> Self {
        Self {
            texts: TextColumn::default(),
            codes: [None; N],
        }
    }
}

impl<const N: usize> EnumColumn<N> {
    #[inline]
    fn push(&mut self, row: u32, number: i32, names: &[&'static str; N]) {
        let index = usize::try_from(number).ok().filter(|&index| index < N);
        let code = match index.and_then(|index| self.codes[index]) {
            Some(code) => code,
            None => self.code(index, number, names),
        };
        self.texts.push_code(row, code);
    }

    #[cold]
    fn code(&mut self, index: Option<usize>, number: i32, names: &[&'static str; N]) -> u32 {
        let code = match index {
            Some(index) => self.texts.code(names[index].as_bytes()),
            None => self.texts.code(number.to_string().as_bytes()),
        };
        let code = code.unwrap_or_default(); // names and digits are UTF-8
        if let Some(index) = index {
            self.codes[index] = Some(code);
        }
        code
    }

    fn finish(&mut self, rows: usize) -> Option<SparseArray> {
        self.codes.fill(None);
        self.texts.finish(rows)
    }
}

impl TenantBatch {
    pub(super) fn append_resource_spans(
        &mut self,
        message: &[u8],
        context: Context<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), WireError> {
        let items = ResourceItems::parse(message)?;
        let admission = context.admissions.for_dataset(Dataset::Resources);
        let resource = self.resources.resolve(
            items.resource,
            items.schema_url,
            context.known,
            context.now,
            context.limits,
            admission,
        );
        let resource = match resource {
            Ok(resource) => resource,
            Err(Fault::Item(reason)) => {
                outcome.reject(count_items(&items.scopes)?, reason);
                return Ok(());
            }
            Err(Fault::Wire(error)) => return Err(error),
        };
        // The text was checked when the resource was parsed.
        let service = resource
            .service
            .as_deref()
            .and_then(|text| self.spans.service.code(text).ok());
        for message in &items.scopes {
            let (scope, messages) = scope_of(message)?;
            let count = messages.len() as u64;
            if let Err(reason) = repeated("scope attributes", scope.attribute_bytes, count, items.bytes) {
                outcome.reject(count, reason);
                continue;
            }
            let codes = match self.spans.scope.codes(&scope) {
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
                admission: context.admissions.for_dataset(Dataset::Spans),
            };
            for message in messages {
                match self.spans.push(message, &shared) {
                    Ok(()) => outcome.accepted += 1,
                    Err(Fault::Item(reason)) => {
                        self.spans.truncate(self.spans.rows as usize);
                        outcome.reject(1, reason);
                    }
                    Err(Fault::Wire(error)) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

impl SpanRows {
    pub(super) const fn rows(&self) -> u32 {
        self.rows
    }

    /// Appends one `Span` message. After an item error the row is half written: truncate.
    fn push(&mut self, message: &[u8], shared: &Shared<'_>) -> Result<(), Fault> {
        let row = self.rows;
        let (mut trace_id, mut span_id, mut parent) = (&[][..], &[][..], &[][..]);
        let (mut trace_state, mut name, mut status) = (&[][..], &[][..], &[][..]);
        let (mut kind, mut start, mut end, mut flags) = (0, 0, 0, 0);
        let (mut dropped_attributes, mut dropped_events, mut dropped_links) = (0, 0, 0);
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next()? {
            match field {
                9 => self
                    .attributes
                    .push(Owner::Item, row, content.bytes()?, shared.max_depth, shared.admission)?,
                1 => trace_id = content.bytes()?,
                2 => span_id = content.bytes()?,
                3 => trace_state = content.bytes()?,
                4 => parent = content.bytes()?,
                5 => name = content.bytes()?,
                6 => kind = content.int32()?,
                7 => start = content.fixed64()?,
                8 => end = content.fixed64()?,
                10 => dropped_attributes = content.uint32()?,
                11 => self.events.push(content.bytes()?, shared.max_depth)?,
                12 => dropped_events = content.uint32()?,
                13 => self.links.push(content.bytes()?, shared.max_depth)?,
                14 => dropped_links = content.uint32()?,
                15 => status = content.bytes()?,
                16 => flags = content.fixed32()?,
                _ => {}
            }
        }
        let trace: &[u8; 16] = trace_id.try_into().map_err(|_| ItemError::TraceId(trace_id.len()))?;
        let span: &[u8; 8] = span_id.try_into().map_err(|_| ItemError::SpanId(span_id.len()))?;
        if trace == &[0; 16] {
            return Err(ItemError::TraceId(16).into());
        }
        if span == &[0; 8] {
            return Err(ItemError::SpanId(8).into());
        }
        let start = time("start_time_unix_nano", start)?;
        let end = time("end_time_unix_nano", end)?;
        for message in shared.scope_attributes {
            self.attributes
                .push(Owner::Scope, row, message, shared.max_depth, shared.admission)?;
        }
        self.name
            .push(row, name)
            .map_err(|_| ItemError::InvalidUtf8("a span's name"))?;
        if !trace_state.is_empty() {
            self.trace_state
                .push(row, trace_state)
                .map_err(|_| ItemError::InvalidUtf8("trace_state"))?;
        }
        if !parent.is_empty() {
            let id: &[u8; 8] = parent.try_into().map_err(|_| ItemError::ParentSpanId(parent.len()))?;
            if id != &[0; 8] {
                self.parent_span_id.push(row, id);
            }
        }
        self.push_status(row, status)?;
        self.kind.push(row, kind, &KINDS);
        self.trace_id.push(row, trace);
        self.span_id.push(row, span);
        self.start_time.push(row, start);
        self.duration.push(row, end.wrapping_sub(start));
        if flags != 0 {
            self.flags.push(row, flags);
        }
        if let Some(code) = shared.service {
            self.service.push_code(row, code);
        }
        self.resource_id.push(row, &shared.resource_id);
        self.scope.push(row, shared.scope);
        for (count, column) in [
            (dropped_attributes, &mut self.dropped_attributes),
            (dropped_events, &mut self.dropped_events),
            (dropped_links, &mut self.dropped_links),
        ] {
            if count > 0 {
                column.push(row, count);
            }
        }
        self.attributes.end_row(row);
        self.events.end_row();
        self.links.end_row();
        self.rows += 1;
        Ok(())
    }

    fn push_status(&mut self, row: u32, message: &[u8]) -> Result<(), Fault> {
        let mut code = 0;
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next()? {
            match field {
                2 => {
                    let text = content.bytes()?;
                    if !text.is_empty() {
                        let stored = self.status_message.push(row, text);
                        stored.map_err(|_| ItemError::InvalidUtf8("a status message"))?;
                    }
                }
                3 => code = content.int32()?,
                _ => {}
            }
        }
        self.status_code.push(row, code, &STATUS_CODES);
        Ok(())
    }

    /// Drops rows from `rows` on.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.rows = rows as u32;
        self.trace_id.truncate(rows);
        self.span_id.truncate(rows);
        self.parent_span_id.truncate(rows);
        self.resource_id.truncate(rows);
        self.start_time.truncate(rows);
        self.duration.truncate(rows);
        for text in [
            &mut self.name,
            &mut self.kind.texts,
            &mut self.status_code.texts,
            &mut self.status_message,
            &mut self.trace_state,
            &mut self.service,
        ] {
            text.truncate(rows);
        }
        for numbers in [
            &mut self.flags,
            &mut self.dropped_attributes,
            &mut self.dropped_events,
            &mut self.dropped_links,
        ] {
            numbers.truncate(rows);
        }
        self.scope.truncate(rows);
        self.attributes.truncate(rows);
        self.events.truncate(rows);
        self.links.truncate(rows);
    }

    pub(super) fn finish(&mut self) -> (usize, Columns) {
        let rows = self.rows as usize;
        let mut out = Columns::default();
        out.add("trace_id", self.trace_id.finish(rows));
        out.add("span_id", self.span_id.finish(rows));
        out.add("parent_span_id", self.parent_span_id.finish(rows));
        out.add("start_time", self.start_time.finish(rows, &columns::timestamp()));
        out.add("duration", self.duration.finish(rows, &DataType::Int64));
        out.add("name", self.name.finish(rows));
        out.add("kind", self.kind.finish(rows));
        out.add("status_code", self.status_code.finish(rows));
        out.add("status_message", self.status_message.finish(rows));
        out.add("trace_state", self.trace_state.finish(rows));
        out.add("flags", self.flags.finish(rows, &DataType::UInt32));
        out.add("service_name", self.service.finish(rows));
        out.add("resource_id", self.resource_id.finish(rows));
        out.add("events", self.events.finish(rows));
        out.add("links", self.links.finish(rows));
        out.add(
            "dropped_attributes_count",
            self.dropped_attributes.finish(rows, &DataType::UInt32),
        );
        out.add(
            "dropped_events_count",
            self.dropped_events.finish(rows, &DataType::UInt32),
        );
        out.add(
            "dropped_links_count",
            self.dropped_links.finish(rows, &DataType::UInt32),
        );
        self.scope.finish(rows, &mut out);
        self.attributes.finish(rows, &mut out.0);
        self.rows = 0;
        (rows, out)
    }
}

//! What a span has several of: events and links. Each becomes a list column of structs; their attributes are JSON text,
//! because a column per key inside a list would cost every reader more than it saves.

use std::sync::Arc;

use arrow::array::{Array, ListArray, StructArray, new_null_array};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Fields, TimestampNanosecondType, UInt32Type};
use schema::columns;
use schema::sparse::SparseArray;

use super::any_value::write_json_object;
use super::outcome::time;
use super::{Fault, ItemError};
use crate::columns::{IdColumn, NumberColumn, PlainTextColumn};
use crate::wire::Reader;

/// Events of all spans, one behind the other.
#[derive(Debug, Default)]
pub(super) struct EventRows {
    /// Where each finished span's events end.
    ends: Vec<u32>,
    items: u32,
    time: NumberColumn<TimestampNanosecondType>,
    name: PlainTextColumn,
    attributes: PlainTextColumn,
    dropped: NumberColumn<UInt32Type>,
}

impl EventRows {
    pub(super) fn push(&mut self, message: &[u8], max_depth: usize) -> Result<(), Fault> {
        let item = self.items;
        let (mut at, mut name, mut dropped) = (0, &[][..], 0);
        let mut attributes = Vec::new();
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next()? {
            match field {
                1 => at = content.fixed64()?,
                2 => name = content.bytes()?,
                3 => attributes.push(content.bytes()?),
                4 => dropped = content.uint32()?,
                _ => {}
            }
        }
        self.time.push(item, time("an event's time_unix_nano", at)?);
        self.name
            .push(item, name)
            .map_err(|_| ItemError::InvalidUtf8("an event's name"))?;
        push_json(&mut self.attributes, item, &attributes, max_depth)?;
        if dropped > 0 {
            self.dropped.push(item, dropped);
        }
        self.items += 1;
        Ok(())
    }

    pub(super) fn end_row(&mut self) {
        self.ends.push(self.items);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.items = self.ends.last().copied().unwrap_or(0);
        let items = self.items as usize;
        self.time.truncate(items);
        self.name.truncate(items);
        self.attributes.truncate(items);
        self.dropped.truncate(items);
    }

    pub(super) fn finish(&mut self, rows: usize) -> Option<SparseArray> {
        let items = std::mem::take(&mut self.items) as usize;
        let arrays = vec![
            self.time.finish(items, &columns::timestamp()),
            self.name.finish(items),
            self.attributes.finish(items),
            self.dropped.finish(items, &DataType::UInt32),
        ];
        list_of_structs(
            std::mem::take(&mut self.ends),
            rows,
            items,
            columns::event_fields(),
            arrays,
        )
    }
}

/// Links of all spans, one behind the other.
#[derive(Debug, Default)]
pub(super) struct LinkRows {
    ends: Vec<u32>,
    items: u32,
    trace_id: IdColumn<16>,
    span_id: IdColumn<8>,
    trace_state: PlainTextColumn,
    flags: NumberColumn<UInt32Type>,
    attributes: PlainTextColumn,
    dropped: NumberColumn<UInt32Type>,
}

impl LinkRows {
    pub(super) fn push(&mut self, message: &[u8], max_depth: usize) -> Result<(), Fault> {
        let item = self.items;
        let (mut trace_id, mut span_id, mut trace_state) = (&[][..], &[][..], &[][..]);
        let (mut flags, mut dropped) = (0, 0);
        let mut attributes = Vec::new();
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next()? {
            match field {
                1 => trace_id = content.bytes()?,
                2 => span_id = content.bytes()?,
                3 => trace_state = content.bytes()?,
                4 => attributes.push(content.bytes()?),
                5 => dropped = content.uint32()?,
                6 => flags = content.fixed32()?,
                _ => {}
            }
        }
        self.trace_id.push(
            item,
            trace_id.try_into().map_err(|_| ItemError::TraceId(trace_id.len()))?,
        );
        self.span_id
            .push(item, span_id.try_into().map_err(|_| ItemError::SpanId(span_id.len()))?);
        if !trace_state.is_empty() {
            self.trace_state
                .push(item, trace_state)
                .map_err(|_| ItemError::InvalidUtf8("trace_state"))?;
        }
        push_json(&mut self.attributes, item, &attributes, max_depth)?;
        if flags != 0 {
            self.flags.push(item, flags);
        }
        if dropped > 0 {
            self.dropped.push(item, dropped);
        }
        self.items += 1;
        Ok(())
    }

    pub(super) fn end_row(&mut self) {
        self.ends.push(self.items);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.items = self.ends.last().copied().unwrap_or(0);
        let items = self.items as usize;
        self.trace_id.truncate(items);
        self.span_id.truncate(items);
        self.trace_state.truncate(items);
        self.attributes.truncate(items);
        self.flags.truncate(items);
        self.dropped.truncate(items);
    }

    pub(super) fn finish(&mut self, rows: usize) -> Option<SparseArray> {
        let items = std::mem::take(&mut self.items) as usize;
        let arrays = vec![
            self.trace_id.finish(items),
            self.span_id.finish(items),
            self.trace_state.finish(items),
            self.flags.finish(items, &DataType::UInt32),
            self.attributes.finish(items),
            self.dropped.finish(items, &DataType::UInt32),
        ];
        list_of_structs(
            std::mem::take(&mut self.ends),
            rows,
            items,
            columns::link_fields(),
            arrays,
        )
    }
}

/// Stores attributes as a JSON object, if there are any.
pub(super) fn push_json(
    column: &mut PlainTextColumn,
    row: u32,
    attributes: &[&[u8]],
    max_depth: usize,
) -> Result<(), Fault> {
    if attributes.is_empty() {
        return Ok(());
    }
    let mut text = Vec::with_capacity(64);
    write_json_object(attributes.iter().copied(), &mut text, max_depth)?;
    column
        .push(row, &text)
        .map_err(|_| ItemError::InvalidUtf8("an attribute").into())
}

/// A list column of structs; rows without items are null. `None` if there is no item at all.
fn list_of_structs(
    ends: Vec<u32>,
    rows: usize,
    items: usize,
    fields: Fields,
    arrays: Vec<Option<SparseArray>>,
) -> Option<SparseArray> {
    if items == 0 {
        return None;
    }
    let arrays = fields
        .iter()
        .zip(arrays)
        .map(|(field, array)| match array {
            Some(array) => array.dense(),
            None => new_null_array(field.data_type(), items),
        })
        .map(|array| match array.data_type() {
            // Nested text is plain: a dictionary inside a list saves little and costs every reader a case.
            DataType::Dictionary(_, _) => arrow::compute::cast(&array, &DataType::Utf8).unwrap_or(array),
            _ => array,
        })
        .collect();
    let values = StructArray::new(fields.clone(), arrays, None);
    let mut offsets = vec![0i32];
    let mut end = 0;
    let valid = BooleanBuffer::collect_bool(rows, |row| {
        let some = ends[row] != std::mem::replace(&mut end, ends[row]);
        if some {
            offsets.push(end as i32);
        }
        some
    });
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let item = columns::item_field(DataType::Struct(fields));
    let lists = ListArray::new(item, offsets, Arc::new(values), None);
    // One list was made for each valid row.
    SparseArray::try_new(Some(NullBuffer::new(valid)), Arc::new(lists)).ok()
}

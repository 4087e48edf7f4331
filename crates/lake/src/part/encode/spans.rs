//! How a part holds the parents of spans.
//!
//! A parent's id is eight random bytes that stand in the file already, as the `span_id` of another row, nearly always
//! in the same block. `parent_ordinal` says which: the how-manieth row of the same trace in the block (from 0, in the
//! order of the rows) is the parent. Spans whose parent is elsewhere keep it in `parent_span_id`, which is null for all others;
//! roots have neither.
//!
//! An ordinal in the trace takes half of the bytes of a row number in the block: traces of one shape have equal ones.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder, RecordBatch, UInt16Array, UInt16Builder,
};
use arrow::datatypes::{DataType, Field, Schema, UInt16Type};
use arrow::error::ArrowError;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::BlockColumn;
use crate::LakeError;
use crate::part::BLOCK_ROWS;

const PARENT: &str = "parent_span_id";
const ORDINAL: &str = "parent_ordinal";

/// What only a whole block can tell.
pub(super) const BLOCK_COLUMNS: &[BlockColumn] = &[BlockColumn {
    name: PARENT,
    stored: &["trace_id", "span_id", ORDINAL, PARENT],
}];

/// The column of ordinals.
pub(super) fn ordinal_field() -> Field {
    Field::new(ORDINAL, DataType::UInt16, true)
}

/// The rows of each trace of a block.
struct Traces {
    /// For each row, the number of its trace.
    of_row: Vec<u32>,
    /// Rows by trace, ascending within a trace.
    rows: Vec<u32>,
    /// For each trace, where its rows begin in `rows`; one more at the end.
    starts: Vec<u32>,
}

impl Traces {
    fn of(trace_ids: &FixedSizeBinaryArray, hasher: &DefaultHashBuilder) -> Self {
        let mut known: HashTable<u32> = HashTable::with_capacity(1024);
        let mut first_rows: Vec<u32> = Vec::new();
        let mut starts = vec![0u32];
        let mut of_row = Vec::with_capacity(trace_ids.len());
        for row in 0..trace_ids.len() {
            let id = trace_ids.value(row);
            let first = |trace: u32| trace_ids.value(first_rows[trace as usize] as usize);
            let hash = hasher.hash_one(id);
            let trace = match known.find(hash, |&t| first(t) == id) {
                Some(&trace) => trace,
                None => {
                    let trace = first_rows.len() as u32;
                    known.insert_unique(hash, trace, |&t| hasher.hash_one(first(t)));
                    first_rows.push(row as u32);
                    starts.push(0);
                    trace
                }
            };
            of_row.push(trace);
            starts[trace as usize + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let mut rows = vec![0u32; of_row.len()];
        for (row, &trace) in of_row.iter().enumerate() {
            let slot = &mut next[trace as usize];
            rows[*slot as usize] = row as u32;
            *slot += 1;
        }
        Self { of_row, rows, starts }
    }

    /// The rows of the trace of `row`.
    fn siblings(&self, row: usize) -> &[u32] {
        let trace = self.of_row[row] as usize;
        &self.rows[self.starts[trace] as usize..self.starts[trace + 1] as usize]
    }
}

/// Replaces `parent_span_id` by `parent_ordinal` where the parent is in the block.
pub(super) fn encode(batch: RecordBatch) -> Result<RecordBatch, LakeError> {
    let Some(parents) = batch.column_by_name(PARENT) else {
        return Ok(batch); // No row has a parent.
    };
    let parents = ids(parents, PARENT, 8)?.clone();
    let (traces, spans) = (column(&batch, "trace_id", 16)?, column(&batch, "span_id", 8)?);
    let mut ordinals = UInt16Builder::with_capacity(batch.num_rows());
    let mut elsewhere = FixedSizeBinaryBuilder::with_capacity(batch.num_rows(), 8);
    let hasher = DefaultHashBuilder::default();
    let mut ordinal_of: HashMap<(u32, &[u8]), u16> = HashMap::with_capacity(BLOCK_ROWS);
    for start in (0..batch.num_rows()).step_by(BLOCK_ROWS) {
        let len = BLOCK_ROWS.min(batch.num_rows() - start);
        let block = Traces::of(&traces.slice(start, len), &hasher);
        ordinal_of.clear();
        for trace in 0..block.starts.len() - 1 {
            let rows = &block.rows[block.starts[trace] as usize..block.starts[trace + 1] as usize];
            for (ordinal, &row) in rows.iter().enumerate() {
                let key = (trace as u32, spans.value(start + row as usize));
                ordinal_of.entry(key).or_insert(ordinal as u16); // BLOCK_ROWS fits
            }
        }
        for row in 0..len {
            if parents.is_null(start + row) {
                ordinals.append_null();
                elsewhere.append_null();
                continue;
            }
            let parent = parents.value(start + row);
            let ordinal = ordinal_of.get(&(block.of_row[row], parent)).copied();
            ordinals.append_option(ordinal);
            match ordinal {
                Some(_) => elsewhere.append_null(),
                None => elsewhere.append_value(parent)?,
            }
        }
    }
    replace_parents(
        &batch,
        Arc::new(elsewhere.finish()),
        Some((ordinal_field(), Arc::new(ordinals.finish()))),
    )
}

/// Whole blocks of a part as logical rows. All rows that some trace has in a block will do, too, one block at a time.
pub(super) fn decode(batch: RecordBatch) -> Result<RecordBatch, LakeError> {
    let Some(ordinals) = batch.column_by_name(ORDINAL) else {
        return Ok(batch);
    };
    let ordinals: &UInt16Array = ordinals
        .as_primitive_opt::<UInt16Type>()
        .ok_or_else(|| unfit(ORDINAL))?;
    let (traces, spans) = (column(&batch, "trace_id", 16)?, column(&batch, "span_id", 8)?);
    let elsewhere = column(&batch, PARENT, 8)?;
    let hasher = DefaultHashBuilder::default();
    let mut parents = FixedSizeBinaryBuilder::with_capacity(batch.num_rows(), 8);
    for start in (0..batch.num_rows()).step_by(BLOCK_ROWS) {
        let len = BLOCK_ROWS.min(batch.num_rows() - start);
        let block = Traces::of(&traces.slice(start, len), &hasher);
        for row in 0..len {
            let at = start + row;
            if ordinals.is_valid(at) {
                let siblings = block.siblings(row);
                let parent = siblings.get(usize::from(ordinals.value(at)));
                let parent = *parent.ok_or_else(|| unfit(ORDINAL))? as usize;
                parents.append_value(spans.value(start + parent))?;
            } else if elsewhere.is_valid(at) {
                parents.append_value(elsewhere.value(at))?;
            } else {
                parents.append_null();
            }
        }
    }
    replace_parents(&batch, Arc::new(parents.finish()), None)
}

/// The batch with other parents, without the ordinals it has and with those given, behind the parents.
fn replace_parents(
    batch: &RecordBatch,
    parents: ArrayRef,
    ordinals: Option<(Field, ArrayRef)>,
) -> Result<RecordBatch, LakeError> {
    let schema = batch.schema();
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        match field.name().as_str() {
            ORDINAL => {}
            PARENT => {
                fields.push(Arc::clone(field));
                arrays.push(Arc::clone(&parents));
                if let Some((field, array)) = &ordinals {
                    fields.push(Arc::new(field.clone()));
                    arrays.push(Arc::clone(array));
                }
            }
            _ => {
                fields.push(Arc::clone(field));
                arrays.push(Arc::clone(array));
            }
        }
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

fn column<'a>(batch: &'a RecordBatch, name: &str, width: i32) -> Result<&'a FixedSizeBinaryArray, LakeError> {
    ids(batch.column_by_name(name).ok_or_else(|| unfit(name))?, name, width)
}

fn ids<'a>(column: &'a ArrayRef, name: &str, width: i32) -> Result<&'a FixedSizeBinaryArray, LakeError> {
    let ids = column.as_fixed_size_binary_opt();
    ids.filter(|ids| ids.value_length() == width).ok_or_else(|| unfit(name))
}

fn unfit(name: &str) -> LakeError {
    ArrowError::SchemaError(format!("parents of spans need a sound column {name} in the same rows")).into()
}

#[cfg(test)]
mod tests;

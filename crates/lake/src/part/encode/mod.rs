//! Between the columns that queries see (*logical*, as in `schema::columns`) and those that a part holds (*physical*).
//!
//! Parquet's own encodings look at one column alone. What is cheaper said through another row or column is rewritten
//! here, one file per signal: [`encode`] just before rows go to the Parquet writer, [`decode`] just after they were read.
//!
//! Rules that both sides keep:
//! * `encode` gets the rows of one row group in their final order. The columns it answers with depend on the columns
//!   it is given, never on their values: the writer needs one schema for all row groups.
//! * What a row is encoded against lies in the same block of [`super::BLOCK_ROWS`] rows, counted from the first row
//!   of the row group, so that a reader can decode one block without its neighbours.
//! * `decode` gets whole blocks, in order (the last may be short), with some or all of the columns. Columns that it does
//!   not know, and logical columns, pass through: it may be called on rows that were decoded before.
//! * A physical row may hold several logical ones ([`Chunks`]). It then needs no other row to be decoded.
//!
//! Log rows are rewritten before they are ordered, by [`encode_rows`]: their order follows from it. Each row stands for itself,
//! so rows of slices and of parts merge without being decoded, and queries decode by expressions over a row's columns.

pub mod body;
mod logs;
mod metrics;
mod spans;

pub use metrics::Chunks;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use schema::sparse::SparseBatch;
use schema::{Dataset, columns};

use crate::LakeError;

/// A logical column that only whole blocks tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockColumn {
    /// Its name, as in `schema::columns`.
    pub name: &'static str,
    /// The stored columns that it is decoded from.
    pub stored: &'static [&'static str],
}

/// The columns of a dataset that a reader gets right only if it reads whole blocks, and [`decode`]s them. All others
/// may be read row by row.
pub fn block_columns(dataset: Dataset) -> &'static [BlockColumn] {
    match dataset {
        Dataset::Spans => spans::BLOCK_COLUMNS,
        _ => &[],
    }
}

/// All columns that a part of the dataset may hold beside those of attributes.
pub fn stored_fields(dataset: Dataset) -> Vec<Field> {
    if let Some(chunks) = Chunks::of(dataset) {
        return chunks
            .schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone())
            .collect();
    }
    let mut fields = [columns::fixed(dataset), columns::stored(dataset)].concat();
    if dataset == Dataset::Spans {
        fields.push(spans::ordinal_field());
    }
    fields
}

/// Rows that are about to be merged, in any order: what is rewritten row by row.
///
/// # Errors
/// [`LakeError::Arrow`] if a column is not of the type that the dataset says.
pub(crate) fn encode_rows(
    dataset: Dataset,
    batches: Vec<Arc<SparseBatch>>,
) -> Result<Vec<Arc<SparseBatch>>, LakeError> {
    if dataset != Dataset::Logs {
        return Ok(batches);
    }
    let dense = batches.iter().map(|batch| batch.to_dense()).collect::<Result<_, _>>()?;
    let sparse = |batch: RecordBatch| Ok(Arc::new(SparseBatch::from_dense(&batch)?));
    logs::encode(dense)?.into_iter().map(sparse).collect()
}

/// Logical rows of one row group, in final order, as the columns that are written.
///
/// # Errors
/// [`LakeError::Arrow`] if a column is not of the type that the dataset says.
pub(super) fn encode(dataset: Dataset, batch: RecordBatch) -> Result<RecordBatch, LakeError> {
    let batch = match dataset {
        Dataset::Spans => spans::encode(batch)?,
        _ if metrics::has_chunks(dataset) => metrics::encode(dataset, &batch)?,
        _ => batch,
    };
    replace_columns(&batch, |field, column| {
        Ok(match column.as_fixed_size_binary_opt() {
            Some(ids) if has_dictionary(field.name()) => Some(Arc::new(variable_width(ids)?)),
            _ => None,
        })
    })
}

/// Columns of a part as the logical columns that they stand for.
///
/// # Errors
/// [`LakeError::Arrow`] if the part holds what no writer makes.
pub fn decode(dataset: Dataset, batch: RecordBatch) -> Result<RecordBatch, LakeError> {
    let batch = decode_blocks(dataset, batch)?;
    match dataset {
        Dataset::Logs => logs::decode(batch),
        _ => Ok(batch),
    }
}

/// As [`decode`], but what [`encode_rows`] did stays: enough for merging.
///
/// # Errors
/// As [`decode`].
pub(crate) fn decode_blocks(dataset: Dataset, batch: RecordBatch) -> Result<RecordBatch, LakeError> {
    let fixed = columns::fixed(dataset);
    let batch = replace_columns(&batch, |field, column| {
        let logical = fixed.iter().find(|f| f.name() == field.name());
        Ok(match (logical.map(Field::data_type), column.as_binary_opt::<i32>()) {
            (Some(&DataType::FixedSizeBinary(width)), Some(ids)) => Some(Arc::new(fixed_width(ids, width)?)),
            _ => None,
        })
    })?;
    match dataset {
        Dataset::Spans => spans::decode(batch),
        _ if metrics::has_chunks(dataset) => metrics::decode(dataset, batch),
        _ => Ok(batch),
    }
}

/// Whether an id repeats often enough for a dictionary. Parquet's writer gives fixed-size bytes one only in its 2.0
/// format, whose pages leave levels uncompressed, so these ids are written as byte arrays of whatever size.
fn has_dictionary(id: &str) -> bool {
    !matches!(id, "span_id" | "parent_span_id")
}

/// The batch with those columns replaced for which `new` has something else, under the same name and nullability.
fn replace_columns(
    batch: &RecordBatch,
    mut new: impl FnMut(&Field, &ArrayRef) -> Result<Option<ArrayRef>, LakeError>,
) -> Result<RecordBatch, LakeError> {
    let schema = batch.schema();
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut arrays = Vec::with_capacity(batch.num_columns());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        match new(field, column)? {
            Some(array) => {
                fields.push(Arc::new(
                    field.as_ref().clone().with_data_type(array.data_type().clone()),
                ));
                arrays.push(array);
            }
            None => {
                fields.push(Arc::clone(field));
                arrays.push(Arc::clone(column));
            }
        }
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::new(Schema::new(fields)),
        arrays,
        &options,
    )?)
}

/// The same bytes with offsets beside them.
fn variable_width(ids: &FixedSizeBinaryArray) -> Result<BinaryArray, LakeError> {
    let width = ids.value_length() as usize;
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(width, ids.len()));
    Ok(BinaryArray::try_new(
        offsets,
        ids.values().clone(),
        ids.nulls().cloned(),
    )?)
}

/// The same bytes without offsets.
fn fixed_width(ids: &BinaryArray, width: i32) -> Result<FixedSizeBinaryArray, LakeError> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(ids.len(), width);
    for id in ids {
        match id {
            Some(id) => builder.append_value(id)?,
            None => builder.append_null(),
        }
    }
    Ok(builder.finish())
}

#[cfg(test)]
mod tests;

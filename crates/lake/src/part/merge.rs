//! Rows of different schemas brought under one.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use schema::{Dataset, columns};

use crate::LakeError;

/// Rows of one dataset, column by column.
#[derive(Debug)]
pub struct Merged {
    /// Fixed columns in the dataset's order, then attribute columns by name.
    pub schema: SchemaRef,
    /// One array per field.
    pub columns: Vec<ArrayRef>,
    /// Number of rows.
    pub rows: usize,
}

impl Merged {
    /// The column of a name.
    pub fn column(&self, name: &str) -> Option<&ArrayRef> {
        self.schema.index_of(name).ok().map(|index| &self.columns[index])
    }
}

/// Concatenates batches of a dataset. A column that a batch lacks is null there; text that is dictionary-encoded
/// everywhere stays so, otherwise it becomes plain.
///
/// # Errors
/// [`LakeError::Arrow`] if a column has types that do not go together.
pub fn merge(dataset: Dataset, batches: Vec<RecordBatch>) -> Result<Merged, LakeError> {
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let mut extra = BTreeMap::new();
    let fixed = columns::fixed(dataset);
    for batch in &batches {
        for field in batch.schema().fields() {
            if !fixed.iter().any(|f| f.name() == field.name()) {
                extra.insert(field.name().clone(), ());
            }
        }
    }
    let names = fixed
        .iter()
        .map(|f| f.name().clone())
        .chain(extra.into_keys())
        .collect::<Vec<_>>();
    let mut fields = Vec::with_capacity(names.len());
    let mut arrays = Vec::with_capacity(names.len());
    for name in names {
        let present = batches
            .iter()
            .filter_map(|b| b.column_by_name(&name))
            .collect::<Vec<_>>();
        let required = fixed.iter().any(|f| *f.name() == name && !f.is_nullable());
        let Some(first) = present.first() else {
            // Nobody has it: readers know it as null.
            continue;
        };
        let dictionary = present
            .iter()
            .all(|a| matches!(a.data_type(), DataType::Dictionary(_, _)));
        let data_type = match first.data_type() {
            DataType::Dictionary(_, value) if !dictionary => value.as_ref().clone(),
            other => other.clone(),
        };
        let mut parts = Vec::with_capacity(batches.len());
        for batch in &batches {
            parts.push(match batch.column_by_name(&name) {
                Some(array) if *array.data_type() == data_type => Arc::clone(array),
                Some(array) => cast(array, &data_type)?,
                None => new_null_array(&data_type, batch.num_rows()),
            });
        }
        let parts = parts.iter().map(AsRef::as_ref).collect::<Vec<_>>();
        let array = concat(&parts)?;
        fields.push(Field::new(&name, array.data_type().clone(), !required));
        arrays.push(array);
    }
    Ok(Merged {
        schema: Arc::new(Schema::new(fields)),
        columns: arrays,
        rows,
    })
}

//! Rows of different schemas brought under one.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use schema::sparse::{SparseArray, SparseBatch};
use schema::{Dataset, columns};

use crate::LakeError;

/// Rows of one dataset, column by column.
#[derive(Debug)]
pub struct Merged {
    /// Fixed columns in the dataset's order, then attribute columns by name.
    pub schema: SchemaRef,
    /// One column per field.
    pub columns: Vec<SparseArray>,
    /// Number of rows.
    pub rows: usize,
    /// Numbers of the rows with which the slices and parts begin that the rows came from; empty if that is not known.
    pub inputs: Vec<u32>,
}

impl Merged {
    /// The column of a name.
    pub fn column(&self, name: &str) -> Option<&SparseArray> {
        self.schema.index_of(name).ok().map(|index| &self.columns[index])
    }
}

/// Concatenates batches of a dataset. A column that a batch lacks is null there; text that is dictionary-encoded
/// everywhere stays so, otherwise it becomes plain.
///
/// # Errors
/// [`LakeError::Arrow`] if a column has types that do not go together.
pub fn merge(dataset: Dataset, batches: &[Arc<SparseBatch>]) -> Result<Merged, LakeError> {
    let rows = batches.iter().map(|b| b.num_rows()).sum();
    let fixed = columns::fixed(dataset);
    let is_fixed = |name: &str| fixed.iter().any(|f| f.name() == name);
    let all = batches.iter().flat_map(|b| b.columns()).map(|(name, _)| name.as_str());
    let extra = all.filter(|name| !is_fixed(name)).collect::<BTreeSet<_>>();
    let names = fixed.iter().map(|f| f.name().as_str()).chain(extra);
    let mut fields = Vec::new();
    let mut merged = Vec::new();
    for name in names {
        let parts = batches
            .iter()
            .map(|b| (b.num_rows(), b.column(name)))
            .collect::<Vec<_>>();
        let required = fixed.iter().any(|f| f.name() == name && !f.is_nullable());
        let types = || parts.iter().filter_map(|(_, c)| Some(c.as_ref()?.data_type()));
        let Some(first) = types().next() else {
            // Nobody has it: readers know it as null.
            continue;
        };
        let data_type = match first {
            DataType::Dictionary(_, value) if !types().all(|t| t == first) => value.as_ref(),
            other => other,
        };
        let parts = parts.iter().map(|(rows, column)| {
            let column = column.map(|column| match column.data_type() == data_type {
                true => Ok(column.clone()),
                false => SparseArray::try_new(column.validity().cloned(), cast(column.values(), data_type)?),
            });
            Ok((*rows, column.transpose()?))
        });
        merged.push(SparseArray::concat(&parts.collect::<Result<Vec<_>, LakeError>>()?)?);
        fields.push(Field::new(name, data_type.clone(), !required));
    }
    Ok(Merged {
        schema: Arc::new(Schema::new(fields)),
        columns: merged,
        rows,
        inputs: Vec::new(),
    })
}

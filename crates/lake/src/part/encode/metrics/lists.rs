//! List columns of chunks: building and reading.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, ListArray, PrimitiveArray, RecordBatch};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use schema::columns::item_field;

/// A nullable list column under construction.
#[derive(Debug)]
pub(super) struct ListBuilder<T: ArrowPrimitiveType> {
    offsets: Vec<i32>,
    values: Vec<T::Native>,
    valid: Vec<bool>,
}

impl<T: ArrowPrimitiveType> ListBuilder<T> {
    pub(super) fn new(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self {
            offsets,
            values: Vec::new(),
            valid: Vec::with_capacity(rows),
        }
    }

    /// Appends a list; `None` is null.
    pub(super) fn push(&mut self, items: Option<impl Iterator<Item = T::Native>>) {
        self.valid.push(items.is_some());
        self.values.extend(items.into_iter().flatten());
        // No list column of points has as many items as its points have, and those fit.
        self.offsets.push(self.values.len() as i32);
    }

    pub(super) fn push_null(&mut self) {
        self.push(None::<std::iter::Empty<T::Native>>);
    }

    pub(super) fn finish(self) -> ArrayRef {
        Arc::new(ListArray::new(
            item_field(T::DATA_TYPE),
            OffsetBuffer::new(ScalarBuffer::from(self.offsets)),
            Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(self.values), None)),
            Some(NullBuffer::from(self.valid)),
        ))
    }
}

/// A list column of numbers.
#[derive(Debug)]
pub(super) struct Lists<'a, T: ArrowPrimitiveType> {
    array: &'a ListArray,
    values: &'a [T::Native],
}

// Derived, these would ask the same of `T`.
impl<T: ArrowPrimitiveType> Clone for Lists<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ArrowPrimitiveType> Copy for Lists<'_, T> {}

impl<'a, T: ArrowPrimitiveType> Lists<'a, T> {
    /// The column of a name, if it is there and has lists of this type.
    pub(super) fn of(batch: &'a RecordBatch, name: &str) -> Option<Self> {
        let array = batch.column_by_name(name)?.as_list_opt::<i32>()?;
        let values = array.values().as_primitive_opt::<T>()?.values();
        Some(Self { array, values })
    }

    /// The list of a row; `None` if it is null.
    #[inline]
    pub(super) fn get(&self, row: usize) -> Option<&'a [T::Native]> {
        let offsets = self.array.value_offsets();
        self.array
            .is_valid(row)
            .then(|| &self.values[offsets[row] as usize..offsets[row + 1] as usize])
    }
}

//! Sparse columns of numbers, booleans, ids and lists.

use std::sync::Arc;

use arrow::array::{ArrowPrimitiveType, BooleanArray, FixedSizeBinaryArray, ListArray, PrimitiveArray};
use arrow::buffer::{BooleanBuffer, Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use schema::columns::item_field;
use schema::sparse::SparseArray;

use super::row_numbers::RowNumbers;

/// Arrow offsets of texts or lists that end at `ends`.
pub(super) fn offsets(ends: &[u32]) -> OffsetBuffer<i32> {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0i32);
    offsets.extend(ends.iter().map(|&end| end as i32));
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

/// A nullable column of primitive values.
#[derive(Debug)]
pub struct NumberColumn<T: ArrowPrimitiveType> {
    rows: RowNumbers,
    values: Vec<T::Native>,
}

impl<T: ArrowPrimitiveType> Default for NumberColumn<T> {
    fn default() -> Self {
        Self {
            rows: RowNumbers::default(),
            values: Vec::new(),
        }
    }
}

impl<T: ArrowPrimitiveType> NumberColumn<T> {
    /// Sets the value of `row`; a second value for the same row replaces the first.
    #[inline]
    pub fn push(&mut self, row: u32, value: T::Native) {
        if self.rows.ends_with(row) {
            let last = self.values.len() - 1;
            self.values[last] = value;
            return;
        }
        self.rows.push(row);
        self.values.push(value);
    }

    /// Takes back the value of `row` if it is the last row set.
    pub fn unset(&mut self, row: u32) {
        if self.rows.ends_with(row) {
            self.rows.pop();
            self.values.pop();
        }
    }

    /// Drops the values of rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        let len = self.rows.truncate(rows);
        self.values.truncate(len);
    }

    /// The least and greatest value.
    pub fn range(&self) -> Option<(T::Native, T::Native)>
    where
        T::Native: Ord,
    {
        Some((*self.values.iter().min()?, *self.values.iter().max()?))
    }

    /// The values among `total` rows, or `None` if no row has one. The column is empty afterwards.
    pub fn finish(&mut self, total: usize, data_type: &DataType) -> Option<SparseArray> {
        let room = Vec::with_capacity(self.values.len());
        let values = std::mem::replace(&mut self.values, room);
        let array = PrimitiveArray::<T>::new(ScalarBuffer::from(values), None);
        self.rows
            .finish(total, Arc::new(array.with_data_type(data_type.clone())))
    }
}

/// A nullable column of booleans.
#[derive(Debug, Default)]
pub struct BoolColumn {
    rows: RowNumbers,
    values: Vec<bool>,
}

impl BoolColumn {
    /// Sets the value of `row`; the last one wins.
    #[inline]
    pub fn push(&mut self, row: u32, value: bool) {
        if self.rows.ends_with(row) {
            let last = self.values.len() - 1;
            self.values[last] = value;
            return;
        }
        self.rows.push(row);
        self.values.push(value);
    }

    /// Takes back the value of `row` if it is the last row set.
    pub fn unset(&mut self, row: u32) {
        if self.rows.ends_with(row) {
            self.rows.pop();
            self.values.pop();
        }
    }

    /// Drops the values of rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        let len = self.rows.truncate(rows);
        self.values.truncate(len);
    }

    /// The values among `total` rows, or `None` if no row has one. The column is empty afterwards.
    pub fn finish(&mut self, total: usize) -> Option<SparseArray> {
        let values = BooleanArray::new(BooleanBuffer::from(self.values.as_slice()), None);
        self.values.clear();
        self.rows.finish(total, Arc::new(values))
    }
}

/// A nullable column of ids of `N` bytes.
#[derive(Debug, Default)]
pub struct IdColumn<const N: usize> {
    rows: RowNumbers,
    bytes: Vec<u8>,
}

impl<const N: usize> IdColumn<N> {
    /// Sets the id of `row`, which must be greater than every row set before.
    #[inline]
    pub fn push(&mut self, row: u32, id: &[u8; N]) {
        self.rows.push(row);
        self.bytes.extend_from_slice(id);
    }

    /// Drops the ids of rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        let len = self.rows.truncate(rows);
        self.bytes.truncate(len * N);
    }

    /// The ids among `total` rows, or `None` if no row has one. The column is empty afterwards.
    pub fn finish(&mut self, total: usize) -> Option<SparseArray> {
        let room = Vec::with_capacity(self.bytes.len());
        let bytes = Buffer::from_vec(std::mem::replace(&mut self.bytes, room));
        self.rows
            .finish(total, Arc::new(FixedSizeBinaryArray::new(N as i32, bytes, None)))
    }
}

/// A nullable column of lists of numbers.
#[derive(Debug)]
pub struct ListColumn<T: ArrowPrimitiveType> {
    rows: RowNumbers,
    ends: Vec<u32>,
    values: Vec<T::Native>,
}

impl<T: ArrowPrimitiveType> Default for ListColumn<T> {
    fn default() -> Self {
        Self {
            rows: RowNumbers::default(),
            ends: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl<T: ArrowPrimitiveType> ListColumn<T> {
    /// Sets the list of `row`, which must be greater than every row set before.
    pub fn push(&mut self, row: u32, items: &[T::Native]) {
        self.rows.push(row);
        self.values.extend_from_slice(items);
        self.ends.push(self.values.len() as u32);
    }

    /// Drops the lists of rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        let len = self.rows.truncate(rows);
        self.ends.truncate(len);
        self.values.truncate(self.ends.last().map_or(0, |&e| e as usize));
    }

    /// The lists among `total` rows, or `None` if no row has one. The column is empty afterwards.
    pub fn finish(&mut self, total: usize) -> Option<SparseArray> {
        let values = PrimitiveArray::<T>::new(ScalarBuffer::from(std::mem::take(&mut self.values)), None);
        let offsets = offsets(&self.ends);
        self.ends.clear();
        let lists = ListArray::new(item_field(T::DATA_TYPE), offsets, Arc::new(values), None);
        self.rows.finish(total, Arc::new(lists))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Int64Type, UInt64Type};

    use super::*;

    #[test]
    fn numbers_become_dense_and_the_last_value_of_a_row_wins() {
        let mut column = NumberColumn::<Int64Type>::default();
        column.push(1, 10);
        column.push(1, 11);
        column.push(3, 30);
        column.push(4, 40);
        column.truncate(4);
        let array = column.finish(5, &DataType::Int64).unwrap().dense();
        let values: Vec<_> = array.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(values, [None, Some(11), None, Some(30), None]);
        assert!(column.finish(5, &DataType::Int64).is_none());
    }

    #[test]
    fn lists_keep_gaps_and_empty_lists_apart() {
        let mut column = ListColumn::<UInt64Type>::default();
        column.push(1, &[1, 2]);
        column.push(3, &[]);
        column.push(4, &[3]);
        column.push(6, &[9]);
        column.truncate(6);
        let array = column.finish(6).unwrap().dense();
        let list = array.as_list::<i32>();
        let lens: Vec<_> = (0..6).map(|i| list.is_valid(i).then(|| list.value(i).len())).collect();
        assert_eq!(lens, [None, Some(2), None, Some(0), Some(1), None]);
        assert_eq!(list.value(4).as_primitive::<UInt64Type>().values(), &[3]);
    }

    #[test]
    fn ids_and_booleans_become_dense() {
        let mut ids = IdColumn::<2>::default();
        ids.push(0, b"ab");
        ids.push(2, b"cd");
        let array = ids.finish(3).unwrap().dense();
        let array = array.as_fixed_size_binary();
        assert_eq!(
            (array.value(0), array.is_null(1), array.value(2)),
            (&b"ab"[..], true, &b"cd"[..])
        );
        let mut flags = BoolColumn::default();
        flags.push(1, true);
        let array = flags.finish(2).unwrap().dense();
        assert!(array.is_null(0) && array.as_boolean().value(1));
    }
}

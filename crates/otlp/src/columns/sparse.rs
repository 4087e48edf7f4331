//! Sparse columns of numbers, booleans, ids and lists.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, BooleanArray, FixedSizeBinaryArray, ListArray, PrimitiveArray};
use arrow::buffer::{BooleanBuffer, Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use schema::columns::item_field;

use super::row_numbers::RowNumbers;

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

    /// The dense array of `total` rows, or `None` if no row has a value. The column is empty afterwards.
    pub fn finish(&mut self, total: usize, data_type: &DataType) -> Option<ArrayRef> {
        if self.rows.is_empty() {
            return None;
        }
        let nulls = self.rows.validity(total);
        let values = if nulls.is_none() {
            let room = Vec::with_capacity(self.values.len());
            std::mem::replace(&mut self.values, room)
        } else {
            self.rows.spread(&self.values, total, |value| value)
        };
        self.rows.clear();
        self.values.clear();
        let array = PrimitiveArray::<T>::new(ScalarBuffer::from(values), nulls);
        Some(Arc::new(array.with_data_type(data_type.clone())))
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

    /// The dense array of `total` rows, or `None` if no row has a value. The column is empty afterwards.
    pub fn finish(&mut self, total: usize) -> Option<ArrayRef> {
        if self.rows.is_empty() {
            return None;
        }
        let nulls = self.rows.validity(total);
        let mut bits = vec![0u8; total.div_ceil(8)];
        for (row, &value) in self.rows.iter().zip(&self.values) {
            bits[row as usize / 8] |= u8::from(value) << (row % 8);
        }
        self.rows.clear();
        self.values.clear();
        Some(Arc::new(BooleanArray::new(
            BooleanBuffer::new(Buffer::from_vec(bits), 0, total),
            nulls,
        )))
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

    /// The dense array of `total` rows, or `None` if no row has an id. The column is empty afterwards.
    pub fn finish(&mut self, total: usize) -> Option<ArrayRef> {
        if self.rows.is_empty() {
            return None;
        }
        let nulls = self.rows.validity(total);
        let bytes = if nulls.is_none() {
            let room = Vec::with_capacity(self.bytes.len());
            std::mem::replace(&mut self.bytes, room)
        } else {
            let (ids, _) = self.bytes.as_chunks::<N>();
            let mut dense = vec![0u8; total * N];
            let (start, behind) = ids.split_at(self.rows.dense());
            dense[..start.len() * N].copy_from_slice(start.as_flattened());
            for (&row, id) in self.rows.sparse().iter().zip(behind) {
                dense[row as usize * N..][..N].copy_from_slice(id);
            }
            dense
        };
        self.rows.clear();
        self.bytes.clear();
        Some(Arc::new(FixedSizeBinaryArray::new(
            N as i32,
            Buffer::from_vec(bytes),
            nulls,
        )))
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

    /// The dense array of `total` rows, or `None` if no row has a list. The column is empty afterwards.
    pub fn finish(&mut self, total: usize) -> Option<ArrayRef> {
        if self.rows.is_empty() {
            return None;
        }
        let nulls = self.rows.validity(total);
        let offsets = self.rows.offsets(&self.ends, total);
        let values = PrimitiveArray::<T>::new(ScalarBuffer::from(std::mem::take(&mut self.values)), None);
        self.rows.clear();
        self.ends.clear();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Some(Arc::new(ListArray::new(
            item_field(T::DATA_TYPE),
            offsets,
            Arc::new(values),
            nulls,
        )))
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
        let array = column.finish(5, &DataType::Int64).unwrap();
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
        let array = column.finish(6).unwrap();
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
        let array = ids.finish(3).unwrap();
        let array = array.as_fixed_size_binary();
        assert_eq!(
            (array.value(0), array.is_null(1), array.value(2)),
            (&b"ab"[..], true, &b"cd"[..])
        );
        let mut flags = BoolColumn::default();
        flags.push(1, true);
        let array = flags.finish(2).unwrap();
        assert!(array.is_null(0) && array.as_boolean().value(1));
    }
}

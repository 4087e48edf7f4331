//! Which rows of a sparse column have a value.

use arrow::array::ArrayRef;
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use schema::sparse::SparseArray;

/// Ascending row numbers. As long as no row is missing, only their count is kept: most fixed columns have a value in
/// every row.
#[derive(Debug, Default)]
pub(super) struct RowNumbers {
    /// Rows 0 to `dense` - 1 are all there.
    dense: u32,
    /// The rows behind them, after the first gap.
    sparse: Vec<u32>,
}

impl RowNumbers {
    pub(super) fn len(&self) -> usize {
        self.dense as usize + self.sparse.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.dense == 0 && self.sparse.is_empty()
    }

    /// Whether `row` is the last one.
    #[inline]
    pub(super) fn ends_with(&self, row: u32) -> bool {
        match self.sparse.last() {
            Some(&last) => last == row,
            None => self.dense == row.wrapping_add(1),
        }
    }

    /// Adds a row, which must be greater than every row before.
    #[inline]
    pub(super) fn push(&mut self, row: u32) {
        if row == self.dense && self.sparse.is_empty() {
            self.dense += 1;
        } else {
            self.sparse.push(row);
        }
    }

    /// Removes the last row.
    pub(super) fn pop(&mut self) {
        if self.sparse.pop().is_none() {
            self.dense = self.dense.saturating_sub(1);
        }
    }

    /// Drops rows from `limit` on and returns how many are left.
    pub(super) fn truncate(&mut self, limit: usize) -> usize {
        // Truncation drops a handful of rows at the end, so walk backwards.
        while self.sparse.last().is_some_and(|&row| row as usize >= limit) {
            self.sparse.pop();
        }
        if self.sparse.is_empty() {
            self.dense = self.dense.min(u32::try_from(limit).unwrap_or(u32::MAX));
        }
        self.len()
    }

    /// Forgets all rows and keeps the allocation.
    pub(super) fn clear(&mut self) {
        self.dense = 0;
        self.sparse.clear();
    }

    /// The validity among `total` rows; `None` when every row is present.
    fn validity(&self, total: usize) -> Option<NullBuffer> {
        if self.len() == total {
            return None;
        }
        let mut bits = vec![0u8; total.div_ceil(8)];
        let dense = self.dense as usize;
        bits[..dense / 8].fill(0xff);
        if !dense.is_multiple_of(8) {
            bits[dense / 8] = (1 << (dense % 8)) - 1;
        }
        for &row in &self.sparse {
            bits[row as usize / 8] |= 1 << (row % 8);
        }
        Some(NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, total)))
    }

    /// The column of these rows' `values` among `total` rows, or `None` if there is no row. No row is left.
    pub(super) fn finish(&mut self, total: usize, values: ArrayRef) -> Option<SparseArray> {
        if self.is_empty() {
            return None;
        }
        let validity = self.validity(total);
        self.clear();
        // Columns push one value with each row and never more rows than the batch has.
        let column = SparseArray::try_new(validity, values);
        debug_assert!(column.is_ok());
        column.ok()
    }
}

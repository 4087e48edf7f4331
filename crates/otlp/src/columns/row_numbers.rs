//! Which rows of a sparse column have a value.

use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};

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

    /// How many rows are there before the first gap.
    pub(super) fn dense(&self) -> usize {
        self.dense as usize
    }

    /// The rows behind the first gap.
    pub(super) fn sparse(&self) -> &[u32] {
        &self.sparse
    }

    /// All rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.dense).chain(self.sparse.iter().copied())
    }

    /// The validity among `total` rows; `None` when every row is present.
    pub(super) fn validity(&self, total: usize) -> Option<NullBuffer> {
        if self.len() == total {
            return None;
        }
        let mut bits = vec![0u8; total.div_ceil(8)];
        let dense = self.dense as usize;
        bits[..dense / 8].fill(0xff);
        if dense % 8 > 0 {
            bits[dense / 8] = (1 << (dense % 8)) - 1;
        }
        for &row in &self.sparse {
            bits[row as usize / 8] |= 1 << (row % 8);
        }
        Some(NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, total)))
    }

    /// Spreads values, one per row, over `total` rows; the others get `T`'s default.
    pub(super) fn spread<S: Copy, T: Copy + Default>(&self, values: &[S], total: usize, to: impl Fn(S) -> T) -> Vec<T> {
        let (dense, sparse) = values.split_at(self.dense());
        let mut out = Vec::with_capacity(total);
        out.extend(dense.iter().map(|&value| to(value)));
        out.resize(total, T::default());
        for (&row, &value) in self.sparse.iter().zip(sparse) {
            out[row as usize] = to(value);
        }
        out
    }

    /// Arrow offsets of texts or lists that end at `ends`, over `total` rows; missing rows are empty.
    pub(super) fn offsets(&self, ends: &[u32], total: usize) -> Vec<i32> {
        let (dense, sparse) = ends.split_at(self.dense());
        let mut offsets = Vec::with_capacity(total + 1);
        offsets.push(0i32);
        offsets.extend(dense.iter().map(|&end| end as i32));
        let mut end = dense.last().map_or(0, |&end| end as i32);
        for (&row, &row_end) in self.sparse.iter().zip(sparse) {
            offsets.resize(row as usize + 1, end);
            end = row_end as i32;
        }
        offsets.resize(total + 1, end);
        offsets
    }
}

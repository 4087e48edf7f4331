//! The second line against duplicates: of rows that are equal in every column, a part keeps one.
//!
//! A repeated request is recognised when it is committed (`ingest_dedupe` of the catalog). What comes here is the rest: a
//! client that repeats after that window, or packs the same items into other requests. Rows are compared where the order
//! of a part has brought those together that can be equal, so rows that have no neighbour of the same ids and time cost
//! next to nothing. Rows in different parts meet when the parts are merged.
//!
//! Equal means equal in every stored column, bit for bit. Rows that differ anywhere are both data; which of them is right
//! is not for storage to say (docs/decisions/0011).

use std::cmp::Ordering;

use arrow::array::{DynComparator, make_comparator};
use arrow::compute::SortOptions;
use schema::sparse::Picker;

use super::merge::Merged;
use crate::LakeError;

/// How often equal rows may stand in a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeats {
    /// Once: the row says something about an instant of a series or of a span, and saying it twice adds nothing.
    Once,
    /// As often as in the input that has it most often: whoever logs the same line twice within the resolution of the
    /// clock means two lines. The result does not depend on which inputs are merged first.
    AsInOneInput,
}

/// Finds and drops copies among rows that are about to be written.
pub(super) struct Copies<'a> {
    merged: &'a Merged,
    repeats: Repeats,
    /// Made when the first candidates are met: most parts have none.
    columns: Option<Vec<Column<'a>>>,
    /// Rows dropped so far.
    pub dropped: usize,
}

struct Column<'a> {
    places: Picker<'a>,
    compare: DynComparator,
}

impl<'a> Copies<'a> {
    pub(super) fn new(merged: &'a Merged, repeats: Repeats) -> Self {
        Self {
            merged,
            repeats,
            columns: None,
            dropped: 0,
        }
    }

    /// Drops copies from `rows`, in which those that can be equal are neighbours: `alike` says whether two are.
    pub(super) fn drop_neighbours(
        &mut self,
        rows: &mut Vec<u32>,
        alike: impl Fn(u32, u32) -> bool,
    ) -> Result<(), LakeError> {
        let (mut from, mut kept) = (0, 0);
        while from < rows.len() {
            let run = rows[from..].iter().take_while(|&&row| alike(rows[from], row)).count();
            let left = match run {
                1 => 1,
                _ => self.keep(&mut rows[from..from + run])?,
            };
            if kept < from {
                rows.copy_within(from..from + left, kept);
            }
            (from, kept) = (from + run, kept + left);
        }
        rows.truncate(kept);
        Ok(())
    }

    /// Brings those of the rows that stay to the front, ascending, and returns how many they are.
    pub(super) fn keep(&mut self, rows: &mut [u32]) -> Result<usize, LakeError> {
        let columns = match self.columns.take() {
            Some(columns) => columns,
            None => columns_of(self.merged)?,
        };
        rows.sort_unstable_by(|&a, &b| compare(&columns, a, b).then(a.cmp(&b)));
        let (mut from, mut kept) = (0, 0);
        while from < rows.len() {
            let equal = rows[from..].iter();
            let equal = equal.take_while(|&&row| compare(&columns, rows[from], row).is_eq());
            let equal = equal.count();
            let left = match self.repeats {
                Repeats::Once => 1,
                Repeats::AsInOneInput => self.most_in_one_input(&rows[from..from + equal]),
            };
            rows.copy_within(from..from + left, kept);
            (from, kept) = (from + equal, kept + left);
        }
        rows[..kept].sort_unstable();
        self.dropped += rows.len() - kept;
        self.columns = Some(columns);
        Ok(kept)
    }

    /// The greatest number of the rows, which ascend, that came from one input.
    fn most_in_one_input(&self, rows: &[u32]) -> usize {
        let input = |row: u32| self.merged.inputs.partition_point(|&start| start <= row);
        let runs = rows.chunk_by(|&a, &b| input(a) == input(b));
        runs.map(<[u32]>::len).max().unwrap_or(0)
    }
}

fn columns_of(merged: &Merged) -> Result<Vec<Column<'_>>, LakeError> {
    let column = |array: &'_ schema::sparse::SparseArray| -> Result<DynComparator, LakeError> {
        Ok(make_comparator(array.values(), array.values(), SortOptions::default())?)
    };
    let columns = merged.columns.iter().map(|array| {
        Ok(Column {
            places: Picker::new(array),
            compare: column(array)?,
        })
    });
    columns.collect()
}

/// An order of rows in which equal rows, and no others, are equal.
fn compare(columns: &[Column<'_>], a: u32, b: u32) -> Ordering {
    let of_column = |column: &Column<'_>| match (column.places.place(a), column.places.place(b)) {
        (Some(a), Some(b)) => (column.compare)(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    };
    let unequal = columns.iter().map(of_column).find(|order| order.is_ne());
    unequal.unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests;

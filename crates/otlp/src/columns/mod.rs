//! Columns under construction: what the decoder appends to, row by row, and turns into Arrow arrays at a commit.
//!
//! Every column is sparse: it holds (row, value) pairs and is made dense once, at the end, because most attributes
//! are absent from most rows. Columns are truncated to an earlier row when an item or a whole request turns out to be
//! invalid. A column without a value is left out of the batch.

mod attributes;
mod interner;
mod row_numbers;
mod sparse;
mod text;

pub use attributes::{AttributeColumns, ColumnAdmission, Owner, RestOnly};
pub use interner::Interner;
pub use sparse::{BoolColumn, IdColumn, ListColumn, NumberColumn};
pub use text::{PlainTextColumn, TextColumn};

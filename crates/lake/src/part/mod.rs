//! Parts: sorted Parquet objects that compaction makes of slices and of smaller parts.
//!
//! `encode` turns logical columns into those that are stored (and back), `merge` brings rows of different schemas together,
//! `order` decides where each row goes, `duplicates` which rows say nothing new, `write` makes the Parquet object, `index`
//! finds the rows of a trace in it, `pages` and below it `texts` and `runs` decode single values for those who want few.

mod distinct;
mod duplicates;
mod encode;
pub mod index;
mod levels;
mod merge;
mod order;
pub(crate) mod pages;
mod runs;
pub(crate) mod texts;
mod write;

pub use encode::{BlockColumn, Chunks, block_columns, body, decode};
pub(crate) use encode::{decode_blocks, encode_rows};
pub use merge::{Merged, merge};
pub use order::{BLOCK_ROWS, ROW_GROUP_ROWS};
pub use write::{WrittenPart, write};

/// Version of the part format.
pub const FORMAT_VERSION: i32 = 1;

//! Parts: sorted Parquet objects that compaction makes of slices and of smaller parts.
//!
//! `encode` turns logical columns into those that are stored (and back), `merge` brings rows of different schemas together,
//! `order` decides where each row goes, `duplicates` which rows say nothing new, `write` makes the Parquet object, `index`
//! finds the rows of a trace in it, `pages` and below it `texts` and `runs` decode single values for those who want few.

use parquet::file::metadata::ParquetMetaData;

use crate::LakeError;

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

pub use encode::{BlockColumn, Chunks, block_columns, body, decode, stored_fields};
pub(crate) use encode::{decode_blocks, encode_rows};
pub use merge::{Merged, merge};
pub use order::{BLOCK_ROWS, ROW_GROUP_ROWS};
pub use write::{WrittenPart, write};

/// Version of the part format.
pub const FORMAT_VERSION: i32 = 1;

/// Name of the entry of the footer's metadata that says what the part is: dataset and version of the format.
const FORMAT_KEY: &str = "otlp_rust.format";

/// Refuses a part of a format that this program does not know. Parts say their version themselves.
///
/// # Errors
/// [`LakeError::NewerFormat`], or [`LakeError::Damaged`] if the footer says nothing of a version.
pub(crate) fn check_version(footer: &ParquetMetaData, path: &str) -> Result<(), LakeError> {
    let entries = footer.file_metadata().key_value_metadata();
    let format = entries.and_then(|entries| entries.iter().find(|entry| entry.key == FORMAT_KEY));
    let version = format.and_then(|format| format.value.as_ref()?.rsplit(' ').next()?.parse::<i64>().ok());
    match version {
        Some(found) if found > i64::from(FORMAT_VERSION) => Err(LakeError::NewerFormat {
            path: path.to_owned(),
            found,
            known: FORMAT_VERSION.into(),
        }),
        Some(_) => Ok(()),
        None => Err(LakeError::Damaged {
            path: path.to_owned(),
            what: format!("its footer has no version of the format ({FORMAT_KEY})"),
        }),
    }
}

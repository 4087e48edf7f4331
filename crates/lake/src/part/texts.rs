//! Single values out of pages of texts and ids.

use std::ops::Range;

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::Page;
use parquet::errors::{ParquetError, Result};

use super::pages::Levels;
use super::runs::Runs;

/// The values of a page, none of them null.
pub(crate) enum Values {
    /// Places in the chunk's dictionary.
    Codes(Runs),
    /// Lengths and bytes.
    Plain(Bytes),
}

/// A data page of texts or ids.
pub(crate) struct TextPage {
    valid: Option<Runs>,
    rows: usize,
    pub(crate) values: Values,
}

impl TextPage {
    /// Reads the levels of a page of a column that is not nested.
    ///
    /// # Errors
    /// When the page is damaged.
    pub(crate) fn of(page: &Page, max_definition: i16) -> Result<Self> {
        let levels = Levels::of(page, 0, max_definition)?;
        let count = levels.definition.as_ref().map_or(levels.count, Runs::ones);
        let mut bytes = levels.values;
        let values = match levels.encoding {
            Encoding::PLAIN => Values::Plain(bytes),
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
                // Without a value the width may be missing, too.
                let width = if bytes.is_empty() { 0 } else { bytes.split_to(1)[0] };
                Values::Codes(Runs::parse(bytes, width.into(), count)?)
            }
            other => return Err(ParquetError::NYI(format!("texts as {other}"))),
        };
        Ok(Self {
            valid: levels.definition,
            rows: levels.count,
            values,
        })
    }

    /// The number of a row's value among the page's values; `None` if it is null.
    pub(crate) fn value_of(&self, row: usize) -> Option<usize> {
        match &self.valid {
            None => (row < self.rows).then_some(row),
            Some(valid) => (valid.get(row) == 1).then(|| valid.ones_before(row)),
        }
    }

    /// The rows with this value. `dictionary` is the chunk's.
    ///
    /// # Errors
    /// When the page is damaged.
    pub(crate) fn rows_with(&self, value: &[u8], dictionary: Option<&Bytes>) -> Result<Vec<usize>> {
        let matching = match &self.values {
            Values::Codes(codes) => {
                let dictionary = dictionary.ok_or_else(no_dictionary)?;
                let code = plain(dictionary, usize::MAX)?.position(|range| dictionary[range] == *value);
                let Some(code) = code.and_then(|code| u32::try_from(code).ok()) else {
                    return Ok(Vec::new());
                };
                codes.iter().map(|number| number == code).collect::<Vec<_>>()
            }
            Values::Plain(bytes) => plain(bytes, usize::MAX)?.map(|range| bytes[range] == *value).collect(),
        };
        let of_row = |row: &usize| {
            let number = self.value_of(*row)?;
            matching.get(number).copied()
        };
        Ok((0..self.rows).filter(|row| of_row(row) == Some(true)).collect())
    }
}

pub(crate) fn no_dictionary() -> ParquetError {
    ParquetError::General("codes without a dictionary".to_owned())
}

/// Where the first `count` values lie in bytes that have a length before each, or all if they are fewer.
///
/// # Errors
/// When a value goes beyond the end.
pub(crate) fn plain(bytes: &[u8], count: usize) -> Result<impl Iterator<Item = Range<usize>>> {
    let mut places = Vec::new();
    let mut at = 0;
    while at < bytes.len() && places.len() < count {
        let truncated = || ParquetError::EOF("a text goes beyond the end of its page".to_owned());
        let (length, _) = bytes[at..].split_first_chunk::<4>().ok_or_else(truncated)?;
        let start = at + 4;
        at = start + u32::from_le_bytes(*length) as usize;
        if at > bytes.len() {
            return Err(truncated());
        }
        places.push(start..at);
    }
    Ok(places.into_iter())
}

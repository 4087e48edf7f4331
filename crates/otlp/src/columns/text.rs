//! Sparse columns of text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, DictionaryArray, Int32Array, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use schema::sparse::SparseArray;

use super::interner::{Interner, NotUtf8};
use super::row_numbers::RowNumbers;
use super::sparse::offsets;

/// A nullable text column with few distinct values: becomes a dictionary array, or plain text if it turns out
/// that most values are distinct.
#[derive(Debug, Default)]
pub struct TextColumn {
    rows: RowNumbers,
    codes: Vec<u32>,
    texts: Interner,
}

impl TextColumn {
    /// Sets the text of `row`; a second text for the same row replaces the first.
    ///
    /// # Errors
    /// [`NotUtf8`]; nothing is stored then.
    #[inline]
    pub fn push(&mut self, row: u32, text: &[u8]) -> Result<(), NotUtf8> {
        let code = self.texts.intern(text)?;
        self.push_code(row, code);
        Ok(())
    }

    /// Interns a text for use with [`Self::push_code`] until the next [`Self::finish`].
    ///
    /// # Errors
    /// [`NotUtf8`]; nothing is stored then.
    pub fn code(&mut self, text: &[u8]) -> Result<u32, NotUtf8> {
        self.texts.intern(text)
    }

    /// Sets the text of `row` by its code.
    #[inline]
    pub fn push_code(&mut self, row: u32, code: u32) {
        if self.rows.ends_with(row) {
            let last = self.codes.len() - 1;
            self.codes[last] = code;
            return;
        }
        self.rows.push(row);
        self.codes.push(code);
    }

    /// Takes back the text of `row` if it is the last row set.
    pub fn unset(&mut self, row: u32) {
        if self.rows.ends_with(row) {
            self.rows.pop();
            self.codes.pop();
        }
    }

    /// Drops the texts of rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        let len = self.rows.truncate(rows);
        self.codes.truncate(len);
    }

    /// Bytes held, roughly.
    pub fn bytes(&self) -> usize {
        self.rows.len() * 8 + self.texts.text_bytes()
    }

    /// Whether a dictionary would only add a key to each text: more than half are distinct. A few long texts among
    /// them that many rows share must still not be written out for each of those rows.
    fn mostly_distinct(&self) -> bool {
        if self.texts.len() * 2 <= self.rows.len() || self.texts.len() <= 64 {
            return false;
        }
        let plain: usize = self.codes.iter().map(|&code| self.texts.get(code).len()).sum();
        plain <= self.texts.text_bytes() * 2
    }

    /// The texts among `total` rows, or `None` if no row has one. The column is empty afterwards.
    pub fn finish(&mut self, total: usize) -> Option<SparseArray> {
        if self.rows.is_empty() {
            self.texts.clear();
            return None;
        }
        let array: ArrayRef = if self.mostly_distinct() {
            let mut ends = Vec::with_capacity(self.codes.len());
            let mut bytes = Vec::with_capacity(self.texts.text_bytes());
            for &code in &self.codes {
                bytes.extend_from_slice(self.texts.get(code));
                ends.push(bytes.len() as u32);
            }
            self.texts.clear();
            plain(offsets(&ends), bytes)
        } else {
            let keys = self.codes.iter().map(|&code| code as i32).collect::<Vec<_>>();
            let (ends, bytes) = self.texts.take();
            let values = plain(offsets(&ends), bytes);
            let keys = Int32Array::new(ScalarBuffer::from(keys), None);
            // SAFETY: every key is a code given out by the interner whose texts are the values.
            Arc::new(unsafe { DictionaryArray::new_unchecked(keys, values) })
        };
        self.codes.clear();
        self.rows.finish(total, array)
    }
}

/// A nullable text column whose values are mostly distinct, such as log bodies.
#[derive(Debug, Default)]
pub struct PlainTextColumn {
    rows: RowNumbers,
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl PlainTextColumn {
    /// Sets the text of `row`, which must be greater than every row set before.
    ///
    /// # Errors
    /// [`NotUtf8`]; nothing is stored then.
    #[inline]
    pub fn push(&mut self, row: u32, text: &[u8]) -> Result<(), NotUtf8> {
        if simdutf8::basic::from_utf8(text).is_err() {
            return Err(NotUtf8);
        }
        self.rows.push(row);
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32);
        Ok(())
    }

    /// Drops the texts of rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        let len = self.rows.truncate(rows);
        self.ends.truncate(len);
        self.bytes.truncate(self.ends.last().map_or(0, |&e| e as usize));
    }

    /// Bytes held, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.rows.len() * 8
    }

    /// The texts among `total` rows, or `None` if no row has one. The column is empty afterwards.
    pub fn finish(&mut self, total: usize) -> Option<SparseArray> {
        let offsets = offsets(&self.ends);
        self.ends.clear();
        let room = Vec::with_capacity(self.bytes.len());
        let bytes = std::mem::replace(&mut self.bytes, room);
        self.rows.finish(total, plain(offsets, bytes))
    }
}

fn plain(offsets: OffsetBuffer<i32>, bytes: Vec<u8>) -> ArrayRef {
    // SAFETY: every text was checked to be UTF-8 when it was pushed, and offsets lie at text boundaries.
    let array = unsafe { StringArray::new_unchecked(offsets, Buffer::from_vec(bytes), None) };
    debug_assert!(array.to_data().validate_full().is_ok());
    Arc::new(array)
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::compute::cast;
    use arrow::datatypes::DataType;

    use super::*;

    fn texts(array: &ArrayRef) -> Vec<Option<String>> {
        let array = cast(array, &DataType::Utf8).unwrap();
        array.as_string::<i32>().iter().map(|t| t.map(str::to_owned)).collect()
    }

    #[test]
    fn dictionary_and_plain_forms_hold_the_same_texts() {
        for distinct in [3u32, 1000] {
            let mut column = TextColumn::default();
            let mut plain = PlainTextColumn::default();
            let mut expected = vec![None; 2001];
            for row in (1..2000).step_by(2) {
                let text = format!("v{}", row % (distinct * 2));
                column.push(row, text.as_bytes()).unwrap();
                plain.push(row, text.as_bytes()).unwrap();
                expected[row as usize] = Some(text);
            }
            column.push(2000, b"gone").unwrap();
            plain.push(2000, b"gone").unwrap();
            column.truncate(2000);
            plain.truncate(2000);
            let array = column.finish(2001).unwrap().dense();
            assert_eq!(matches!(array.data_type(), DataType::Utf8), distinct == 1000);
            assert_eq!(texts(&array), expected);
            assert_eq!(texts(&plain.finish(2001).unwrap().dense()), expected);
        }
    }

    #[test]
    fn refuses_what_is_not_utf8_and_keeps_the_rest() {
        let mut column = TextColumn::default();
        column.push(0, b"ok").unwrap();
        assert_eq!(column.push(1, b"\xff"), Err(NotUtf8));
        assert_eq!(texts(&column.finish(2).unwrap().dense()), [Some("ok".to_owned()), None]);
    }
}

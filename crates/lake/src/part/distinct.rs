//! Column chunks of texts and ids that repeat: a dictionary and pages of codes.
//!
//! Parquet's writer looks every value up by its bytes and walks over every row of every column, although telemetry's
//! texts come as dictionary arrays and most of its columns are empty in most rows. Here a value is looked up by its
//! key, and what a chunk costs grows with its values, not with its rows. Chunks are plain Parquet, and go into the file as
//! encoded bytes, between those that Parquet's writer makes.

use std::hash::BuildHasher;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Int32Type};
use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable};
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::{ColumnDescPtr, ColumnPath};
use schema::sparse::SparseArray;

use super::levels::{bit_width, put_codes, put_levels};
use crate::LakeError;

/// Dictionaries end here, as those of Parquet's writer do by default: a reader of one page has to read all of it.
const MAX_DICTIONARY_BYTES: usize = 1 << 20;

/// Pages of plain values end here even if they have few rows.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// Statistics keep so much of a least value; it may be shorter than the value.
const MIN_BYTES: usize = 32;

/// Statistics have no greatest value that is longer: it could not be cut.
const MAX_BYTES: usize = 128;

/// Whether [`Distinct::chunk`] writes a column of the schema: texts and ids as bytes, which get a dictionary.
pub(super) fn suits(field: &Field, properties: &WriterProperties) -> bool {
    let path = ColumnPath::from(field.name().as_str());
    let suits = match field.data_type() {
        DataType::Utf8 | DataType::Binary => true,
        DataType::Dictionary(key, value) => **key == DataType::Int32 && **value == DataType::Utf8,
        _ => false,
    };
    suits && properties.dictionary_enabled(&path) && matches!(properties.compression(&path), Compression::ZSTD(_))
}

/// Writes chunks, one after the other; keeps its memory from one to the next.
pub(super) struct Distinct {
    compressor: zstd::bulk::Compressor<'static>,
    compression: Compression,
    page_rows: usize,
    hasher: DefaultHashBuilder,
    /// Code + 1 of each key of the array's dictionary, 0 for keys not seen in this chunk.
    by_key: Vec<u32>,
    seen: Vec<u32>,
    by_value: HashTable<u32>,
    dictionary: Dictionary,
    codes: Vec<u32>,
    page: Vec<u8>,
}

/// Distinct values in order of appearance, as in a dictionary page: lengths and bytes.
#[derive(Default)]
struct Dictionary {
    bytes: Vec<u8>,
    values: Vec<Range<usize>>,
}

impl Dictionary {
    fn value(&self, code: u32) -> &[u8] {
        &self.bytes[self.values[code as usize].clone()]
    }

    fn push(&mut self, value: &[u8]) -> u32 {
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.values.push(start..self.bytes.len());
        self.values.len() as u32 - 1
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.values.clear();
    }
}

impl Distinct {
    /// Pages have `page_rows` rows; `compression` is ZSTD of some level.
    pub(super) fn new(compression: Compression, page_rows: usize) -> Result<Self, LakeError> {
        let Compression::ZSTD(level) = compression else {
            return Err(ParquetError::NYI(format!("chunks compressed by {compression}")).into());
        };
        let compressor = zstd::bulk::Compressor::new(level.compression_level()).map_err(LakeError::Compression)?;
        Ok(Self {
            compressor,
            compression,
            page_rows,
            hasher: DefaultHashBuilder::default(),
            by_key: Vec::new(),
            seen: Vec::new(),
            by_value: HashTable::new(),
            dictionary: Dictionary::default(),
            codes: Vec::new(),
            page: Vec::new(),
        })
    }

    /// The chunk of a column for which [`suits`] is true, as bytes and what the file's footer says of them.
    pub(super) fn chunk(
        &mut self,
        column: &ColumnDescPtr,
        array: &SparseArray,
        statistics: EnabledStatistics,
    ) -> Result<(Bytes, ColumnCloseResult), LakeError> {
        self.code(array.values())?;
        let total = array.rows();
        let values = self.codes.len();
        let distinct = self.dictionary.values.len();
        // Codes only add to values that hardly repeat.
        let plain =
            self.dictionary.bytes.len() > MAX_DICTIONARY_BYTES || (distinct > 1 << 10 && distinct * 8 > values * 7);
        let mut sink = TrackedWrite::new(Vec::with_capacity(16 << 10));
        let mut sizes = Sizes::default();
        let mut index = OffsetIndexBuilder::new();
        if !plain {
            let mut dictionary = std::mem::take(&mut self.dictionary.bytes);
            let page = Page::DictionaryPage {
                buf: self.compress(&dictionary)?,
                num_values: distinct as u32,
                encoding: Encoding::PLAIN,
                is_sorted: false,
            };
            let written = write_page(&mut sink, page, dictionary.len())?;
            sizes.add(&written);
            std::mem::swap(&mut self.dictionary.bytes, &mut dictionary);
        }
        let first_page = sink.bytes_written() as i64;
        let (mut row, mut value) = (0, 0);
        while row < total {
            let (rows, count) = self.page(column, array.validity(), row..total, value, plain);
            let page = std::mem::take(&mut self.page);
            let data = Page::DataPage {
                buf: self.compress(&page)?,
                num_values: rows as u32,
                encoding: if plain {
                    Encoding::PLAIN
                } else {
                    Encoding::RLE_DICTIONARY
                },
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            };
            let written = write_page(&mut sink, data, page.len())?;
            self.page = page;
            sizes.add(&written);
            index.append_row_count(rows as i64);
            index.append_offset_and_size(written.offset as i64, written.compressed_size as i32);
            row += rows;
            value += count;
        }
        let encodings = match plain {
            true => vec![Encoding::RLE, Encoding::PLAIN],
            false => vec![Encoding::RLE, Encoding::PLAIN, Encoding::RLE_DICTIONARY],
        };
        let mut metadata = ColumnChunkMetaData::builder(column.clone())
            .set_compression(self.compression)
            .set_encodings(encodings)
            .set_total_compressed_size(sizes.compressed)
            .set_total_uncompressed_size(sizes.uncompressed)
            .set_num_values(total as i64)
            .set_data_page_offset(first_page)
            .set_dictionary_page_offset((!plain).then_some(0));
        if statistics != EnabledStatistics::None {
            metadata = metadata.set_statistics(self.statistics(total - values));
        }
        let close = ColumnCloseResult {
            bytes_written: sizes.compressed as u64,
            rows_written: total as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(index.build()),
        };
        Ok((Bytes::from(sink.into_inner()?), close))
    }

    /// Fills `dictionary` and `codes` with values, none of which is null.
    fn code(&mut self, values: &ArrayRef) -> Result<(), LakeError> {
        self.dictionary.clear();
        self.codes.clear();
        self.by_value.clear();
        self.codes.reserve(values.len());
        if let Some(dictionary) = values.as_dictionary_opt::<Int32Type>() {
            let texts = dictionary.values().as_string::<i32>();
            self.by_key.resize(self.by_key.len().max(texts.len()), 0);
            for &key in dictionary.keys().values() {
                let key = key as usize;
                let mut code = self.by_key[key];
                if code == 0 {
                    code = self.intern(texts.value(key).as_bytes()) + 1;
                    self.by_key[key] = code;
                    self.seen.push(key as u32);
                }
                self.codes.push(code - 1);
            }
            for key in self.seen.drain(..) {
                self.by_key[key as usize] = 0;
            }
        } else if let Some(texts) = values.as_string_opt::<i32>() {
            for row in 0..texts.len() {
                let code = self.intern(texts.value(row).as_bytes());
                self.codes.push(code);
            }
        } else {
            let ids = values.as_binary_opt::<i32>();
            let ids = ids.ok_or_else(|| ParquetError::NYI(format!("chunks of {}", values.data_type())))?;
            for row in 0..ids.len() {
                let code = self.intern(ids.value(row));
                self.codes.push(code);
            }
        }
        Ok(())
    }

    fn intern(&mut self, value: &[u8]) -> u32 {
        let (hasher, dictionary) = (&self.hasher, &mut self.dictionary);
        let hash = hasher.hash_one(value);
        if let Some(&code) = self.by_value.find(hash, |&code| dictionary.value(code) == value) {
            return code;
        }
        let code = dictionary.push(value);
        let rehash = |&code: &u32| hasher.hash_one(dictionary.value(code));
        self.by_value.insert_unique(hash, code, rehash);
        code
    }

    /// Puts the next page of `rows`, whose first value is number `value`, into `page`: its numbers of rows and values.
    fn page(
        &mut self,
        column: &ColumnDescPtr,
        nulls: Option<&NullBuffer>,
        rows: Range<usize>,
        value: usize,
        plain: bool,
    ) -> (usize, usize) {
        let mut len = self.page_rows.min(rows.len());
        let mut count = len - nulls.map_or(0, |n| n.slice(rows.start, len).null_count());
        if plain {
            // A few huge texts are a page of their own.
            let mut bytes = 0;
            let fits = self.codes[value..value + count].iter().take_while(|&&code| {
                bytes += self.dictionary.value(code).len() + 4;
                bytes <= MAX_PAGE_BYTES
            });
            let fits = fits.count().max(1);
            if fits < count {
                count = fits;
                len = match nulls {
                    // Up to the row of the first value that did not fit.
                    Some(nulls) => {
                        let rest = nulls.slice(rows.start, len);
                        let next = rest.valid_indices().nth(count);
                        next.unwrap_or(len)
                    }
                    None => count,
                };
            }
        }
        self.page.clear();
        if column.max_def_level() > 0 {
            put_levels(&mut self.page, nulls, rows.start, len);
        }
        let codes = &self.codes[value..value + count];
        if plain {
            for &code in codes {
                let range = self.dictionary.values[code as usize].clone();
                self.page
                    .extend_from_slice(&self.dictionary.bytes[range.start - 4..range.end]);
            }
        } else {
            let width = bit_width(self.dictionary.values.len());
            self.page.push(width as u8);
            put_codes(&mut self.page, codes, width);
        }
        (len, count)
    }

    fn compress(&mut self, bytes: &[u8]) -> Result<Bytes, LakeError> {
        let compressed = self.compressor.compress(bytes).map_err(LakeError::Compression)?;
        Ok(compressed.into())
    }

    fn statistics(&self, nulls: usize) -> Statistics {
        let values = || {
            self.dictionary
                .values
                .iter()
                .map(|range| &self.dictionary.bytes[range.clone()])
        };
        let (min, max) = (values().min(), values().max().filter(|max| max.len() <= MAX_BYTES));
        let cut = min.map(|min| {
            let mut end = min.len().min(MIN_BYTES);
            // Texts are cut between characters.
            while end < min.len() && end > 0 && min[end] & 0xc0 == 0x80 {
                end -= 1;
            }
            &min[..end]
        });
        let exact = cut.map(<[u8]>::len) == min.map(<[u8]>::len);
        let value = |bytes: &[u8]| ByteArray::from(bytes.to_vec());
        let statistics = ValueStatistics::new(cut.map(value), max.map(value), None, Some(nulls as u64), false);
        Statistics::ByteArray(statistics.with_min_is_exact(exact && min.is_some()))
    }
}

#[derive(Default)]
struct Sizes {
    compressed: i64,
    uncompressed: i64,
}

impl Sizes {
    fn add(&mut self, written: &PageWriteSpec) {
        self.compressed += written.compressed_size as i64;
        self.uncompressed += written.uncompressed_size as i64;
    }
}

fn write_page(sink: &mut TrackedWrite<Vec<u8>>, page: Page, uncompressed: usize) -> Result<PageWriteSpec, LakeError> {
    Ok(SerializedPageWriter::new(sink).write_page(CompressedPage::new(page, uncompressed))?)
}

#[cfg(test)]
mod tests;

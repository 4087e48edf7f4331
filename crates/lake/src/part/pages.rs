//! Pages of a column, decompressed with one context for all of them.
//!
//! Parquet's own reader makes a ZSTD context for each column that it reads, which takes longer than to decompress a
//! page. It can be made to hand out pages as they are stored, and takes pages that were decompressed here.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use super::runs::Runs;

/// Ranges of an object.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    /// Where each begins, ascending, and its bytes.
    ranges: Vec<(u64, Bytes)>,
}

impl Fetched {
    /// `ranges` with the bytes of each.
    pub(crate) fn new(ranges: &[Range<u64>], bytes: Vec<Bytes>) -> Self {
        let starts = ranges.iter().map(|range| range.start);
        let mut ranges = starts.zip(bytes).collect::<Vec<_>>();
        ranges.sort_unstable_by_key(|(start, _)| *start);
        Self { ranges }
    }
}

impl Length for Fetched {
    fn len(&self) -> u64 {
        self.ranges
            .last()
            .map_or(0, |(start, bytes)| start + bytes.len() as u64)
    }
}

impl ChunkReader for Fetched {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(self.get_bytes(start, 0)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let missing = || ParquetError::EOF(format!("bytes {start}, {length} of them, were not fetched"));
        let next = self.ranges.partition_point(|(from, _)| *from <= start);
        let (from, bytes) = next
            .checked_sub(1)
            .and_then(|at| self.ranges.get(at))
            .ok_or_else(missing)?;
        let at = (start - from) as usize;
        match at.checked_add(length) {
            Some(end) if end <= bytes.len() => Ok(bytes.slice(at..end)),
            _ => Err(missing()),
        }
    }
}

/// A column in a row group.
#[derive(Clone, Copy)]
pub(crate) struct Chunk<'a> {
    footer: &'a ParquetMetaData,
    group: usize,
    column: usize,
}

impl<'a> Chunk<'a> {
    /// Column number `column` (of those that are not nested in others) of row group number `group`.
    pub(crate) const fn new(footer: &'a ParquetMetaData, group: usize, column: usize) -> Self {
        Self { footer, group, column }
    }

    pub(crate) fn metadata(self) -> &'a ColumnChunkMetaData {
        self.footer.row_group(self.group).column(self.column)
    }

    /// Whether the footer says that it has no value.
    pub(crate) fn is_empty(self) -> bool {
        let nulls = self.metadata().statistics().and_then(|s| s.null_count_opt());
        nulls.is_some_and(|nulls| i64::try_from(nulls).is_ok_and(|nulls| nulls == self.metadata().num_values()))
    }

    /// Whether pages can be read from it: not if they are compressed in a way that no part is.
    pub(crate) fn is_readable(self) -> bool {
        matches!(
            self.metadata().compression(),
            Compression::UNCOMPRESSED | Compression::ZSTD(_)
        )
    }

    /// The pages that hold some of `rows`, and before them the dictionary, if there is one: their places in the object.
    ///
    /// # Errors
    /// When the footer has no index of the pages.
    pub(crate) fn places(self, rows: &Range<usize>) -> Result<Vec<Range<u64>>> {
        let mut places = Vec::with_capacity(2);
        let locations = self.locations()?;
        let (start, _) = self.metadata().byte_range();
        if let Some(first) = locations.first().filter(|first| first.offset as u64 > start) {
            places.push(start..first.offset as u64);
        }
        for (number, location) in locations.iter().enumerate() {
            let page = self.rows_of(number)?;
            if page.start < rows.end && rows.start < page.end {
                let start = location.offset.max(0) as u64;
                places.push(start..start + location.compressed_page_size.max(0) as u64);
            }
        }
        Ok(places)
    }

    fn locations(self) -> Result<&'a [parquet::file::page_index::offset_index::PageLocation]> {
        let index = self.footer.offset_index();
        let column = index.and_then(|groups| groups.get(self.group)?.get(self.column));
        column
            .map(|column| column.page_locations().as_slice())
            .ok_or_else(|| ParquetError::General("a part without an index of its pages".to_owned()))
    }

    /// The rows, numbered in the row group, of page number `number`.
    fn rows_of(self, number: usize) -> Result<Range<usize>> {
        let locations = self.locations()?;
        let first = |number: usize| locations.get(number).map(|page| page.first_row_index.max(0) as usize);
        let end = || self.footer.row_group(self.group).num_rows().max(0) as usize;
        Ok(first(number).unwrap_or_default()..first(number + 1).unwrap_or_else(end))
    }
}

/// Pages of a chunk, and the rows of each.
pub(crate) struct Pages {
    /// Still compressed: it takes longer than the other pages together and is often not needed.
    dictionary: Option<Page>,
    pub(crate) pages: Vec<(Range<usize>, Page)>,
}

/// Decompresses pages.
pub(crate) struct Unpacker {
    context: zstd::bulk::Decompressor<'static>,
    fetched: Arc<Fetched>,
}

impl Unpacker {
    /// For pages that were fetched.
    ///
    /// # Errors
    /// When ZSTD refuses.
    pub(crate) fn new(fetched: Fetched) -> Result<Self> {
        Ok(Self {
            context: zstd::bulk::Decompressor::new()?,
            fetched: Arc::new(fetched),
        })
    }

    /// The pages of a chunk that hold some of `rows`.
    ///
    /// # Errors
    /// When they are damaged or were not fetched.
    pub(crate) fn pages(&mut self, chunk: Chunk<'_>, rows: &Range<usize>) -> Result<Pages> {
        let metadata = chunk.metadata();
        let locations = chunk.locations()?;
        // Said to be uncompressed, they come as they are.
        let stored = metadata
            .clone()
            .into_builder()
            .set_compression(Compression::UNCOMPRESSED);
        let total = chunk.footer.row_group(chunk.group).num_rows().max(0) as usize;
        let fetched = Arc::clone(&self.fetched);
        let mut reader = SerializedPageReader::new(fetched, &stored.build()?, total, Some(locations.to_vec()))?;
        let mut dictionary = None;
        if reader.peek_next_page()?.is_some_and(|page| page.is_dict) {
            dictionary = reader.get_next_page()?;
        }
        let mut pages = Vec::with_capacity(1);
        for number in 0..locations.len() {
            let of_page = chunk.rows_of(number)?;
            if of_page.end <= rows.start || rows.end <= of_page.start {
                reader.skip_next_page()?;
            } else if let Some(page) = reader.get_next_page()? {
                pages.push((of_page, self.unpack(metadata.compression(), page)?));
            }
        }
        Ok(Pages { dictionary, pages })
    }

    /// The dictionary of a chunk.
    ///
    /// # Errors
    /// When it is damaged.
    pub(crate) fn dictionary(&mut self, chunk: Chunk<'_>, pages: &mut Pages) -> Result<Option<Page>> {
        let page = pages.dictionary.take();
        page.map(|page| self.unpack(chunk.metadata().compression(), page))
            .transpose()
    }

    fn inflate(&mut self, compression: Compression, bytes: Bytes) -> Result<Bytes> {
        if compression == Compression::UNCOMPRESSED || bytes.is_empty() {
            return Ok(bytes);
        }
        let size = zstd::zstd_safe::get_frame_content_size(&bytes).ok().flatten();
        let size = size.and_then(|size| usize::try_from(size).ok());
        let size = size.ok_or_else(|| ParquetError::General("a page does not say its size".to_owned()))?;
        let mut out = Vec::new();
        // A size that is damaged may be any.
        out.try_reserve_exact(size)
            .map_err(|_| ParquetError::General(format!("a page of {size} bytes")))?;
        self.context.decompress_to_buffer(&bytes[..], &mut out)?;
        Ok(Bytes::from(out))
    }

    fn unpack(&mut self, compression: Compression, page: Page) -> Result<Page> {
        Ok(match page {
            Page::DataPage {
                buf,
                num_values,
                encoding,
                def_level_encoding,
                rep_level_encoding,
                statistics,
            } => Page::DataPage {
                buf: self.inflate(compression, buf)?,
                num_values,
                encoding,
                def_level_encoding,
                rep_level_encoding,
                statistics,
            },
            Page::DictionaryPage {
                buf,
                num_values,
                encoding,
                is_sorted,
            } => Page::DictionaryPage {
                buf: self.inflate(compression, buf)?,
                num_values,
                encoding,
                is_sorted,
            },
            // No part has them: their levels are not compressed.
            Page::DataPageV2 { .. } => return Err(ParquetError::NYI("data pages of version 2".to_owned())),
        })
    }
}

/// Pages for Parquet's readers of columns.
pub(crate) struct Unpacked(pub(crate) VecDeque<Page>);

impl Iterator for Unpacked {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.pop_front().map(Ok)
    }
}

impl PageReader for Unpacked {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        Ok(self.0.pop_front())
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        Ok(self.0.front().map(|page| PageMetadata {
            num_rows: None,
            num_levels: page.is_data_page().then(|| page.num_values() as usize),
            is_dict: page.is_dictionary_page(),
        }))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.0.pop_front();
        Ok(())
    }
}

/// The levels of a data page, and its values as they are encoded.
pub(crate) struct Levels {
    /// For each level whether it begins a row (0) or goes on with the row before; `None` if each does.
    pub(crate) repetition: Option<Runs>,
    /// For each level how much of it is there; `None` if everything is.
    pub(crate) definition: Option<Runs>,
    pub(crate) count: usize,
    pub(crate) encoding: Encoding,
    pub(crate) values: Bytes,
}

impl Levels {
    /// Takes a page of a column apart whose levels go up to these.
    ///
    /// # Errors
    /// When the page is damaged.
    pub(crate) fn of(page: &Page, max_repetition: i16, max_definition: i16) -> Result<Self> {
        let Page::DataPage {
            buf,
            num_values,
            encoding,
            def_level_encoding,
            rep_level_encoding,
            ..
        } = page
        else {
            return Err(ParquetError::NYI(format!(
                "{:?} in place of a data page",
                page.page_type()
            )));
        };
        let (mut rest, count) = (buf.clone(), *num_values as usize);
        let mut levels = |max: i16, encoding: Encoding| {
            if max == 0 {
                return Ok(None);
            }
            if encoding != Encoding::RLE {
                return Err(ParquetError::NYI(format!("levels as {encoding}")));
            }
            let truncated = || ParquetError::EOF("a page ends in its levels".to_owned());
            let length = rest.try_get_u32_le().map_err(|_| truncated())? as usize;
            if rest.len() < length {
                return Err(truncated());
            }
            let width = 16 - (max as u16).leading_zeros();
            Runs::parse(rest.split_to(length), width, count).map(Some)
        };
        Ok(Self {
            repetition: levels(max_repetition, *rep_level_encoding)?,
            definition: levels(max_definition, *def_level_encoding)?,
            count,
            encoding: *encoding,
            values: rest,
        })
    }
}

//! A few rows of a part by a value that they have in common, with all their columns.
//!
//! Parquet's reader is made for many rows of few columns. A trace is the opposite: some ten rows, whose pages in dozens
//! of columns have thousands. Here one request brings the pages of all columns, those that are null in the whole row group are left
//! out by what the footer says, and of the pages only what the rows need is decoded: no dictionary, for one, of a column
//! in which all of them are null.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt16Array, UInt32Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType as ArrowType, Field, Schema, TimeUnit};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::basic::Type;
use parquet::column::page::Page;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{AsBytes, BoolType, DataType, DoubleType, FixedLenByteArrayType, Int32Type, Int64Type};
use parquet::errors::ParquetError;

use crate::LakeError;
use crate::blocks::RowReader;
use crate::part::pages::{Chunk, Fetched, Levels, Unpacked, Unpacker};
use crate::part::texts::{TextPage, Values, no_dictionary, plain};
use crate::read::PartReader;

/// Pages closer than this are read as one from a remote store: of the 1 MB that a row group of spans has, a lookup
/// needs about a third, and that in a handful of requests.
const GAP: u64 = 32 << 10;

/// The rows of `rows` (numbered in the part, all of one row group) that have `value` in the column `key`, which has texts or
/// ids. Columns without a value in the row group are missing, except those `kept`. `None` if there is no such row.
///
/// # Errors
/// [`LakeError`] if the store fails or the part is damaged.
pub(crate) async fn rows_with(
    reader: &PartReader,
    rows: Range<usize>,
    (key, value): (&str, &[u8]),
    kept: &[&str],
) -> Result<Option<RecordBatch>, LakeError> {
    let footer = reader.footer().await?;
    let row_reader = RowReader::new(reader.clone(), footer.clone());
    let (group, first) = row_reader.group_of(&rows)?;
    let block = rows.start - first..rows.end - first;
    let columns = Column::all(&footer, group, kept);
    let key = columns.iter().find(|column| column.field.name() == key);
    let Some(key) = key.filter(|key| key.kind == Kind::Flat) else {
        return Err(ParquetError::General("a part without the column that it is searched by".to_owned()).into());
    };
    let mut places = Vec::with_capacity(2 * columns.len());
    for column in columns.iter().filter(|column| column.kind != Kind::Other) {
        places.extend(column.chunk.places(&block)?);
    }
    let bytes = reader.ranges(&places, GAP).await?;
    let mut picker = Picker {
        unpacker: Unpacker::new(Fetched::new(&places, bytes))?,
        rows: Vec::new(),
        block,
    };
    picker.rows = picker.matching(key, value)?;
    if picker.rows.is_empty() {
        return Ok(None);
    }
    let (mut fields, mut arrays, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for column in &columns {
        let array = match column.kind {
            Kind::Flat => picker.array(column)?,
            Kind::List if !picker.has_items(column)? => continue,
            Kind::List | Kind::Other => {
                rest.push(column.field.name().as_str());
                continue;
            }
        };
        fields.push(Arc::clone(column.field));
        arrays.push(array);
    }
    if !rest.is_empty() {
        let selected = picker.selected();
        let more = row_reader
            .read(rows, |name| rest.contains(&name), Some(&selected))
            .await?;
        fields.extend(more.schema().fields().iter().cloned());
        arrays.extend(more.columns().iter().cloned());
    }
    Ok(Some(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?))
}

/// How a column is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Here.
    Flat,
    /// Here it is found out whether the rows have items; the items are for Parquet's reader.
    List,
    /// By Parquet's reader.
    Other,
}

/// A column of the rows.
struct Column<'a> {
    field: &'a Arc<Field>,
    /// Its first chunk, which of a column that is not nested is the only one.
    chunk: Chunk<'a>,
    kind: Kind,
}

impl<'a> Column<'a> {
    /// Columns that have values in the row group, or are `kept`.
    fn all(footer: &'a ArrowReaderMetadata, group: usize, kept: &[&str]) -> Vec<Self> {
        let schema = footer.metadata().file_metadata().schema_descr();
        let mut columns = Vec::with_capacity(footer.schema().fields().len());
        let mut last = None;
        for leaf in 0..schema.num_columns() {
            let root = schema.get_column_root_idx(leaf);
            if last.replace(root) == Some(root) {
                continue; // not the first of a nested column
            }
            let Some(field) = footer.schema().fields().get(root) else {
                continue;
            };
            let chunk = Chunk::new(footer.metadata(), group, leaf);
            let leaf = schema.column(leaf);
            let flat = leaf.max_rep_level() == 0 && leaf.path().parts().len() == 1;
            let kind = match field.data_type() {
                _ if !chunk.is_readable() => Kind::Other,
                ArrowType::List(_) if leaf.max_rep_level() == 1 => Kind::List,
                data_type if flat && suits(leaf.physical_type(), data_type) => Kind::Flat,
                _ => Kind::Other,
            };
            if kind != Kind::Flat || !chunk.is_empty() || kept.contains(&field.name().as_str()) {
                columns.push(Self { field, chunk, kind });
            }
        }
        columns
    }
}

/// Whether [`Picker::array`] makes an array of the type from values of the physical type.
fn suits(stored: Type, data_type: &ArrowType) -> bool {
    matches!(
        (stored, data_type),
        (Type::BYTE_ARRAY, ArrowType::Utf8 | ArrowType::Binary)
            | (
                Type::INT64,
                ArrowType::Int64 | ArrowType::Timestamp(TimeUnit::Nanosecond, _)
            )
            | (Type::INT32, ArrowType::UInt32 | ArrowType::UInt16)
            | (Type::DOUBLE, ArrowType::Float64)
            | (Type::BOOLEAN, ArrowType::Boolean)
            | (Type::FIXED_LEN_BYTE_ARRAY, ArrowType::FixedSizeBinary(_))
    )
}

/// Decodes pages.
struct Picker {
    unpacker: Unpacker,
    /// Numbers in the row group, ascending.
    rows: Vec<usize>,
    /// The rows among which they are.
    block: Range<usize>,
}

impl Picker {
    fn matching(&mut self, column: &Column<'_>, value: &[u8]) -> Result<Vec<usize>, LakeError> {
        let mut pages = self.unpacker.pages(column.chunk, &self.block)?;
        let dictionary = self.unpacker.dictionary(column.chunk, &mut pages)?;
        let dictionary = dictionary.as_ref().map(Page::buffer);
        let max_definition = column.chunk.metadata().column_descr().max_def_level();
        let mut rows = Vec::new();
        for (of_page, page) in &pages.pages {
            let matching = TextPage::of(page, max_definition)?.rows_with(value, dictionary)?;
            let matching = matching.into_iter().map(|row| of_page.start + row);
            rows.extend(matching.filter(|row| self.block.contains(row)));
        }
        Ok(rows)
    }

    /// For each row of the block whether it is wanted.
    fn selected(&self) -> BooleanArray {
        let mut wanted = vec![false; self.block.len()];
        for row in &self.rows {
            wanted[row - self.block.start] = true;
        }
        BooleanArray::new(BooleanBuffer::from(wanted), None)
    }

    /// The wanted rows of a page, numbered in it.
    fn rows_in(&self, of_page: &Range<usize>) -> impl Iterator<Item = usize> {
        let from = self.rows.partition_point(|row| *row < of_page.start);
        let to = self.rows.partition_point(|row| *row < of_page.end);
        let start = of_page.start;
        self.rows[from..to].iter().map(move |row| row - start)
    }

    /// Whether one of the rows has an item in a list of values that are not nested further.
    fn has_items(&mut self, column: &Column<'_>) -> Result<bool, LakeError> {
        let leaf = column.chunk.metadata().column_descr();
        // Below are lists that are null or empty.
        let there = 1 + u32::from(column.field.is_nullable());
        let pages = self.unpacker.pages(column.chunk, &self.block)?;
        for (of_page, page) in &pages.pages {
            let levels = Levels::of(page, leaf.max_rep_level(), leaf.max_def_level())?;
            let (Some(repetition), Some(definition)) = (levels.repetition, levels.definition) else {
                return Ok(true);
            };
            let mut wanted = self.rows_in(of_page).peekable();
            let mut next = 0;
            for (goes_on, level) in repetition.iter().zip(definition.iter()) {
                next += usize::from(goes_on == 0);
                let row = next.saturating_sub(1);
                while wanted.next_if(|wanted| *wanted < row).is_some() {}
                match wanted.peek() {
                    Some(&wanted) if wanted == row && level >= there => return Ok(true),
                    Some(_) => {}
                    None => break,
                }
            }
        }
        Ok(false)
    }

    fn array(&mut self, column: &Column<'_>) -> Result<ArrayRef, LakeError> {
        let chunk = column.chunk;
        Ok(match (chunk.metadata().column_type(), column.field.data_type()) {
            (Type::BYTE_ARRAY, ArrowType::Utf8) => {
                let values = self.texts(chunk)?;
                let text = |value: &Option<Bytes>| match value {
                    Some(bytes) => Ok(Some(str::from_utf8(bytes)?.to_owned())),
                    None => Ok(None),
                };
                let texts = values.iter().map(text).collect::<Result<Vec<_>, std::str::Utf8Error>>();
                Arc::new(StringArray::from(texts.map_err(ParquetError::from)?))
            }
            (Type::BYTE_ARRAY, _) => {
                let values = self.texts(chunk)?;
                Arc::new(BinaryArray::from_iter(values))
            }
            (Type::INT64, ArrowType::Timestamp(_, zone)) => {
                let values = self.values::<Int64Type>(chunk)?;
                Arc::new(TimestampNanosecondArray::from(values).with_timezone_opt(zone.clone()))
            }
            (Type::INT64, _) => Arc::new(Int64Array::from(self.values::<Int64Type>(chunk)?)),
            (Type::INT32, ArrowType::UInt16) => {
                let values = self.values::<Int32Type>(chunk)?;
                let values = values.into_iter().map(|value| value.map(|value| value as u16));
                Arc::new(values.collect::<UInt16Array>())
            }
            // Parquet has no unsigned numbers: these are the bits of one.
            (Type::INT32, _) => {
                let values = self.values::<Int32Type>(chunk)?;
                let values = values.into_iter().map(|value| value.map(|value| value as u32));
                Arc::new(values.collect::<UInt32Array>())
            }
            (Type::DOUBLE, _) => Arc::new(Float64Array::from(self.values::<DoubleType>(chunk)?)),
            (Type::BOOLEAN, _) => Arc::new(BooleanArray::from(self.values::<BoolType>(chunk)?)),
            (_, ArrowType::FixedSizeBinary(width)) => {
                let values = self.values::<FixedLenByteArrayType>(chunk)?;
                let values = values.iter().map(|value| value.as_ref().map(AsBytes::as_bytes));
                Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, *width)?)
            }
            (stored, wanted) => return Err(ParquetError::NYI(format!("{wanted} from {stored}")).into()),
        })
    }

    /// Texts and ids: without their dictionary, unless a row has one.
    fn texts(&mut self, chunk: Chunk<'_>) -> Result<Vec<Option<Bytes>>, LakeError> {
        let mut pages = self.unpacker.pages(chunk, &self.block)?;
        let max_definition = chunk.metadata().column_descr().max_def_level();
        let mut out = Vec::with_capacity(self.rows.len());
        let mut codes = Vec::with_capacity(self.rows.len());
        for (of_page, page) in &pages.pages {
            let page = TextPage::of(page, max_definition)?;
            let numbers = self.rows_in(of_page).map(|row| page.value_of(row)).collect::<Vec<_>>();
            match &page.values {
                Values::Codes(of_values) => {
                    let of_rows = numbers.iter().enumerate();
                    let of_rows = of_rows.filter_map(|(at, number)| Some((out.len() + at, of_values.get((*number)?))));
                    codes.extend(of_rows);
                    out.extend(numbers.iter().map(|_| None));
                }
                Values::Plain(bytes) => out.extend(look_up(bytes, &numbers)?),
            }
        }
        if !codes.is_empty() {
            let dictionary = self.unpacker.dictionary(chunk, &mut pages)?.ok_or_else(no_dictionary)?;
            let numbers = codes.iter().map(|(_, code)| Some(*code as usize)).collect::<Vec<_>>();
            let values = look_up(dictionary.buffer(), &numbers)?;
            for ((at, _), value) in codes.into_iter().zip(values) {
                out[at] = value;
            }
        }
        Ok(out)
    }

    /// Values of any other type.
    fn values<T: DataType>(&mut self, chunk: Chunk<'_>) -> Result<Vec<Option<T::T>>, LakeError> {
        let leaf = chunk.metadata().column_descr_ptr();
        let mut pages = self.unpacker.pages(chunk, &self.block)?;
        let dictionary = self.unpacker.dictionary(chunk, &mut pages)?;
        let mut out = Vec::with_capacity(self.rows.len());
        for (of_page, page) in pages.pages {
            let wanted = self.rows_in(&of_page).collect::<Vec<_>>();
            let pages = dictionary.iter().cloned().chain([page]).collect();
            let mut reader = ColumnReaderImpl::<T>::new(Arc::clone(&leaf), Box::new(Unpacked(pages)));
            let mut at = 0;
            for run in wanted.chunk_by(|row, next| row + 1 == *next) {
                reader.skip_records(run[0] - at)?;
                at = run[0] + run.len();
                let (mut levels, mut values) = (Vec::new(), Vec::with_capacity(run.len()));
                let (read, _, _) = reader.read_records(run.len(), Some(&mut levels), None, &mut values)?;
                if read < run.len() {
                    return Err(ParquetError::EOF("a page has fewer rows than its index says".to_owned()).into());
                }
                let mut values = values.into_iter();
                if leaf.max_def_level() == 0 {
                    out.extend(values.map(Some));
                } else {
                    let there = |level: i16| level == leaf.max_def_level();
                    out.extend(
                        levels
                            .into_iter()
                            .map(|level| there(level).then(|| values.next()).flatten()),
                    );
                }
            }
        }
        Ok(out)
    }
}

/// Values by their number among `bytes`, which have a length before each.
fn look_up(bytes: &Bytes, numbers: &[Option<usize>]) -> Result<Vec<Option<Bytes>>, ParquetError> {
    let count = numbers.iter().flatten().max().map_or(0, |last| last + 1);
    let places = plain(bytes, count)?.collect::<Vec<_>>();
    if places.len() < count {
        return Err(ParquetError::EOF("a code or a value beyond the last".to_owned()));
    }
    let value = |number: &Option<usize>| number.map(|number| bytes.slice(places[number].clone()));
    Ok(numbers.iter().map(value).collect())
}

#[cfg(test)]
mod tests;

//! From merged rows to a Parquet object.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowWriterOptions, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use schema::sparse::{Picker, SparseArray};
use schema::{Dataset, UnixNanos, columns};
use xxhash_rust::xxh3::xxh3_64;

use super::distinct::{self, Distinct};
use super::encode::{Chunks, encode};
use super::index;
use super::merge::Merged;
use super::order::{BLOCK_ROWS, Order, order, row_group_rows};
use super::{FORMAT_KEY, FORMAT_VERSION};
use crate::LakeError;

/// A finished part, not yet stored.
#[derive(Debug)]
pub struct WrittenPart {
    /// The Parquet object.
    pub bytes: Bytes,
    /// Rows in it.
    pub rows: usize,
    /// Rows that are not in it because an equal one is.
    pub duplicates: usize,
    /// Rows of the Parquet file, which of points are chunks.
    pub file_rows: usize,
    /// Least time of a row, ns.
    pub min_ts: UnixNanos,
    /// Greatest time of a row, ns.
    pub max_ts: UnixNanos,
    /// Size of the footer, from the page indexes to the end.
    pub footer_bytes: usize,
    /// First byte of the trace index.
    pub index_offset: usize,
    /// Bytes of the trace index.
    pub index_bytes: usize,
    /// xxh3-64 of the object.
    pub checksum: i64,
}

/// Level 1 costs 0.4 to 1.6 B/span more in prototypes; higher levels were not measured.
const ZSTD_LEVEL: i32 = 3;

/// Larger than any page of [`BLOCK_ROWS`] rows that is not made of huge texts, so that pages end at row limits and
/// line up across columns.
const PAGE_BYTES: usize = 4 << 20;

/// Bytes of a page of chunks' lists: 32 k numbers, all of which a reader of one series decompresses.
const LIST_PAGE_BYTES: usize = 256 << 10;

/// As much as the times of a row group take: all series of a process have the same, and compression must see them in one
/// page to find that out.
const LARGE_PAGE_BYTES: usize = 8 << 20;

fn is_list_of_numbers(field: &Field) -> bool {
    matches!(field.data_type(), DataType::List(item) if item.data_type().is_numeric())
}

fn zstd() -> Result<Compression, LakeError> {
    Ok(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
}

const fn page_rows(dataset: Dataset) -> usize {
    match dataset {
        Dataset::Spans => BLOCK_ROWS,
        // Nobody looks for one row of these.
        _ => 32_768,
    }
}

fn properties(dataset: Dataset, physical: &SchemaRef) -> Result<WriterProperties, LakeError> {
    let mut builder = WriterProperties::builder()
        .set_created_by(format!("otlp-rust {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(vec![KeyValue::new(
            FORMAT_KEY.to_owned(),
            format!("{} {FORMAT_VERSION}", dataset.name()),
        )]))
        .set_compression(zstd()?)
        .set_max_row_group_row_count(Some(row_group_rows(dataset)))
        .set_data_page_row_count_limit(page_rows(dataset))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_write_batch_size(1024)
        .set_dictionary_page_size_limit(1 << 20)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(32));
    for field in physical.fields() {
        let path = ColumnPath::from(field.name().as_str());
        let plain = |b: parquet::file::properties::WriterPropertiesBuilder| {
            b.set_column_dictionary_enabled(path.clone(), false)
                .set_column_statistics_enabled(path.clone(), EnabledStatistics::None)
        };
        builder = match (field.name().as_str(), field.data_type()) {
            // Random bytes: neither dictionary nor compression helps.
            // Records of one span have its id in common.
            ("span_id", _) if dataset == Dataset::Logs => plain(builder),
            ("span_id" | "parent_span_id", _) => {
                plain(builder).set_column_compression(path.clone(), Compression::UNCOMPRESSED)
            }
            ("parent_ordinal", _) => builder.set_column_statistics_enabled(path.clone(), EnabledStatistics::None),
            ("trace_id", _) => builder.set_column_statistics_enabled(path.clone(), EnabledStatistics::None),
            // Few distinct times, with which all series of a process begin.
            ("timestamp" | "last_timestamp" | "start_time", _) if dataset == Dataset::MetricSamples => builder,
            ("timestamp" | "last_timestamp" | "start_time", _) if dataset == Dataset::MetricHistograms => builder,
            (_, DataType::Timestamp(_, _)) | ("duration" | "value_int" | columns::OBSERVED_DELAY, _) => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED),
            (name, _) if columns::is_body_number(name) => {
                plain(builder).set_column_encoding(path.clone(), Encoding::BYTE_STREAM_SPLIT)
            }
            ("value", _) => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path.clone(), Encoding::BYTE_STREAM_SPLIT),
            ("body" | columns::BODY_WORDS | columns::ATTRIBUTES_REST, _) => plain(builder),
            _ => builder,
        };
        if field.name() == columns::time_column(dataset) {
            builder = builder.set_column_statistics_enabled(path, EnabledStatistics::Page);
        }
    }
    for field in physical.fields().iter().filter(|f| is_list_of_numbers(f)) {
        let path = ColumnPath::from(vec![field.name().clone(), "list".to_owned(), "item".to_owned()]);
        builder = builder.set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
        builder = match field.name().as_str() {
            // No dictionary: its indexes begin at any bit, where compression does not find them again.
            "time_steps" | "start_steps" => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_data_page_size_limit(path, LARGE_PAGE_BYTES),
            "bucket_steps" | "count_steps" => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_data_page_size_limit(path, LIST_PAGE_BYTES),
            name if name.ends_with("_steps") || name.ends_with("_list") => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path.clone(), Encoding::BYTE_STREAM_SPLIT)
                .set_column_data_page_size_limit(path, LIST_PAGE_BYTES),
            _ => builder,
        };
    }
    for list in ["events", "links"] {
        for leaf in ["time", "name", "attributes"] {
            let path = ColumnPath::from(vec![list.into(), "list".into(), "item".into(), leaf.into()]);
            builder = builder.set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    Ok(builder.build())
}

/// The rows as dense arrays; of the columns only those `wanted`.
fn dense(rows: &Merged, wanted: impl Fn(&Field) -> bool) -> Result<RecordBatch, LakeError> {
    let columns = rows.schema.fields().iter().zip(&rows.columns);
    let columns = columns.filter(|(field, _)| wanted(field));
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.map(|(field, c)| (Arc::clone(field), c.dense())).unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.rows));
    let schema = Arc::new(Schema::new(fields));
    Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
}

/// Writes a row group and returns its number of rows: columns of texts and ids by [`Distinct`], the others by Parquet's writer.
fn write_group(
    file: &mut SerializedFileWriter<Vec<u8>>,
    writers: Vec<ArrowColumnWriter>,
    dataset: Dataset,
    rows: &Merged,
    distinct: &mut Distinct,
) -> Result<usize, LakeError> {
    let (properties, leaves) = (file.properties().clone(), file.schema_descr().columns().to_vec());
    // Texts are written as they are; nothing is encoded against them.
    let as_it_is = |field: &Field| {
        let text = matches!(field.data_type(), DataType::Dictionary(_, _));
        text && Chunks::of(dataset).is_none() && distinct::suits(field, &properties)
    };
    let encoded = encode(dataset, dense(rows, |field| !as_it_is(field))?)?;
    let mut group = file.next_row_group()?;
    let mut leaves = leaves.iter().zip(writers);
    let missing = |field: &Field| ParquetError::General(format!("no place for column {}", field.name()));
    for field in encode(dataset, RecordBatch::new_empty(rows.schema.clone()))?
        .schema()
        .fields()
    {
        let text = rows.column(field.name()).filter(|_| as_it_is(field)).cloned();
        let column = match (text, encoded.column_by_name(field.name())) {
            (Some(text), _) => text,
            (None, Some(array)) if distinct::suits(field, &properties) => SparseArray::from_dense(array)?,
            (None, array) => {
                for values in compute_leaves(field, array.ok_or_else(|| missing(field))?)? {
                    let (_, mut writer) = leaves.next().ok_or_else(|| missing(field))?;
                    writer.write(&values)?;
                    writer.close()?.append_to_row_group(&mut group)?;
                }
                continue;
            }
        };
        let (leaf, _) = leaves.next().ok_or_else(|| missing(field))?;
        let statistics = properties.statistics_enabled(leaf.path());
        let (bytes, close) = distinct.chunk(leaf, &column, statistics)?;
        group.append_column(&bytes, close)?;
    }
    group.close()?;
    Ok(encoded.num_rows())
}

/// Sorts and writes rows. CPU-bound: call it where blocking is allowed.
///
/// # Errors
/// [`LakeError`] if Arrow or Parquet refuse.
pub fn write(dataset: Dataset, merged: Merged) -> Result<WrittenPart, LakeError> {
    let Order {
        rows,
        traces,
        duplicates,
    } = order(dataset, &merged)?;
    let physical = encode(dataset, RecordBatch::new_empty(merged.schema.clone()))?.schema();
    let options = ArrowWriterOptions::new()
        .with_properties(properties(dataset, &physical)?)
        .with_skip_arrow_metadata(true);
    let buffer = Vec::with_capacity(merged.rows * 48);
    let writer = ArrowWriter::try_new_with_options(buffer, physical, options)?;
    let (mut writer, factory) = writer.into_serialized_writer()?;
    let mut distinct = Distinct::new(zstd()?, page_rows(dataset))?;
    let pickers = merged.columns.iter().map(Picker::new).collect::<Vec<_>>();
    let mut file_rows = 0;
    for (number, rows) in rows.chunks(row_group_rows(dataset)).enumerate() {
        let columns = pickers.iter().map(|picker| picker.pick(rows));
        let group = Merged {
            schema: merged.schema.clone(),
            columns: columns.collect::<Result<_, _>>()?,
            rows: rows.len(),
            inputs: Vec::new(),
        };
        let writers = factory.create_column_writers(number)?;
        file_rows += write_group(&mut writer, writers, dataset, &group, &mut distinct)?;
    }
    let index_offset = writer.bytes_written();
    let trace_index = index::encode(traces);
    writer.write_all(&trace_index).map_err(ParquetError::from)?;
    let footer_from = index_offset + trace_index.len();
    let bytes = Bytes::from(writer.into_inner()?);
    let times = merged.column(columns::time_column(dataset));
    // Of the rows that are in the part: those that others made superfluous may be older than all of them.
    let times = times.map(|times| Picker::new(times).pick(&rows)).transpose()?;
    let (min_ts, max_ts) = times.map_or((0, 0), |times| crate::segment::least_and_greatest(times.values()));
    Ok(WrittenPart {
        rows: rows.len(),
        duplicates,
        file_rows,
        min_ts,
        max_ts,
        footer_bytes: bytes.len() - footer_from,
        index_offset,
        index_bytes: trace_index.len(),
        checksum: xxh3_64(&bytes) as i64,
        bytes,
    })
}

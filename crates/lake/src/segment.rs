//! The segment format: what a group commit writes.
//!
//! A segment is `OTLPSEG1` followed by slices back to back; the catalog knows where each begins and ends. A slice is
//! one ZSTD frame around an Arrow IPC stream of one record batch of one row: each column is a struct of `values`, the
//! list of the values that are not null, and `rows`, a bitmap of the rows that have one (null if all have). Keys of
//! dictionaries are as narrow as the dictionary allows. So what is compressed is what was sent, and not the absence of
//! most attributes in most rows. Compressing the stream as a whole, and not each buffer alone as IPC can, keeps
//! small slices small: a slice of a few hundred rows has hundreds of buffers.

use std::cell::RefCell;
use std::panic::catch_unwind;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, DictionaryArray, ListArray, PrimitiveArray, RecordBatch, StructArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{max, min};
use arrow::datatypes::{
    ArrowDictionaryKeyType, ArrowNativeType, DataType, Field, Int32Type, Schema, TimestampNanosecondType, UInt8Type,
    UInt16Type,
};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use schema::sparse::{SparseArray, SparseBatch};
use schema::{Dataset, TenantId, UnixNanos, columns};
use xxhash_rust::xxh3::xxh3_64;

use crate::LakeError;

/// First bytes of every segment; the digit is the format's version.
pub const MAGIC: &[u8; 8] = b"OTLPSEG1";
/// Version of the segment format.
pub const FORMAT_VERSION: i32 = 1;

/// The fastest level: segments live for seconds to minutes, so CPU matters more than bytes.
const ZSTD_LEVEL: i32 = 1;

/// A slice larger than this when decompressed is damage, not data: requests are limited far below.
const MAX_SLICE_BYTES: usize = 4 << 30;

/// Rows of one tenant and dataset.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The owner.
    pub tenant: TenantId,
    /// What a row is.
    pub dataset: Dataset,
    /// The rows; columns as in `schema::columns`, text plain or dictionary-encoded.
    pub batch: SparseBatch,
}

/// A segment's bytes and where its slices lie.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The object.
    pub bytes: Bytes,
    /// One per input, in order.
    pub slices: Vec<catalog::NewSlice>,
}

thread_local! {
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
}

/// Encodes a segment. CPU-bound: call it where blocking is allowed.
///
/// # Errors
/// [`LakeError`] if Arrow or ZSTD refuse, which for rows made by the decoder they do not.
pub fn encode(rows: &[Rows]) -> Result<Encoded, LakeError> {
    let mut bytes = Vec::with_capacity(64 << 10);
    bytes.extend_from_slice(MAGIC);
    let mut slices = Vec::with_capacity(rows.len());
    for rows in rows {
        let offset = bytes.len();
        bytes.extend_from_slice(&encode_slice(&rows.batch)?);
        let (min_ts, max_ts) = time_range(rows.dataset, &rows.batch);
        slices.push(catalog::NewSlice {
            tenant: rows.tenant.clone(),
            dataset: rows.dataset,
            offset: offset as i64,
            length: (bytes.len() - offset) as i64,
            rows: rows.batch.num_rows() as i64,
            min_ts,
            max_ts,
            checksum: xxh3_64(&bytes[offset..]) as i64,
        });
    }
    Ok(Encoded {
        bytes: bytes.into(),
        slices,
    })
}

/// Name of the metadata entry of a slice's schema that holds the number of rows.
const ROWS: &str = "rows";

/// Encodes the rows of one slice.
fn encode_slice(batch: &SparseBatch) -> Result<Vec<u8>, LakeError> {
    let mut fields = Vec::with_capacity(batch.columns().len());
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(batch.columns().len());
    for (name, column) in batch.columns() {
        let array = pack(column)?;
        fields.push(Field::new(name, array.data_type().clone(), false));
        arrays.push(array);
    }
    let metadata = [(ROWS.to_owned(), batch.num_rows().to_string())].into();
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let options = IpcWriteOptions::try_new(8, false, arrow::ipc::MetadataVersion::V5)?;
    let capacity = batch.memory_size() + 4096;
    let mut writer = StreamWriter::try_new_with_options(Vec::with_capacity(capacity), &schema, options)?;
    writer.write(&RecordBatch::try_new(schema, arrays)?)?;
    let stream = writer.into_inner()?;
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => {
                let mut new = zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(LakeError::Compression)?;
                new.include_contentsize(true).map_err(LakeError::Compression)?;
                slot.insert(new)
            }
        };
        compressor.compress(&stream).map_err(LakeError::Compression)
    })
}

/// A column as one struct of its bitmap and the list of its values.
fn pack(column: &SparseArray) -> Result<ArrayRef, ArrowError> {
    let values = narrow(column.values());
    let bitmap = column.validity().map(|v| v.inner().sliced());
    let bitmap = BinaryArray::from(vec![bitmap.as_deref()]);
    let lists = ListArray::try_new(
        Arc::new(Field::new("item", values.data_type().clone(), false)),
        OffsetBuffer::from_lengths([values.len()]),
        values,
        None,
    )?;
    let fields = vec![
        Field::new("rows", DataType::Binary, true),
        Field::new("values", lists.data_type().clone(), false),
    ];
    let arrays: Vec<ArrayRef> = vec![Arc::new(bitmap), Arc::new(lists)];
    Ok(Arc::new(StructArray::try_new(fields.into(), arrays, None)?))
}

/// The inverse of [`pack`] for a batch of `rows` rows; `None` if the array is not what it makes.
fn unpack(array: &ArrayRef, rows: usize) -> Option<SparseArray> {
    let columns = array.as_struct_opt()?.columns();
    let [bitmap, lists] = columns else { return None };
    let bitmap = bitmap.as_binary_opt::<i32>()?;
    let lists = lists.as_list_opt::<i32>()?;
    if bitmap.len() != 1 || lists.len() != 1 {
        return None;
    }
    let validity = if bitmap.is_valid(0) {
        let bits = bitmap.value(0);
        if bits.len() < rows.div_ceil(8) {
            return None;
        }
        Some(NullBuffer::new(BooleanBuffer::new(Buffer::from(bits), 0, rows)))
    } else {
        None
    };
    let values = lists.value(0);
    // Keys of nulls may be any number, and are not looked at any more below.
    if values.null_count() > 0 {
        return None;
    }
    let column = SparseArray::try_new(validity, widen(&values)).ok()?;
    (column.rows() == rows).then_some(column)
}

/// Dictionary keys in as few bytes as the dictionary's size allows; other arrays as they are.
fn narrow(array: &ArrayRef) -> ArrayRef {
    match array.as_dictionary_opt::<Int32Type>() {
        Some(dictionary) if dictionary.values().len() <= 1 << 8 => rekey::<Int32Type, UInt8Type>(dictionary),
        Some(dictionary) if dictionary.values().len() <= 1 << 16 => rekey::<Int32Type, UInt16Type>(dictionary),
        _ => Arc::clone(array),
    }
}

/// The inverse of [`narrow`].
fn widen(array: &ArrayRef) -> ArrayRef {
    if let Some(dictionary) = array.as_dictionary_opt::<UInt8Type>() {
        return rekey::<UInt8Type, Int32Type>(dictionary);
    }
    match array.as_dictionary_opt::<UInt16Type>() {
        Some(dictionary) => rekey::<UInt16Type, Int32Type>(dictionary),
        None => Arc::clone(array),
    }
}

/// A dictionary array without nulls with keys of another type, which must have room for them.
fn rekey<A: ArrowDictionaryKeyType, B: ArrowDictionaryKeyType>(array: &DictionaryArray<A>) -> ArrayRef {
    let keys = array.keys().values().iter();
    let keys = keys.map(|key| B::Native::usize_as(key.as_usize())).collect::<Vec<_>>();
    let keys = PrimitiveArray::<B>::new(ScalarBuffer::from(keys), None);
    // SAFETY: the keys are those of a valid dictionary array, and none is null.
    Arc::new(unsafe { DictionaryArray::new_unchecked(keys, Arc::clone(array.values())) })
}

/// Refuses a slice of a format that this program does not know.
///
/// # Errors
/// [`LakeError::NewerFormat`].
pub(crate) fn check_version(slice: &catalog::Slice) -> Result<(), LakeError> {
    if slice.format_version <= FORMAT_VERSION {
        return Ok(());
    }
    Err(LakeError::NewerFormat {
        path: slice.path.clone(),
        found: slice.format_version.into(),
        known: FORMAT_VERSION.into(),
    })
}

/// Decodes the bytes of one slice, checking them against the checksum the catalog has.
///
/// # Errors
/// [`LakeError::Damaged`] if the bytes are not what was written, or not what any writer makes.
pub fn decode_slice(bytes: &[u8], checksum: i64, path: &str) -> Result<SparseBatch, LakeError> {
    // A checksum that is right vouches for nothing if the catalog is what is damaged, and Arrow's reader panics on some
    // bytes that no writer makes. Only values are captured, which nobody sees after a panic.
    let decoded = catch_unwind(|| decode_stream(bytes, checksum));
    let decoded = decoded.unwrap_or_else(|_| Err("a slice's record batch is in no form that Arrow knows".to_owned()));
    decoded.map_err(|what| LakeError::Damaged {
        path: path.to_owned(),
        what,
    })
}

/// The rows of a slice, or what is wrong with it.
fn decode_stream(bytes: &[u8], checksum: i64) -> Result<SparseBatch, String> {
    if xxh3_64(bytes) as i64 != checksum {
        return Err("a slice's checksum differs from the catalog's".to_owned());
    }
    let size = zstd::zstd_safe::get_frame_content_size(bytes)
        .ok()
        .flatten()
        .unwrap_or(0);
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > MAX_SLICE_BYTES {
        return Err("a slice claims an impossible size".to_owned());
    }
    let stream = zstd::bulk::decompress(bytes, size).map_err(|_| "a slice is not a ZSTD frame")?;
    plain_messages(&stream).ok_or("a slice is not Arrow IPC")?;
    let mut stream = Buffer::from_vec(stream);
    let batch = StreamDecoder::new().decode(&mut stream);
    let batch = batch.map_err(|error| format!("a slice's record batch cannot be read ({error})"))?;
    let batch = batch.ok_or("a slice has no record batch")?;
    let schema = batch.schema();
    let rows = schema.metadata().get(ROWS).and_then(|rows| rows.parse::<usize>().ok());
    let rows = rows.ok_or("a slice does not say how many rows it has")?;
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        let column = unpack(array, rows).ok_or("a slice's column is not in the form of slices")?;
        columns.push((field.name().clone(), column));
    }
    SparseBatch::try_new(rows, columns).map_err(|error| error.to_string())
}

/// `None` unless the stream is messages that are as long as they say and whose buffers are as they are. Arrow asks for as
/// much memory as a compressed buffer claims to need, and to ask for too much ends the process.
fn plain_messages(mut stream: &[u8]) -> Option<()> {
    loop {
        let (head, rest) = stream.split_first_chunk::<8>()?;
        let [0xff, 0xff, 0xff, 0xff, size @ ..] = *head else {
            return None;
        };
        let size = u32::from_le_bytes(size) as usize;
        if size == 0 {
            return Some(());
        }
        let (message, rest) = rest.split_at_checked(size)?;
        let message = root_as_message(message).ok()?;
        let dictionary = message.header_as_dictionary_batch().and_then(|d| d.data());
        let batch = message.header_as_record_batch().or(dictionary);
        if batch.is_some_and(|batch| batch.compression().is_some()) {
            return None;
        }
        stream = rest.get(usize::try_from(message.bodyLength()).ok()?..)?;
    }
}

/// Least and greatest time of the rows, in ns; 0 for both if there is none.
pub fn time_range(dataset: Dataset, batch: &SparseBatch) -> (UnixNanos, UnixNanos) {
    let times = batch.column(columns::time_column(dataset)).map(SparseArray::values);
    times.map_or((0, 0), least_and_greatest)
}

/// Least and greatest of an array of times, in ns; 0 for both if it holds none.
pub(crate) fn least_and_greatest(times: &ArrayRef) -> (UnixNanos, UnixNanos) {
    match times.as_primitive_opt::<TimestampNanosecondType>() {
        Some(times) => (min(times).unwrap_or(0), max(times).unwrap_or(0)),
        None => (0, 0),
    }
}

#[cfg(test)]
mod tests;

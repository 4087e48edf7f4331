//! The segment format: what a group commit writes.
//!
//! A segment is `OTLPSEG1` followed by slices back to back; the catalog knows where each begins and ends. A slice is
//! one ZSTD frame around an Arrow IPC stream of one record batch. Compressing the stream as a whole, and not each
//! buffer alone as IPC can, keeps small slices small: a slice of a few hundred rows has hundreds of buffers.

use std::cell::RefCell;
use std::io::Cursor;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::TimestampNanosecondType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
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
    pub batch: RecordBatch,
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

/// Encodes the rows of one slice.
fn encode_slice(batch: &RecordBatch) -> Result<Vec<u8>, LakeError> {
    let options = IpcWriteOptions::try_new(8, false, arrow::ipc::MetadataVersion::V5)?;
    let capacity = batch.get_array_memory_size() + 4096;
    let mut writer = StreamWriter::try_new_with_options(Vec::with_capacity(capacity), &batch.schema(), options)?;
    writer.write(batch)?;
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

/// Decodes the bytes of one slice, checking them against the checksum the catalog has.
///
/// # Errors
/// [`LakeError::Damaged`] if the bytes are not what was written.
pub fn decode_slice(bytes: &[u8], checksum: i64, path: &str) -> Result<RecordBatch, LakeError> {
    let damaged = |what: &str| LakeError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    if xxh3_64(bytes) as i64 != checksum {
        return Err(damaged("a slice's checksum differs from the catalog's"));
    }
    let size = zstd::zstd_safe::get_frame_content_size(bytes)
        .ok()
        .flatten()
        .unwrap_or(0);
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > MAX_SLICE_BYTES {
        return Err(damaged("a slice claims an impossible size"));
    }
    let stream = zstd::bulk::decompress(bytes, size).map_err(|_| damaged("a slice is not a ZSTD frame"))?;
    let mut reader = StreamReader::try_new(Cursor::new(stream), None)?;
    reader
        .next()
        .ok_or_else(|| damaged("a slice has no record batch"))?
        .map_err(LakeError::Arrow)
}

/// Least and greatest time of the rows, in ns; 0 for both if there is none.
pub fn time_range(dataset: Dataset, batch: &RecordBatch) -> (UnixNanos, UnixNanos) {
    let Some(column) = batch.column_by_name(columns::time_column(dataset)) else {
        return (0, 0);
    };
    let Some(times) = column.as_primitive_opt::<TimestampNanosecondType>() else {
        return (0, 0);
    };
    if times.is_empty() {
        return (0, 0);
    }
    (min(times).unwrap_or(0), max(times).unwrap_or(0))
}

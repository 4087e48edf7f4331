//! Reading slices and parts.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use catalog::{Part, Slice};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use schema::sparse::SparseBatch;

use crate::part::index::{self, ENTRY_BYTES, Lookup};
use crate::segment::decode_slice;
use crate::{Lake, LakeError};

/// Slices fetched at once: enough to hide a store's latency, few enough not to flood it.
const CONCURRENT_READS: usize = 16;

/// The address of a part: all that opening it takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartFile {
    /// Object path.
    pub path: Arc<str>,
    /// Object size in bytes.
    pub bytes: u64,
    /// Footer size in bytes, page indexes included.
    pub footer_bytes: u64,
}

impl From<&Part> for PartFile {
    fn from(part: &Part) -> Self {
        Self {
            path: part.path.as_str().into(),
            bytes: part.bytes.max(0) as u64,
            footer_bytes: part.footer_bytes.max(0) as u64,
        }
    }
}

/// Where a trace lies in a part: block numbers, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceBlocks {
    /// Numbers of blocks of `part::BLOCK_ROWS` rows.
    pub blocks: Vec<u32>,
}

impl Lake {
    /// The rows of a slice, from memory or from the store.
    ///
    /// # Errors
    /// [`LakeError`] if the store fails or the bytes are damaged.
    pub async fn slice(&self, slice: &Slice) -> Result<Arc<SparseBatch>, LakeError> {
        if let Some(batch) = self.inner.cache.slices.get(&slice.id) {
            self.inner.telemetry.cache_hit("slices");
            return Ok(batch);
        }
        self.inner.telemetry.cache_miss("slices");
        let range = slice.offset as u64..(slice.offset + slice.length) as u64;
        let bytes = self
            .inner
            .store
            .get_range(&Path::from(slice.path.as_str()), range)
            .await?;
        let (path, checksum) = (slice.path.clone(), slice.checksum);
        let batch = tokio::task::spawn_blocking(move || decode_slice(&bytes, checksum, &path)).await??;
        let batch = Arc::new(batch);
        self.inner.cache.slices.insert(slice.id, Arc::clone(&batch));
        Ok(batch)
    }

    /// The rows of many slices, in their order.
    ///
    /// # Errors
    /// As [`Self::slice`].
    pub async fn slices(&self, slices: &[Slice]) -> Result<Vec<Arc<SparseBatch>>, LakeError> {
        stream::iter(slices.to_vec())
            .map(|slice| {
                let lake = self.clone();
                async move { lake.slice(&slice).await }
            })
            .buffered(CONCURRENT_READS)
            .try_collect()
            .await
    }

    /// A reader of a part.
    pub fn part_reader(&self, file: PartFile) -> PartReader {
        PartReader {
            lake: self.clone(),
            file,
        }
    }

    /// Which blocks of a spans part may hold a trace: one short read of its index.
    ///
    /// # Errors
    /// [`LakeError::Store`].
    pub async fn trace_blocks(&self, part: &Part, trace_id: &[u8; 16]) -> Result<TraceBlocks, LakeError> {
        let entries = part.index_bytes.max(0) as u64 / ENTRY_BYTES;
        let offset = part.index_offset.max(0) as u64;
        let path: Arc<str> = part.path.as_str().into();
        let mut range = index::guess(trace_id, entries);
        loop {
            let bytes = self
                .range(
                    &path,
                    offset + range.start * ENTRY_BYTES..offset + range.end * ENTRY_BYTES,
                )
                .await?;
            match index::search(trace_id, &bytes, range, entries) {
                Lookup::Blocks(blocks) => return Ok(TraceBlocks { blocks }),
                Lookup::ReadMore => range = 0..entries,
            }
        }
    }

    pub(crate) async fn range(&self, path: &Arc<str>, range: Range<u64>) -> Result<Bytes, object_store::Error> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let Some(cache) = &self.inner.cache.ranges else {
            return self.inner.store.get_range(&Path::from(path.as_ref()), range).await;
        };
        let key = (Arc::clone(path), range);
        if let Some(bytes) = cache.get(&key) {
            self.inner.telemetry.cache_hit("ranges");
            return Ok(bytes);
        }
        self.inner.telemetry.cache_miss("ranges");
        let bytes = self
            .inner
            .store
            .get_range(&Path::from(path.as_ref()), key.1.clone())
            .await?;
        cache.insert(key, bytes.clone());
        Ok(bytes)
    }
}

/// Reads a part for the Parquet reader. The footer's place is known from the catalog, so opening a part costs one
/// read, and none once it is cached.
#[derive(Clone)]
pub struct PartReader {
    lake: Lake,
    file: PartFile,
}

/// Ranges closer than this are read as one: on an object store a request costs as much as a few hundred KiB.
const COALESCE_GAP: u64 = 256 << 10;

impl PartReader {
    /// The decoded footer with its page indexes.
    ///
    /// # Errors
    /// [`LakeError`] if the store fails or the footer is damaged.
    pub async fn footer(&self) -> Result<Arc<ParquetMetaData>, LakeError> {
        let telemetry = &self.lake.inner.telemetry;
        if let Some(footer) = self.lake.inner.cache.footers.get(&self.file.path) {
            telemetry.cache_hit("footers");
            return Ok(footer);
        }
        telemetry.cache_miss("footers");
        let from = self.file.bytes - self.file.footer_bytes.min(self.file.bytes);
        let bytes = self.lake.range(&self.file.path, from..self.file.bytes).await?;
        let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        reader.try_parse_sized(&bytes, self.file.bytes)?;
        let footer = Arc::new(reader.finish()?);
        self.lake
            .inner
            .cache
            .footers
            .insert(Arc::clone(&self.file.path), Arc::clone(&footer));
        Ok(footer)
    }
}

impl AsyncFileReader for PartReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { self.lake.range(&self.file.path, range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move {
            let mut order = ranges.clone();
            order.sort_unstable_by_key(|r| r.start);
            let mut joined: Vec<Range<u64>> = Vec::new();
            for range in order {
                match joined.last_mut() {
                    Some(last) if range.start <= last.end + COALESCE_GAP => last.end = last.end.max(range.end),
                    _ => joined.push(range),
                }
            }
            let fetched: Vec<Bytes> = stream::iter(joined.iter().cloned())
                .map(|range| self.lake.range(&self.file.path, range))
                .buffered(CONCURRENT_READS)
                .try_collect()
                .await
                .map_err(external)?;
            let cut = |range: &Range<u64>| {
                let at = joined.partition_point(|j| j.end < range.end);
                let (from, bytes) = (joined[at].start, &fetched[at]);
                bytes.slice((range.start - from) as usize..(range.end - from) as usize)
            };
            Ok(ranges.iter().map(cut).collect())
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move { self.footer().await.map_err(|e| ParquetError::External(Box::new(e))) }.boxed()
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

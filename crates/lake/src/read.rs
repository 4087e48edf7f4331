//! Reading slices and parts.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use catalog::{Part, Slice};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use schema::sparse::SparseBatch;

use crate::host::Urgency;
use crate::part;
use crate::segment::{self, decode_slice};
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

/// What is there of a slice.
enum Fetched {
    /// It was in memory.
    Rows(Arc<SparseBatch>),
    /// It is to be decoded.
    Bytes(Bytes),
}

impl Lake {
    /// The rows of a slice, from memory or from the store.
    ///
    /// # Errors
    /// [`LakeError`] if the store fails or the bytes are damaged.
    pub async fn slice(&self, slice: &Slice) -> Result<Arc<SparseBatch>, LakeError> {
        match self.fetch_slice(slice).await? {
            Fetched::Rows(rows) => Ok(rows),
            Fetched::Bytes(bytes) => {
                let rows = self.decode_slice(slice, bytes, Urgency::Now).await?;
                self.inner.cache.keep_slice(slice.id, Arc::clone(&rows));
                Ok(rows)
            }
        }
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

    /// The rows of slices that are to be replaced, in their order. They are decoded one after the other, as background work, and
    /// not kept: memory has better uses than what will soon be gone.
    ///
    /// # Errors
    /// As [`Self::slice`].
    pub(crate) async fn slices_to_replace(&self, slices: &[Slice]) -> Result<Vec<Arc<SparseBatch>>, LakeError> {
        let fetched = stream::iter(slices.to_vec()).map(|slice| {
            let lake = self.clone();
            async move { lake.fetch_slice(&slice).await.map(|fetched| (slice, fetched)) }
        });
        let decoded = fetched.buffered(CONCURRENT_READS).and_then(|(slice, fetched)| {
            let lake = self.clone();
            async move {
                match fetched {
                    Fetched::Rows(rows) => Ok(rows),
                    Fetched::Bytes(bytes) => lake.decode_slice(&slice, bytes, Urgency::Background).await,
                }
            }
        });
        decoded.try_collect().await
    }

    async fn fetch_slice(&self, slice: &Slice) -> Result<Fetched, LakeError> {
        if let Some(batch) = self.inner.cache.slices.get(&slice.id) {
            self.inner.telemetry.cache_hit("slices");
            return Ok(Fetched::Rows(batch));
        }
        self.inner.telemetry.cache_miss("slices");
        segment::check_version(slice)?;
        let range = slice.offset as u64..(slice.offset + slice.length) as u64;
        self.stored_range(&slice.path, range).await.map(Fetched::Bytes)
    }

    async fn decode_slice(&self, slice: &Slice, bytes: Bytes, urgency: Urgency) -> Result<Arc<SparseBatch>, LakeError> {
        let (path, checksum) = (slice.path.clone(), slice.checksum);
        let decoding = move || decode_slice(&bytes, checksum, &path);
        Ok(Arc::new(self.inner.host.run(urgency, decoding).await??))
    }

    /// A reader of a part.
    pub fn part_reader(&self, file: PartFile) -> PartReader {
        PartReader {
            lake: self.clone(),
            file,
        }
    }

    pub(crate) async fn range(&self, path: &Arc<str>, range: Range<u64>) -> Result<Bytes, LakeError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let Some(cache) = &self.inner.cache.ranges else {
            return self.stored_range(path, range).await;
        };
        let key = (Arc::clone(path), range);
        if let Some(bytes) = cache.get(&key) {
            self.inner.telemetry.cache_hit("ranges");
            return Ok(bytes);
        }
        self.inner.telemetry.cache_miss("ranges");
        let bytes = self.stored_range(path, key.1.clone()).await?;
        cache.insert(key, bytes.clone());
        Ok(bytes)
    }

    /// Bytes of an object that the catalog names.
    async fn stored_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        let location = Path::from(path);
        match self.inner.store.get_range(&location, range.clone()).await {
            Ok(bytes) if bytes.len() as u64 == range.end - range.start => Ok(bytes),
            Ok(bytes) => Err(ends_early(path, range.start + bytes.len() as u64, range.end)),
            Err(error) => Err(self.not_read(path, range.end, error).await),
        }
    }

    /// Why an object that the catalog names was not read up to byte `end`. That it is not there, or not that long, is
    /// damage, and no failure of the store.
    async fn not_read(&self, path: &str, end: u64, error: object_store::Error) -> LakeError {
        let missing = || LakeError::Damaged {
            path: path.to_owned(),
            what: "the store does not have it".to_owned(),
        };
        if matches!(error, object_store::Error::NotFound { .. }) {
            return missing();
        }
        // Stores tell a range beyond the end each in their own way.
        match self.inner.store.head(&Path::from(path)).await {
            Ok(object) if object.size < end => ends_early(path, object.size, end),
            Err(object_store::Error::NotFound { .. }) => missing(),
            _ => error.into(),
        }
    }
}

fn ends_early(path: &str, size: u64, end: u64) -> LakeError {
    LakeError::Damaged {
        path: path.to_owned(),
        what: format!("it ends at byte {size}, and is read up to byte {end}"),
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
    /// The decoded footer with its page indexes and the stored schema.
    ///
    /// # Errors
    /// [`LakeError`] if the store fails or the footer is damaged.
    pub async fn footer(&self) -> Result<ArrowReaderMetadata, LakeError> {
        let telemetry = &self.lake.inner.telemetry;
        if let Some(footer) = self.lake.inner.cache.footers.get(&self.file.path) {
            telemetry.cache_hit("footers");
            return Ok(footer);
        }
        telemetry.cache_miss("footers");
        let from = self.file.bytes - self.file.footer_bytes.min(self.file.bytes);
        let bytes = self.lake.range(&self.file.path, from..self.file.bytes).await?;
        let footer = parse_footer(&bytes, self.file.bytes).map_err(|error| error.of_object(&self.file.path))?;
        part::check_version(footer.metadata(), &self.file.path)?;
        self.lake
            .inner
            .cache
            .footers
            .insert(Arc::clone(&self.file.path), footer.clone());
        Ok(footer)
    }

    /// Ranges of the part, in their order. From a remote store those that are at most `gap` bytes apart are read as one.
    ///
    /// # Errors
    /// [`LakeError`] if the store fails or the object is shorter than that.
    pub(crate) async fn ranges(&self, ranges: &[Range<u64>], gap: u64) -> Result<Vec<Bytes>, LakeError> {
        if self.lake.inner.cache.ranges.is_none() {
            // A local file is opened once for all of them, and what lies between need not be copied.
            let path = Path::from(self.file.path.as_ref());
            return match self.lake.inner.store.get_ranges(&path, ranges).await {
                Ok(bytes) => Ok(bytes),
                Err(error) => {
                    let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
                    Err(self.lake.not_read(&self.file.path, end, error).await)
                }
            };
        }
        let mut order = ranges.to_vec();
        order.sort_unstable_by_key(|r| r.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in order {
            match joined.last_mut() {
                Some(last) if range.start <= last.end + gap => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        let fetched: Vec<Bytes> = stream::iter(joined.iter().cloned())
            .map(|range| self.lake.range(&self.file.path, range))
            .buffered(CONCURRENT_READS)
            .try_collect()
            .await?;
        let cut = |range: &Range<u64>| {
            let at = joined.partition_point(|j| j.end < range.end);
            let (from, bytes) = (joined[at].start, &fetched[at]);
            let (start, end) = ((range.start - from) as usize, (range.end - from) as usize);
            // Stores give what there is: the object is shorter than its catalog row says, or its footer is damaged.
            if start > end || end > bytes.len() {
                return Err(LakeError::Damaged {
                    path: self.file.path.to_string(),
                    what: format!("it has no bytes {range:?}"),
                });
            }
            Ok(bytes.slice(start..end))
        };
        ranges.iter().map(cut).collect()
    }
}

impl AsyncFileReader for PartReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { self.lake.range(&self.file.path, range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move { self.ranges(&ranges, COALESCE_GAP).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move { Ok(Arc::clone(self.footer().await.map_err(external)?.metadata())) }.boxed()
    }
}

fn parse_footer(bytes: &Bytes, size: u64) -> Result<ArrowReaderMetadata, LakeError> {
    let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
    reader.try_parse_sized(bytes, size)?;
    Ok(ArrowReaderMetadata::try_new(
        Arc::new(reader.finish()?),
        ArrowReaderOptions::new(),
    )?)
}

fn external(error: LakeError) -> ParquetError {
    ParquetError::External(Box::new(error))
}

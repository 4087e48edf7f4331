//! What is kept in memory: decoded slices, footers of parts, and ranges read from a remote store.
//!
//! All three are caches of immutable objects, so nothing is ever invalidated; each is bounded by bytes.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use moka::sync::Cache;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use schema::sparse::SparseBatch;

/// How many bytes each cache may hold.
#[derive(Debug, Clone, Copy)]
pub struct CacheSizes {
    /// Decoded slices.
    pub slices: u64,
    /// Parquet footers.
    pub footers: u64,
    /// Ranges of objects; 0 where the store is as near as memory (local disk: the page cache does this).
    pub ranges: u64,
}

impl CacheSizes {
    /// A sensible split of `total` bytes.
    pub const fn split(total: u64, local: bool) -> Self {
        let ranges = if local { 0 } else { total * 3 / 8 };
        Self {
            slices: total / 2,
            footers: total / 8,
            ranges,
        }
    }
}

/// Bytes of an object, by its path.
type ObjectRange = (Arc<str>, Range<u64>);

pub(crate) struct Caches {
    pub slices: Cache<i64, Arc<SparseBatch>>,
    pub footers: Cache<Arc<str>, ArrowReaderMetadata>,
    pub ranges: Option<Cache<ObjectRange, Bytes>>,
}

impl Caches {
    pub(crate) fn new(sizes: CacheSizes) -> Self {
        let weight = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            slices: Cache::builder()
                .max_capacity(sizes.slices)
                .weigher(move |_, batch: &Arc<SparseBatch>| weight(batch.memory_size()))
                .build(),
            footers: Cache::builder()
                .max_capacity(sizes.footers)
                .weigher(move |_, footer: &ArrowReaderMetadata| {
                    weight(footer.metadata().memory_size() + footer.schema().fields().size())
                })
                .build(),
            ranges: (sizes.ranges > 0).then(|| {
                Cache::builder()
                    .max_capacity(sizes.ranges)
                    .weigher(move |_, bytes: &Bytes| weight(bytes.len()))
                    .build()
            }),
        }
    }

    /// Keeps a slice. What it pushes out goes at once and not when the cache gets round to it: slices are large.
    pub(crate) fn keep_slice(&self, id: i64, batch: Arc<SparseBatch>) {
        self.slices.insert(id, batch);
        self.slices.run_pending_tasks();
    }

    /// Bytes held, by cache.
    pub(crate) fn sizes(&self) -> [(&'static str, u64); 3] {
        [
            ("slices", self.slices.weighted_size()),
            ("footers", self.footers.weighted_size()),
            ("ranges", self.ranges.as_ref().map_or(0, Cache::weighted_size)),
        ]
    }
}

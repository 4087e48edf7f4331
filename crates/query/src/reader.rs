//! Parts as DataFusion's Parquet source reads them: cached footers, joined ranges, counted bytes.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use lake::{Lake, PartFile, PartReader};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use crate::error::ScanLimit;

/// Bytes that a query may still read.
#[derive(Debug)]
pub(crate) struct ScanBudget {
    left: AtomicU64,
    limit: u64,
}

impl ScanBudget {
    pub(crate) const fn new(limit: u64) -> Self {
        Self {
            left: AtomicU64::new(limit),
            limit,
        }
    }

    pub(crate) fn take(&self, bytes: u64) -> std::result::Result<(), ScanLimit> {
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map(|_| ()).map_err(|_| ScanLimit(self.limit))
    }
}

/// Makes readers of parts.
pub(crate) struct PartReaders {
    pub lake: Lake,
    pub budget: Arc<ScanBudget>,
}

impl fmt::Debug for PartReaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartReaders").finish_non_exhaustive()
    }
}

impl ParquetFileReaderFactory for PartReaders {
    fn create_reader(
        &self,
        _: usize,
        file: PartitionedFile,
        _: Option<usize>,
        _: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let part = file.extension::<PartFile>().cloned();
        let part = part.ok_or_else(|| DataFusionError::Internal("a file without its part".to_owned()))?;
        let reader = self.lake.part_reader(part);
        Ok(Box::new(CountedReader::new(reader, Arc::clone(&self.budget))))
    }
}

/// Reads a part at the expense of a budget.
#[derive(Clone)]
pub(crate) struct CountedReader {
    reader: PartReader,
    budget: Arc<ScanBudget>,
}

impl CountedReader {
    pub(crate) const fn new(reader: PartReader, budget: Arc<ScanBudget>) -> Self {
        Self { reader, budget }
    }

    fn take(&self, bytes: u64) -> parquet::errors::Result<()> {
        self.budget
            .take(bytes)
            .map_err(|limit| ParquetError::External(Box::new(limit)))
    }
}

impl AsyncFileReader for CountedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move {
            self.take(range.end - range.start)?;
            self.reader.get_bytes(range).await
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move {
            self.take(ranges.iter().map(|r| r.end - r.start).sum())?;
            self.reader.get_byte_ranges(ranges).await
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        self.reader.get_metadata(options)
    }
}

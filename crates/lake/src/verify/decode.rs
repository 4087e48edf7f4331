//! Decoding parts for what the catalog tells of them.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{max, min, sum};
use arrow::datatypes::{Int32Type, TimestampNanosecondType};
use catalog::Part;
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::file::metadata::ParquetMetaData;
use schema::{Dataset, UnixNanos, columns};

use super::Check;
use super::statistics::Observed;
use crate::LakeError;
use crate::part::index::{self, TraceEntry};
use crate::part::{self, BLOCK_ROWS, Chunks, ROW_GROUP_ROWS};
use crate::read::PartFile;

/// What a part holds.
pub(super) struct Decoded {
    pub rows: i64,
    /// Least and greatest time, ns; 0 for both if there is none.
    pub times: (UnixNanos, UnixNanos),
    /// The trace index that belongs to the rows, if all was decoded.
    pub trace_index: Option<Vec<u8>>,
    /// Columns whose statistics exclude a value, and which.
    pub statistics: Vec<(String, String)>,
}

/// Stored rows of chunks decoded at once: they hold up to a thousand points each.
const CHUNK_ROWS: usize = 128;

impl Check {
    /// Reads the columns that tell what the catalog says: counts, times, statistics. If `all`, every column, and decodes
    /// every value.
    ///
    /// # Errors
    /// [`LakeError::Store`] if the store does not answer; others if the part cannot be decoded.
    pub(super) async fn decode(
        &self,
        part: &Part,
        footer: &Arc<ParquetMetaData>,
        all: bool,
    ) -> Result<Decoded, LakeError> {
        // The reader wraps what the store says; it must not be taken for damage.
        let decoded = self.decode_columns(part, footer, all).await;
        decoded.map_err(|error| error.of_object(&part.path))
    }

    async fn decode_columns(
        &self,
        part: &Part,
        footer: &Arc<ParquetMetaData>,
        all: bool,
    ) -> Result<Decoded, LakeError> {
        let metadata = ArrowReaderMetadata::try_new(Arc::clone(footer), ArrowReaderOptions::new())?;
        let chunks = Chunks::of(part.dataset);
        let time = columns::time_column(part.dataset);
        let wanted = |name: &str| {
            let of_chunks = chunks
                .as_ref()
                .is_some_and(|c| name == c.last_time() || name == c.count());
            all || name == time || of_chunks || part.stats.iter().any(|s| s.column == name)
        };
        let stored = metadata.schema().fields().iter().enumerate();
        let columns = stored.filter(|(_, field)| wanted(field.name()));
        let columns = columns.map(|(column, _)| column).collect::<Vec<_>>();
        let mut observed = Observed::new(&part.stats);
        let mut traces = all.then(Vec::new);
        let (mut rows, mut times) = (0, None);
        for (number, group) in footer.row_groups().iter().enumerate() {
            if columns.is_empty() {
                rows += group.num_rows();
                continue;
            }
            let reader = self.lake.part_reader(PartFile::from(part));
            let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata.clone());
            let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
            let batch_rows = if chunks.is_some() { CHUNK_ROWS } else { ROW_GROUP_ROWS };
            let mut stream = builder
                .with_projection(mask)
                .with_row_groups(vec![number])
                .with_batch_size(batch_rows)
                .build()?;
            while let Some(batch) = stream.try_next().await? {
                let from = rows;
                rows += match chunks.as_ref().and_then(|c| batch.column_by_name(c.count())) {
                    Some(counts) => counts
                        .as_primitive_opt::<Int32Type>()
                        .and_then(sum)
                        .map_or(0, i64::from),
                    None => batch.num_rows() as i64,
                };
                let last = chunks.as_ref().map_or(time, Chunks::last_time);
                times = spread(times, &batch, time);
                times = spread(times, &batch, last);
                observed.add(&batch);
                if let Some(traces) = &mut traces {
                    let decoded = part::decode(part.dataset, batch)?;
                    if part.dataset == Dataset::Spans {
                        entries(&decoded, from as usize, traces);
                    }
                }
            }
        }
        Ok(Decoded {
            rows,
            times: times.unwrap_or((0, 0)),
            trace_index: traces.filter(|_| part.dataset == Dataset::Spans).map(index::encode),
            statistics: observed.wrong(),
        })
    }
}

/// The range of times, with those of a column.
fn spread(times: Option<(i64, i64)>, batch: &RecordBatch, column: &str) -> Option<(i64, i64)> {
    let column = batch.column_by_name(column);
    let column = column.and_then(|c| c.as_primitive_opt::<TimestampNanosecondType>());
    let here = column.and_then(|c| min(c).zip(max(c)));
    match (times, here) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (one, other) => one.or(other),
    }
}

/// The entries of the trace index for rows that begin at number `from`, which begins a block.
fn entries(batch: &RecordBatch, from: usize, out: &mut Vec<TraceEntry>) {
    let ids = batch
        .column_by_name("trace_id")
        .and_then(|c| c.as_fixed_size_binary_opt());
    let Some(ids) = ids.filter(|ids| ids.value_length() == 16) else {
        return;
    };
    let mut seen: HashSet<&[u8]> = HashSet::new();
    for start in (0..ids.len()).step_by(BLOCK_ROWS) {
        seen.clear();
        for row in start..(start + BLOCK_ROWS).min(ids.len()) {
            if seen.insert(ids.value(row)) {
                out.push(TraceEntry::new(ids.value(row), ((from + start) / BLOCK_ROWS) as u32));
            }
        }
    }
}

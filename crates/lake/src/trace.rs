//! The rows of a trace in a part: its index says in which blocks they are, and of those only their pages are read.

use std::sync::Arc;

use arrow::array::RecordBatch;
use catalog::Part;
use schema::Dataset;

use crate::part::index::{self, ENTRY_BYTES, Lookup};
use crate::part::{self, BLOCK_ROWS};
use crate::read::PartFile;
use crate::{Lake, LakeError, pick};

impl Lake {
    /// All rows that a part of spans has of a trace, as logical columns. Columns without a value may be missing.
    ///
    /// # Errors
    /// [`LakeError`] if the store fails or the part is damaged.
    pub async fn trace_rows(&self, part: &Part, trace_id: &[u8; 16]) -> Result<Vec<RecordBatch>, LakeError> {
        let rows = self.decode_trace_rows(part, trace_id).await;
        rows.map_err(|error| error.of_object(&part.path))
    }

    async fn decode_trace_rows(&self, part: &Part, trace_id: &[u8; 16]) -> Result<Vec<RecordBatch>, LakeError> {
        let blocks = self.trace_blocks(part, trace_id).await?;
        let reader = self.part_reader(PartFile::from(part));
        let rows = part.rows.max(0) as usize;
        // What parents are told from has to be there.
        let kept = part::block_columns(Dataset::Spans).iter();
        let kept = kept.flat_map(|column| column.stored).copied().collect::<Vec<_>>();
        let mut batches = Vec::with_capacity(blocks.len());
        for block in blocks {
            let start = (block as usize * BLOCK_ROWS).min(rows);
            let block = start..(start + BLOCK_ROWS).min(rows);
            let found = pick::rows_with(&reader, block, ("trace_id", trace_id), &kept).await?;
            if let Some(batch) = found {
                // All rows of one trace in one block: enough to tell the parents.
                batches.push(part::decode(Dataset::Spans, batch)?);
            }
        }
        Ok(batches)
    }

    /// Which blocks may hold the trace, ascending: one short read of the index.
    pub(crate) async fn trace_blocks(&self, part: &Part, trace_id: &[u8; 16]) -> Result<Vec<u32>, LakeError> {
        let entries = part.index_bytes.max(0) as u64 / ENTRY_BYTES;
        let offset = part.index_offset.max(0) as u64;
        let path: Arc<str> = part.path.as_str().into();
        let mut range = index::guess(trace_id, entries);
        loop {
            let bytes = offset + range.start * ENTRY_BYTES..offset + range.end * ENTRY_BYTES;
            let bytes = self.range(&path, bytes).await?;
            match index::search(trace_id, &bytes, range, entries) {
                Lookup::Blocks(blocks) => return Ok(blocks),
                Lookup::ReadMore => range = 0..entries,
            }
        }
    }
}

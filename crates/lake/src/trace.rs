//! The rows of a trace in a part: its index says in which blocks they are, and of those only their pages are read.

use std::sync::Arc;

use arrow::array::RecordBatch;
use catalog::Part;
use schema::Dataset;

use crate::part::index::{self, ENTRY_BYTES, Lookup};
use crate::part::{self, BLOCK_ROWS};
use crate::read::{PartFile, PartReader};
use crate::{Lake, LakeError, pick};

/// The blocks of a part that may hold rows of a trace, read one by one: a trace may be larger than memory.
pub struct TraceBlocks {
    part: Part,
    trace_id: [u8; 16],
    reader: PartReader,
    blocks: std::vec::IntoIter<u32>,
    kept: Vec<&'static str>,
}

impl TraceBlocks {
    /// About how many bytes of the store the next blocks are, all together.
    pub fn bytes(&self) -> u64 {
        let rows = self.part.rows.max(1) as u64;
        let asked = (self.blocks.len() as u64).saturating_mul(BLOCK_ROWS as u64).min(rows);
        (self.part.bytes.max(0) as u64 / rows).saturating_mul(asked)
    }

    /// The rows of the next block that has any, as logical columns. Columns without a value may be missing.
    ///
    /// # Errors
    /// [`LakeError`] if the store fails or the part is damaged.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, LakeError> {
        let found = self.decode_next().await;
        found.map_err(|error| error.of_object(&self.part.path))
    }

    async fn decode_next(&mut self) -> Result<Option<RecordBatch>, LakeError> {
        let rows = self.part.rows.max(0) as usize;
        for block in self.blocks.by_ref() {
            let start = (block as usize * BLOCK_ROWS).min(rows);
            let block = start..(start + BLOCK_ROWS).min(rows);
            let wanted = ("trace_id", &self.trace_id[..]);
            if let Some(batch) = pick::rows_with(&self.reader, block, wanted, &self.kept).await? {
                // All rows of one trace in one block: enough to tell the parents.
                return Ok(Some(part::decode(Dataset::Spans, batch)?));
            }
        }
        Ok(None)
    }
}

impl Lake {
    /// Where a part of spans may have rows of a trace.
    ///
    /// # Errors
    /// [`LakeError`] if the store fails or the part is damaged.
    pub async fn trace_rows(&self, part: &Part, trace_id: &[u8; 16]) -> Result<TraceBlocks, LakeError> {
        let blocks = self.trace_blocks(part, trace_id).await;
        let blocks = blocks.map_err(|error| error.of_object(&part.path))?;
        // What parents are told from has to be there.
        let kept = part::block_columns(Dataset::Spans).iter();
        Ok(TraceBlocks {
            part: part.clone(),
            trace_id: *trace_id,
            reader: self.part_reader(PartFile::from(part)),
            blocks: blocks.into_iter(),
            kept: kept.flat_map(|column| column.stored).copied().collect(),
        })
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

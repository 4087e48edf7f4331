//! How a part holds spans.

use arrow::array::RecordBatch;

use crate::LakeError;

/// Logical rows of a row group as they are written.
pub(super) fn encode(batch: RecordBatch) -> Result<RecordBatch, LakeError> {
    Ok(batch)
}

/// Whole blocks of a part as logical rows.
pub(super) fn decode(batch: RecordBatch) -> Result<RecordBatch, LakeError> {
    Ok(batch)
}

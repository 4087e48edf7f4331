//! Points of metrics as chunks: one Parquet row holds up to [`MAX_POINTS`] consecutive points of one series.
//!
//! The dataset's own columns of such a row are the first point's, and of the chunk's other points whatever is the same
//! in all of them: series, flags, bounds. What changes from point to point stands in added columns, as lists with an
//! item for each point behind the first; a list that is null means that nothing changes.
//!
//! | added column | what it holds |
//! | --- | --- |
//! | `points` | number of points, from 1 |
//! | `last_timestamp` | time of the last point |
//! | `time_steps`, `start_steps` | ns from the point before, of `timestamp` and `start_time` |
//! | `value_steps`, without `value_scale` | differences of `value_int`, whole numbers |
//! | `X_scale`, `X_steps` for `value`, `sum`, `min`, `max` | doubles that are decimals: differences of X * 10^scale, whole numbers |
//! | `X_list` | the same doubles if they are no decimals, as they are |
//! | `bucket_steps` | differences of `bucket_counts`: all of the first bucket, then all of the second, and so on |
//! | `count_steps` | differences of `count`; null if it changes as the sum of the buckets does |
//!
//! One process exports all its series at the same instants, so `time_steps` repeats the same numbers series after
//! series; counts that grow by little become small numbers. The whole numbers of `X_steps` are stored as doubles because
//! their bytes are split by place (BYTE_STREAM_SPLIT), which compresses small numbers best and which not every reader
//! knows for integers. Points that do not lend themselves to it (exponential histograms, summaries) are chunks of one.
//!
//! Whatever a client sent comes back bit for bit: differences of integers wrap, decimals are checked one by one.

mod chunks;
mod decimal;
mod decode;
mod lists;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use schema::{Dataset, columns};

use crate::LakeError;

pub(super) use chunks::encode;
pub(super) use decode::decode;

/// The number of points of a chunk.
const POINTS: &str = "points";
/// The time of a chunk's last point.
const LAST_TIMESTAMP: &str = "last_timestamp";

/// A chunk is what a reader decodes at least; 1,024 points are 4 hours at 15 s, and share 16 bytes of series id.
const MAX_POINTS: usize = 1024;

/// Doubles of a dataset that change from point to point.
const fn doubles(dataset: Dataset) -> &'static [&'static str] {
    match dataset {
        Dataset::MetricSamples => &["value"],
        Dataset::MetricHistograms => &["sum", "min", "max"],
        _ => &[],
    }
}

/// Whether the dataset's points are stored as chunks.
pub(super) const fn has_chunks(dataset: Dataset) -> bool {
    matches!(dataset, Dataset::MetricSamples | Dataset::MetricHistograms)
}

/// The added columns of a dataset, in storage order.
fn added(dataset: Dataset) -> Vec<Field> {
    let optional = |name: &str, kind: DataType| Field::new(name, kind, true);
    let list = |name: &str, item: DataType| Field::new(name, columns::list_of(item), true);
    let mut fields = vec![
        Field::new(POINTS, DataType::Int32, false),
        Field::new(LAST_TIMESTAMP, columns::timestamp(), false),
        list("time_steps", DataType::Int64),
        list("start_steps", DataType::Int64),
    ];
    for name in doubles(dataset) {
        fields.push(optional(&format!("{name}_scale"), DataType::Int32));
        fields.push(list(&format!("{name}_steps"), DataType::Float64));
        fields.push(list(&format!("{name}_list"), DataType::Float64));
    }
    if dataset == Dataset::MetricHistograms {
        fields.push(list("count_steps", DataType::Int64));
        fields.push(list("bucket_steps", DataType::Int64));
    }
    fields
}

/// The physical columns from which a column of the dataset is decoded, other than itself and `points`.
fn sources(column: &str) -> &'static [&'static str] {
    match column {
        "timestamp" => &["time_steps"],
        "start_time" => &["start_steps"],
        "value" => &["value_scale", "value_steps", "value_list"],
        // Integers have no scale of their own; the doubles' tells whose steps they are.
        "value_int" => &["value_steps"],
        "sum" => &["sum_scale", "sum_steps", "sum_list"],
        "min" => &["min_scale", "min_steps", "min_list"],
        "max" => &["max_scale", "max_steps", "max_list"],
        "count" => &["count_steps", "bucket_counts", "bucket_steps"],
        "bucket_counts" => &["bucket_steps"],
        _ => &[],
    }
}

/// How a dataset is stored whose physical rows are chunks.
#[derive(Debug)]
pub struct Chunks {
    /// All columns that a chunk can have, ids in their logical type.
    pub schema: SchemaRef,
    dataset: Dataset,
}

impl Chunks {
    /// `None` if a physical row of the dataset is one row.
    pub fn of(dataset: Dataset) -> Option<Self> {
        has_chunks(dataset).then(|| Self {
            schema: Arc::new(Schema::new([columns::fixed(dataset), added(dataset)].concat())),
            dataset,
        })
    }

    /// The physical columns that the columns of `wanted` are decoded from, by their index in the schema.
    pub fn sources(&self, wanted: &Schema) -> Vec<usize> {
        let mut names = vec![POINTS];
        for field in wanted.fields() {
            names.push(field.name());
            names.extend(sources(field.name()));
        }
        let mut indices = names
            .iter()
            .filter_map(|n| self.schema.index_of(n).ok())
            .collect::<Vec<_>>();
        indices.sort_unstable();
        indices.dedup();
        indices
    }

    /// The physical column with the greatest time of a chunk's points. The time column itself has the least.
    pub const fn last_time(&self) -> &'static str {
        LAST_TIMESTAMP
    }

    /// The physical column with the number of a chunk's points.
    pub const fn count(&self) -> &'static str {
        POINTS
    }

    /// Whether all points of a chunk have the same value in the column.
    pub fn is_constant(&self, column: &str) -> bool {
        matches!(column, "series_id" | "flags" | "bounds")
    }

    /// Cuts chunks into runs of about `rows` points and decodes each.
    ///
    /// # Errors
    /// As [`super::decode`].
    pub fn rows(
        &self,
        chunks: &RecordBatch,
        rows: usize,
    ) -> impl Iterator<Item = Result<RecordBatch, LakeError>> + use<> {
        let (dataset, chunks) = (self.dataset, chunks.clone());
        cut(&chunks, rows)
            .into_iter()
            .map(move |run| super::decode(dataset, chunks.slice(run.start, run.len())))
    }
}

/// Runs of chunks with about `points` points each, as many chunks as it takes.
fn cut(batch: &RecordBatch, points: usize) -> Vec<Range<usize>> {
    let sizes = batch
        .column_by_name(POINTS)
        .and_then(|c| c.as_primitive_opt::<Int32Type>());
    let sizes = sizes.map_or(&[][..], |s| s.values());
    let mut runs = Vec::new();
    let (mut from, mut taken) = (0, 0);
    for (row, &size) in sizes.iter().enumerate() {
        taken += size.max(0) as usize;
        if taken >= points {
            runs.push(from..row + 1);
            (from, taken) = (row + 1, 0);
        }
    }
    if from < batch.num_rows() {
        runs.push(from..batch.num_rows());
    }
    runs
}

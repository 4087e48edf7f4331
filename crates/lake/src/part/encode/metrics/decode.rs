//! From chunks back to points.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Float64Array, Int64Array, ListArray, PrimitiveArray, RecordBatch,
    RecordBatchOptions, TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::{
    DataType, Field, Float64Type, Int32Type, Int64Type, Schema, TimestampNanosecondType, UInt64Type,
};
use arrow::error::ArrowError;
use schema::Dataset;
use schema::columns::item_field;

use super::lists::Lists;
use super::{MAX_POINTS, POINTS, added, decimal};
use crate::LakeError;

fn damaged(what: &str) -> LakeError {
    LakeError::Arrow(ArrowError::InvalidArgumentError(format!("a part is damaged: {what}")))
}

/// Makes points of chunks. A column that is not there is not made; one that is there needs its `sources`. Points pass
/// through.
///
/// # Errors
/// [`LakeError::Arrow`] if lists do not have an item for each point.
pub(in super::super) fn decode(dataset: Dataset, batch: RecordBatch) -> Result<RecordBatch, LakeError> {
    if batch.column_by_name(POINTS).is_none() {
        return Ok(batch);
    }
    let chunks = Chunks::of(&batch)?;
    let added = added(dataset);
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if added.iter().any(|a| a.name() == field.name()) {
            continue;
        }
        let array = match field.name().as_str() {
            "timestamp" => chunks.times(column, "time_steps")?,
            "start_time" => chunks.times(column, "start_steps")?,
            "value_int" => chunks.integers(column)?,
            name @ ("value" | "sum" | "min" | "max") => chunks.doubles(column, name)?,
            "count" => chunks.counts(column)?,
            "bucket_counts" => chunks.buckets(column)?,
            _ => take(column, &chunks.chunk_of, None)?,
        };
        fields.push(Field::clone(field).with_data_type(array.data_type().clone()));
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(chunks.rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::new(Schema::new(fields)),
        arrays,
        &options,
    )?)
}

/// A batch of chunks and how many points each has.
struct Chunks<'a> {
    batch: &'a RecordBatch,
    points: &'a [i32],
    /// For each point the row of its chunk.
    chunk_of: UInt32Array,
}

impl<'a> Chunks<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, LakeError> {
        let points = batch
            .column_by_name(POINTS)
            .and_then(|c| c.as_primitive_opt::<Int32Type>())
            .ok_or_else(|| damaged("chunks without their number of points"))?
            .values();
        let mut chunk_of = Vec::with_capacity(batch.num_rows() * 64);
        for (row, &points) in points.iter().enumerate() {
            if !(1..=MAX_POINTS as i32).contains(&points) {
                return Err(damaged("a chunk with an impossible number of points"));
            }
            chunk_of.resize(chunk_of.len() + points as usize, row as u32);
        }
        Ok(Self {
            batch,
            points,
            chunk_of: UInt32Array::from(chunk_of),
        })
    }

    fn rows(&self) -> usize {
        self.chunk_of.len()
    }

    /// Chunk rows with the number of points in each.
    fn chunks(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.points.iter().map(|&p| p as usize).enumerate()
    }

    /// The list of a chunk that has `items` for each point behind the first.
    fn list<T: ArrowPrimitiveType>(
        lists: Option<Lists<'a, T>>,
        row: usize,
        points: usize,
        items: usize,
    ) -> Result<Option<&'a [T::Native]>, LakeError> {
        match lists.and_then(|l| l.get(row)) {
            Some(list) if list.len() == (points - 1) * items => Ok(Some(list)),
            Some(_) => Err(damaged("a chunk's list does not fit its number of points")),
            None => Ok(None),
        }
    }

    /// Which points have a value: those of chunks that have one.
    fn nulls(&self, column: &dyn Array) -> Option<NullBuffer> {
        let nulls = column.nulls().filter(|n| n.null_count() > 0)?;
        Some(
            self.chunk_of
                .values()
                .iter()
                .map(|&row| nulls.is_valid(row as usize))
                .collect(),
        )
    }

    /// Integers by the differences in `steps`.
    fn add_up(&self, first: &[i64], steps: &str) -> Result<ScalarBuffer<i64>, LakeError> {
        let steps = Lists::<Int64Type>::of(self.batch, steps);
        let mut out = Vec::with_capacity(self.rows());
        for (row, points) in self.chunks() {
            let mut value = first[row];
            out.push(value);
            match Self::list(steps, row, points, 1)? {
                Some(steps) => out.extend(steps.iter().map(|step| {
                    value = value.wrapping_add(*step);
                    value
                })),
                None => out.resize(out.len() + points - 1, value),
            }
        }
        Ok(out.into())
    }

    fn times(&self, column: &ArrayRef, steps: &str) -> Result<ArrayRef, LakeError> {
        let first = typed::<TimestampNanosecondType>(column)?;
        let values = self.add_up(first.values(), steps)?;
        let array = TimestampNanosecondArray::new(values, self.nulls(first));
        Ok(Arc::new(array.with_data_type(column.data_type().clone())))
    }

    fn integers(&self, column: &ArrayRef) -> Result<ArrayRef, LakeError> {
        let first = typed::<Int64Type>(column)?;
        let steps = Lists::<Float64Type>::of(self.batch, "value_steps");
        let mut out = Vec::with_capacity(self.rows());
        for (row, points) in self.chunks() {
            let mut value = first.value(row);
            out.push(value);
            match Self::list(steps, row, points, 1)?.filter(|_| first.is_valid(row)) {
                Some(steps) => out.extend(steps.iter().map(|step| {
                    value = value.wrapping_add(*step as i64);
                    value
                })),
                None => out.resize(out.len() + points - 1, value),
            }
        }
        Ok(Arc::new(Int64Array::new(out.into(), self.nulls(first))))
    }

    fn doubles(&self, column: &ArrayRef, name: &str) -> Result<ArrayRef, LakeError> {
        let first = typed::<Float64Type>(column)?;
        let scales = self.batch.column_by_name(&format!("{name}_scale"));
        let scales = scales.and_then(|c| c.as_primitive_opt::<Int32Type>());
        let steps = Lists::<Float64Type>::of(self.batch, &format!("{name}_steps"));
        let list = Lists::<Float64Type>::of(self.batch, &format!("{name}_list"));
        let mut out = Vec::with_capacity(self.rows());
        for (row, points) in self.chunks() {
            let value = first.value(row);
            out.push(value);
            if let Some(scale) = scales.filter(|s| s.is_valid(row)).map(|s| s.value(row) as usize) {
                let mantissa = decimal::mantissa(value, scale);
                let mut mantissa = mantissa.ok_or_else(|| damaged("a chunk whose first value is no decimal"))?;
                let steps = Self::list(steps, row, points, 1)?;
                let steps = steps.ok_or_else(|| damaged("a chunk of decimals without its steps"))?;
                out.extend(steps.iter().map(|step| {
                    mantissa = mantissa.wrapping_add(*step as i64);
                    decimal::number(mantissa, scale)
                }));
            } else if let Some(list) = Self::list(list, row, points, 1)? {
                out.extend_from_slice(list);
            } else {
                out.resize(out.len() + points - 1, value);
            }
        }
        Ok(Arc::new(Float64Array::new(out.into(), self.nulls(first))))
    }

    fn counts(&self, column: &ArrayRef) -> Result<ArrayRef, LakeError> {
        let first = typed::<UInt64Type>(column)?.values();
        let counts = Lists::<Int64Type>::of(self.batch, "count_steps");
        let buckets = Lists::<UInt64Type>::of(self.batch, "bucket_counts");
        let bucket_steps = Lists::<Int64Type>::of(self.batch, "bucket_steps");
        let mut out: Vec<u64> = Vec::with_capacity(self.rows());
        for (row, points) in self.chunks() {
            let from = out.len();
            out.resize(from + points, 0);
            let out = &mut out[from..];
            out[0] = first[row];
            let width = buckets.and_then(|b| b.get(row)).map_or(0, <[u64]>::len);
            // Differences first, wherever they come from.
            if let Some(steps) = Self::list(counts, row, points, 1)? {
                for (count, step) in out[1..].iter_mut().zip(steps) {
                    *count = *step as u64;
                }
            } else if let Some(steps) = Self::list(bucket_steps, row, points, width)? {
                for bucket in steps.chunks_exact((points - 1).max(1)) {
                    for (count, step) in out[1..].iter_mut().zip(bucket) {
                        *count = count.wrapping_add(*step as u64);
                    }
                }
            }
            for i in 1..points {
                out[i] = out[i].wrapping_add(out[i - 1]);
            }
        }
        Ok(Arc::new(UInt64Array::from(out)))
    }

    fn buckets(&self, column: &ArrayRef) -> Result<ArrayRef, LakeError> {
        let first = Lists::<UInt64Type>::of(self.batch, "bucket_counts")
            .ok_or_else(|| damaged("bucket counts are no lists of integers"))?;
        let steps = Lists::<Int64Type>::of(self.batch, "bucket_steps");
        let mut offsets = Vec::with_capacity(self.rows() + 1);
        offsets.push(0i32);
        let mut out: Vec<u64> = Vec::new();
        for (row, points) in self.chunks() {
            let counts = first.get(row).unwrap_or_default();
            let (from, width) = (out.len(), counts.len());
            let end = i32::try_from(from + points * width).map_err(|_| damaged("too many buckets"))?;
            match Self::list(steps, row, points, width)? {
                Some(steps) => {
                    out.resize(end as usize, 0);
                    let out = &mut out[from..];
                    for (bucket, &count) in counts.iter().enumerate() {
                        let mut count = count;
                        out[bucket] = count;
                        let steps = &steps[bucket * (points - 1)..][..points - 1];
                        for (point, step) in steps.iter().enumerate() {
                            count = count.wrapping_add(*step as u64);
                            out[(point + 1) * width + bucket] = count;
                        }
                    }
                }
                None => (0..points).for_each(|_| out.extend_from_slice(counts)),
            }
            offsets.extend((1..=points).map(|p| (from + p * width) as i32));
        }
        let lists = ListArray::new(
            item_field(DataType::UInt64),
            OffsetBuffer::new(ScalarBuffer::from(offsets)),
            Arc::new(UInt64Array::from(out)),
            self.nulls(column),
        );
        Ok(Arc::new(lists))
    }
}

fn typed<T: ArrowPrimitiveType>(column: &ArrayRef) -> Result<&PrimitiveArray<T>, LakeError> {
    column
        .as_primitive_opt::<T>()
        .ok_or_else(|| damaged("a column of an unexpected type"))
}

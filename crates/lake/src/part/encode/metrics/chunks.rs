//! From points in final order to chunks.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Int32Array, PrimitiveArray, RecordBatch, TimestampNanosecondArray,
    UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{Float64Type, Int64Type, Schema, TimestampNanosecondType, UInt32Type, UInt64Type};
use schema::{Dataset, columns};

use super::lists::{ListBuilder, Lists};
use super::{MAX_POINTS, added, decimal, doubles};
use crate::LakeError;

/// Differences of integers beyond this are not exact as doubles.
const MAX_STEP: u64 = 1 << 53;

/// Columns that only other points than explicit histograms have; a point with one of them is a chunk of its own.
const IRREGULAR: [&str; 9] = [
    "scale",
    "zero_count",
    "zero_threshold",
    "positive_offset",
    "positive_counts",
    "negative_offset",
    "negative_counts",
    "quantiles",
    "quantile_values",
];

/// Makes chunks of points, which are ordered by series and time.
pub(in super::super) fn encode(dataset: Dataset, batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
    let chunks = chunks(batch);
    let first = UInt32Array::from_iter_values(chunks.iter().map(|c| c.start as u32));
    let mut arrays = batch
        .columns()
        .iter()
        .map(|c| take(c, &first, None))
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    let points = chunks.iter().map(|c| c.len() as i32);
    arrays.push(Arc::new(Int32Array::from_iter_values(points)));
    let times = primitive::<TimestampNanosecondType>(batch, columns::time_column(dataset));
    let times = times.map_or(&[][..], |t| t.values());
    let last = TimestampNanosecondArray::from_iter_values(chunks.iter().map(|c| times[c.end - 1]));
    arrays.push(Arc::new(last.with_timezone("UTC")));
    arrays.push(time_steps(&chunks, primitive(batch, columns::time_column(dataset))));
    arrays.push(time_steps(&chunks, primitive(batch, "start_time")));
    for name in doubles(dataset) {
        let integers = (*name == "value").then(|| primitive::<Int64Type>(batch, "value_int"));
        arrays.extend(numbers(&chunks, primitive(batch, name), integers.flatten()));
    }
    if dataset == Dataset::MetricHistograms {
        let buckets = Lists::<UInt64Type>::of(batch, "bucket_counts");
        let counts = primitive::<UInt64Type>(batch, "count").map_or(&[][..], |c| c.values());
        arrays.push(count_steps(&chunks, counts, buckets));
        arrays.push(bucket_steps(&chunks, buckets));
    }
    let mut fields = batch.schema().fields().to_vec();
    fields.extend(added(dataset).into_iter().map(Arc::new));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

fn primitive<'a, T: ArrowPrimitiveType>(batch: &'a RecordBatch, name: &str) -> Option<&'a PrimitiveArray<T>> {
    batch.column_by_name(name)?.as_primitive_opt::<T>()
}

/// Where one chunk ends and the next begins: runs of points that differ only in what the lists hold.
fn chunks(batch: &RecordBatch) -> Vec<Range<usize>> {
    let rows = batch.num_rows();
    // Whether a point begins a chunk.
    let mut begins = vec![false; rows];
    let mut split = |differs: &dyn Fn(usize, usize) -> bool| {
        for (row, begins) in begins.iter_mut().enumerate().skip(1) {
            *begins |= differs(row - 1, row);
        }
    };
    if let Some(ids) = batch
        .column_by_name("series_id")
        .and_then(|c| c.as_fixed_size_binary_opt())
    {
        let (ids, _) = ids.value_data().as_chunks::<16>();
        split(&|a, b| ids[a] != ids[b]);
    }
    if let Some(flags) = primitive::<UInt32Type>(batch, "flags") {
        split(&|a, b| {
            flags.is_valid(a) != flags.is_valid(b) || (flags.is_valid(a) && flags.value(a) != flags.value(b))
        });
    }
    for name in ["start_time", "value", "sum", "min", "max"] {
        if let Some(nulls) = batch.column_by_name(name).and_then(|c| c.nulls()) {
            split(&|a, b| nulls.is_valid(a) != nulls.is_valid(b));
        }
    }
    if let Some(integers) = primitive::<Int64Type>(batch, "value_int") {
        let values = integers.values();
        split(&|a, b| integers.is_valid(a) != integers.is_valid(b) || values[a].abs_diff(values[b]) > MAX_STEP);
        if let Some(doubles) = primitive::<Float64Type>(batch, "value") {
            // No client can send both; should a row have both, it keeps both.
            split(&|_, b| integers.is_valid(b) && doubles.is_valid(b));
        }
    }
    if let Some(bounds) = Lists::<Float64Type>::of(batch, "bounds") {
        let same =
            |x: &[f64], y: &[f64]| x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits());
        split(&|a, b| match (bounds.get(a), bounds.get(b)) {
            (Some(a), Some(b)) => !same(a, b),
            (a, b) => a.is_some() != b.is_some(),
        });
    }
    if let Some(counts) = Lists::<UInt64Type>::of(batch, "bucket_counts") {
        split(&|a, b| counts.get(a).map(<[u64]>::len) != counts.get(b).map(<[u64]>::len));
    }
    for name in IRREGULAR {
        if let Some(column) = batch.column_by_name(name) {
            split(&|a, b| column.is_valid(a) || column.is_valid(b));
        }
    }
    let mut chunks = Vec::with_capacity(rows / 64 + 1);
    let mut from = 0;
    for (row, begins) in begins.into_iter().enumerate().skip(1) {
        if begins || row - from == MAX_POINTS {
            chunks.push(from..row);
            from = row;
        }
    }
    if from < rows {
        chunks.push(from..rows);
    }
    chunks
}

/// Differences of times within each chunk; null where all are 0.
fn time_steps(chunks: &[Range<usize>], times: Option<&TimestampNanosecondArray>) -> ArrayRef {
    let mut out = ListBuilder::<Int64Type>::new(chunks.len());
    for chunk in chunks {
        let times = times
            .filter(|t| t.is_valid(chunk.start))
            .map(|t| &t.values()[chunk.clone()]);
        match times.filter(|times| times.iter().any(|t| *t != times[0])) {
            Some(times) => out.push(Some(times.windows(2).map(|w| w[1].wrapping_sub(w[0])))),
            None => out.push_null(),
        }
    }
    out.finish()
}

/// Scale, steps and list of a column of doubles, which shares the steps with a column of integers.
fn numbers(
    chunks: &[Range<usize>],
    doubles: Option<&PrimitiveArray<Float64Type>>,
    integers: Option<&PrimitiveArray<Int64Type>>,
) -> [ArrayRef; 3] {
    let mut scales = Int32Array::builder(chunks.len());
    let mut steps = ListBuilder::<Float64Type>::new(chunks.len());
    let mut list = ListBuilder::<Float64Type>::new(chunks.len());
    let mut mantissas = Vec::new();
    for chunk in chunks {
        let doubles = doubles
            .filter(|d| d.is_valid(chunk.start))
            .map(|d| &d.values()[chunk.clone()]);
        let integers = integers
            .filter(|i| i.is_valid(chunk.start))
            .map(|i| &i.values()[chunk.clone()]);
        let mut scale = None;
        let differences = |values: &[i64]| values.windows(2).map(|w| (w[1] - w[0]) as f64).collect::<Vec<_>>();
        match (doubles, integers) {
            (Some(values), _) if values.iter().any(|v| v.to_bits() != values[0].to_bits()) => {
                scale = decimal::mantissas(values, &mut mantissas);
                match scale {
                    Some(_) => {
                        steps.push(Some(differences(&mantissas).into_iter()));
                        list.push_null();
                    }
                    None => {
                        steps.push_null();
                        list.push(Some(values[1..].iter().copied()));
                    }
                }
            }
            (None, Some(values)) if values.iter().any(|v| *v != values[0]) => {
                steps.push(Some(differences(values).into_iter()));
                list.push_null();
            }
            _ => {
                steps.push_null();
                list.push_null();
            }
        }
        scales.append_option(scale.map(|s| s as i32));
    }
    [Arc::new(scales.finish()), steps.finish(), list.finish()]
}

/// Differences of counts, where they are not what the buckets tell.
fn count_steps(chunks: &[Range<usize>], counts: &[u64], buckets: Option<Lists<'_, UInt64Type>>) -> ArrayRef {
    let mut out = ListBuilder::<Int64Type>::new(chunks.len());
    for chunk in chunks {
        let sum = |row: usize| {
            let buckets = buckets.and_then(|b| b.get(row)).unwrap_or_default();
            buckets.iter().fold(0u64, |sum, count| sum.wrapping_add(*count))
        };
        let Some(values) = counts.get(chunk.clone()) else {
            out.push_null();
            continue;
        };
        let rest = values[0].wrapping_sub(sum(chunk.start));
        if chunk
            .clone()
            .zip(values)
            .all(|(row, count)| count.wrapping_sub(sum(row)) == rest)
        {
            out.push_null();
        } else {
            out.push(Some(values.windows(2).map(|w| w[1].wrapping_sub(w[0]) as i64)));
        }
    }
    out.finish()
}

/// Differences of bucket counts, bucket by bucket.
fn bucket_steps(chunks: &[Range<usize>], buckets: Option<Lists<'_, UInt64Type>>) -> ArrayRef {
    let mut out = ListBuilder::<Int64Type>::new(chunks.len());
    let mut points: Vec<&[u64]> = Vec::new();
    for chunk in chunks {
        points.clear();
        points.extend(chunk.clone().filter_map(|row| buckets?.get(row)));
        let Some(&first) = points.first() else {
            out.push_null();
            continue;
        };
        if points.iter().all(|p| *p == first) {
            out.push_null();
            continue;
        }
        let points = &points;
        let steps = (0..first.len()).flat_map(|bucket| {
            points
                .windows(2)
                .map(move |w| w[1][bucket].wrapping_sub(w[0][bucket]) as i64)
        });
        out.push(Some(steps));
    }
    out.finish()
}

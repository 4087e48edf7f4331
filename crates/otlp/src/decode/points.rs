//! Data points and exemplars as rows.

use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type};
use schema::columns;

use super::batch::Columns;
use super::outcome::time;
use super::series::SeriesId;
use super::span_lists::push_json;
use super::{Fault, ItemError};
use crate::columns::{IdColumn, ListColumn, NumberColumn, PlainTextColumn};
use crate::wire::{Reader, Value, WireError};

/// `DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`: a staleness marker without a value.
const NO_RECORDED_VALUE: u32 = 1;

/// What all points have in common.
#[derive(Debug, Default)]
struct PointColumns {
    rows: u32,
    series: IdColumn<16>,
    timestamp: NumberColumn<TimestampNanosecondType>,
    start_time: NumberColumn<TimestampNanosecondType>,
    flags: NumberColumn<UInt32Type>,
}

impl PointColumns {
    #[inline]
    fn push(&mut self, series: &SeriesId, at: u64, start: u64, flags: u32) -> Result<u32, ItemError> {
        let row = self.rows;
        let at = time("time_unix_nano", at)?;
        let start = time("start_time_unix_nano", start)?;
        self.series.push(row, series);
        self.timestamp.push(row, at);
        if start != 0 {
            self.start_time.push(row, start);
        }
        if flags != 0 {
            self.flags.push(row, flags);
        }
        self.rows += 1;
        Ok(row)
    }

    fn truncate(&mut self, rows: usize) {
        self.rows = rows as u32;
        self.series.truncate(rows);
        self.timestamp.truncate(rows);
        self.start_time.truncate(rows);
        self.flags.truncate(rows);
    }

    fn finish(&mut self, out: &mut Columns) -> usize {
        let rows = std::mem::take(&mut self.rows) as usize;
        out.add("series_id", self.series.finish(rows));
        out.add("timestamp", self.timestamp.finish(rows, &columns::timestamp()));
        out.add("start_time", self.start_time.finish(rows, &columns::timestamp()));
        out.add("flags", self.flags.finish(rows, &DataType::UInt32));
        rows
    }
}

/// Number points of gauges and sums.
#[derive(Debug, Default)]
pub(super) struct SampleRows {
    points: PointColumns,
    value: NumberColumn<Float64Type>,
    value_int: NumberColumn<Int64Type>,
}

impl SampleRows {
    pub(super) const fn rows(&self) -> u32 {
        self.points.rows
    }

    /// Appends a `NumberDataPoint`.
    pub(super) fn push(
        &mut self,
        series: &SeriesId,
        message: &[u8],
        exemplars: &mut ExemplarRows,
        max_depth: usize,
    ) -> Result<(), Fault> {
        let (mut at, mut start, mut flags) = (0, 0, 0);
        let mut value = None;
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next()? {
            match field {
                2 => start = content.fixed64()?,
                3 => at = content.fixed64()?,
                4 => value = Some(Number::Double(content.f64()?)),
                5 => exemplars.push(series, content.bytes()?, max_depth)?,
                6 => value = Some(Number::Int(content.sfixed64()?)),
                8 => flags = content.uint32()?,
                _ => {}
            }
        }
        if value.is_none() && flags & NO_RECORDED_VALUE == 0 {
            return Err(ItemError::NoValue.into());
        }
        let row = self.points.push(series, at, start, flags)?;
        match value {
            Some(Number::Double(number)) => self.value.push(row, number),
            Some(Number::Int(number)) => self.value_int.push(row, number),
            None => {}
        }
        Ok(())
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.points.truncate(rows);
        self.value.truncate(rows);
        self.value_int.truncate(rows);
    }

    pub(super) fn finish(&mut self) -> (usize, Columns) {
        let mut out = Columns::default();
        let rows = self.points.finish(&mut out);
        out.add("value", self.value.finish(rows, &DataType::Float64));
        out.add("value_int", self.value_int.finish(rows, &DataType::Int64));
        (rows, out)
    }
}

enum Number {
    Int(i64),
    Double(f64),
}

/// Points of explicit and exponential histograms and of summaries. Which one a row is, its series says.
#[derive(Debug, Default)]
pub(super) struct HistogramRows {
    points: PointColumns,
    count: NumberColumn<UInt64Type>,
    sum: NumberColumn<Float64Type>,
    min: NumberColumn<Float64Type>,
    max: NumberColumn<Float64Type>,
    bounds: ListColumn<Float64Type>,
    bucket_counts: ListColumn<UInt64Type>,
    scale: NumberColumn<Int32Type>,
    zero_count: NumberColumn<UInt64Type>,
    zero_threshold: NumberColumn<Float64Type>,
    positive: BucketColumns,
    negative: BucketColumns,
    quantiles: ListColumn<Float64Type>,
    quantile_values: ListColumn<Float64Type>,
    doubles: Vec<f64>,
    counts: Vec<u64>,
}

#[derive(Debug, Default)]
struct BucketColumns {
    offset: NumberColumn<Int32Type>,
    counts: ListColumn<UInt64Type>,
}

impl HistogramRows {
    pub(super) const fn rows(&self) -> u32 {
        self.points.rows
    }

    /// Appends a `HistogramDataPoint`.
    pub(super) fn push_explicit(
        &mut self,
        series: &SeriesId,
        message: &[u8],
        exemplars: &mut ExemplarRows,
        max_depth: usize,
    ) -> Result<(), Fault> {
        let row = self.points.rows;
        let (mut at, mut start, mut flags, mut count) = (0, 0, 0, 0);
        self.doubles.clear();
        self.counts.clear();
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next()? {
            match field {
                2 => start = content.fixed64()?,
                3 => at = content.fixed64()?,
                4 => count = content.fixed64()?,
                5 => self.sum.push(row, content.f64()?),
                6 => self.counts.extend(content.packed_fixed64()?),
                7 => self.doubles.extend(content.packed_doubles()?),
                8 => exemplars.push(series, content.bytes()?, max_depth)?,
                10 => flags = content.uint32()?,
                11 => self.min.push(row, content.f64()?),
                12 => self.max.push(row, content.f64()?),
                _ => {}
            }
        }
        let (counts, bounds) = (self.counts.len(), self.doubles.len());
        if counts != bounds + 1 && (counts, bounds) != (0, 0) {
            return Err(ItemError::BucketCounts { counts, bounds }.into());
        }
        self.points.push(series, at, start, flags)?;
        self.count.push(row, count);
        if counts > 0 {
            self.bounds.push(row, &self.doubles);
            self.bucket_counts.push(row, &self.counts);
        }
        Ok(())
    }

    /// Appends an `ExponentialHistogramDataPoint`.
    pub(super) fn push_exponential(
        &mut self,
        series: &SeriesId,
        message: &[u8],
        exemplars: &mut ExemplarRows,
        max_depth: usize,
    ) -> Result<(), Fault> {
        let row = self.points.rows;
        let (mut at, mut start, mut flags, mut count, mut scale, mut zeros) = (0, 0, 0, 0, 0, 0);
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next()? {
            match field {
                2 => start = content.fixed64()?,
                3 => at = content.fixed64()?,
                4 => count = content.fixed64()?,
                5 => self.sum.push(row, content.f64()?),
                6 => scale = content.sint32()?,
                7 => zeros = content.fixed64()?,
                8 => self.positive.push(row, content, &mut self.counts)?,
                9 => self.negative.push(row, content, &mut self.counts)?,
                10 => flags = content.uint32()?,
                11 => exemplars.push(series, content.bytes()?, max_depth)?,
                12 => self.min.push(row, content.f64()?),
                13 => self.max.push(row, content.f64()?),
                14 => self.zero_threshold.push(row, content.f64()?),
                _ => {}
            }
        }
        self.points.push(series, at, start, flags)?;
        self.count.push(row, count);
        self.scale.push(row, scale);
        self.zero_count.push(row, zeros);
        Ok(())
    }

    /// Appends a `SummaryDataPoint`.
    pub(super) fn push_summary(&mut self, series: &SeriesId, message: &[u8]) -> Result<(), Fault> {
        let row = self.points.rows;
        let (mut at, mut start, mut flags, mut count, mut sum) = (0, 0, 0, 0, 0.0);
        let mut quantiles = Vec::new();
        let mut values = Vec::new();
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next()? {
            match field {
                2 => start = content.fixed64()?,
                3 => at = content.fixed64()?,
                4 => count = content.fixed64()?,
                5 => sum = content.f64()?,
                6 => {
                    let (mut quantile, mut value) = (0.0, 0.0);
                    let mut reader = Reader::new(content.bytes()?);
                    while let Some((field, content)) = reader.next()? {
                        match field {
                            1 => quantile = content.f64()?,
                            2 => value = content.f64()?,
                            _ => {}
                        }
                    }
                    quantiles.push(quantile);
                    values.push(value);
                }
                8 => flags = content.uint32()?,
                _ => {}
            }
        }
        self.points.push(series, at, start, flags)?;
        self.count.push(row, count);
        // Unlike a histogram's, the sum of a summary is not optional: not sent means 0.
        self.sum.push(row, sum);
        self.quantiles.push(row, &quantiles);
        self.quantile_values.push(row, &values);
        Ok(())
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.points.truncate(rows);
        for numbers in [&mut self.count, &mut self.zero_count] {
            numbers.truncate(rows);
        }
        for numbers in [&mut self.sum, &mut self.min, &mut self.max, &mut self.zero_threshold] {
            numbers.truncate(rows);
        }
        for lists in [&mut self.bounds, &mut self.quantiles, &mut self.quantile_values] {
            lists.truncate(rows);
        }
        self.bucket_counts.truncate(rows);
        self.scale.truncate(rows);
        self.positive.truncate(rows);
        self.negative.truncate(rows);
    }

    pub(super) fn finish(&mut self) -> (usize, Columns) {
        let mut out = Columns::default();
        let rows = self.points.finish(&mut out);
        out.add("count", self.count.finish(rows, &DataType::UInt64));
        out.add("sum", self.sum.finish(rows, &DataType::Float64));
        out.add("min", self.min.finish(rows, &DataType::Float64));
        out.add("max", self.max.finish(rows, &DataType::Float64));
        out.add("bounds", self.bounds.finish(rows));
        out.add("bucket_counts", self.bucket_counts.finish(rows));
        out.add("scale", self.scale.finish(rows, &DataType::Int32));
        out.add("zero_count", self.zero_count.finish(rows, &DataType::UInt64));
        out.add("zero_threshold", self.zero_threshold.finish(rows, &DataType::Float64));
        out.add("positive_offset", self.positive.offset.finish(rows, &DataType::Int32));
        out.add("positive_counts", self.positive.counts.finish(rows));
        out.add("negative_offset", self.negative.offset.finish(rows, &DataType::Int32));
        out.add("negative_counts", self.negative.counts.finish(rows));
        out.add("quantiles", self.quantiles.finish(rows));
        out.add("quantile_values", self.quantile_values.finish(rows));
        (rows, out)
    }
}

impl BucketColumns {
    /// Appends a `Buckets` message. A second one for the same row replaces the first.
    fn push(&mut self, row: u32, content: Value<'_>, counts: &mut Vec<u64>) -> Result<(), WireError> {
        self.truncate(row as usize);
        counts.clear();
        let mut offset = 0;
        let mut reader = content.message()?;
        while let Some((field, content)) = reader.next()? {
            match field {
                1 => offset = content.sint32()?,
                2 => {
                    for count in content.packed_varints()? {
                        counts.push(count?);
                    }
                }
                _ => {}
            }
        }
        self.offset.push(row, offset);
        self.counts.push(row, counts);
        Ok(())
    }

    fn truncate(&mut self, rows: usize) {
        self.offset.truncate(rows);
        self.counts.truncate(rows);
    }
}

/// Exemplars of all points.
#[derive(Debug, Default)]
pub(super) struct ExemplarRows {
    rows: u32,
    series: IdColumn<16>,
    timestamp: NumberColumn<TimestampNanosecondType>,
    value: NumberColumn<Float64Type>,
    value_int: NumberColumn<Int64Type>,
    trace_id: IdColumn<16>,
    span_id: IdColumn<8>,
    attributes: PlainTextColumn,
}

impl ExemplarRows {
    pub(super) const fn rows(&self) -> u32 {
        self.rows
    }

    /// Appends an `Exemplar`.
    fn push(&mut self, series: &SeriesId, message: &[u8], max_depth: usize) -> Result<(), Fault> {
        let row = self.rows;
        let (mut at, mut trace_id, mut span_id) = (0, &[][..], &[][..]);
        let mut value = None;
        let mut attributes = Vec::new();
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next()? {
            match field {
                2 => at = content.fixed64()?,
                3 => value = Some(Number::Double(content.f64()?)),
                4 => span_id = content.bytes()?,
                5 => trace_id = content.bytes()?,
                6 => value = Some(Number::Int(content.sfixed64()?)),
                7 => attributes.push(content.bytes()?),
                _ => {}
            }
        }
        let at = time("an exemplar's time_unix_nano", at)?;
        push_json(&mut self.attributes, row, &attributes, max_depth)?;
        if !trace_id.is_empty() {
            let id: &[u8; 16] = trace_id.try_into().map_err(|_| ItemError::TraceId(trace_id.len()))?;
            if id != &[0; 16] {
                self.trace_id.push(row, id);
            }
        }
        if !span_id.is_empty() {
            let id: &[u8; 8] = span_id.try_into().map_err(|_| ItemError::SpanId(span_id.len()))?;
            if id != &[0; 8] {
                self.span_id.push(row, id);
            }
        }
        self.series.push(row, series);
        self.timestamp.push(row, at);
        match value {
            Some(Number::Double(number)) => self.value.push(row, number),
            Some(Number::Int(number)) => self.value_int.push(row, number),
            None => {}
        }
        self.rows += 1;
        Ok(())
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.rows = rows as u32;
        self.series.truncate(rows);
        self.timestamp.truncate(rows);
        self.value.truncate(rows);
        self.value_int.truncate(rows);
        self.trace_id.truncate(rows);
        self.span_id.truncate(rows);
        self.attributes.truncate(rows);
    }

    pub(super) fn finish(&mut self) -> (usize, Columns) {
        let rows = std::mem::take(&mut self.rows) as usize;
        let mut out = Columns::default();
        out.add("series_id", self.series.finish(rows));
        out.add("timestamp", self.timestamp.finish(rows, &columns::timestamp()));
        out.add("value", self.value.finish(rows, &DataType::Float64));
        out.add("value_int", self.value_int.finish(rows, &DataType::Int64));
        out.add("trace_id", self.trace_id.finish(rows));
        out.add("span_id", self.span_id.finish(rows));
        out.add("attributes", self.attributes.finish(rows));
        (rows, out)
    }
}

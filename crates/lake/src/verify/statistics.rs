//! Whether statistics of the catalog exclude values that are there.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use catalog::PartStat;

/// Statistics of a part, compared with its values as they come.
pub(super) struct Observed<'a> {
    stats: &'a [PartStat],
    /// For each statistic a value that it excludes.
    outside: Vec<Option<String>>,
}

impl<'a> Observed<'a> {
    pub(super) fn new(stats: &'a [PartStat]) -> Self {
        Self {
            stats,
            outside: vec![None; stats.len()],
        }
    }

    /// Looks at stored columns.
    pub(super) fn add(&mut self, batch: &RecordBatch) {
        for (stat, outside) in self.stats.iter().zip(&mut self.outside) {
            if let (None, Some(column)) = (&outside, batch.column_by_name(&stat.column)) {
                *outside = excluded(stat, column);
            }
        }
    }

    /// The columns whose statistics are wrong, and what is wrong with them.
    pub(super) fn wrong(self) -> Vec<(String, String)> {
        let pairs = self.stats.iter().zip(self.outside);
        let wrong = pairs.filter_map(|(stat, value)| {
            let what = format!(
                "the statistic of {:?} says {:?} to {:?}, but {:?} is there: queries may leave rows out",
                stat.column, stat.min, stat.max, value?
            );
            Some((stat.column.clone(), what))
        });
        wrong.collect()
    }
}

/// A value of the column that is not within the bounds. Bounds that are no values of the column's type decide nothing.
fn excluded(stat: &PartStat, column: &ArrayRef) -> Option<String> {
    let outside =
        |low: Option<Ordering>, high: Option<Ordering>| low == Some(Ordering::Less) || high == Some(Ordering::Greater);
    match column.data_type() {
        DataType::Utf8 => {
            let (min, max) = (stat.min.as_str(), stat.max.as_str());
            let values = column.as_string::<i32>();
            let mut values = values.iter().flatten();
            values
                .find(|v| outside(Some((*v).cmp(min)), Some((*v).cmp(max))))
                .map(str::to_owned)
        }
        DataType::Float64 => {
            let (min, max) = (stat.min.parse::<f64>().ok()?, stat.max.parse::<f64>().ok()?);
            let mut values = column.as_primitive::<Float64Type>().iter().flatten();
            values
                .find(|v| outside(v.partial_cmp(&min), v.partial_cmp(&max)))
                .map(|v| v.to_string())
        }
        DataType::Int32 | DataType::Int64 | DataType::UInt32 | DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let (min, max) = (stat.min.parse::<i64>().ok()?, stat.max.parse::<i64>().ok()?);
            let values = cast(column, &DataType::Int64).ok()?;
            let mut values = values.as_primitive::<Int64Type>().iter().flatten();
            values
                .find(|v| outside(Some(v.cmp(&min)), Some(v.cmp(&max))))
                .map(|v| v.to_string())
        }
        _ => None,
    }
}

//! Points of metrics through slices, parts and merged parts: SQL gives the same answers, whether a point lies in a slice
//! as it was sent or in a part among the points of its series.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, FixedSizeBinaryArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{Float64Type, UInt64Type};
use arrow::util::pretty::pretty_format_batches;
use lake::Lake;
use query::QueryEngine;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schema::Dataset;
use schema::columns::item_field;

use crate::fixture::{self, empty_lake, options};

const START: i64 = 1_750_000_000_000_000_000;
const SERIES: u8 = 12;

/// Name, values and whether there may be nulls.
type Columns<'a> = Vec<(&'a str, ArrayRef, bool)>;

struct World {
    lake: Lake,
    engine: QueryEngine,
    random: StdRng,
}

fn ids(ids: impl Iterator<Item = u8>) -> ArrayRef {
    Arc::new(FixedSizeBinaryArray::try_from_iter(ids.map(|id| [id; 16])).unwrap())
}

fn times(times: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(times.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
}

/// A list whose items are never null.
fn list(list: ListArray) -> ArrayRef {
    let (_, offsets, values, nulls) = list.into_parts();
    let item = item_field(values.data_type().clone());
    Arc::new(ListArray::new(item, offsets, values, nulls))
}

impl World {
    async fn new() -> Self {
        let lake = empty_lake().await;
        let engine = QueryEngine::new(lake.clone(), options()).unwrap();
        let random = StdRng::seed_from_u64(5);
        Self { lake, engine, random }
    }

    async fn commit(&self, batches: Vec<(Dataset, Columns<'_>)>) {
        let batches = batches.into_iter().map(|(dataset, columns)| {
            let batch = RecordBatch::try_from_iter_with_nullable(columns);
            (dataset, batch.unwrap())
        });
        fixture::commit(&self.lake, batches).await;
    }

    /// Rows of the series: two metrics.
    fn series() -> Vec<(&'static str, ArrayRef, bool)> {
        let text = |values: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(values)) };
        let name = |id: u8| if id < 8 { "requests" } else { "temperature" }.to_owned();
        vec![
            ("series_id", ids(0..SERIES), false),
            ("seen_at", times((0..SERIES).map(|_| Some(START))), false),
            ("name", text((0..SERIES).map(name).collect()), false),
            ("type", text((0..SERIES).map(|_| "gauge".to_owned()).collect()), false),
            ("resource_id", ids((0..SERIES).map(|_| 9)), false),
        ]
    }

    /// `ticks` points of each series, 15 s apart: integers, decimals, noise, and some without a value.
    async fn commit_points(&mut self, from: i64, ticks: i64) {
        let mut rows = Vec::new();
        for tick in from..from + ticks {
            let late = self.random.random_range(0..1000);
            for series in 0..SERIES {
                let noise = self.random.random::<f64>();
                let missing = self.random.random_range(0..50) == 0;
                rows.push((series, START + tick * 15_000_000_000 + late, tick, noise, missing));
            }
        }
        let value = |&(series, _, tick, noise, missing): &(u8, i64, i64, f64, bool)| match series % 3 {
            _ if missing => None,
            0 => None,
            1 => Some((tick * 25 + i64::from(series)) as f64 / 100.0),
            _ => Some(noise),
        };
        let integers = rows
            .iter()
            .map(|r| (!r.4 && r.0 % 3 == 0).then_some(r.2 * 3 - i64::from(r.0)));
        let flags: ArrayRef = Arc::new(rows.iter().map(|r| r.4.then_some(1)).collect::<UInt32Array>());
        let samples: Vec<(&str, ArrayRef, bool)> = vec![
            ("series_id", ids(rows.iter().map(|r| r.0)), false),
            ("timestamp", times(rows.iter().map(|r| Some(r.1))), false),
            (
                "start_time",
                times(rows.iter().map(|r| (r.0 > 2).then_some(START - 5))),
                true,
            ),
            (
                "value",
                Arc::new(rows.iter().map(value).collect::<Float64Array>()),
                true,
            ),
            ("value_int", Arc::new(integers.collect::<Int64Array>()), true),
            ("flags", Arc::clone(&flags), true),
        ];
        let bounds = rows.iter().map(|_| Some([Some(0.5), Some(2.5)]));
        let bounds = ListArray::from_iter_primitive::<Float64Type, _, _>(bounds);
        let counts = |r: &(u8, i64, i64, f64, bool)| [r.2 as u64 * 2, r.2 as u64 / 7, u64::from(r.0)];
        let buckets = rows.iter().map(|r| Some(counts(r).map(Some)));
        let buckets = ListArray::from_iter_primitive::<UInt64Type, _, _>(buckets);
        // Some clients count what no bucket has.
        let count = rows.iter().map(|r| counts(r).iter().sum::<u64>() + u64::from(r.4));
        let sum = rows.iter().map(|r| (!r.4).then_some(r.3));
        let histograms: Vec<(&str, ArrayRef, bool)> = vec![
            ("series_id", ids(rows.iter().map(|r| r.0)), false),
            ("timestamp", times(rows.iter().map(|r| Some(r.1))), false),
            ("count", Arc::new(count.collect::<UInt64Array>()), false),
            ("sum", Arc::new(sum.collect::<Float64Array>()), true),
            ("bounds", list(bounds), true),
            ("bucket_counts", list(buckets), true),
            ("flags", flags, true),
        ];
        self.commit(vec![
            (Dataset::MetricSeries, Self::series()),
            (Dataset::MetricSamples, samples),
            (Dataset::MetricHistograms, histograms),
        ])
        .await;
    }

    async fn compact(&self) {
        for dataset in [Dataset::MetricSeries, Dataset::MetricSamples, Dataset::MetricHistograms] {
            fixture::compact(&self.lake, dataset).await;
        }
    }

    async fn ask(&self, sql: &str) -> String {
        let batches = fixture::ask(&self.engine, sql).await;
        pretty_format_batches(&batches).unwrap().to_string()
    }

    async fn answers(&self) -> Vec<(String, String)> {
        let half = START + 300 * 15_000_000_000;
        let conditions = [
            "true".to_owned(),
            "name = 'temperature'".to_owned(),
            "name = 'requests' and flags = 1".to_owned(),
            "flags is null and value < 4".to_owned(),
            "series_id = X'04040404040404040404040404040404'".to_owned(),
            format!("timestamp >= to_timestamp_nanos({half})"),
            format!("to_timestamp_nanos({half}) > timestamp and name <> 'requests'"),
            format!("timestamp between to_timestamp_nanos({START}) and to_timestamp_nanos({half})"),
            format!("timestamp = to_timestamp_nanos({half}) or series_id = X'01010101010101010101010101010101'"),
            format!("not timestamp < to_timestamp_nanos({half}) and (name = 'temperature' or value_int = 30)"),
        ];
        let mut answers = Vec::new();
        for condition in conditions {
            for sql in [
                format!(
                    "select name, count(*), count(value), min(value), max(value), sum(value_int), min(timestamp), \
                     max(timestamp), count(start_time) from metrics where {condition} group by name order by name"
                ),
                format!(
                    "select series_id, timestamp, start_time, value, value_int, flags from metrics where {condition} \
                     order by series_id, timestamp"
                ),
                format!("select count(*) from metrics where {condition}"),
            ] {
                answers.push((self.ask(&sql).await, sql));
            }
            if !condition.contains("value") {
                let sql = format!(
                    "select series_id, timestamp, count, sum, bounds, bucket_counts from metric_histograms \
                     where {condition} order by series_id, timestamp"
                );
                answers.push((self.ask(&sql).await, sql));
                let sql = format!("select sum(count), max(sum) from metric_histograms where {condition}");
                answers.push((self.ask(&sql).await, sql));
            }
        }
        let seven = self.ask("select value from metrics limit 7").await;
        assert_eq!(seven.lines().count(), 7 + 4);
        answers
    }
}

#[tokio::test]
async fn points_answer_alike_in_slices_and_in_parts() {
    let mut world = World::new().await;
    for part in 0..3 {
        world.commit_points(part * 200, 200).await;
    }
    let in_slices = world.answers().await;
    for (answer, sql) in &in_slices {
        assert!(answer.lines().count() > 4, "nothing to compare: {sql}\n{answer}");
    }
    world.compact().await;
    for (before, after) in in_slices.iter().zip(world.answers().await) {
        assert_eq!(*before, after);
    }
    // Slices beside parts, and then seven more parts, which are merged.
    world.commit_points(600, 30).await;
    let mixed = world.answers().await;
    world.compact().await;
    for part in 0..6 {
        world.commit_points(2000 + part, 1).await;
        world.compact().await;
    }
    let merged = world.answers().await;
    assert_ne!(mixed, merged, "there are more points now");
    for (before, after) in mixed.iter().zip(&merged) {
        if before.1.contains("between") {
            assert_eq!(before, after);
        }
    }
}

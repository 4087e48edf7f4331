//! Random points go through chunks and come back bit for bit.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{Field, Float64Type, Int32Type, Schema, UInt64Type};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schema::{Dataset, columns};

use super::{MAX_POINTS, decode, encode};

/// One point as plain values; doubles as bits, so that equality is equality of bits.
#[derive(Debug, Clone, PartialEq, Default)]
struct Point {
    series: [u8; 16],
    time: i64,
    start: Option<i64>,
    flags: Option<u32>,
    value: Option<u64>,
    value_int: Option<i64>,
    count: u64,
    sum: Option<u64>,
    min: Option<u64>,
    max: Option<u64>,
    bounds: Option<Vec<u64>>,
    buckets: Option<Vec<u64>>,
    /// Of an exponential histogram.
    exponential: Option<Exponential>,
    /// Of a summary: quantiles and their values.
    quantiles: Option<[Vec<u64>; 2]>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Exponential {
    scale: i32,
    zero_count: u64,
    zero_threshold: Option<u64>,
    positive: (i32, Vec<u64>),
    negative: Option<(i32, Vec<u64>)>,
}

/// The values, unless all are null.
fn optional<T>(values: impl Iterator<Item = Option<T>>) -> Option<Vec<Option<T>>> {
    let all = values.collect::<Vec<_>>();
    all.iter().any(Option::is_some).then_some(all)
}

fn lists_of_counts(values: Vec<Option<Vec<u64>>>) -> ArrayRef {
    let lists = values.into_iter().map(|l| l.map(|l| l.into_iter().map(Some)));
    conform(ListArray::from_iter_primitive::<UInt64Type, _, _>(lists))
}

fn lists_of_bits(values: Vec<Option<Vec<u64>>>) -> ArrayRef {
    let lists = values
        .into_iter()
        .map(|l| l.map(|l| l.into_iter().map(|b| Some(f64::from_bits(b)))));
    conform(ListArray::from_iter_primitive::<Float64Type, _, _>(lists))
}

/// Items that are never null, as stored.
fn conform(list: ListArray) -> ArrayRef {
    let (_, offsets, values, nulls) = list.into_parts();
    Arc::new(ListArray::new(
        columns::item_field(values.data_type().clone()),
        offsets,
        values,
        nulls,
    ))
}

/// The batch of the points; a column without a value is left out, as decoded requests leave it out.
fn batch(dataset: Dataset, points: &[Point]) -> RecordBatch {
    let doubles = |of: &dyn Fn(&Point) -> Option<u64>| {
        let all = optional(points.iter().map(of))?;
        let array: Float64Array = all.into_iter().map(|b| b.map(f64::from_bits)).collect();
        Some(Arc::new(array) as ArrayRef)
    };
    let integers = |of: &dyn Fn(&Exponential) -> Option<i32>| {
        let all = optional(points.iter().map(|p| of(p.exponential.as_ref()?)))?;
        Some(Arc::new(all.into_iter().collect::<Int32Array>()) as ArrayRef)
    };
    let counts_of = |of: &dyn Fn(&Exponential) -> Option<Vec<u64>>| {
        lists_of_counts(points.iter().map(|p| of(p.exponential.as_ref()?)).collect())
    };
    let quantiles = |which: usize| {
        lists_of_bits(
            points
                .iter()
                .map(|p| Some(p.quantiles.as_ref()?[which].clone()))
                .collect(),
        )
    };
    let utc = |array: TimestampNanosecondArray| Some(Arc::new(array.with_timezone("UTC")) as ArrayRef);
    let column = |name: &str| -> Option<ArrayRef> {
        match name {
            "series_id" => Some(Arc::new(
                FixedSizeBinaryArray::try_from_iter(points.iter().map(|p| p.series)).unwrap(),
            )),
            "timestamp" => utc(points.iter().map(|p| Some(p.time)).collect()),
            "start_time" => utc(optional(points.iter().map(|p| p.start))?.into_iter().collect()),
            "flags" => Some(Arc::new(
                optional(points.iter().map(|p| p.flags))?
                    .into_iter()
                    .collect::<UInt32Array>(),
            )),
            "value" => doubles(&|p| p.value),
            "value_int" => Some(Arc::new(
                optional(points.iter().map(|p| p.value_int))?
                    .into_iter()
                    .collect::<Int64Array>(),
            )),
            "count" => Some(Arc::new(UInt64Array::from_iter_values(points.iter().map(|p| p.count)))),
            "sum" => doubles(&|p| p.sum),
            "min" => doubles(&|p| p.min),
            "bounds" => Some(lists_of_bits(points.iter().map(|p| p.bounds.clone()).collect())),
            "bucket_counts" => Some(lists_of_counts(points.iter().map(|p| p.buckets.clone()).collect())),
            "max" => doubles(&|p| p.max),
            "scale" => integers(&|e| Some(e.scale)),
            "zero_count" => {
                let all = optional(points.iter().map(|p| Some(p.exponential.as_ref()?.zero_count)))?;
                Some(Arc::new(all.into_iter().collect::<UInt64Array>()))
            }
            "zero_threshold" => doubles(&|p| p.exponential.as_ref()?.zero_threshold),
            "positive_offset" => integers(&|e| Some(e.positive.0)),
            "positive_counts" => Some(counts_of(&|e| Some(e.positive.1.clone()))),
            "negative_offset" => integers(&|e| Some(e.negative.as_ref()?.0)),
            "negative_counts" => Some(counts_of(&|e| Some(e.negative.as_ref()?.1.clone()))),
            "quantiles" => Some(quantiles(0)),
            "quantile_values" => Some(quantiles(1)),
            name => panic!("no test has values for {name}"),
        }
    };
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns::fixed(dataset)
        .into_iter()
        .filter_map(|f| column(f.name()).map(|a| (f, a)))
        .unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

/// Equal columns, doubles by their bits.
fn assert_same(left: &RecordBatch, right: &RecordBatch) {
    let names = |b: &RecordBatch| b.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    assert_eq!(names(left), names(right));
    for (field, (a, b)) in left
        .schema()
        .fields()
        .iter()
        .zip(left.columns().iter().zip(right.columns()))
    {
        let bits = |array: &ArrayRef| {
            let values = array.as_primitive_opt::<Float64Type>()?;
            Some(values.iter().map(|v| v.map(f64::to_bits)).collect::<Vec<_>>())
        };
        match bits(a) {
            Some(a) => assert_eq!(Some(a), bits(b), "{}", field.name()),
            None => assert_eq!(a.to_data(), b.to_data(), "{}", field.name()),
        }
    }
}

/// A double of a kind: decimals, whole numbers, noise, and the odd ones.
fn double(random: &mut StdRng, kind: u32) -> u64 {
    let odd = [
        0.0,
        -0.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e300,
        f64::MIN_POSITIVE,
        9.007e15,
        0.1 + 0.2,
    ];
    let value = match kind {
        0 => f64::from(random.random_range(-100_000..100_000)) / 100.0,
        1 => f64::from(random.random_range(0..1_000_000)),
        2 => random.random::<f64>(),
        3 => random.random_range(0..1i64 << 53) as f64 / 1000.0,
        _ => odd[random.random_range(0..odd.len())],
    };
    value.to_bits()
}

fn counts(random: &mut StdRng, width: usize) -> Vec<u64> {
    (0..width)
        .map(|_| match random.random_range(0..20) {
            0 => u64::MAX - random.random_range(0..3),
            _ => random.random_range(0..50),
        })
        .collect()
}

fn exponential(random: &mut StdRng, kind: u32) -> Exponential {
    let mut buckets = || {
        let width = random.random_range(0..5);
        (random.random_range(-9..9), counts(random, width))
    };
    let (positive, negative) = (buckets(), buckets());
    Exponential {
        scale: random.random_range(-10..20),
        zero_count: random.random(),
        zero_threshold: random.random_bool(0.5).then(|| double(random, kind)),
        positive,
        negative: random.random_bool(0.5).then_some(negative),
    }
}

/// Series of every sort, with resets, gaps, changing bounds and extreme counts.
fn points(random: &mut StdRng, dataset: Dataset) -> Vec<Point> {
    let mut points = Vec::new();
    for series in 0..random.random_range(1..6u8) {
        let mut point = Point {
            series: [series; 16],
            time: random.random_range(-1_000..1_000),
            ..Default::default()
        };
        let (kind, steady) = (random.random_range(0..5), random.random_range(1..30));
        let histogram = dataset == Dataset::MetricHistograms;
        for _ in 0..random.random_range(1..40) {
            point.time += random.random_range(0..3) * 15_000_000_000 + random.random_range(0..50);
            if random.random_range(0..steady) == 0 {
                point.start = random.random_bool(0.8).then(|| point.time - random.random_range(0..9));
            }
            if random.random_range(0..40) == 0 {
                point.flags = random.random_bool(0.5).then_some(1);
            }
            if histogram {
                if random.random_range(0..20) == 0 || point.bounds.is_none() {
                    let width = random.random_range(0..4usize);
                    point.bounds = random
                        .random_bool(0.9)
                        .then(|| (0..width).map(|_| double(random, 0)).collect());
                    point.buckets = point.bounds.as_ref().map(|_| counts(random, width + 1));
                }
                match random.random_range(0..10) {
                    0 => point.buckets = point.buckets.map(|b| counts(random, b.len())),
                    1 => {}
                    _ => point.buckets.iter_mut().flatten().for_each(|count| {
                        *count = count.wrapping_add(random.random_range(0..3));
                    }),
                }
                point.count = point.buckets.iter().flatten().fold(0, |a, b| a.wrapping_add(*b));
                if random.random_range(0..steady) == 0 {
                    point.count = random.random();
                }
                point.sum = random.random_bool(0.95).then(|| double(random, kind));
                if random.random_range(0..steady) == 0 {
                    point.min = random.random_bool(0.9).then(|| double(random, kind));
                }
                if random.random_range(0..steady) == 0 {
                    point.max = random.random_bool(0.9).then(|| double(random, kind));
                }
                point.exponential = (random.random_range(0..30) == 0).then(|| exponential(random, kind));
                point.quantiles = (random.random_range(0..30) == 0).then(|| {
                    let width = random.random_range(0..4);
                    [0, kind].map(|kind| (0..width).map(|_| double(random, kind)).collect())
                });
            } else if random.random_range(0..steady) == 0 {
                let integer = random.random_bool(0.5);
                let any = random.random_bool(0.95);
                point.value = (any && !integer).then(|| double(random, kind));
                point.value_int = (any && integer).then(|| match random.random_range(0..10) {
                    0 => random.random(),
                    _ => random.random_range(-1000..1000),
                });
            } else {
                point.value = point.value.map(|_| double(random, kind));
                point.value_int = point.value_int.map(|v| v.wrapping_add(random.random_range(-5..90)));
            }
            points.push(point.clone());
        }
    }
    points
}

#[test]
fn random_points_come_back_bit_for_bit() {
    for seed in 0..500 {
        let mut random = StdRng::seed_from_u64(seed);
        for dataset in [Dataset::MetricSamples, Dataset::MetricHistograms] {
            let batch = batch(dataset, &points(&mut random, dataset));
            let chunks = encode(dataset, &batch).unwrap();
            assert_same(&decode(dataset, chunks).unwrap(), &batch);
        }
    }
}

#[test]
fn chunks_can_be_decoded_from_any_row_on() {
    let mut random = StdRng::seed_from_u64(7);
    let dataset = Dataset::MetricHistograms;
    let batch = batch(dataset, &points(&mut random, dataset));
    let chunks = encode(dataset, &batch).unwrap();
    assert!(chunks.num_rows() > 3);
    let sizes = chunks["points"].as_primitive::<Int32Type>().values();
    let skipped: i32 = sizes[..2].iter().sum();
    let rest = decode(dataset, chunks.slice(2, chunks.num_rows() - 2)).unwrap();
    assert_same(
        &rest,
        &batch.slice(skipped as usize, batch.num_rows() - skipped as usize),
    );
}

/// Points of one series whose histogram grows by one observation each.
fn steady(points: usize) -> Vec<Point> {
    (0..points as i64)
        .map(|i| Point {
            time: i * 15_000_000_000,
            start: Some(-5),
            count: i as u64 + 2,
            sum: Some((0.25 * i as f64).to_bits()),
            min: Some(0.125f64.to_bits()),
            bounds: Some(vec![1.0f64.to_bits()]),
            buckets: Some(vec![1, i as u64 + 1]),
            ..Default::default()
        })
        .collect()
}

#[test]
fn what_can_be_derived_is_not_stored() {
    let chunks = encode(
        Dataset::MetricHistograms,
        &batch(Dataset::MetricHistograms, &steady(100)),
    )
    .unwrap();
    assert_eq!(chunks.num_rows(), 1);
    for absent in [
        "start_steps",
        "count_steps",
        "min_scale",
        "min_steps",
        "min_list",
        "sum_list",
    ] {
        assert!(chunks[absent].is_null(0), "{absent}");
    }
    assert_eq!(chunks["sum_scale"].as_primitive::<Int32Type>().value(0), 2);
    let steps = chunks["sum_steps"].as_list::<i32>().value(0);
    assert!(steps.as_primitive::<Float64Type>().iter().all(|s| s == Some(25.0)));
}

#[test]
fn long_series_are_cut() {
    let batch = batch(Dataset::MetricHistograms, &steady(2 * MAX_POINTS + 1));
    let chunks = encode(Dataset::MetricHistograms, &batch).unwrap();
    assert_eq!(chunks["points"].as_primitive::<Int32Type>().values(), &[1024, 1024, 1]);
    assert_same(&decode(Dataset::MetricHistograms, chunks).unwrap(), &batch);
}

#[test]
fn lists_that_do_not_fit_are_an_error() {
    let chunks = encode(
        Dataset::MetricHistograms,
        &batch(Dataset::MetricHistograms, &steady(100)),
    )
    .unwrap();
    for (name, value) in [
        ("points", 99),
        ("points", 101),
        ("points", 0),
        ("points", -1),
        ("points", i32::MAX),
        ("sum_scale", 300),
    ] {
        let index = chunks.schema().index_of(name).unwrap();
        let mut arrays = chunks.columns().to_vec();
        arrays[index] = Arc::new(Int32Array::from(vec![value]));
        let damaged = RecordBatch::try_new(chunks.schema(), arrays).unwrap();
        let error = decode(Dataset::MetricHistograms, damaged).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}

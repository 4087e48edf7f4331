//! Random rows of every dataset as the decoder makes them, and a way to compare rows whatever batch they come in.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int32Array,
    Int64Array, ListArray, RecordBatch, StringArray, StructArray, TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int32Type, Int64Type, Schema, TimeUnit, TimestampNanosecondType, UInt32Type,
    UInt64Type,
};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use schema::columns::{self, AttributeType};
use schema::{Dataset, UnixNanos};

/// Rows of a dataset with times in `from..to` (ns). Columns that may be null are sometimes missing, sometimes null;
/// repeated text is dictionary-encoded or plain; attribute columns differ from batch to batch.
pub fn random_batch(dataset: Dataset, seed: u64, rows: usize, from: UnixNanos, to: UnixNanos) -> RecordBatch {
    let mut rng = StdRng::seed_from_u64(seed);
    let samples_are_integers = (0..rows).map(|_| rng.random_bool(0.5)).collect::<Vec<_>>();
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for field in columns::fixed(dataset) {
        let value = matches!(field.name().as_str(), "value" | "value_int");
        if field.is_nullable() && !value && rng.random_bool(0.25) {
            continue;
        }
        let nulls = field.is_nullable().then(|| {
            let present = |row: usize, rng: &mut StdRng| match field.name().as_str() {
                "value" => !samples_are_integers[row],
                "value_int" => samples_are_integers[row],
                _ => rng.random_bool(0.7),
            };
            NullBuffer::from((0..rows).map(|row| present(row, &mut rng)).collect::<Vec<_>>())
        });
        let array = if field.name() == columns::time_column(dataset) {
            let times = (0..rows).map(|_| rng.random_range(from..to)).collect::<Vec<_>>();
            Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC")) as ArrayRef
        } else {
            let name = if identifies(dataset, field.name()) {
                UNIQUE
            } else {
                field.name()
            };
            array_of(name, field.data_type(), rows, nulls, &mut rng)
        };
        fields.push(Field::new(field.name(), array.data_type().clone(), field.is_nullable()));
        arrays.push(array);
    }
    if columns::has_attributes(dataset) {
        for key in ["http.route", "k8s.pod", "n", "näme with \"quotes\"", "x.y.z"] {
            for kind in [
                AttributeType::Utf8,
                AttributeType::Int64,
                AttributeType::Float64,
                AttributeType::Bool,
            ] {
                if rng.random_bool(0.7) {
                    continue;
                }
                let name = columns::physical_name(columns::ATTRIBUTE_PREFIX, key, kind);
                let nulls = NullBuffer::from((0..rows).map(|_| rng.random_bool(0.5)).collect::<Vec<_>>());
                let array = array_of(&name, &kind.data_type(), rows, Some(nulls), &mut rng);
                fields.push(Field::new(name, array.data_type().clone(), true));
                arrays.push(array);
            }
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

/// Stands for the name of a column that has a different value in each row.
const UNIQUE: &str = "(unique)";

/// Whether the column tells the rows of the dataset apart, so that none may be taken for a copy of another.
fn identifies(dataset: Dataset, name: &str) -> bool {
    matches!(
        (dataset, name),
        (Dataset::Spans, "span_id") | (Dataset::Resources, "resource_id") | (Dataset::MetricSeries, "series_id")
    )
}

/// The words that a text column of this name has; attributes and bodies are free.
fn words(name: &str) -> &'static [&'static str] {
    match name {
        "kind" => &["unspecified", "internal", "server", "client", "producer", "consumer"],
        "status_code" => &["unset", "ok", "error"],
        "type" => &["gauge", "sum", "histogram", "exponential_histogram", "summary"],
        "temporality" => &["unspecified", "delta", "cumulative"],
        "body_type" => &["string", "int", "map"],
        "attributes" | "attributes_rest" | "metadata" => &["{}", r#"{"a":[1,"x",null]}"#, r#"{"b":{"$bytes":"AP8Q"}}"#],
        _ => &[
            "",
            "checkout",
            "GET /cart/{id}",
            "ümlaut \u{1f980}",
            "a\0b",
            "cart",
            "a rather long text that repeats",
        ],
    }
}

fn array_of(name: &str, kind: &DataType, rows: usize, nulls: Option<NullBuffer>, rng: &mut StdRng) -> ArrayRef {
    match kind {
        DataType::Utf8 => {
            let known = words(name);
            let text = |rng: &mut StdRng| {
                let word = known[rng.random_range(0..known.len())];
                // Some texts are of one row only.
                if known[0].is_empty() && rng.random_bool(0.2) {
                    format!("{word}{}", rng.next_u32())
                } else {
                    word.to_owned()
                }
            };
            let values = (0..rows)
                .map(|row| nulls.as_ref().is_none_or(|n| n.is_valid(row)).then(|| text(rng)))
                .collect::<Vec<_>>();
            let values = values.iter().map(Option::as_deref);
            if rng.random_bool(0.7) {
                Arc::new(values.collect::<DictionaryArray<Int32Type>>())
            } else {
                Arc::new(values.collect::<StringArray>())
            }
        }
        DataType::Boolean => {
            let values = (0..rows).map(|_| rng.random_bool(0.5)).collect::<Vec<_>>();
            Arc::new(BooleanArray::new(values.into(), nulls))
        }
        DataType::Int32 => {
            let values = (0..rows).map(|_| rng.random_range(-30..30)).collect::<Vec<_>>();
            Arc::new(Int32Array::new(values.into(), nulls))
        }
        DataType::Int64 => {
            let extremes = [0, -1, i64::MAX, i64::MIN];
            let value = |rng: &mut StdRng| match name {
                "duration" => rng.random_range(0..5_000_000_000),
                _ if rng.random_bool(0.1) => extremes[rng.random_range(0..4)],
                _ => rng.random_range(-1000..1_000_000),
            };
            let values = (0..rows).map(|_| value(rng)).collect::<Vec<_>>();
            Arc::new(Int64Array::new(values.into(), nulls))
        }
        DataType::UInt32 => {
            let values = (0..rows)
                .map(|_| rng.next_u32() >> rng.random_range(0..32))
                .collect::<Vec<_>>();
            Arc::new(UInt32Array::new(values.into(), nulls))
        }
        DataType::UInt64 => {
            let values = (0..rows)
                .map(|_| rng.next_u64() >> rng.random_range(0..64))
                .collect::<Vec<_>>();
            Arc::new(UInt64Array::new(values.into(), nulls))
        }
        DataType::Float64 => {
            let values = (0..rows).map(|_| double(rng)).collect::<Vec<_>>();
            Arc::new(Float64Array::new(values.into(), nulls))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let values = (0..rows).map(|_| rng.random_range(1..i64::MAX)).collect::<Vec<_>>();
            Arc::new(TimestampNanosecondArray::new(values.into(), nulls).with_timezone("UTC"))
        }
        DataType::FixedSizeBinary(width) => {
            // Traces and series have several rows each.
            let distinct = if name == UNIQUE { u64::MAX } else { rows as u64 / 4 + 1 };
            let mut bytes = Vec::with_capacity(rows * *width as usize);
            for _ in 0..rows {
                let mut id = StdRng::seed_from_u64(rng.random_range(0..distinct));
                let from = bytes.len();
                bytes.resize(from + *width as usize, 0);
                id.fill_bytes(&mut bytes[from..]);
            }
            Arc::new(FixedSizeBinaryArray::new(*width, bytes.into(), nulls))
        }
        DataType::List(item) => {
            let lengths = (0..rows)
                .map(|row| match &nulls {
                    Some(nulls) if nulls.is_null(row) => 0,
                    _ => rng.random_range(0..4),
                })
                .collect::<Vec<_>>();
            let values = array_of("", item.data_type(), lengths.iter().sum(), None, rng);
            let values = plain(&values);
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(ListArray::new(Arc::clone(item), offsets, values, nulls))
        }
        DataType::Struct(fields) => {
            let arrays = fields.iter().map(|field| {
                let nulls = field
                    .is_nullable()
                    .then(|| NullBuffer::from((0..rows).map(|_| rng.random_bool(0.6)).collect::<Vec<_>>()));
                plain(&array_of(field.name(), field.data_type(), rows, nulls, rng))
            });
            let arrays = arrays.collect::<Vec<_>>();
            Arc::new(StructArray::new(fields.clone(), arrays, nulls))
        }
        other => panic!("no dataset has a column of type {other}"),
    }
}

/// Text inside lists is never dictionary-encoded.
fn plain(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Dictionary(_, value) => arrow::compute::cast(array, value).unwrap(),
        _ => Arc::clone(array),
    }
}

fn double(rng: &mut StdRng) -> f64 {
    let special = [
        0.0,
        -0.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        5e-324,
        f64::MAX,
        1e15,
        0.1,
    ];
    match rng.random_range(0..4) {
        0 => special[rng.random_range(0..special.len())],
        1 => f64::from(rng.random_range(0..1000)),
        2 => (rng.random_range(0..100_000) as f64) / 100.0,
        _ => rng.random::<f64>(),
    }
}

/// A row: the values that are there, by column, as text that is equal exactly if the values are.
pub type Row = BTreeMap<String, String>;

/// All rows of some batches, sorted.
pub fn rows_of<'a>(batches: impl IntoIterator<Item = &'a RecordBatch>) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in batches {
        rows.extend((0..batch.num_rows()).map(|row| row_at(batch, row)));
    }
    rows.sort();
    rows
}

/// One row of a batch.
pub fn row_at(batch: &RecordBatch, row: usize) -> Row {
    let schema = batch.schema();
    let cells = schema.fields().iter().zip(batch.columns());
    cells
        .filter_map(|(field, array)| Some((field.name().clone(), text(array.as_ref(), row)?)))
        .collect()
}

/// A value as text; `None` if it is null.
fn text(array: &dyn Array, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Utf8 => format!("{:?}", array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => format!("{:?}", array.as_string::<i64>().value(row)),
        DataType::Utf8View => format!("{:?}", array.as_string_view().value(row)),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            return text(dictionary.values().as_ref(), dictionary.normalized_keys()[row]);
        }
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).to_string(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            array.as_primitive::<TimestampNanosecondType>().value(row).to_string()
        }
        // By its bits: NaN equals itself and 0 differs from -0.
        DataType::Float64 => format!("{:016x}", array.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::FixedSizeBinary(_) => format!("{:02x?}", array.as_fixed_size_binary().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let items = (0..items.len()).map(|i| text(items.as_ref(), i));
            format!("{:?}", items.collect::<Vec<_>>())
        }
        DataType::Struct(fields) => {
            let members = fields.iter().zip(array.as_struct().columns());
            let members = members.filter_map(|(field, array)| Some((field.name(), text(array.as_ref(), row)?)));
            format!("{:?}", members.collect::<BTreeMap<_, _>>())
        }
        other => panic!("no column that is read back has the type {other}"),
    })
}

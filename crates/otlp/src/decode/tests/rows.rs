//! What a batch holds, cell by cell, with no trace of how it is encoded.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type};
use schema::Dataset;
use serde_json::Value;

use crate::decode::{Finished, TenantBatch};

/// One value; null is the absence of a cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Text(String),
    Bool(bool),
    Int(i64),
    UInt(u64),
    /// By its bits, so that NaN equals itself.
    Double(u64),
    Bytes(Vec<u8>),
    /// A column that holds JSON text.
    Json(Value),
    List(Vec<Cell>),
    Rows(Vec<Row>),
}

pub type Row = BTreeMap<String, Cell>;

/// Columns whose text is JSON.
const JSON: [&str; 3] = ["attributes_rest", "attributes", "metadata"];

/// Everything `finish` gave, by dataset.
#[derive(Debug, Default, PartialEq)]
pub struct Finish {
    pub rows: BTreeMap<Dataset, Vec<Row>>,
    pub ids: Vec<[u8; 16]>,
}

impl Finish {
    pub fn of(&self, dataset: Dataset) -> &[Row] {
        self.rows.get(&dataset).map_or(&[], Vec::as_slice)
    }
}

/// Finishes a batch and reads it back, checking each array and the schema on the way.
pub fn finish(batch: &mut TenantBatch) -> Finish {
    let (finished, ids) = batch.finish().unwrap();
    assert!(batch.is_empty());
    let mut rows = BTreeMap::new();
    for Finished { dataset, batch } in finished {
        let batch = batch.to_dense().unwrap();
        check_schema(dataset, &batch);
        assert!(rows.insert(dataset, read(&batch)).is_none(), "{dataset} twice");
    }
    Finish { rows, ids }
}

fn check_schema(dataset: Dataset, batch: &RecordBatch) {
    let fixed = schema::columns::fixed(dataset);
    for field in &fixed {
        let found = batch.schema().column_with_name(field.name()).map(|(_, f)| f.clone());
        match found {
            None => assert!(field.is_nullable(), "{dataset} lacks {}", field.name()),
            Some(found) => {
                let plain = match found.data_type() {
                    DataType::Dictionary(_, value) => value.as_ref().clone(),
                    other => other.clone(),
                };
                assert_eq!(&plain, field.data_type(), "{dataset}.{}", field.name());
                assert!(
                    field.is_nullable() || !found.is_nullable(),
                    "{dataset}.{}",
                    field.name()
                );
            }
        }
    }
    let mut names = std::collections::HashSet::new();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        assert!(names.insert(field.name().clone()), "{dataset}.{} twice", field.name());
        let known = fixed.iter().any(|f| f.name() == field.name());
        assert!(
            known || schema::columns::parse_physical(field.name(), field.data_type()).is_some(),
            "{field}"
        );
        array.to_data().validate_full().unwrap();
    }
}

fn read(batch: &RecordBatch) -> Vec<Row> {
    let mut rows = vec![Row::new(); batch.num_rows()];
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        fill(&mut rows, field.name(), array);
    }
    for row in &mut rows {
        if row.contains_key("body_type") {
            let Some(Cell::Text(text)) = row.get("body") else {
                panic!("body_type without body: {row:?}")
            };
            let json = json(text);
            row.insert("body".to_owned(), json);
        }
    }
    rows
}

fn json(text: &str) -> Cell {
    Cell::Json(serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn fill(rows: &mut [Row], name: &str, array: &ArrayRef) {
    let plain = match array.data_type() {
        DataType::Dictionary(_, value) => cast(array, value).unwrap(),
        _ => array.clone(),
    };
    for (index, row) in rows.iter_mut().enumerate() {
        if plain.is_valid(index) {
            let mut cell = cell(&plain, index);
            if let (Cell::Text(text), true) = (&cell, JSON.contains(&name)) {
                cell = json(text);
            }
            row.insert(name.to_owned(), cell);
        }
    }
}

fn cell(array: &ArrayRef, i: usize) -> Cell {
    match array.data_type() {
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(i).to_owned()),
        DataType::Boolean => Cell::Bool(array.as_boolean().value(i)),
        DataType::Int32 => Cell::Int(array.as_primitive::<Int32Type>().value(i).into()),
        DataType::Int64 => Cell::Int(array.as_primitive::<Int64Type>().value(i)),
        DataType::Timestamp(_, _) => Cell::Int(array.as_primitive::<TimestampNanosecondType>().value(i)),
        DataType::UInt32 => Cell::UInt(array.as_primitive::<UInt32Type>().value(i).into()),
        DataType::UInt64 => Cell::UInt(array.as_primitive::<UInt64Type>().value(i)),
        DataType::Float64 => Cell::Double(array.as_primitive::<Float64Type>().value(i).to_bits()),
        DataType::FixedSizeBinary(_) => Cell::Bytes(array.as_fixed_size_binary().value(i).to_vec()),
        DataType::List(item) if matches!(item.data_type(), DataType::Struct(_)) => {
            let items = array.as_list::<i32>().value(i);
            let items = items.as_struct();
            let mut rows = vec![Row::new(); items.len()];
            for (field, column) in items.fields().iter().zip(items.columns()) {
                fill(&mut rows, field.name(), column);
            }
            Cell::Rows(rows)
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(i);
            Cell::List((0..items.len()).map(|i| cell(&items, i)).collect())
        }
        other => panic!("no column has the type {other}"),
    }
}

/// Whether two cells are the same, but for the last bits that serde_json loses of a double.
pub fn same(a: &Cell, b: &Cell) -> bool {
    match (a, b) {
        (Cell::Json(a), Cell::Json(b)) => same_json(a, b),
        (Cell::Rows(a), Cell::Rows(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_row(a, b)),
        _ => a == b,
    }
}

pub fn same_row(a: &Row, b: &Row) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
}

fn same_json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            a == b || ((a - b) / b).abs() < 1e-14 || (a - b).abs() < f64::MIN_POSITIVE
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|b| same_json(value, b)))
        }
        _ => a == b,
    }
}

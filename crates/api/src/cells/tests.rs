use std::sync::Arc;

use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, DurationNanosecondArray,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int8Array, Int32Array, Int64Array, ListArray, MapBuilder,
    NullArray, StringArray, StringBuilder, StringViewArray, StructArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{Field, Int32Type, Int64Type};

use super::*;

fn json(array: ArrayRef) -> Vec<String> {
    written(&array, Column::json)
}

fn text(array: ArrayRef) -> Vec<String> {
    written(&array, Column::text)
}

fn written(array: &ArrayRef, write: fn(&Column, usize, &mut Vec<u8>)) -> Vec<String> {
    let column = Column::new(array).unwrap();
    let one = |row| {
        let mut out = Vec::new();
        write(&column, row, &mut out);
        String::from_utf8(out).unwrap()
    };
    (0..array.len()).map(one).collect()
}

#[test]
fn numbers() {
    assert_eq!(
        json(Arc::new(Int64Array::from(vec![Some(i64::MIN), None]))),
        ["-9223372036854775808", "null"]
    );
    assert_eq!(
        json(Arc::new(UInt64Array::from(vec![u64::MAX]))),
        ["18446744073709551615"]
    );
    assert_eq!(json(Arc::new(Int8Array::from(vec![-1]))), ["-1"]);
    assert_eq!(json(Arc::new(BooleanArray::from(vec![true, false]))), ["true", "false"]);
    assert_eq!(json(Arc::new(Float32Array::from(vec![0.1]))), ["0.1"]);
    let doubles: ArrayRef = Arc::new(Float64Array::from(vec![
        1.0,
        1e300,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ]));
    assert_eq!(
        json(doubles.clone()),
        ["1.0", "1e+300", "\"NaN\"", "\"Infinity\"", "\"-Infinity\""]
    );
    assert_eq!(text(doubles), ["1.0", "1e+300", "NaN", "Infinity", "-Infinity"]);
    let decimals = Decimal128Array::from(vec![12345])
        .with_precision_and_scale(10, 2)
        .unwrap();
    assert_eq!(json(Arc::new(decimals)), ["123.45"]);
}

#[test]
fn texts_and_bytes() {
    let strings = vec![Some("a\"b\nü"), None];
    for array in [
        Arc::new(StringArray::from(strings.clone())) as ArrayRef,
        Arc::new(StringViewArray::from(strings.clone())),
        Arc::new(strings.clone().into_iter().collect::<DictionaryArray<Int32Type>>()),
    ] {
        assert_eq!(json(array.clone()), ["\"a\\\"b\\nü\"", "null"]);
        assert_eq!(text(array), ["a\"b\nü", ""]);
    }
    let id = FixedSizeBinaryArray::try_from_iter([[0xabu8, 0x01]].iter()).unwrap();
    assert_eq!(json(Arc::new(id)), ["\"ab01\""]);
    assert_eq!(
        text(Arc::new(BinaryArray::from(vec![b"\x00\xff".as_slice()]))),
        ["00ff"]
    );
}

#[test]
fn times() {
    let nanos = TimestampNanosecondArray::from(vec![1]).with_timezone("+05:00");
    assert_eq!(json(Arc::new(nanos)), ["\"1970-01-01T00:00:00.000000001Z\""]);
    assert_eq!(
        text(Arc::new(TimestampMillisecondArray::from(vec![-1]))),
        ["1969-12-31T23:59:59.999000000Z"]
    );
    assert_eq!(
        text(Arc::new(TimestampSecondArray::from(vec![86_400]))),
        ["1970-01-02T00:00:00.000000000Z"]
    );
    assert_eq!(
        json(Arc::new(Date32Array::from(vec![Some(1), None]))),
        ["\"1970-01-02\"", "null"]
    );
    assert!(json(Arc::new(DurationNanosecondArray::from(vec![1])))[0].starts_with('"'));
}

#[test]
fn nested() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(3)]),
    ]);
    assert_eq!(json(Arc::new(list.clone())), ["[1,null]", "null", "[]", "[3]"]);
    assert_eq!(text(Arc::new(list.slice(2, 2))), ["[]", "[3]"]);
    let members = StructArray::from(vec![
        (
            Arc::new(Field::new("a\"", DataType::Int32, true)),
            Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("b", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec!["x", "y"])),
        ),
    ]);
    assert_eq!(
        json(Arc::new(members.clone())),
        [r#"{"a\"":1,"b":"x"}"#, r#"{"a\"":null,"b":"y"}"#]
    );
    assert_eq!(json(Arc::new(members.slice(1, 1))), [r#"{"a\"":null,"b":"y"}"#]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("k");
    map.values().append_value("v");
    map.append(true).unwrap();
    assert_eq!(json(Arc::new(map.finish())), [r#"{"k":"v"}"#]);
}

#[test]
fn nothing_but_nulls() {
    assert_eq!(json(Arc::new(NullArray::new(2))), ["null", "null"]);
    let empty = DictionaryArray::<Int32Type>::new(
        Int32Array::from(vec![None, None]),
        Arc::new(StringArray::from(Vec::<&str>::new())),
    );
    assert_eq!(json(Arc::new(empty)), ["null", "null"]);
}

/// A dictionary whose null is among its values, not among its keys.
#[test]
fn dictionary_with_a_null_value() {
    let values = Arc::new(StringArray::from(vec![None, Some("x")]));
    let array = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0, 1]), values);
    assert_eq!(json(Arc::new(array)), ["null", "\"x\""]);
}

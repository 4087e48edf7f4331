//! Arrow columns as text, one value at a time.
//!
//! A [`Column`] is built once per batch: the type is looked at there, and each value is then written without looking
//! again. The rules are the same for every API that shows rows:
//!
//! - ids and other binary are lower-case hex; times are RFC 3339 in UTC with nine digits of nanoseconds;
//! - 64-bit integers are JSON numbers; a double that is not finite is `"NaN"`, `"Infinity"` or `"-Infinity"`;
//! - lists, structs and maps are JSON, also where the format is plain text;
//! - dictionaries and views look like the values they hold.

mod nested;
mod scalar;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow::error::ArrowError;

use nested::{Dictionary, List, Map, Struct};
use scalar::{Binary, Boolean, Float, Formatted, Integer, Text, Timestamp};

/// Writes the values of one type. Rows are in range and not null.
trait Cell: Send {
    /// Appends a JSON value.
    fn json(&self, row: usize, out: &mut Vec<u8>);

    /// Appends plain text, not quoted and not escaped.
    fn text(&self, row: usize, out: &mut Vec<u8>) {
        self.json(row, out);
    }
}

/// A column whose values can be written.
pub(crate) struct Column {
    nulls: Option<NullBuffer>,
    cell: Box<dyn Cell>,
}

impl Column {
    /// Prepares a column.
    ///
    /// # Errors
    /// [`ArrowError`] when a value of a type that Arrow itself formats is outside what it can format, such as a date
    /// of the year 300,000.
    pub(crate) fn new(array: &ArrayRef) -> Result<Self, ArrowError> {
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        Ok(Self {
            nulls,
            cell: cell(array)?,
        })
    }

    /// Whether the value is null. `row` is below the array's length, here and below.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the value as JSON; `null` for null.
    pub(crate) fn json(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
        } else {
            self.cell.json(row, out);
        }
    }

    /// Appends the value as plain text, nothing for null.
    pub(crate) fn text(&self, row: usize, out: &mut Vec<u8>) {
        if !self.is_null(row) {
            self.cell.text(row, out);
        }
    }
}

/// The writer of an array's type.
fn cell(array: &ArrayRef) -> Result<Box<dyn Cell>, ArrowError> {
    Ok(match array.data_type() {
        DataType::Boolean => Box::new(Boolean(array.as_boolean().clone())),
        DataType::Int8 => Box::new(Integer(array.as_primitive::<Int8Type>().clone())),
        DataType::Int16 => Box::new(Integer(array.as_primitive::<Int16Type>().clone())),
        DataType::Int32 => Box::new(Integer(array.as_primitive::<Int32Type>().clone())),
        DataType::Int64 => Box::new(Integer(array.as_primitive::<Int64Type>().clone())),
        DataType::UInt8 => Box::new(Integer(array.as_primitive::<UInt8Type>().clone())),
        DataType::UInt16 => Box::new(Integer(array.as_primitive::<UInt16Type>().clone())),
        DataType::UInt32 => Box::new(Integer(array.as_primitive::<UInt32Type>().clone())),
        DataType::UInt64 => Box::new(Integer(array.as_primitive::<UInt64Type>().clone())),
        DataType::Float16 => return cell(&cast(array, &DataType::Float32)?),
        DataType::Float32 => Box::new(Float(array.as_primitive::<Float32Type>().clone())),
        DataType::Float64 => Box::new(Float(array.as_primitive::<Float64Type>().clone())),
        DataType::Utf8 => Box::new(Text(array.as_string::<i32>().clone())),
        DataType::LargeUtf8 => Box::new(Text(array.as_string::<i64>().clone())),
        DataType::Utf8View => Box::new(Text(array.as_string_view().clone())),
        DataType::Binary => Box::new(Binary(array.as_binary::<i32>().clone())),
        DataType::LargeBinary => Box::new(Binary(array.as_binary::<i64>().clone())),
        DataType::BinaryView => Box::new(Binary(array.as_binary_view().clone())),
        DataType::FixedSizeBinary(_) => Box::new(Binary(array.as_fixed_size_binary().clone())),
        DataType::Timestamp(unit, _) => Box::new(Timestamp::new(array, *unit)?),
        DataType::Dictionary(_, _) => Box::new(Dictionary::new(array)?),
        DataType::List(_) => Box::new(List::new(array.as_list::<i32>())?),
        DataType::LargeList(_) => Box::new(List::new(array.as_list::<i64>())?),
        DataType::FixedSizeList(_, _) => Box::new(List::fixed(array.as_fixed_size_list())?),
        DataType::Struct(_) => Box::new(Struct::new(array.as_struct())?),
        DataType::Map(_, _) => Box::new(Map::new(array.as_map())?),
        DataType::Decimal32(_, _)
        | DataType::Decimal64(_, _)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _) => Box::new(Formatted::number(array)?),
        _ => Box::new(Formatted::text(array)?),
    })
}

/// Appends a JSON string.
pub(crate) fn json_text(value: &str, out: &mut Vec<u8>) {
    // A string always serialises, and writing to a vector does not fail.
    let _ = serde_json::to_writer(out, value);
}

/// Appends lower-case hex digits.
pub(crate) fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests;

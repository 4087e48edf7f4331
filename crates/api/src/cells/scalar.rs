//! Values that hold no other values.

use std::fmt::Display;
use std::io::Write as _;

use arrow::array::{Array, ArrayAccessor, ArrayRef, AsArray, BooleanArray, Int64Array, PrimitiveArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::{Cell, hex, json_text};

pub(super) struct Boolean(pub BooleanArray);

impl Cell for Boolean {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.0.value(row) { b"true" } else { b"false" });
    }
}

pub(super) struct Integer<T: ArrowPrimitiveType>(pub PrimitiveArray<T>);

impl<T: ArrowPrimitiveType<Native: Display>> Cell for Integer<T> {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        // Writing to a vector does not fail.
        let _ = write!(out, "{}", self.0.value(row));
    }
}

pub(super) struct Float<T: ArrowPrimitiveType>(pub PrimitiveArray<T>);

impl<T: ArrowPrimitiveType<Native: Into<f64> + serde::Serialize>> Cell for Float<T> {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        let value = self.0.value(row);
        match not_finite(value.into()) {
            Some(name) => json_text(name, out),
            // The shortest digits that read back as the same number; writing to a vector does not fail.
            None => drop(serde_json::to_writer(out, &value)),
        }
    }

    fn text(&self, row: usize, out: &mut Vec<u8>) {
        match not_finite(self.0.value(row).into()) {
            Some(name) => out.extend_from_slice(name.as_bytes()),
            None => self.json(row, out),
        }
    }
}

fn not_finite(value: f64) -> Option<&'static str> {
    if value.is_finite() {
        None
    } else if value.is_nan() {
        Some("NaN")
    } else if value > 0.0 {
        Some("Infinity")
    } else {
        Some("-Infinity")
    }
}

pub(super) struct Text<A>(pub A);

impl<A: Send> Cell for Text<A>
where
    for<'a> &'a A: ArrayAccessor<Item = &'a str>,
{
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        json_text((&self.0).value(row), out);
    }

    fn text(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice((&self.0).value(row).as_bytes());
    }
}

pub(super) struct Binary<A>(pub A);

impl<A: Send> Cell for Binary<A>
where
    for<'a> &'a A: ArrayAccessor<Item = &'a [u8]>,
{
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        self.text(row, out);
        out.push(b'"');
    }

    fn text(&self, row: usize, out: &mut Vec<u8>) {
        hex((&self.0).value(row), out);
    }
}

pub(super) struct Timestamp {
    values: Int64Array,
    per_second: i64,
}

impl Timestamp {
    /// The stored number counts from the epoch in UTC whatever the zone of the type; a type without a zone is UTC too.
    pub(super) fn new(array: &ArrayRef, unit: TimeUnit) -> Result<Self, ArrowError> {
        let values = cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone();
        let per_second = match unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        };
        Ok(Self { values, per_second })
    }
}

impl Cell for Timestamp {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        self.text(row, out);
        out.push(b'"');
    }

    fn text(&self, row: usize, out: &mut Vec<u8>) {
        let value = self.values.value(row);
        let seconds = value.div_euclid(self.per_second);
        let nanos = value.rem_euclid(self.per_second) * (1_000_000_000 / self.per_second);
        schema::rfc3339(seconds, nanos, out);
    }
}

/// What Arrow formats: dates, times of day, durations, intervals, decimals, unions.
pub(super) struct Formatted {
    values: StringArray,
    quoted: bool,
}

impl Formatted {
    /// Values whose text is a JSON number.
    pub(super) fn number(array: &ArrayRef) -> Result<Self, ArrowError> {
        Ok(Self {
            values: format(array)?,
            quoted: false,
        })
    }

    /// Values whose text is a JSON string.
    pub(super) fn text(array: &ArrayRef) -> Result<Self, ArrowError> {
        Ok(Self {
            values: format(array)?,
            quoted: true,
        })
    }
}

fn format(array: &ArrayRef) -> Result<StringArray, ArrowError> {
    let options = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
    (0..array.len())
        .map(|row| {
            if array.is_null(row) {
                Ok(None)
            } else {
                formatter.value(row).try_to_string().map(Some)
            }
        })
        .collect()
}

impl Cell for Formatted {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        if self.quoted {
            json_text(self.values.value(row), out);
        } else {
            self.text(row, out);
        }
    }

    fn text(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.values.value(row).as_bytes());
    }
}

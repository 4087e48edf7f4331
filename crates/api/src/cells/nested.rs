//! Values that hold other values.

use std::ops::Range;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait, StructArray,
};
use arrow::error::ArrowError;

use super::{Cell, Column, json_text};

pub(super) struct Dictionary {
    /// Index into `values` by row; of no meaning where the row is null.
    keys: Vec<usize>,
    values: Column,
}

impl Dictionary {
    pub(super) fn new(array: &ArrayRef) -> Result<Self, ArrowError> {
        let dictionary = array.as_any_dictionary();
        let values = dictionary.values();
        // Without values every row is null, and there is nothing to look up.
        let keys = if values.is_empty() {
            Vec::new()
        } else {
            dictionary.normalized_keys()
        };
        Ok(Self {
            keys,
            values: Column::new(values)?,
        })
    }
}

impl Cell for Dictionary {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        if let Some(&key) = self.keys.get(row) {
            self.values.json(key, out);
        }
    }

    fn text(&self, row: usize, out: &mut Vec<u8>) {
        if let Some(&key) = self.keys.get(row) {
            self.values.text(key, out);
        }
    }
}

pub(super) struct List {
    ranges: Vec<Range<usize>>,
    values: Column,
}

impl List {
    pub(super) fn new<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> Result<Self, ArrowError> {
        Ok(Self {
            ranges: ranges(list.value_offsets()),
            values: Column::new(list.values())?,
        })
    }

    pub(super) fn fixed(list: &FixedSizeListArray) -> Result<Self, ArrowError> {
        let length = usize::try_from(list.value_length()).unwrap_or(0);
        let ranges = (0..list.len()).map(|row| row * length..(row + 1) * length).collect();
        Ok(Self {
            ranges,
            values: Column::new(list.values())?,
        })
    }
}

fn ranges<O: OffsetSizeTrait>(offsets: &[O]) -> Vec<Range<usize>> {
    offsets
        .windows(2)
        .map(|pair| pair[0].as_usize()..pair[1].as_usize())
        .collect()
}

impl Cell for List {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'[');
        for (i, item) in self.ranges[row].clone().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            self.values.json(item, out);
        }
        out.push(b']');
    }
}

pub(super) struct Struct {
    /// Each member's name as a JSON string with its colon.
    members: Vec<(Vec<u8>, Column)>,
}

impl Struct {
    pub(super) fn new(array: &StructArray) -> Result<Self, ArrowError> {
        let members = array.fields().iter().zip(array.columns());
        let members = members.map(|(field, column)| Ok((member(field.name()), Column::new(column)?)));
        Ok(Self {
            members: members.collect::<Result<_, ArrowError>>()?,
        })
    }
}

/// The name of an object's member as JSON, with its colon.
fn member(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 3);
    json_text(name, &mut out);
    out.push(b':');
    out
}

impl Cell for Struct {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        for (i, (name, column)) in self.members.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name);
            column.json(row, out);
        }
        out.push(b'}');
    }
}

/// A map is a JSON object; its keys are written as text whatever their type.
pub(super) struct Map {
    ranges: Vec<Range<usize>>,
    keys: Column,
    values: Column,
}

impl Map {
    pub(super) fn new(map: &MapArray) -> Result<Self, ArrowError> {
        let (keys, values) = (Column::new(map.keys())?, Column::new(map.values())?);
        Ok(Self {
            ranges: ranges(map.value_offsets()),
            keys,
            values,
        })
    }
}

impl Cell for Map {
    fn json(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut key = Vec::new();
        for (i, item) in self.ranges[row].clone().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            key.clear();
            self.keys.text(item, &mut key);
            json_text(&String::from_utf8_lossy(&key), out);
            out.push(b':');
            self.values.json(item, out);
        }
        out.push(b'}');
    }
}

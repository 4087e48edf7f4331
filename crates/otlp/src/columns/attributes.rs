//! Attribute columns: one per key and type, found by the key's bytes.
//!
//! Keys live as long as the batch builder, values only until the next `finish`. A key is given columns if the
//! [`ColumnAdmission`] allows it; what has no column becomes JSON text in `attributes_rest`, so nothing is dropped.
//! OTLP wants keys to be unique within an item; if one is not, its last value wins, whatever the types are.

use std::sync::Arc;

use arrow::datatypes::{DataType, Float64Type, Int64Type};
use hashbrown::{HashSet, HashTable};
use schema::columns::{ATTRIBUTES_REST, AttributeType, physical_name};
use schema::sparse::SparseArray;
use xxhash_rust::xxh3::xxh3_64;

use super::interner::same;
use super::{BoolColumn, NumberColumn, PlainTextColumn, TextColumn};
use crate::decode::any_value::{self, AnyRef};
use crate::decode::{Fault, ItemError};

/// Decides which attribute columns may exist. Asked once per new key and type, of each batch that remembers its keys.
pub trait ColumnAdmission: Send + Sync {
    /// Whether the physical column may be used; `false` sends its values to `attributes_rest`.
    fn admit(&self, physical_name: &str, kind: AttributeType) -> bool;

    /// Whether the tenant may use this key at all, with a column or without.
    ///
    /// # Errors
    /// The reason to tell the sender; the item is rejected.
    fn admit_key(&self, _key: &[u8]) -> Result<(), Arc<str>> {
        Ok(())
    }
}

/// Admits no column at all.
#[derive(Debug, Default)]
pub struct RestOnly;

impl ColumnAdmission for RestOnly {
    fn admit(&self, _: &str, _: AttributeType) -> bool {
        false
    }
}

const UNKNOWN: u32 = u32::MAX;
const REFUSED: u32 = u32::MAX - 1;

/// More keys than this and the next batch starts over with an empty key map: a sender that invents keys must not
/// make every later commit pay for them.
const MAX_REMEMBERED_KEYS: usize = 4096;
/// The same for the bytes of keys: 256 B for each, when most are below 40 B.
const MAX_REMEMBERED_BYTES: usize = 1 << 20;
/// Longer keys get no column: they are data in the wrong place, and every file's schema would repeat them.
const MAX_COLUMN_KEY: usize = 200;

#[derive(Debug)]
struct Key {
    hash: u64,
    name: Box<[u8]>,
    /// Column index by [`AttributeType`], or one of the constants above.
    slots: [u32; 4],
    /// The row that had this key last. A row that was dropped since, or is of an earlier batch, does no harm: there is
    /// nothing of it left to replace.
    row: u32,
}

/// Where an attribute begins in the rest text, with the `{` or `,` before it. It ends where the next one begins.
#[derive(Debug)]
struct RestEntry {
    owner: Owner,
    key: u32,
    start: usize,
}

#[derive(Debug)]
enum Values {
    Text(TextColumn),
    Int(NumberColumn<Int64Type>),
    Double(NumberColumn<Float64Type>),
    Bool(BoolColumn),
}

#[derive(Debug)]
struct Column {
    name: String,
    values: Values,
}

/// The keys under one prefix.
#[derive(Debug, Default)]
struct KeyMap {
    table: HashTable<u32>,
    keys: Vec<Key>,
    bytes: usize,
}

impl KeyMap {
    #[inline]
    fn find(&self, name: &[u8], hash: u64) -> Option<u32> {
        self.table
            .find(hash, |&i| {
                let key = &self.keys[i as usize];
                key.hash == hash && same(&key.name, name)
            })
            .copied()
    }

    #[cold]
    fn insert(&mut self, name: &[u8], hash: u64) -> u32 {
        let index = self.keys.len() as u32;
        self.keys.push(Key {
            hash,
            name: name.into(),
            slots: [UNKNOWN; 4],
            row: u32::MAX,
        });
        self.bytes += name.len();
        let keys = &self.keys;
        self.table.insert_unique(hash, index, |&i| keys[i as usize].hash);
        index
    }
}

/// All attribute columns of one dataset's batch, `attr.*` and `scope.*`, and the rest column.
#[derive(Debug, Default)]
pub struct AttributeColumns {
    /// Keys by [`Owner`].
    keys: [KeyMap; 2],
    columns: Vec<Column>,
    rest: PlainTextColumn,
    /// The JSON object under construction for the current row, without its closing brace; empty if there is none.
    rest_text: Vec<u8>,
    /// What `rest_text` is made of.
    rest_entries: Vec<RestEntry>,
    /// Whether `rest_entries` has a key twice.
    rest_repeats: bool,
}

/// Which prefix an attribute belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The item's own attributes: `attr.`.
    Item = 0,
    /// The instrumentation scope's: `scope.`.
    Scope = 1,
}

impl AttributeColumns {
    /// Appends one `KeyValue` message to `row`.
    ///
    /// # Errors
    /// [`Fault::Wire`] if the message is malformed, [`Fault::Item`] if a text is not UTF-8 or a value nests too deep.
    #[inline]
    pub fn push(
        &mut self,
        owner: Owner,
        row: u32,
        key_value: &[u8],
        max_depth: usize,
        admission: &dyn ColumnAdmission,
    ) -> Result<(), Fault> {
        let (name, value) = any_value::key_value(key_value)?;
        self.push_value(owner, row, name, value, max_depth, admission)
    }

    #[inline]
    fn push_value(
        &mut self,
        owner: Owner,
        row: u32,
        name: &[u8],
        value: AnyRef<'_>,
        max_depth: usize,
        admission: &dyn ColumnAdmission,
    ) -> Result<(), Fault> {
        let hash = xxh3_64(name);
        let map = &mut self.keys[owner as usize];
        let index = match map.find(name, hash) {
            Some(index) => index,
            None => {
                admission.admit_key(name).map_err(ItemError::Limited)?;
                map.insert(name, hash)
            }
        };
        let known = &mut map.keys[index as usize];
        let slots = known.slots;
        if std::mem::replace(&mut known.row, row) == row {
            self.forget(owner, index, row, slots);
        }
        let kind = match value {
            AnyRef::Text(_) => AttributeType::Utf8,
            AnyRef::Int(_) => AttributeType::Int64,
            AnyRef::Double(_) => AttributeType::Float64,
            AnyRef::Bool(_) => AttributeType::Bool,
            _ => return self.push_rest(owner, index, name, value, max_depth),
        };
        let mut slot = slots[kind as usize];
        if slot == UNKNOWN {
            slot = self.open(owner, index, name, kind, admission)?;
        }
        if slot == REFUSED {
            return self.push_rest(owner, index, name, value, max_depth);
        }
        match (&mut self.columns[slot as usize].values, value) {
            (Values::Text(column), AnyRef::Text(text)) => {
                column
                    .push(row, text)
                    .map_err(|_| ItemError::InvalidUtf8("an attribute's value"))?;
            }
            (Values::Int(column), AnyRef::Int(number)) => column.push(row, number),
            (Values::Double(column), AnyRef::Double(number)) => column.push(row, number),
            (Values::Bool(column), AnyRef::Bool(flag)) => column.push(row, flag),
            _ => unreachable!("slots are indexed by the value's type"),
        }
        Ok(())
    }

    #[cold]
    fn open(
        &mut self,
        owner: Owner,
        key: u32,
        name: &[u8],
        kind: AttributeType,
        admission: &dyn ColumnAdmission,
    ) -> Result<u32, Fault> {
        let text = std::str::from_utf8(name).map_err(|_| ItemError::InvalidUtf8("an attribute's key"))?;
        let prefix = match owner {
            Owner::Item => schema::columns::ATTRIBUTE_PREFIX,
            Owner::Scope => schema::columns::SCOPE_PREFIX,
        };
        let physical = physical_name(prefix, text, kind);
        let fit = !text.is_empty() && text.len() <= MAX_COLUMN_KEY && !is_ambiguous(text, kind);
        let slot = if fit && admission.admit(&physical, kind) {
            let values = match kind {
                AttributeType::Utf8 => Values::Text(TextColumn::default()),
                AttributeType::Int64 => Values::Int(NumberColumn::default()),
                AttributeType::Float64 => Values::Double(NumberColumn::default()),
                AttributeType::Bool => Values::Bool(BoolColumn::default()),
            };
            self.columns.push(Column { name: physical, values });
            self.columns.len() as u32 - 1
        } else {
            REFUSED
        };
        self.keys[owner as usize].keys[key as usize].slots[kind as usize] = slot;
        Ok(slot)
    }

    /// Takes back what the unfinished `row` has of a key.
    #[cold]
    fn forget(&mut self, owner: Owner, key: u32, row: u32, slots: [u32; 4]) {
        for slot in slots {
            match self.columns.get_mut(slot as usize).map(|column| &mut column.values) {
                Some(Values::Text(c)) => c.unset(row),
                Some(Values::Int(c)) => c.unset(row),
                Some(Values::Double(c)) => c.unset(row),
                Some(Values::Bool(c)) => c.unset(row),
                None => {}
            }
        }
        // Cutting it out of the text each time would cost the square of their number: an empty entry supersedes it.
        if !self.rest_entries.is_empty() {
            self.rest_entries.push(RestEntry {
                owner,
                key,
                start: self.rest_text.len(),
            });
            self.rest_repeats = true;
        }
    }

    /// Leaves only the last entry of each key in the rest text.
    #[cold]
    fn drop_repeats(&mut self) {
        self.rest_repeats = false;
        let mut seen = HashSet::new();
        let mut kept = Vec::new();
        let mut end = self.rest_text.len();
        for entry in self.rest_entries.iter().rev() {
            if seen.insert((entry.owner, entry.key)) && entry.start < end {
                kept.push(entry.start + 1..end);
            }
            end = entry.start;
        }
        let mut text = Vec::with_capacity(self.rest_text.len());
        for range in kept.into_iter().rev() {
            text.push(if text.is_empty() { b'{' } else { b',' });
            text.extend_from_slice(&self.rest_text[range]);
        }
        self.rest_text = text;
    }

    fn push_rest(
        &mut self,
        owner: Owner,
        key: u32,
        name: &[u8],
        value: AnyRef<'_>,
        max_depth: usize,
    ) -> Result<(), Fault> {
        let text = std::str::from_utf8(name).map_err(|_| ItemError::InvalidUtf8("an attribute's key"))?;
        self.rest_entries.push(RestEntry {
            owner,
            key,
            start: self.rest_text.len(),
        });
        self.rest_text.push(if self.rest_text.is_empty() { b'{' } else { b',' });
        match owner {
            Owner::Item => any_value::write_json_string(text, &mut self.rest_text),
            Owner::Scope => any_value::write_json_string(&format!("scope.{text}"), &mut self.rest_text),
        }
        self.rest_text.push(b':');
        any_value::write_json(value, &mut self.rest_text, max_depth)
    }

    /// Ends the current row: writes its rest text, if it has one.
    #[inline]
    pub fn end_row(&mut self, row: u32) {
        if self.rest_entries.is_empty() {
            return;
        }
        if self.rest_repeats {
            self.drop_repeats();
        }
        self.rest_entries.clear();
        if self.rest_text.is_empty() {
            return;
        }
        self.rest_text.push(b'}');
        // The text was made of checked strings only.
        let stored = self.rest.push(row, &self.rest_text);
        debug_assert!(stored.is_ok());
        self.rest_text.clear();
    }

    /// Drops everything of rows from `rows` on, and the unfinished row.
    pub fn truncate(&mut self, rows: usize) {
        self.rest_text.clear();
        self.rest_entries.clear();
        self.rest_repeats = false;
        self.rest.truncate(rows);
        for column in &mut self.columns {
            match &mut column.values {
                Values::Text(c) => c.truncate(rows),
                Values::Int(c) => c.truncate(rows),
                Values::Double(c) => c.truncate(rows),
                Values::Bool(c) => c.truncate(rows),
            }
        }
    }

    /// All columns that have a value, sorted by name, with the rest column last. Values are gone
    /// afterwards, keys stay.
    pub fn finish(&mut self, total: usize, out: &mut Vec<(String, SparseArray)>) {
        let mut arrays: Vec<(String, SparseArray)> = Vec::with_capacity(self.columns.len() + 1);
        for column in &mut self.columns {
            let array = match &mut column.values {
                Values::Text(c) => c.finish(total),
                Values::Int(c) => c.finish(total, &DataType::Int64),
                Values::Double(c) => c.finish(total, &DataType::Float64),
                Values::Bool(c) => c.finish(total),
            };
            if let Some(array) = array {
                arrays.push((column.name.clone(), array));
            }
        }
        arrays.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(array) = self.rest.finish(total) {
            arrays.push((ATTRIBUTES_REST.to_owned(), array));
        }
        out.append(&mut arrays);
        if self
            .keys
            .iter()
            .any(|map| map.keys.len() > MAX_REMEMBERED_KEYS || map.bytes > MAX_REMEMBERED_BYTES)
        {
            *self = Self::default();
        }
    }
}

/// Whether the column of a text key would have the name of another key's column of another type: the text `a:int` and
/// the integer `a` must not share `attr.a:int`.
fn is_ambiguous(key: &str, kind: AttributeType) -> bool {
    let suffixes = [AttributeType::Int64, AttributeType::Float64, AttributeType::Bool].map(AttributeType::suffix);
    kind == AttributeType::Utf8 && suffixes.iter().any(|suffix| key.ends_with(suffix))
}

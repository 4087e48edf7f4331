//! Resources and instrumentation scopes: parsed once per distinct message, referred to by every row.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimestampNanosecondType, UInt32Type};
use hashbrown::{HashMap, HashSet};
use schema::sparse::SparseArray;
use schema::{UnixNanos, columns};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128_with_seed};

use super::any_value::{AnyRef, key_value};
use super::batch::Columns;
use super::identity::{hash_attributes, update};
use super::{DecodeLimits, Fault, ItemError, KnownIds};
use crate::columns::{AttributeColumns, ColumnAdmission, IdColumn, NumberColumn, Owner, TextColumn};
use crate::wire::{Reader, WireError};

/// What rows carry of their resource.
#[derive(Debug, Clone)]
pub(super) struct ResourceRef {
    pub id: [u8; 16],
    /// The text of `service.name`, if it has one that is not empty.
    pub service: Option<Arc<[u8]>>,
}

/// The resource rows of a batch and the memory of resources seen before.
#[derive(Debug, Default)]
pub(super) struct Resources {
    seen: HashMap<u128, (Result<ResourceRef, ItemError>, u64)>,
    generation: u64,
    ids: IdColumn<16>,
    emitted: HashSet<[u8; 16]>,
    seen_at: NumberColumn<TimestampNanosecondType>,
    service: TextColumn,
    schema_url: TextColumn,
    dropped: NumberColumn<UInt32Type>,
    attributes: AttributeColumns,
    rows: u32,
}

impl Resources {
    /// The reference of a `Resource` message, adding its row to the batch unless the lake has it.
    pub(super) fn resolve(
        &mut self,
        message: &[u8],
        schema_url: &[u8],
        known: &KnownIds,
        now: UnixNanos,
        limits: DecodeLimits,
        admission: &dyn ColumnAdmission,
    ) -> Result<ResourceRef, Fault> {
        let raw = xxh3_128_with_seed(message, xxh3_64(schema_url));
        if let Some((resource, generation)) = self.seen.get_mut(&raw) {
            let written = |r: &Result<ResourceRef, _>| r.as_ref().is_ok_and(|r| known.contains(&r.id, now));
            if *generation == self.generation || written(resource) {
                *generation = self.generation;
                return resource.clone().map_err(Fault::Item);
            }
        }
        let resource = match self.parse(message, schema_url, known, now, limits, admission) {
            Ok(resource) => Ok(resource),
            Err(Fault::Item(reason)) => Err(reason),
            Err(wire) => return Err(wire),
        };
        if self.seen.len() >= limits.max_remembered / 10 {
            self.seen.clear();
        }
        self.seen.insert(raw, (resource.clone(), self.generation));
        resource.map_err(Fault::Item)
    }

    #[cold]
    fn parse(
        &mut self,
        message: &[u8],
        schema_url: &[u8],
        known: &KnownIds,
        now: UnixNanos,
        limits: DecodeLimits,
        admission: &dyn ColumnAdmission,
    ) -> Result<ResourceRef, Fault> {
        let mut attributes = Vec::new();
        let mut dropped = 0;
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next()? {
            match field {
                1 => attributes.push(content.bytes()?),
                2 => dropped = content.uint32()?,
                _ => {}
            }
        }
        let mut hasher = Xxh3::new();
        hash_attributes(&mut hasher, &attributes, limits.max_depth)?;
        update(&mut hasher, 8, schema_url);
        let id = hasher.digest128().to_be_bytes();
        let mut service: Option<Arc<[u8]>> = None;
        for message in &attributes {
            service = match key_value(message)? {
                (b"service.name", AnyRef::Text(text)) if !text.is_empty() => {
                    std::str::from_utf8(text).map_err(|_| ItemError::InvalidUtf8("service.name"))?;
                    Some(Arc::from(text))
                }
                (b"service.name", _) => None,
                _ => service,
            };
        }
        let resource = ResourceRef { id, service };
        if known.contains(&id, now) || self.emitted.contains(&id) {
            return Ok(resource);
        }
        let row = self.rows;
        let stored = self.store(row, &resource, schema_url, dropped, &attributes, limits, admission);
        if let Err(fault) = stored {
            self.attributes.truncate(row as usize);
            self.schema_url.truncate(row as usize);
            return Err(fault);
        }
        self.ids.push(row, &id);
        self.emitted.insert(id);
        self.seen_at.push(row, now);
        self.rows += 1;
        Ok(resource)
    }

    #[allow(clippy::too_many_arguments)] // the parts of one row
    fn store(
        &mut self,
        row: u32,
        resource: &ResourceRef,
        schema_url: &[u8],
        dropped: u32,
        attributes: &[&[u8]],
        limits: DecodeLimits,
        admission: &dyn ColumnAdmission,
    ) -> Result<(), Fault> {
        for message in attributes {
            self.attributes
                .push(Owner::Item, row, message, limits.max_depth, admission)?;
        }
        if !schema_url.is_empty() {
            self.schema_url
                .push(row, schema_url)
                .map_err(|_| ItemError::InvalidUtf8("schema_url"))?;
        }
        self.attributes.end_row(row);
        if let Some(service) = &resource.service {
            self.service
                .push(row, service)
                .map_err(|_| ItemError::InvalidUtf8("service.name"))?;
        }
        if dropped > 0 {
            self.dropped.push(row, dropped);
        }
        Ok(())
    }

    /// The ids whose rows are in the batch.
    pub(super) fn emitted(&mut self) -> Vec<[u8; 16]> {
        self.emitted.drain().collect()
    }

    /// The columns of the rows added since the last call.
    pub(super) fn finish(&mut self) -> (usize, Columns) {
        let rows = self.rows as usize;
        let mut out = Columns::default();
        out.add("resource_id", self.ids.finish(rows));
        out.add("seen_at", self.seen_at.finish(rows, &columns::timestamp()));
        out.add("service_name", self.service.finish(rows));
        out.add("schema_url", self.schema_url.finish(rows));
        out.add("dropped_attributes_count", self.dropped.finish(rows, &DataType::UInt32));
        self.attributes.finish(rows, &mut out.0);
        self.rows = 0;
        self.generation += 1;
        (rows, out)
    }
}

/// An `InstrumentationScope` message, unparsed texts borrowed.
#[derive(Debug, Default)]
pub(super) struct ScopeRef<'a> {
    pub name: &'a [u8],
    pub version: &'a [u8],
    pub schema_url: &'a [u8],
    pub attributes: Vec<&'a [u8]>,
    /// Bytes of all of its attributes.
    pub attribute_bytes: usize,
}

impl<'a> ScopeRef<'a> {
    pub(super) fn parse(message: &'a [u8], schema_url: &'a [u8]) -> Result<Self, WireError> {
        let mut scope = Self {
            schema_url,
            ..Self::default()
        };
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next()? {
            match field {
                1 => scope.name = content.bytes()?,
                2 => scope.version = content.bytes()?,
                3 => {
                    let attribute = content.bytes()?;
                    scope.attribute_bytes += attribute.len();
                    scope.attributes.push(attribute);
                }
                _ => {}
            }
        }
        Ok(scope)
    }
}

/// The columns that every item of a scope shares.
#[derive(Debug, Default)]
pub(super) struct ScopeColumns {
    name: TextColumn,
    version: TextColumn,
    schema_url: TextColumn,
}

/// Codes of one scope's texts within a batch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ScopeCodes {
    name: Option<u32>,
    version: Option<u32>,
    schema_url: Option<u32>,
}

impl ScopeColumns {
    pub(super) fn codes(&mut self, scope: &ScopeRef<'_>) -> Result<ScopeCodes, ItemError> {
        let code = |column: &mut TextColumn, text: &[u8]| {
            if text.is_empty() {
                return Ok(None);
            }
            column
                .code(text)
                .map(Some)
                .map_err(|_| ItemError::InvalidUtf8("an instrumentation scope's text"))
        };
        Ok(ScopeCodes {
            name: code(&mut self.name, scope.name)?,
            version: code(&mut self.version, scope.version)?,
            schema_url: code(&mut self.schema_url, scope.schema_url)?,
        })
    }

    #[inline]
    pub(super) fn push(&mut self, row: u32, codes: ScopeCodes) {
        if let Some(code) = codes.name {
            self.name.push_code(row, code);
        }
        if let Some(code) = codes.version {
            self.version.push_code(row, code);
        }
        if let Some(code) = codes.schema_url {
            self.schema_url.push_code(row, code);
        }
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.name.truncate(rows);
        self.version.truncate(rows);
        self.schema_url.truncate(rows);
    }

    pub(super) fn finish(&mut self, rows: usize, out: &mut Columns) {
        out.add("scope_name", self.name.finish(rows));
        out.add("scope_version", self.version.finish(rows));
        out.add("scope_schema_url", self.schema_url.finish(rows));
    }
}

/// One `Resource*` message (ResourceSpans, ResourceLogs, ResourceMetrics): they share their field numbers.
#[derive(Debug, Default)]
pub(super) struct ResourceItems<'a> {
    pub resource: &'a [u8],
    pub scopes: Vec<&'a [u8]>,
    pub schema_url: &'a [u8],
    /// Size of the whole message.
    pub bytes: usize,
}

impl<'a> ResourceItems<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, WireError> {
        let mut items = Self {
            bytes: message.len(),
            ..Self::default()
        };
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next()? {
            match field {
                1 => items.resource = content.bytes()?,
                2 => items.scopes.push(content.bytes()?),
                3 => items.schema_url = content.bytes()?,
                _ => {}
            }
        }
        Ok(items)
    }
}

/// One `Scope*` message: its scope, and its items (spans, log records or metrics) unparsed.
///
/// The schema URL stands behind the items, so all of them are passed over before the first is read; remembering where
/// they are is cheaper than passing over them twice.
pub(super) fn scope_of(message: &[u8]) -> Result<(ScopeRef<'_>, Vec<&[u8]>), WireError> {
    let (mut scope, mut schema_url) = (&[][..], &[][..]);
    let mut items = Vec::new();
    let mut reader = Reader::new(message);
    while let Some((field, content)) = reader.next()? {
        match field {
            2 => items.push(content.bytes()?),
            1 => scope = content.bytes()?,
            3 => schema_url = content.bytes()?,
            _ => {}
        }
    }
    Ok((ScopeRef::parse(scope, schema_url)?, items))
}

/// How many items (field 2) the `Scope*` messages hold.
pub(super) fn count_items(scopes: &[&[u8]]) -> Result<u64, WireError> {
    let mut items = 0;
    for scope in scopes {
        let mut reader = Reader::new(scope);
        while let Some((field, _)) = reader.next()? {
            items += u64::from(field == 2);
        }
    }
    Ok(items)
}

impl Columns {
    /// Adds a fixed column if it has values.
    pub(super) fn add(&mut self, name: &str, array: Option<SparseArray>) {
        self.0.extend(array.map(|array| (name.to_owned(), array)));
    }
}

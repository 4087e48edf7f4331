//! Metric series: who a data point belongs to.
//!
//! A point's raw attribute bytes, hashed with its metric, find the series it belonged to last time; only a series
//! not seen before is parsed, identified and given a row.

use arrow::datatypes::TimestampNanosecondType;
use hashbrown::HashMap;
use schema::{UnixNanos, columns};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::batch::{Columns, Context};
use super::identity::{hash_attributes, update};
use super::resource::{ResourceRef, ScopeColumns, ScopeRef};
use super::{Fault, ItemError};
use crate::columns::{AttributeColumns, BoolColumn, ColumnAdmission, IdColumn, NumberColumn, Owner, TextColumn};

/// The id of a series: [`series_prefix`] of the metric's name, then 12 bytes of the 128-bit hash of resource, scope,
/// metric name, unit, type, temporality, monotonicity and attributes.
///
/// So all series of a metric lie side by side in the order of ids: whoever selects one metric reads one range, by the
/// statistics of `series_id` alone. 96 bits keep chance collisions within a metric out of reach (1e-11 at a billion
/// series).
pub(super) type SeriesId = [u8; 16];

/// The first 4 bytes of the `series_id` of every series of the metric `name` (the OpenTelemetry name as sent): the upper
/// half of its xxh3_64 hash, big-endian.
///
/// Metrics may share a prefix, so a range of ids narrows a scan down and does not replace the comparison of names.
pub fn series_prefix(name: &str) -> [u8; 4] {
    prefix(name.as_bytes())
}

fn prefix(name: &[u8]) -> [u8; 4] {
    ((xxh3_64(name) >> 32) as u32).to_be_bytes()
}

/// The metric that points belong to.
#[derive(Debug)]
pub(super) struct MetricRef<'a> {
    pub resource: &'a ResourceRef,
    pub scope: &'a ScopeRef<'a>,
    pub name: &'a [u8],
    pub description: &'a [u8],
    pub unit: &'a [u8],
    /// JSON object text; empty if there is none.
    pub metadata: &'a [u8],
    /// `gauge`, `sum`, `histogram`, `exponential_histogram` or `summary`.
    pub kind: &'static str,
    /// `AggregationTemporality`: 0 unspecified, 1 delta, 2 cumulative.
    pub temporality: i32,
    pub monotonic: Option<bool>,
    /// Hash of all of the above but description and metadata.
    pub hash: u128,
}

impl MetricRef<'_> {
    /// Hash of what identifies the metric, of which `scope` is [`scope_identity`].
    pub(super) fn identity(&self, scope: u128) -> u128 {
        let mut hasher = Xxh3::new();
        update(&mut hasher, 10, &scope.to_be_bytes());
        update(&mut hasher, 14, self.name);
        update(&mut hasher, 15, self.unit);
        update(&mut hasher, 16, self.kind.as_bytes());
        update(
            &mut hasher,
            17,
            &[self.temporality as u8, self.monotonic.map_or(2, u8::from)],
        );
        hasher.digest128()
    }

    /// Bytes that the row of every series of this metric repeats.
    pub(super) fn repeated_bytes(&self) -> usize {
        let texts = [
            self.name,
            self.description,
            self.unit,
            self.metadata,
            self.scope.name,
            self.scope.version,
        ];
        let service = self.resource.service.as_ref().map_or(0, |text| text.len());
        texts.iter().map(|text| text.len()).sum::<usize>() + self.scope.attribute_bytes + service
    }
}

/// Hash of a resource and a scope.
///
/// # Errors
/// As [`hash_attributes`].
pub(super) fn scope_identity(resource: &ResourceRef, scope: &ScopeRef<'_>, max_depth: usize) -> Result<u128, Fault> {
    let mut hasher = Xxh3::new();
    update(&mut hasher, 10, &resource.id);
    update(&mut hasher, 11, scope.name);
    update(&mut hasher, 12, scope.version);
    update(&mut hasher, 13, scope.schema_url);
    hash_attributes(&mut hasher, &scope.attributes, max_depth)?;
    Ok(hasher.digest128())
}

/// A series seen before. Its row is in the batch of `generation`, or committed and good until `known_until`.
#[derive(Debug)]
struct Seen {
    id: SeriesId,
    generation: u64,
    known_until: UnixNanos,
}

/// The series rows of a batch and the memory of series seen before.
#[derive(Debug, Default)]
pub(super) struct SeriesRows {
    seen: HashMap<u128, Seen>,
    generation: u64,
    rows: u32,
    ids: IdColumn<16>,
    emitted: HashMap<SeriesId, ()>,
    seen_at: NumberColumn<TimestampNanosecondType>,
    name: TextColumn,
    kind: TextColumn,
    unit: TextColumn,
    description: TextColumn,
    temporality: TextColumn,
    monotonic: BoolColumn,
    metadata: TextColumn,
    service: TextColumn,
    resource_id: IdColumn<16>,
    scope: ScopeColumns,
    attributes: AttributeColumns,
}

impl SeriesRows {
    /// The series of a point of `metric` whose attributes hash to `raw`.
    #[inline]
    pub(super) fn resolve(
        &mut self,
        metric: &MetricRef<'_>,
        raw: u128,
        attributes: &[&[u8]],
        context: Context<'_>,
        admission: &dyn ColumnAdmission,
    ) -> Result<SeriesId, Fault> {
        let key = metric.hash ^ raw;
        if let Some(seen) = self.seen.get_mut(&key) {
            if seen.generation == self.generation || context.now < seen.known_until {
                return Ok(seen.id);
            }
            if let Some(until) = context.known.until(&seen.id, context.now) {
                seen.known_until = until;
                return Ok(seen.id);
            }
        }
        let id = self.identify(metric, attributes, context, admission)?;
        if self.seen.len() >= context.limits.max_remembered {
            self.seen.clear();
        }
        let seen = Seen {
            id,
            generation: self.generation,
            known_until: UnixNanos::MIN,
        };
        self.seen.insert(key, seen);
        Ok(id)
    }

    #[cold]
    fn identify(
        &mut self,
        metric: &MetricRef<'_>,
        attributes: &[&[u8]],
        context: Context<'_>,
        admission: &dyn ColumnAdmission,
    ) -> Result<SeriesId, Fault> {
        let mut hasher = Xxh3::new();
        update(&mut hasher, 20, &metric.hash.to_be_bytes());
        hash_attributes(&mut hasher, attributes, context.limits.max_depth)?;
        let mut id = hasher.digest128().to_be_bytes();
        id[..4].copy_from_slice(&prefix(metric.name));
        if context.known.contains(&id, context.now) || self.emitted.contains_key(&id) {
            return Ok(id);
        }
        context.admissions.admit_series(&id).map_err(ItemError::Limited)?;
        if let Err(fault) = self.store(metric, attributes, context, admission) {
            self.truncate(self.rows as usize);
            return Err(fault);
        }
        self.ids.push(self.rows, &id);
        self.emitted.insert(id, ());
        self.rows += 1;
        Ok(id)
    }

    fn store(
        &mut self,
        metric: &MetricRef<'_>,
        attributes: &[&[u8]],
        context: Context<'_>,
        admission: &dyn ColumnAdmission,
    ) -> Result<(), Fault> {
        let row = self.rows;
        let depth = context.limits.max_depth;
        for message in attributes {
            self.attributes.push(Owner::Item, row, message, depth, admission)?;
        }
        for message in &metric.scope.attributes {
            self.attributes.push(Owner::Scope, row, message, depth, admission)?;
        }
        let text = |column: &mut TextColumn, bytes: &[u8], what| match bytes {
            [] => Ok(()),
            bytes => column.push(row, bytes).map_err(|_| ItemError::InvalidUtf8(what)),
        };
        text(&mut self.name, metric.name, "a metric's name")?;
        text(&mut self.unit, metric.unit, "a metric's unit")?;
        text(&mut self.description, metric.description, "a metric's description")?;
        text(&mut self.metadata, metric.metadata, "a metric's metadata")?;
        text(&mut self.kind, metric.kind.as_bytes(), "a metric's type")?;
        let temporality: &[u8] = match metric.temporality {
            1 => b"delta",
            2 => b"cumulative",
            _ => b"",
        };
        text(&mut self.temporality, temporality, "a temporality")?;
        if let Some(service) = &metric.resource.service {
            text(&mut self.service, service, "service.name")?;
        }
        let codes = self.scope.codes(metric.scope)?;
        self.scope.push(row, codes);
        if let Some(monotonic) = metric.monotonic {
            self.monotonic.push(row, monotonic);
        }
        self.seen_at.push(row, context.now);
        self.resource_id.push(row, &metric.resource.id);
        self.attributes.end_row(row);
        Ok(())
    }

    fn truncate(&mut self, rows: usize) {
        self.attributes.truncate(rows);
        for text in [
            &mut self.name,
            &mut self.kind,
            &mut self.unit,
            &mut self.description,
            &mut self.temporality,
            &mut self.metadata,
            &mut self.service,
        ] {
            text.truncate(rows);
        }
        self.scope.truncate(rows);
        self.monotonic.truncate(rows);
        self.seen_at.truncate(rows);
        self.resource_id.truncate(rows);
    }

    /// The ids whose rows are in the batch.
    pub(super) fn emitted(&mut self) -> Vec<SeriesId> {
        self.emitted.drain().map(|(id, ())| id).collect()
    }

    pub(super) fn finish(&mut self) -> (usize, Columns) {
        let rows = self.rows as usize;
        let mut out = Columns::default();
        out.add("series_id", self.ids.finish(rows));
        out.add("seen_at", self.seen_at.finish(rows, &columns::timestamp()));
        out.add("name", self.name.finish(rows));
        out.add("type", self.kind.finish(rows));
        out.add("unit", self.unit.finish(rows));
        out.add("description", self.description.finish(rows));
        out.add("temporality", self.temporality.finish(rows));
        out.add("monotonic", self.monotonic.finish(rows));
        out.add("metadata", self.metadata.finish(rows));
        out.add("service_name", self.service.finish(rows));
        out.add("resource_id", self.resource_id.finish(rows));
        self.scope.finish(rows, &mut out);
        self.attributes.finish(rows, &mut out.0);
        self.rows = 0;
        self.generation += 1;
        (rows, out)
    }
}

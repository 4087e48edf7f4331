//! Compaction: slices become parts, small parts become larger ones.
//!
//! Work is shared by leases, one per tenant and dataset. Everything up to the catalog transaction may be repeated or
//! abandoned at any point: the objects written so far are orphans that garbage collection removes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use catalog::{Lease, NewPart, Part, Replacement, Slice};
use memory::Reservation;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schema::sparse::{Picker, SparseBatch};
use schema::{Dataset, TenantId, UnixNanos, columns, day_text};

use crate::host::Urgency;
use crate::part::{self, Merged, WrittenPart};
use crate::read::PartFile;
use crate::{DAY, Lake, LakeError};

/// When and how much to compact.
#[derive(Debug, Clone, Copy)]
pub struct CompactionOptions {
    /// Slices are compacted as soon as they have this many rows together.
    pub target_rows: i64,
    /// No compaction takes more rows than this at once: it runs on one core until it ends. Memory may set a lower limit.
    pub max_rows: i64,
    /// Slices older than this are compacted even if they are few.
    pub max_slice_age: Duration,
    /// How long a lease is held without renewal.
    pub lease_ttl: Duration,
    /// How long replaced objects stay for running queries.
    pub grace: Duration,
}

/// Which slices to compact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Those of datasets that have many rows in slices, or old ones.
    Due,
    /// All up to this id, and what can be taken along.
    UpTo(i64),
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Number of transactions.
    pub runs: u64,
    /// Rows rewritten.
    pub rows: u64,
    /// Rows left out because an equal one is there.
    pub duplicates: u64,
    /// Bytes read, as stored.
    pub input_bytes: u64,
    /// Bytes written.
    pub output_bytes: u64,
    /// Time spent.
    pub elapsed: Duration,
}

impl CompactionReport {
    pub(crate) fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.rows += other.rows;
        self.duplicates += other.duplicates;
        self.input_bytes += other.input_bytes;
        self.output_bytes += other.output_bytes;
        self.elapsed += other.elapsed;
    }
}

/// What a rewriting takes, and the level of the parts that it makes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub tenant: &'a TenantId,
    pub dataset: Dataset,
    pub slices: &'a [Slice],
    pub parts: &'a [Part],
    pub level: i32,
}

/// So many parts of like size are merged into one: each merge rewrites all of them, so fewer would cost more
/// writing, more would leave queries more files.
const MERGE_FAN_IN: usize = 8;

/// Parts per day beyond this share one part: rows with invented times must not make a part each.
const MAX_DAYS: usize = 64;

/// Parts up to this size are read whole in one request.
const SMALL_PART_BYTES: i64 = 4 << 20;

/// Chunks of a thousand points and less read at once.
const CHUNK_BATCH_ROWS: usize = 512;

/// The highest level a part can reach.
const MAX_LEVEL: i32 = 20;

impl Lake {
    /// Compacts slices of one tenant and dataset, then merges parts that are due. `None` if somebody else is at it, in
    /// this process or another, or was faster.
    ///
    /// # Errors
    /// [`LakeError`]; what was there before stays.
    pub async fn compact(
        &self,
        tenant: &TenantId,
        dataset: Dataset,
        options: &CompactionOptions,
        wanted: Wanted,
    ) -> Result<Option<CompactionReport>, LakeError> {
        let Some(turn) = self.turn(tenant, dataset, options.lease_ttl).await? else {
            return Ok(None);
        };
        let lease = turn.lease.clone();
        turn.during(self.compact_leased(tenant, dataset, options, wanted, &lease))
            .await
    }

    async fn compact_leased(
        &self,
        tenant: &TenantId,
        dataset: Dataset,
        options: &CompactionOptions,
        wanted: Wanted,
        lease: &Lease,
    ) -> Result<CompactionReport, LakeError> {
        let mut report = CompactionReport::default();
        loop {
            let now = self.inner.clock.now();
            let slices = self.inner.catalog.live_slices(tenant, dataset, 4096).await?;
            let Some(inputs) = due_slices(slices, self.bounds(options), options, wanted, now) else {
                break;
            };
            let inputs = Inputs {
                tenant,
                dataset,
                slices: &inputs,
                parts: &[],
                level: 1,
            };
            report.add(self.rewrite(&inputs, options, lease).await?);
        }
        loop {
            let parts = self.inner.catalog.live_parts(tenant, dataset).await?;
            let Some(inputs) = due_parts(parts, self.bounds(options)) else {
                break;
            };
            let level = inputs.iter().map(|p| p.level + 1).max().unwrap_or(1).min(MAX_LEVEL);
            let inputs = Inputs {
                tenant,
                dataset,
                slices: &[],
                parts: &inputs,
                level,
            };
            report.add(self.rewrite(&inputs, options, lease).await?);
        }
        Ok(report)
    }

    /// What one compaction may take in.
    fn bounds(&self, options: &CompactionOptions) -> Bounds {
        Bounds {
            rows: options.max_rows,
            bytes: self.inner.compaction.share(),
        }
    }

    /// Replaces slices and parts by new parts, one per day of their rows.
    async fn rewrite(
        &self,
        inputs: &Inputs<'_>,
        options: &CompactionOptions,
        lease: &Lease,
    ) -> Result<CompactionReport, LakeError> {
        let started = Instant::now();
        let _memory = self.reserve(inputs).await;
        let (batches, starts) = self.read_inputs(inputs).await?;
        let (change, mut report) = self.write_inputs(inputs, batches, starts).await?;
        let replacing = Instant::now();
        let clock = &*self.inner.clock;
        let replaced = self.inner.catalog.replace(&change, lease, clock, options.grace).await;
        self.inner.telemetry.catalog_operation("replace", replacing.elapsed());
        replaced?;
        self.forget_slices(inputs.slices);
        report.elapsed = started.elapsed();
        let Inputs {
            tenant, dataset, level, ..
        } = inputs;
        tracing::debug!(
            %tenant, %dataset, level, rows = report.rows, duplicates = report.duplicates,
            input_bytes = report.input_bytes, output_bytes = report.output_bytes,
            elapsed_ms = report.elapsed.as_millis() as u64, "compacted"
        );
        Ok(report)
    }

    /// The memory that rewriting takes, to be held until the new parts are stored. Waits while requests and queries need it
    /// more.
    pub(crate) async fn reserve(&self, inputs: &Inputs<'_>) -> Reservation {
        let slices = inputs.slices.iter().map(memory_of_slice);
        let parts = inputs.parts.iter().map(memory_of_part);
        let wanted = slices.chain(parts).fold(0, u64::saturating_add);
        self.inner.compaction.reserve(wanted).await
    }

    /// Whether a part is small enough to be rewritten here. A process with more memory may have made it.
    pub(crate) fn can_rewrite(&self, part: &Part) -> bool {
        // A part of one large slice may be over the share; what a row takes is guessed high.
        memory_of_part(part) <= self.inner.compaction.share().saturating_mul(2)
    }

    /// All rows of slices and parts, as they are merged, and the numbers of the rows with which each of them begins.
    pub(crate) async fn read_inputs(
        &self,
        inputs: &Inputs<'_>,
    ) -> Result<(Vec<Arc<SparseBatch>>, Vec<u32>), LakeError> {
        let mut batches = self.slices_to_replace(inputs.slices).await?;
        let mut rows = 0;
        let mut starts = Vec::with_capacity(inputs.slices.len() + inputs.parts.len());
        for slice in &batches {
            starts.push(rows);
            rows += slice.num_rows() as u32;
        }
        for part in inputs.parts {
            starts.push(rows);
            let dataset = inputs.dataset;
            let stored = self.stored_batches(part, Urgency::Background).await?;
            let decoding = move || stored.into_iter().map(|batch| sparse(dataset, batch)).collect();
            let decoded: Result<Vec<_>, LakeError> = self.inner.host.run(Urgency::Background, decoding).await?;
            for batch in decoded? {
                rows += batch.num_rows() as u32;
                batches.push(batch);
            }
        }
        Ok((batches, starts))
    }

    /// Stores rows as parts that may take the place of the slices and parts they came from; nothing changes before the
    /// catalog says so. Without batches there are no parts.
    pub(crate) async fn write_inputs(
        &self,
        inputs: &Inputs<'_>,
        batches: Vec<Arc<SparseBatch>>,
        starts: Vec<u32>,
    ) -> Result<(Replacement, CompactionReport), LakeError> {
        let dataset = inputs.dataset;
        let written = match batches.is_empty() {
            true => Vec::new(),
            false => {
                let rewriting = move || rewrite_rows(dataset, batches, starts);
                self.inner.host.run(Urgency::Background, rewriting).await??
            }
        };
        let read = inputs.slices.iter().map(|s| s.length);
        let read = read.chain(inputs.parts.iter().map(|p| p.bytes)).sum::<i64>();
        let mut report = CompactionReport {
            runs: 1,
            input_bytes: read as u64,
            ..Default::default()
        };
        let mut add = Vec::with_capacity(written.len());
        for part in written {
            report.rows += part.rows as u64;
            report.duplicates += part.duplicates as u64;
            report.output_bytes += part.bytes.len() as u64;
            add.push(self.store_part(inputs.tenant, dataset, inputs.level, part).await?);
        }
        let change = Replacement {
            tenant: inputs.tenant.clone(),
            dataset,
            slices: inputs.slices.iter().map(|s| s.id).collect(),
            parts: inputs.parts.iter().map(|p| p.id).collect(),
            add,
        };
        Ok((change, report))
    }

    /// Drops slices that were replaced from memory.
    pub(crate) fn forget_slices(&self, slices: &[Slice]) {
        for slice in slices {
            self.inner.cache.slices.invalidate(&slice.id);
        }
    }

    async fn store_part(
        &self,
        tenant: &TenantId,
        dataset: Dataset,
        level: i32,
        part: WrittenPart,
    ) -> Result<NewPart, LakeError> {
        let name = self.inner.host.unique_name();
        let path = format!("{tenant}/{dataset}/{}/{name}.parquet", day_text(part.min_ts));
        let bytes = part.bytes.len() as i64;
        self.inner
            .store
            .put(&Path::from(path.as_str()), part.bytes.into())
            .await?;
        Ok(NewPart {
            tenant: tenant.clone(),
            dataset,
            level,
            path,
            rows: part.rows as i64,
            file_rows: part.file_rows as i64,
            bytes,
            footer_bytes: part.footer_bytes as i64,
            min_ts: part.min_ts,
            max_ts: part.max_ts,
            index_offset: part.index_offset as i64,
            index_bytes: part.index_bytes as i64,
            index_entries: (part.index_bytes as u64 / part::index::ENTRY_BYTES) as i64,
            format_version: part::FORMAT_VERSION,
            checksum: part.checksum,
            stats: Vec::new(),
        })
    }

    /// All rows of a part, as logical columns.
    ///
    /// # Errors
    /// [`LakeError`] if the store fails or the part is damaged.
    pub async fn part_batches(&self, part: &Part) -> Result<Vec<RecordBatch>, LakeError> {
        let batches = self.stored_batches(part, Urgency::Now).await?.into_iter();
        batches.map(|batch| part::decode(part.dataset, batch)).collect()
    }

    /// All rows of a part, as it holds them.
    async fn stored_batches(&self, part: &Part, urgency: Urgency) -> Result<Vec<RecordBatch>, LakeError> {
        let batches = self.decode_stored(part, urgency).await;
        batches.map_err(|error| error.of_object(&part.path))
    }

    async fn decode_stored(&self, part: &Part, urgency: Urgency) -> Result<Vec<RecordBatch>, LakeError> {
        let batch_rows = part::Chunks::of(part.dataset).map_or(part::ROW_GROUP_ROWS, |_| CHUNK_BATCH_ROWS);
        if part.bytes <= SMALL_PART_BYTES {
            // One request instead of one for the footer and one per row group.
            let file = PartFile::from(part);
            let bytes = self.range(&file.path, 0..file.bytes).await?;
            let decoding = move || {
                let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?.with_batch_size(batch_rows);
                part::check_version(reader.metadata(), &file.path)?;
                Ok::<_, LakeError>(reader.build()?.collect::<Result<_, _>>()?)
            };
            return self.inner.host.run(urgency, decoding).await?;
        }
        let reader = self.part_reader(PartFile::from(part));
        let builder = ParquetRecordBatchStreamBuilder::new(reader).await?;
        let mut groups = builder.with_batch_size(batch_rows).build()?;
        let mut batches = Vec::new();
        while let Some(group) = groups.next_row_group().await? {
            let decoding = move || group.collect::<Result<Vec<_>, _>>();
            batches.extend(self.inner.host.run(urgency, decoding).await??);
        }
        Ok(batches)
    }
}

/// Rows of a part as rewriting takes them.
fn sparse(dataset: Dataset, stored: RecordBatch) -> Result<Arc<SparseBatch>, LakeError> {
    let batch = part::decode_blocks(dataset, stored)?;
    Ok(Arc::new(SparseBatch::from_dense(&batch)?))
}

/// What one compaction may take in.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    rows: i64,
    /// Bytes of memory.
    bytes: u64,
}

/// Inputs of a compaction as they add up.
#[derive(Debug, Default)]
struct Sum {
    rows: i64,
    bytes: u64,
}

impl Sum {
    /// Adds an input if it still fits.
    fn add(&mut self, rows: i64, bytes: u64, bounds: Bounds) -> bool {
        let (rows, bytes) = (self.rows + rows, self.bytes.saturating_add(bytes));
        let fits = rows <= bounds.rows && bytes <= bounds.bytes;
        if fits {
            *self = Self { rows, bytes };
        }
        fits
    }
}

/// Bytes of memory that compacting rows takes, estimated: decoded input, merged columns and the part being written.
/// `stored` bytes count as well, because rows can be large: what is stored is a small part of what is decoded.
pub(crate) fn memory_of(dataset: Dataset, rows: i64, stored: i64) -> u64 {
    let row = match dataset {
        Dataset::Spans => 600,
        Dataset::Logs => 450,
        Dataset::MetricSamples => 120,
        Dataset::MetricHistograms => 500,
        Dataset::Resources | Dataset::MetricSeries | Dataset::Exemplars => 600,
    };
    let (rows, stored) = (rows.max(0) as u64, stored.max(0) as u64);
    rows.saturating_mul(row).saturating_add(stored.saturating_mul(3))
}

fn memory_of_slice(slice: &Slice) -> u64 {
    memory_of(slice.dataset, slice.rows, slice.length)
}

fn memory_of_part(part: &Part) -> u64 {
    memory_of(part.dataset, part.rows, part.bytes)
}

/// The oldest slices that should be compacted together now.
fn due_slices(
    slices: Vec<Slice>,
    bounds: Bounds,
    options: &CompactionOptions,
    wanted: Wanted,
    now: UnixNanos,
) -> Option<Vec<Slice>> {
    let rows: i64 = slices.iter().map(|s| s.rows).sum();
    let bytes = slices.iter().map(memory_of_slice).fold(0, u64::saturating_add);
    let oldest = slices.first()?;
    let age = Duration::from_nanos(now.saturating_sub(oldest.created_at).max(0) as u64);
    let due = match wanted {
        Wanted::Due => rows >= options.target_rows || bytes >= bounds.bytes || age >= options.max_slice_age,
        Wanted::UpTo(newest) => oldest.id <= newest,
    };
    if !due {
        return None;
    }
    let mut sum = Sum::default();
    let mut inputs = Vec::new();
    for slice in slices {
        if !sum.add(slice.rows, memory_of_slice(&slice), bounds) && !inputs.is_empty() {
            break;
        }
        inputs.push(slice);
    }
    Some(inputs)
}

/// Parts of one day and level that should be merged now: `MERGE_FAN_IN` of them, together not too large.
fn due_parts(parts: Vec<Part>, bounds: Bounds) -> Option<Vec<Part>> {
    let mut groups: BTreeMap<(i64, i32), Vec<Part>> = BTreeMap::new();
    for part in parts {
        // A part that is large enough is left alone for good.
        let small = part.rows.saturating_mul(2) < bounds.rows && memory_of_part(&part).saturating_mul(2) < bounds.bytes;
        if small && part.level < MAX_LEVEL {
            groups
                .entry((part.min_ts.div_euclid(DAY), part.level))
                .or_default()
                .push(part);
        }
    }
    for (_, mut group) in groups {
        if group.len() < MERGE_FAN_IN {
            continue;
        }
        group.sort_by_key(|p| (p.min_ts, p.id));
        let mut sum = Sum::default();
        let fitting = group
            .into_iter()
            .take_while(|part| sum.add(part.rows, memory_of_part(part), bounds));
        let inputs = fitting.collect::<Vec<_>>();
        if inputs.len() > 1 {
            return Some(inputs);
        }
    }
    None
}

/// Merges, splits by day, sorts and encodes. `inputs` are the numbers of the rows with which slices and parts begin.
fn rewrite_rows(
    dataset: Dataset,
    batches: Vec<Arc<SparseBatch>>,
    inputs: Vec<u32>,
) -> Result<Vec<WrittenPart>, LakeError> {
    let batches = part::encode_rows(dataset, batches)?;
    let mut merged = part::merge(dataset, &batches)?;
    merged.inputs = inputs;
    // What is merged is not needed any more; the memory is for what is written.
    drop(batches);
    let mut written = Vec::new();
    for rows in by_day(dataset, &merged) {
        match rows {
            None => {
                written.push(part::write(dataset, merged)?);
                return Ok(written);
            }
            Some(rows) => {
                let columns = merged.columns.iter().map(|c| Picker::new(c).pick(&rows));
                let day = Merged {
                    schema: merged.schema.clone(),
                    columns: columns.collect::<Result<_, _>>()?,
                    rows: rows.len(),
                    inputs: merged
                        .inputs
                        .iter()
                        .map(|start| rows.partition_point(|row| row < start) as u32)
                        .collect(),
                };
                written.push(part::write(dataset, day)?);
            }
        }
    }
    Ok(written)
}

/// Row numbers by UTC day; a single `None` if all rows are of one day.
fn by_day(dataset: Dataset, merged: &Merged) -> Vec<Option<Vec<u32>>> {
    let times = merged.column(columns::time_column(dataset));
    let Some(times) = times.and_then(|c| c.values().as_primitive_opt::<TimestampNanosecondType>()) else {
        return vec![None];
    };
    let mut days: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    let values = times.values();
    let (min, max) = values
        .iter()
        .fold((i64::MAX, i64::MIN), |(a, b), &t| (a.min(t), b.max(t)));
    if values.is_empty() || min.div_euclid(DAY) == max.div_euclid(DAY) {
        return vec![None];
    }
    for (row, &time) in values.iter().enumerate() {
        days.entry(time.div_euclid(DAY)).or_default().push(row as u32);
    }
    let mut groups = days.into_values().collect::<Vec<_>>();
    if groups.len() > MAX_DAYS {
        groups.sort_by_key(|rows| std::cmp::Reverse(rows.len()));
        let mut rest = groups.drain(MAX_DAYS..).flatten().collect::<Vec<_>>();
        rest.sort_unstable(); // as the rows of each day are
        groups.push(rest);
    }
    groups.into_iter().map(Some).collect()
}

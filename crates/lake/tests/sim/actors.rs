//! What processes do: each function is one activity, cut off wherever the scheduler likes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use catalog::{CatalogError, Expired, Snapshot};
use lake::segment::Rows;
use lake::{
    Commit, CompactionOptions, CompactionReport, LakeError, MaintenanceOptions, Observer, Request, Stored, Wanted,
    request_key,
};
use parking_lot::Mutex;
use rand::Rng;
use rand::seq::IndexedRandom;
use schema::sparse::SparseBatch;
use schema::{Dataset, TenantId, UnixNanos};

use crate::ledger::{Ledger, Row, Table, batch, rows_of};
use crate::process::{Process, Shared};
use crate::schedule::ProcessId;

/// A second, ns.
pub const SECOND: i64 = 1_000_000_000;
/// Clocks of processes differ by so much at most, ns; only in histories with jumps by more.
pub const SKEW: i64 = 2 * SECOND;
pub const LEASE: Duration = Duration::from_secs(30);
pub const GRACE: Duration = Duration::from_secs(120);
pub const ORPHAN_GRACE: Duration = Duration::from_secs(300);
pub const RETENTION: Duration = Duration::from_secs(3600);
pub const DEDUPE_WINDOW: Duration = Duration::from_secs(600);

/// What the actors of a history share.
pub struct Scene {
    pub shared: Shared,
    pub ledger: Mutex<Ledger>,
    pub tables: Vec<Table>,
    /// What was begun last by each process, for ambushes.
    pub begun: Mutex<BTreeMap<ProcessId, Begun>>,
    /// The clocks jump by hours: rows may expire early, and grace periods mean nothing.
    pub jumps: bool,
}

/// What a process began last.
#[derive(Debug, Clone, Default)]
pub struct Begun {
    /// The table that it compacts.
    pub compaction: Option<Table>,
    /// The requests that it commits.
    pub requests: Vec<usize>,
}

/// How long rows of a tenant are kept.
pub fn retention(tenant: &TenantId) -> Option<Duration> {
    (tenant.as_str() == "short").then_some(RETENTION)
}

pub fn options() -> MaintenanceOptions {
    MaintenanceOptions {
        compaction: CompactionOptions {
            target_rows: 12,
            max_rows: 60,
            max_slice_age: Duration::from_secs(60),
            lease_ttl: LEASE,
            grace: GRACE,
        },
        compaction_interval: Duration::from_secs(5),
        retention: Arc::new(|tenant, _| retention(tenant)),
        gc_interval: Duration::from_secs(60),
        orphan_grace: ORPHAN_GRACE,
        dedupe_window: DEDUPE_WINDOW,
    }
}

pub struct Silent;

impl Observer for Silent {
    fn compacted(&self, _: Dataset, _: &CompactionReport) {}
    fn failed(&self, _: &'static str) {}
    fn stored(&self, _: Dataset, _: &Stored) {}
    fn expired(&self, _: Dataset, _: &Expired) {}
    fn collected(&self, _: u64, _: u64) {}
}

impl Scene {
    fn now(&self) -> UnixNanos {
        self.shared.schedule.state().now
    }

    fn pick<T: Clone>(&self, from: &[T]) -> T {
        from.choose(&mut self.shared.schedule.state().random).unwrap().clone()
    }

    fn chance(&self, one_in: u32) -> bool {
        self.shared.schedule.state().random.random_ratio(1, one_in)
    }

    /// Rows of a table before this time may be gone by retention.
    pub fn cutoff(&self, table: &Table) -> Option<UnixNanos> {
        let latest = self.shared.schedule.state().latest_seen;
        retention(&table.0).map(|kept| latest - kept.as_nanos() as i64)
    }

    /// An error that no fault explains breaks an invariant.
    fn judge<T>(&self, what: &str, outcome: Result<T, LakeError>) -> Option<T> {
        match outcome {
            Ok(done) => return Some(done),
            Err(error) => {
                self.shared.schedule.log(format_args!("{what}: {error}"));
                let explained = match &error {
                    LakeError::Store(_) => true,
                    error if is_missing(error) => true,
                    LakeError::Catalog(error) => matches!(
                        error,
                        CatalogError::Unavailable(_)
                            | CatalogError::Late
                            | CatalogError::Conflict(_)
                            | CatalogError::Fenced { .. }
                    ),
                    LakeError::Parquet(error) => error.to_string().contains("the simulation broke"),
                    _ => false,
                };
                if !explained {
                    self.shared
                        .schedule
                        .violated(format_args!("{what} failed without a fault: {error}"));
                }
            }
        }
        None
    }

    /// A client sends requests, new ones and such as it got no answer to, which a process commits together.
    pub async fn ingest(self: Arc<Self>, process: Process) {
        let count = self.shared.schedule.state().random.random_range(1..=3);
        let numbers = (0..count).map(|_| self.request()).collect();
        self.commit(process, numbers).await;
    }

    /// A process commits requests together.
    pub async fn commit(self: Arc<Self>, process: Process, numbers: Vec<usize>) {
        self.begun.lock().entry(process.id).or_default().requests = numbers.clone();
        let mut commit = Commit::default();
        for &number in &numbers {
            let sent = self.ledger.lock().sent[number].clone();
            let (tenant, dataset) = sent.table;
            let rows = sent.rows.len() as u32;
            let entry = commit.rows.len();
            commit.rows.push(Rows {
                tenant: tenant.clone(),
                dataset,
                batch: SparseBatch::from_dense(&batch(dataset, &sent.rows)).unwrap(),
            });
            commit.requests.push(Request {
                key: request_key(&tenant, number as u128),
                ranges: vec![(entry, 0, rows)],
            });
        }
        self.shared
            .schedule
            .log(format_args!("p{} commits requests {numbers:?}", process.id));
        let outcome = process.lake.commit(commit).await;
        if let Some(committed) = self.judge("commit", outcome) {
            self.shared
                .schedule
                .log(format_args!("acked {numbers:?}, fresh {:?}", committed.fresh));
            let mut ledger = self.ledger.lock();
            for number in numbers {
                ledger.sent[number].promised = true;
            }
        }
    }

    /// A request to send: often one that was sent before.
    fn request(&self) -> usize {
        let mut state = self.shared.schedule.state();
        let mut ledger = self.ledger.lock();
        let now = state.now;
        let again = (0..ledger.sent.len()).filter(|&n| ledger.is_open(n, now));
        let again = again.collect::<Vec<_>>();
        if let Some(&number) = again.choose(&mut state.random).filter(|_| state.now % 3 == 0) {
            return number;
        }
        let table = self.tables.choose(&mut state.random).unwrap().clone();
        let rows = state.random.random_range(1..=6);
        let times = (0..rows).map(|_| {
            let age = match state.random.random_range(0..10) {
                0 => state.random.random_range(0..7200), // sometimes past its retention at once
                _ => state.random.random_range(0..600),
            };
            now - age * SECOND - state.random.random_range(0..SECOND)
        });
        ledger.send(table, times.collect(), now)
    }

    /// One piece of background work.
    pub async fn maintain(self: Arc<Self>, process: Process) {
        let (lake, options) = (&process.lake, options());
        self.begun.lock().entry(process.id).or_default().compaction = None;
        let (tenant, dataset) = self.pick(&self.tables);
        let work = self.shared.schedule.state().random.random_range(0..14);
        self.shared
            .schedule
            .log(format_args!("p{} begins work {work}", process.id));
        let outcome = match work {
            0..2 => lake.compact_due(&options.compaction, &Silent).await,
            2..6 => {
                let table = (tenant.clone(), dataset);
                self.begun.lock().entry(process.id).or_default().compaction = Some(table);
                let all = Wanted::UpTo(i64::MAX);
                let compacted = lake.compact(&tenant, dataset, &options.compaction, all).await;
                compacted.map(|report| {
                    self.shared
                        .schedule
                        .log(format_args!("compacted: {}", report.is_some()))
                })
            }
            6..9 => lake.clean(&options, &Silent).await,
            9..11 => lake.collect_orphans(&options, &Silent).await.map(drop),
            _ => {
                self.usurp(&process, &(tenant, dataset)).await;
                Ok(())
            }
        };
        self.judge("maintenance", outcome);
    }

    /// One round of retention and garbage collection.
    pub async fn clean(self: Arc<Self>, process: Process) {
        let outcome = process.lake.clean(&options(), &Silent).await;
        self.judge("maintenance", outcome);
    }

    /// One search for orphans.
    pub async fn collect_orphans(self: Arc<Self>, process: Process) {
        let outcome = process.lake.collect_orphans(&options(), &Silent).await.map(drop);
        self.judge("maintenance", outcome);
    }

    /// Takes the lease of a table past the lake, keeps it a while, and looks whether anybody else changed its parts.
    pub async fn usurp(&self, process: &Process, table: &Table) {
        let name = format!("compact/{}/{}", table.0, table.1);
        let holder = format!("usurper-{}", self.now());
        let clock = process.lake.clock();
        let taken = process.catalog.acquire_lease(&name, &holder, LEASE, clock.now()).await;
        let Ok(Some(lease)) = taken else { return };
        let before = self.look(table).await;
        self.shared
            .schedule
            .log(format_args!("usurped {name} as {}", lease.token));
        let pause = self.shared.schedule.state().random.random_range(0..60) * SECOND;
        self.shared.schedule.sleep(process.id, pause).await;
        if let Ok(true) = process.catalog.renew_lease(&lease, LEASE, clock.now()).await {
            let after = self.look(table).await;
            let kept = before.slices.iter().all(|slice| after.slices.contains(slice));
            if before.parts != after.parts || !kept {
                let what = format_args!("{table:?} changed while {holder} held its lease");
                self.shared.schedule.violated(what);
            }
        }
        // An error only makes the others wait for the lease to run out.
        let _ = process.catalog.release_lease(&lease).await;
    }

    /// The truth about a table, seen past all gates and faults.
    pub async fn look(&self, table: &Table) -> Snapshot {
        let _until_it_answered = self.shared.schedule.under_way();
        self.shared.catalog.snapshot(&table.0, &[table.1], None).await.unwrap()
    }

    /// A query: a snapshot, read slowly.
    pub async fn query(self: Arc<Self>, process: Process) {
        let table = self.pick(&self.tables);
        self.read(&process, &table).await;
    }

    /// Reads a table; false if it could not be read.
    pub async fn read(&self, process: &Process, table: &Table) -> bool {
        let promised = self.ledger.lock().promised(table);
        let deadline = self.now() + GRACE.as_nanos() as i64 - 2 * SKEW;
        let taken = process.lake.snapshot(&table.0, &[table.1], None).await;
        let Some(snapshot) = self.judge("snapshot", taken) else {
            return false;
        };
        let cutoff = self.cutoff(table);
        let mut shown: Vec<Row> = Vec::new();
        for slice in &snapshot.slices {
            if self.chance(2) {
                self.linger(process).await;
            }
            let outcome = process
                .lake
                .slice(slice)
                .await
                .map(|batch| vec![batch.to_dense().unwrap()]);
            let Some(batches) = self.got(&slice.path, outcome, deadline) else {
                return false;
            };
            shown.extend(batches.iter().flat_map(|batch| rows_of(table.1, batch)));
        }
        for part in &snapshot.parts {
            if self.chance(2) {
                self.linger(process).await;
            }
            let outcome = process.lake.part_batches(part).await;
            let Some(batches) = self.got(&part.path, outcome, deadline) else {
                return false;
            };
            shown.extend(batches.iter().flat_map(|batch| rows_of(table.1, batch)));
        }
        let checked = self.ledger.lock().check(table, &shown, &promised, cutoff);
        self.shared
            .schedule
            .log(format_args!("p{} read {} rows of {table:?}", process.id, shown.len()));
        if let Err(broken) = checked {
            self.shared.schedule.violated(broken);
        }
        true
    }

    async fn linger(&self, process: &Process) {
        let pause = self.shared.schedule.state().random.random_range(0..20) * SECOND;
        self.shared.schedule.sleep(process.id, pause).await;
    }

    /// What a query read of an object that must be there until `deadline`.
    fn got(
        &self,
        path: &str,
        outcome: Result<Vec<RecordBatch>, LakeError>,
        deadline: UnixNanos,
    ) -> Option<Vec<RecordBatch>> {
        if let Err(error) = &outcome
            && is_missing(error)
            && !self.jumps
            && self.now() <= deadline
        {
            let what = format_args!("{path} is gone although a query within its grace needs it");
            self.shared.schedule.violated(what);
        }
        self.judge("query", outcome)
    }
}

/// Whether an object that the catalog names is not in the store. Whether it should be is asked where it is deleted.
fn is_missing(error: &LakeError) -> bool {
    match error {
        LakeError::Store(error) => matches!(error, object_store::Error::NotFound { .. }),
        LakeError::Damaged { what, .. } => what == "the store does not have it",
        _ => false,
    }
}

//! The proof that retention deletes: what is due, what is gone from the store, and when that was last checked.
//!
//! Retention removes rows from queries first and bytes later: when the grace period of the last query is over, and,
//! where an object holds rows of others, when those have moved on. So three figures per tenant and dataset: bytes that are
//! *due* (older than their period, in whatever state, and still in the store), bytes *deleted* (their object is
//! gone) and the time of the *last proof*. A proof is a scan of the catalog and of the store that finds
//!
//! * no live slice or part whose rows are all older than the period,
//! * no bytes of expired rows in the store whose grace period is over, and no object whose deletion is overdue,
//! * no segment or part in the store that the catalog does not know, but for those young enough to belong to a commit or
//!   a compaction under way (`gc.orphan_grace`).
//!
//! A scan that finds any of it is no failure: the next round of retention, collection or the orphan search removes it, and
//! the proof comes after that. What an operator watches is the age of the last proof.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use catalog::RetentionState;
use futures::StreamExt;
use object_store::path::Path;
use schema::{Dataset, TenantId, UnixNanos};

use crate::maintenance::{GC_BATCH, MaintenanceOptions, Observer, Retention, is_ours_and_older};
use crate::turn::COLLECT;
use crate::{Lake, LakeError};

/// Rounds of garbage collection between two proofs: a scan lists the store, which costs a request per thousand objects.
const ROUNDS: u32 = 10;

/// What retention did and owes in one dataset of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionReport {
    /// What the catalog remembers.
    pub state: RetentionState,
    /// How long rows are kept; `None` for ever. Descriptions (resources, series) are kept a day longer.
    pub period: Option<Duration>,
    /// Rows that are due and that queries still see.
    pub rows_due: i64,
    /// Stored bytes of them.
    pub live_bytes_due: i64,
}

impl RetentionReport {
    /// Bytes that are due: older than their period and still in the store.
    pub fn bytes_due(&self) -> i64 {
        self.live_bytes_due.saturating_add(self.state.bytes_waiting)
    }
}

/// What retention owes of a dataset, of all tenants together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetentionDebt {
    /// Bytes that are older than their period and still in the store.
    pub bytes_due: u64,
    /// The oldest of the tenants' last proofs; `None` if one has none yet, or nothing is limited.
    pub proven_at: Option<UnixNanos>,
}

impl Lake {
    /// What retention did and owes, of every tenant and dataset that there is.
    ///
    /// # Errors
    /// [`LakeError::Catalog`].
    pub async fn retention_reports(&self, retention: &Retention) -> Result<Vec<RetentionReport>, LakeError> {
        let mut reports = Vec::new();
        for state in self.inner.catalog.retention_states().await? {
            let due = match self.cutoff(retention, &state.tenant, state.dataset) {
                Some(cutoff) => {
                    let catalog = &self.inner.catalog;
                    catalog.retention_due(&state.tenant, state.dataset, cutoff).await?
                }
                None => catalog::Expired::default(),
            };
            reports.push(RetentionReport {
                period: retention(&state.tenant, state.dataset),
                rows_due: due.rows,
                live_bytes_due: due.bytes,
                state,
            });
        }
        Ok(reports)
    }

    /// Scans for what should not be there any more, if the last scan was long enough ago, and notes of which datasets
    /// nothing was found.
    pub(crate) async fn prove_retention(
        &self,
        options: &MaintenanceOptions,
        observer: &dyn Observer,
    ) -> Result<(), LakeError> {
        let began = self.inner.clock.now();
        let mut reports = self.retention_reports(&options.retention).await?;
        let stale = self.before(options.gc_interval.saturating_mul(ROUNDS));
        let limited = |report: &RetentionReport| report.period.is_some();
        let is_stale = |report: &RetentionReport| report.state.proven_at.is_none_or(|at| at <= stale);
        if reports.iter().any(|report| limited(report) && is_stale(report)) {
            // A scan while somebody collects would find what is about to go.
            let turn = self.turn_of(COLLECT.to_owned(), options.compaction.lease_ttl).await?;
            let proven = match turn {
                Some(turn) => turn.during(self.prove(&reports, options)).await?.unwrap_or_default(),
                None => Vec::new(),
            };
            if !proven.is_empty() {
                self.inner.catalog.retention_proven(&proven, began).await?;
            }
            for report in &mut reports {
                let state = &mut report.state;
                if proven.contains(&(state.tenant.clone(), state.dataset)) {
                    state.proven_at = Some(began);
                }
            }
        }
        for (dataset, debt) in debts(&reports) {
            observer.retention(dataset, &debt);
        }
        Ok(())
    }

    /// The datasets of which nothing is left that should be gone.
    async fn prove(
        &self,
        reports: &[RetentionReport],
        options: &MaintenanceOptions,
    ) -> Result<Vec<(TenantId, Dataset)>, LakeError> {
        let now = self.inner.clock.now();
        if let Some(overdue) = self.inner.catalog.gc_due(now, 1).await?.first() {
            tracing::debug!(
                path = overdue.path,
                "no proof of retention: an object's deletion is overdue"
            );
            return Ok(Vec::new());
        }
        let over = self.before(options.compaction.grace);
        let paid = |report: &&RetentionReport| {
            let owed = report.state.waiting_since.is_some_and(|since| since <= over);
            report.period.is_some() && report.live_bytes_due == 0 && report.rows_due == 0 && !owed
        };
        let candidates = reports.iter().filter(paid).collect::<Vec<_>>();
        let old = self.before(options.orphan_grace);
        if candidates.is_empty() || self.unknown_below("segments", old).await? {
            return Ok(Vec::new());
        }
        let mut proven = Vec::new();
        for RetentionReport { state, .. } in candidates {
            if !self
                .unknown_below(&format!("{}/{}", state.tenant, state.dataset), old)
                .await?
            {
                proven.push((state.tenant.clone(), state.dataset));
            }
        }
        Ok(proven)
    }

    /// Whether the store has a segment or part below a path that is older than `than` and that the catalog does not know.
    pub(crate) async fn unknown_below(&self, prefix: &str, than: UnixNanos) -> Result<bool, LakeError> {
        let prefix = Path::from(prefix);
        let mut objects = self.inner.store.list(Some(&prefix)).chunks(GC_BATCH as usize);
        while let Some(chunk) = objects.next().await {
            let chunk = chunk.into_iter().collect::<Result<Vec<_>, _>>()?;
            let old = chunk.iter().filter(|object| is_ours_and_older(object, than));
            let paths = old.map(|object| object.location.to_string()).collect::<Vec<_>>();
            let known: HashSet<String> = self.inner.catalog.known_objects(&paths).await?;
            if let Some(path) = paths.iter().find(|path| !known.contains(*path)) {
                tracing::debug!(path, "no proof: an orphan waits for its deletion");
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Debts by dataset.
fn debts(reports: &[RetentionReport]) -> BTreeMap<Dataset, RetentionDebt> {
    let mut debts: BTreeMap<Dataset, RetentionDebt> = BTreeMap::new();
    for report in reports.iter().filter(|report| report.period.is_some()) {
        let proven = report.state.proven_at;
        let debt = debts.entry(report.state.dataset).or_insert(RetentionDebt {
            bytes_due: 0,
            proven_at: proven,
        });
        debt.bytes_due = debt.bytes_due.saturating_add(report.bytes_due().max(0) as u64);
        debt.proven_at = debt.proven_at.zip(proven).map(|(a, b)| a.min(b));
    }
    debts
}

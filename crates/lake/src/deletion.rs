//! Deletions that somebody asked for, worked off.
//!
//! For each dataset of a deletion a process takes the dataset's turn and keeps it until the dataset is done, so neither
//! compaction nor retention moves rows from one object to another meanwhile. It rewrites what holds matching rows, one
//! transaction per object (or per chunk of slices), and then scans everything that was there when it began, and
//! all parts. Only a scan that finds nothing ends the dataset. Whatever fails or is cut off is taken up again, here or
//! elsewhere: what was deleted by then stays so and is counted.
//!
//! Which rows match is not known here: [`Matcher`] is told a condition in a language that this crate does not speak.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::BooleanArray;
use async_trait::async_trait;
use catalog::{DESCRIBING, Deletion, DeletionState, DeletionStep, DeletionTarget, Lease, Part, Slice, Snapshot};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use schema::sparse::{Picker, SparseBatch};
use schema::{Dataset, TenantId};
use tokio::sync::watch;

use crate::compaction::{CompactionOptions, Inputs};
use crate::maintenance::{Observer, stopped};
use crate::{Lake, LakeError};

/// Which rows of a tenant's dataset.
#[derive(Debug, Clone)]
pub struct Question {
    /// The owner.
    pub tenant: TenantId,
    /// What a row is.
    pub dataset: Dataset,
    /// Which of them; never [`DeletionTarget::Everything`].
    pub target: DeletionTarget,
    /// A snapshot of the dataset and of those that describe its rows ([`described_by`]).
    pub snapshot: Arc<Snapshot>,
}

/// Why a matcher cannot say which rows match.
#[derive(Debug, thiserror::Error)]
pub enum MatchError {
    /// The condition cannot be understood, now or later.
    #[error("{0}")]
    Invalid(String),
    /// It may work later.
    #[error("{0}")]
    Failed(String),
}

/// Says which rows meet a condition. It only reads.
#[async_trait]
pub trait Matcher: Send + Sync {
    /// How many rows of these slices and parts, which are of the question's snapshot or newer, match.
    async fn count(&self, question: &Question, slices: Vec<Slice>, parts: Vec<Part>) -> Result<u64, MatchError>;

    /// For each batch which of its rows match; no value is null. The batches hold rows of slices, or of parts as
    /// compaction reads them.
    async fn select(&self, question: &Question, batches: &[Arc<SparseBatch>]) -> Result<Vec<BooleanArray>, MatchError>;
}

/// The datasets that describe the rows of a dataset.
pub const fn described_by(dataset: Dataset) -> &'static [Dataset] {
    match dataset {
        Dataset::Spans | Dataset::Logs => &[Dataset::Resources],
        Dataset::MetricSamples | Dataset::MetricHistograms | Dataset::Exemplars => {
            &[Dataset::MetricSeries, Dataset::Resources]
        }
        Dataset::Resources | Dataset::MetricSeries => &[],
    }
}

/// Whether rows of other datasets are described by those of this one.
fn describes(dataset: Dataset) -> bool {
    DESCRIBING.contains(&dataset)
}

/// Pause between two looks for open deletions: they are rare, and whoever asked for one waits.
const INTERVAL: Duration = Duration::from_secs(1);

/// Pause after a failure: what failed, a store or a catalog, needs a while.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// How long to wait for a dataset that somebody is compacting before looking at the next one.
const PATIENCE: Duration = Duration::from_secs(20);

/// Objects whose absence is checked at once.
const CONCURRENT_CHECKS: usize = 16;

impl Lake {
    /// Works off deletions until `stop` becomes true.
    pub async fn work_off_deletions(
        &self,
        options: CompactionOptions,
        matcher: &dyn Matcher,
        observer: &dyn Observer,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return,
                _ = interval.tick() => {}
            }
            let done = tokio::select! {
                () = stopped(&mut stop) => return,
                done = self.advance_deletions(&options, matcher, observer) => done,
            };
            if let Err(error) = done {
                observer.failed("deletion");
                tracing::warn!(%error, "a deletion failed; it is taken up again");
                interval.reset_after(AFTER_FAILURE);
            }
        }
    }

    /// Takes every open deletion as far as it gets now.
    ///
    /// # Errors
    /// The first [`LakeError`]; the others were tried all the same.
    pub async fn advance_deletions(
        &self,
        options: &CompactionOptions,
        matcher: &dyn Matcher,
        observer: &dyn Observer,
    ) -> Result<(), LakeError> {
        let mut failed = Ok(());
        for deletion in self.inner.catalog.open_deletions().await? {
            let done = match deletion.state {
                DeletionState::Pending => self.delete(&deletion, options, matcher, observer).await,
                _ => self.verify_deletion(&deletion).await,
            };
            failed = failed.and(done);
        }
        failed
    }

    async fn delete(
        &self,
        deletion: &Deletion,
        options: &CompactionOptions,
        matcher: &dyn Matcher,
        observer: &dyn Observer,
    ) -> Result<(), LakeError> {
        let open = deletion.progress.iter().filter(|p| p.scanned_at.is_none());
        let mut open = open.map(|progress| progress.dataset).collect::<Vec<_>>();
        let everything = deletion.target == DeletionTarget::Everything;
        if everything {
            open.sort_by_key(|dataset| !describes(*dataset));
        }
        // What describes others goes first if all goes, and nothing else before it is gone: rows that rely on it and are
        // committed before are there when their own dataset's turn comes; later commits bring descriptions of their own.
        let mut described = open.iter().filter(|dataset| describes(**dataset)).count();
        for dataset in open {
            if everything && described > 0 && !describes(dataset) {
                return Ok(());
            }
            let tries = PATIENCE.as_millis() / TRY_AGAIN.as_millis();
            let mut turn = None;
            for _ in 0..tries {
                turn = self.turn(&deletion.tenant, dataset, options.lease_ttl).await?;
                if turn.is_some() {
                    break;
                }
                tokio::time::sleep(TRY_AGAIN).await;
            }
            let Some(turn) = turn else { continue };
            let work = Work {
                lake: self,
                deletion,
                dataset,
                options,
                lease: turn.lease.clone(),
            };
            match turn.during(work.run(matcher, observer)).await {
                Ok(Some(())) if describes(dataset) => described -= 1,
                Ok(_) => {}
                Err(LakeError::Condition(MatchError::Invalid(reason))) => {
                    tracing::warn!(target: "audit", deletion = deletion.id, reason, "a deletion was given up");
                    self.inner.catalog.fail_deletion(deletion.id, &reason).await?;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends a deletion that is done if the store has none of its objects any more.
    async fn verify_deletion(&self, deletion: &Deletion) -> Result<(), LakeError> {
        if !self.inner.catalog.deletion_collected(deletion.id).await? {
            return Ok(()); // Garbage collection has not come to it yet.
        }
        // What a compaction wrote and never committed is known to nobody. Its dataset's lease has changed hands since.
        let until = deletion.done_at.unwrap_or_default();
        let datasets = deletion
            .progress
            .iter()
            .map(|p| format!("{}/{}", deletion.tenant, p.dataset));
        for prefix in datasets.chain(["segments".to_owned()]) {
            if self.unknown_below(&prefix, until).await? {
                return Ok(()); // The orphan search will delete it.
            }
        }
        let objects = self.inner.catalog.deletion_objects(deletion.id).await?;
        let there = stream::iter(objects)
            .map(|(path, _)| async move {
                match self.inner.store.head(&Path::from(path.as_str())).await {
                    Ok(_) => Ok(Some(path)),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(LakeError::from(error)),
                }
            })
            .buffer_unordered(CONCURRENT_CHECKS)
            .try_filter_map(|path| async { Ok(path) })
            .try_collect::<Vec<_>>()
            .await?;
        if let Some(path) = there.first() {
            let objects = there.len();
            tracing::warn!(
                deletion = deletion.id,
                objects,
                path,
                "objects are back that were deleted; delete them"
            );
            return Ok(());
        }
        let now = self.inner.clock.now();
        if self.inner.catalog.deletion_verified(deletion.id, now).await? {
            tracing::info!(
                target: "audit", deletion = deletion.id, tenant = %deletion.tenant, objects = deletion.objects.removed,
                bytes = deletion.objects.removed_bytes, "a deletion is verified: no query and no object has its rows"
            );
        }
        Ok(())
    }
}

/// Pause before another try to get a dataset's turn.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// One deletion in one dataset, while we have its turn.
struct Work<'a> {
    lake: &'a Lake,
    deletion: &'a Deletion,
    dataset: Dataset,
    options: &'a CompactionOptions,
    lease: Lease,
}

impl Work<'_> {
    async fn run(&self, matcher: &dyn Matcher, observer: &dyn Observer) -> Result<(), LakeError> {
        // Another process may have done it between our look and our turn.
        let current = self.lake.inner.catalog.deletion(self.deletion.id).await?;
        let open = current.is_some_and(|deletion| {
            let of_dataset = deletion.progress.iter().find(|p| p.dataset == self.dataset);
            deletion.state == DeletionState::Pending && of_dataset.is_some_and(|p| p.scanned_at.is_none())
        });
        if !open {
            return Ok(());
        }
        let snapshot = Arc::new(self.whole_snapshot().await?);
        let (slices, parts) = (self.slices(&snapshot), self.parts(&snapshot));
        let old = slices.iter().map(|slice| slice.id).collect::<HashSet<_>>();
        let deleted = if self.deletion.target == DeletionTarget::Everything {
            self.delete_all(slices, parts).await?
        } else {
            let question = Question {
                tenant: self.deletion.tenant.clone(),
                dataset: self.dataset,
                target: self.deletion.target.clone(),
                snapshot: Arc::clone(&snapshot),
            };
            self.delete_matching(&question, matcher, slices, parts).await?
        };
        observer.deleted(self.dataset, deleted);

        // The proof, from a snapshot of its own: what compaction could move is still ours alone.
        let after = Arc::new(self.snapshot().await?);
        let (mut slices, parts) = (self.slices(&after), self.parts(&after));
        slices.retain(|slice| old.contains(&slice.id)); // newer rows came after the deletion was asked for
        let left = if self.deletion.target == DeletionTarget::Everything {
            slices
                .iter()
                .map(|s| s.rows)
                .chain(parts.iter().map(|p| p.rows))
                .sum::<i64>() as u64
        } else {
            let question = Question {
                tenant: self.deletion.tenant.clone(),
                dataset: self.dataset,
                target: self.deletion.target.clone(),
                snapshot: after,
            };
            matcher.count(&question, slices, parts).await?
        };
        let (id, dataset, tenant) = (self.deletion.id, self.dataset, &self.deletion.tenant);
        if left > 0 {
            return Err(LakeError::Condition(MatchError::Failed(format!(
                "{left} rows of {dataset} match deletion {id} after it went through all of them"
            ))));
        }
        let now = self.lake.inner.clock.now();
        let done = self
            .lake
            .inner
            .catalog
            .deletion_scanned(id, dataset, &self.lease, now)
            .await?;
        tracing::info!(
            target: "audit", deletion = id, %tenant, %dataset, rows = deleted, done,
            "rows are deleted; a scan finds none left"
        );
        Ok(())
    }

    /// A snapshot that hides nothing from the deletion. What is in quarantine may hold rows that it is about: those of a whole
    /// dataset go unread, any other deletion has to wait until they can be read.
    async fn whole_snapshot(&self) -> Result<Snapshot, LakeError> {
        let snapshot = self.snapshot().await?;
        if self.deletion.target == DeletionTarget::Everything {
            let hidden = snapshot.quarantined.iter().filter(|q| q.dataset == self.dataset);
            let hidden = hidden.map(|q| q.id).collect::<Vec<_>>();
            if hidden.is_empty() {
                return Ok(snapshot);
            }
            for id in hidden {
                self.lake.inner.catalog.release(id).await?;
            }
            return self.snapshot().await;
        }
        match snapshot.quarantined.first() {
            None => Ok(snapshot),
            Some(hidden) => Err(LakeError::Damaged {
                path: hidden.path.clone(),
                what: format!(
                    "it is in quarantine and may hold rows of deletion {}, which waits until it is restored and released",
                    self.deletion.id
                ),
            }),
        }
    }

    async fn snapshot(&self) -> Result<Snapshot, LakeError> {
        let datasets = [&[self.dataset], described_by(self.dataset)].concat();
        self.lake.snapshot(&self.deletion.tenant, &datasets, None).await
    }

    fn slices(&self, snapshot: &Snapshot) -> Vec<Slice> {
        let slices = snapshot.slices.iter().filter(|s| s.dataset == self.dataset);
        slices.cloned().collect()
    }

    fn parts(&self, snapshot: &Snapshot) -> Vec<Part> {
        let parts = snapshot.parts.iter().filter(|p| p.dataset == self.dataset);
        parts.cloned().collect()
    }

    fn inputs<'b>(&'b self, slices: &'b [Slice], parts: &'b [Part], level: i32) -> Inputs<'b> {
        Inputs {
            tenant: &self.deletion.tenant,
            dataset: self.dataset,
            slices,
            parts,
            level,
        }
    }

    /// Removes slices and parts as they are, unread.
    async fn delete_all(&self, slices: Vec<Slice>, parts: Vec<Part>) -> Result<u64, LakeError> {
        let rows = slices
            .iter()
            .map(|s| s.rows)
            .chain(parts.iter().map(|p| p.rows))
            .sum::<i64>();
        if !slices.is_empty() || !parts.is_empty() {
            self.publish(&self.inputs(&slices, &parts, 1), Vec::new(), Vec::new(), rows as u64)
                .await?;
        }
        Ok(rows as u64)
    }

    async fn delete_matching(
        &self,
        question: &Question,
        matcher: &dyn Matcher,
        slices: Vec<Slice>,
        parts: Vec<Part>,
    ) -> Result<u64, LakeError> {
        let mut deleted = 0;
        let mut too_large = None;
        for chunk in chunks(&slices, self.options.max_rows) {
            let inputs = self.inputs(chunk, &[], 1);
            deleted += self.delete_from(question, matcher, &inputs).await?;
        }
        for part in parts {
            if !self.may_hold(&part).await? {
                continue;
            }
            if matcher.count(question, Vec::new(), vec![part.clone()]).await? > 0 {
                if !self.lake.can_rewrite(&part) {
                    too_large.get_or_insert(part);
                    continue;
                }
                let part = [part];
                let inputs = self.inputs(&[], &part, part[0].level);
                deleted += self.delete_from(question, matcher, &inputs).await?;
            }
        }
        match too_large {
            None => Ok(deleted),
            // A process with more memory takes the turn one day; those that were small enough are done.
            Some(part) => Err(LakeError::Condition(MatchError::Failed(format!(
                "{} has {} rows of {}, more than this process can rewrite within memory.limit; raise it, or run a process with \
                 the role compact and more memory",
                part.path, part.rows, self.dataset
            )))),
        }
    }

    /// Whether a part may hold rows of the trace that is to go; true for other conditions.
    async fn may_hold(&self, part: &Part) -> Result<bool, LakeError> {
        match &self.deletion.target {
            DeletionTarget::Trace(id) if self.dataset == Dataset::Spans => {
                Ok(!self.lake.trace_blocks(part, id).await?.is_empty())
            }
            _ => Ok(true),
        }
    }

    /// Rewrites slices or a part without the rows that match; leaves them alone if none does.
    async fn delete_from(
        &self,
        question: &Question,
        matcher: &dyn Matcher,
        inputs: &Inputs<'_>,
    ) -> Result<u64, LakeError> {
        let _memory = self.lake.reserve(inputs).await;
        let (mut batches, starts) = self.lake.read_inputs(inputs).await?;
        let matching = matcher.select(question, &batches).await?;
        let mut gone = Vec::with_capacity(batches.len());
        for (batch, matching) in batches.iter_mut().zip(&matching) {
            if matching.true_count() > 0 {
                *batch = Arc::new(without(batch, matching)?);
            }
            gone.push(matching.true_count());
        }
        let rows = gone.iter().sum::<usize>() as u64;
        if rows == 0 {
            return Ok(0);
        }
        let starts = moved(&batches, &gone, &starts);
        if batches.iter().all(|batch| batch.num_rows() == 0) {
            batches.clear();
        }
        self.publish(inputs, batches, starts, rows).await?;
        Ok(rows)
    }

    async fn publish(
        &self,
        inputs: &Inputs<'_>,
        batches: Vec<Arc<SparseBatch>>,
        starts: Vec<u32>,
        rows: u64,
    ) -> Result<(), LakeError> {
        let lake = self.lake;
        let (change, report) = lake.write_inputs(inputs, batches, starts).await?;
        let step = DeletionStep {
            deletion: self.deletion.id,
            change,
            rows: rows as i64,
            bytes_read: report.input_bytes as i64,
            bytes_written: report.output_bytes as i64,
        };
        let (clock, grace) = (&*lake.inner.clock, self.options.grace);
        lake.inner.catalog.delete_rows(&step, &self.lease, clock, grace).await?;
        lake.forget_slices(inputs.slices);
        Ok(())
    }
}

/// Slices in runs of at most `max_rows` rows, as many slices as it takes to make one.
fn chunks(slices: &[Slice], max_rows: i64) -> Vec<&[Slice]> {
    let mut out = Vec::new();
    let mut rest = slices;
    while !rest.is_empty() {
        let mut rows = 0;
        let fit = rest.iter().take_while(|slice| {
            rows += slice.rows;
            rows <= max_rows
        });
        let (chunk, behind) = rest.split_at(fit.count().max(1));
        out.push(chunk);
        rest = behind;
    }
    out
}

/// The rows of a batch for which `matching` is false.
fn without(batch: &SparseBatch, matching: &BooleanArray) -> Result<SparseBatch, LakeError> {
    let rows = (0u32..).zip(matching.values()).filter(|(_, matches)| !matches);
    let rows = rows.map(|(row, _)| row).collect::<Vec<_>>();
    let columns = batch.columns().iter();
    let columns = columns.map(|(name, column)| Ok((name.clone(), Picker::new(column).pick(&rows)?)));
    Ok(SparseBatch::try_new(
        rows.len(),
        columns.collect::<Result<_, LakeError>>()?,
    )?)
}

/// Where inputs begin, once `gone` rows are gone of each batch. Inputs begin where batches do.
fn moved(batches: &[Arc<SparseBatch>], gone: &[usize], starts: &[u32]) -> Vec<u32> {
    let (mut before, mut now) = (0, 0);
    let mut out = Vec::with_capacity(starts.len());
    let mut starts = starts.iter().peekable();
    for (batch, gone) in batches.iter().zip(gone) {
        while starts.next_if(|&&start| start as usize <= before).is_some() {
            out.push(now as u32);
        }
        (before, now) = (before + batch.num_rows() + gone, now + batch.num_rows());
    }
    out.extend(starts.map(|_| now as u32));
    out
}

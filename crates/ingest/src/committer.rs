//! The group commit loop: one owner that decides when a commit starts and what goes into it.
//!
//! A commit starts at once after a quiet time, otherwise `min_interval` after the previous one began, later still if
//! commits cost more CPU than that (under full load larger commits are cheaper per row), and at once when enough
//! bytes wait. Encoding of one commit overlaps with the store and catalog of the one before.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lake::segment::Rows;
use lake::{Commit, Request};
use otlp::decode::TenantBatch;
use parking_lot::Mutex;
use schema::{Dataset, TenantId};
use telemetry::CommitPhase;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::IngestError;
use crate::accept::{Ingest, Inner};
use crate::pending::{Pending, Tenant, Waiter};

/// Commits never wait longer than this for more rows: beyond it, size no longer makes rows cheaper.
const MAX_INTERVAL: Duration = Duration::from_millis(100);

/// The pause between two commits is this many times the CPU time of the last one, so that encoding small commits
/// never takes more than about half a core.
const PACE: u32 = 2;

/// The answer to requests that were decoded when resources or series of their tenant were deleted.
const DELETED_MEANWHILE: &str = "rows of this tenant were deleted while the request was under way: send it again";

impl Ingest {
    /// Commits what [`Ingest::accept`] decoded until [`Ingest::close`] was called and everything is committed.
    pub async fn run(&self) {
        let inner = &self.inner;
        let pipeline = Arc::new(Semaphore::new(inner.options.pipeline.max(1)));
        let mut commits = JoinSet::new();
        let mut started = Instant::now() - MAX_INTERVAL;
        let pace = Arc::new(Mutex::new(inner.options.min_interval));
        let mut closing = inner.closing.subscribe();
        loop {
            if !inner.has_pending() {
                if *closing.borrow() {
                    if inner.close_shards() {
                        break;
                    }
                    continue;
                }
                tokio::select! {
                    () = inner.arrived.notified() => {}
                    _ = closing.changed() => {}
                }
                continue;
            }
            let permit = match Arc::clone(&pipeline).acquire_owned().await {
                Ok(permit) => permit,
                Err(_) => break, // the semaphore is never closed
            };
            let interval =
                (*pace.lock()).clamp(inner.options.min_interval, MAX_INTERVAL.max(inner.options.min_interval));
            if !*closing.borrow() {
                tokio::select! {
                    () = tokio::time::sleep_until((started + interval).into()) => {}
                    () = inner.full.notified() => {}
                    _ = closing.changed() => {}
                }
            }
            started = Instant::now();
            let (ingest, pace) = (self.clone(), Arc::clone(&pace));
            commits.spawn(async move {
                let encoding = ingest.inner.commit_pending().await;
                *pace.lock() = encoding * PACE;
                drop(permit);
            });
            while commits.try_join_next().is_some() {}
        }
        while commits.join_next().await.is_some() {}
    }
}

/// A commit's rows with those who wait for it.
struct Taken {
    commit: Commit,
    waiters: Vec<Waiter>,
    /// Tenants with the ids of resources and series whose rows are in the commit.
    tenants: Vec<(Arc<Tenant>, Vec<[u8; 16]>)>,
    bytes: usize,
}

impl Inner {
    fn has_pending(&self) -> bool {
        self.shards.iter().any(|shard| !shard.lock().is_empty())
    }

    /// Refuses further rows, unless some came in meanwhile from a request that was admitted before the closing: then it is false.
    fn close_shards(&self) -> bool {
        self.shards.iter().all(|shard| {
            let mut pending = shard.lock();
            pending.closed = pending.is_empty();
            pending.closed
        })
    }

    /// Commits what is pending now and answers the waiters. Returns the CPU time of building and encoding.
    async fn commit_pending(self: &Arc<Self>) -> Duration {
        let started = Instant::now();
        let inner = Arc::clone(self);
        let taken = tokio::task::spawn_blocking(move || inner.take()).await;
        let Taken {
            commit,
            waiters,
            tenants,
            bytes,
        } = match taken {
            Ok(taken) => taken,
            // The waiters were dropped with the task, which tells them to retry.
            Err(error) => {
                tracing::error!(%error, "building a commit failed; its requests were refused");
                return Duration::ZERO;
            }
        };
        if waiters.is_empty() {
            return Duration::ZERO;
        }
        self.telemetry.set_pending_bytes(bytes as u64);
        let building = started.elapsed();
        let counts = commit
            .rows
            .iter()
            .map(|r| (r.tenant.clone(), r.dataset, r.batch.num_rows() as u64))
            .collect::<Vec<_>>();
        let columns = commit.columns.clone();
        let now = self.lake.clock().now();
        let mut refused = HashSet::new();
        let result = match self.lake.commit(commit).await {
            Ok(committed) => {
                self.forget(&committed.forgotten);
                refused = committed.forgotten.into_iter().map(|(tenant, _)| tenant).collect();
                for (tenant, ids) in tenants.iter().filter(|(tenant, _)| !refused.contains(&tenant.id)) {
                    tenant.columns.committed(
                        &columns
                            .iter()
                            .filter(|c| c.tenant == tenant.id)
                            .cloned()
                            .collect::<Vec<_>>(),
                    );
                    tenant.known.insert(ids, now);
                }
                for (_, dataset, rows) in counts.into_iter().filter(|(tenant, ..)| !refused.contains(tenant)) {
                    self.telemetry.rows(dataset, rows);
                }
                let [encode, put, catalog] = committed.phases;
                self.telemetry.commit_phase(CommitPhase::Encode, building + encode);
                self.telemetry.commit_phase(CommitPhase::Put, put);
                self.telemetry.commit_phase(CommitPhase::Catalog, catalog);
                self.telemetry.commit(started.elapsed());
                self.queue.stored(put + catalog);
                Ok(building + encode)
            }
            Err(error) => {
                tracing::warn!(%error, requests = waiters.len(), "commit failed; its requests were refused");
                if error.is_retryable() {
                    Err(IngestError::Unavailable(error.to_string()))
                } else {
                    Err(IngestError::Internal(error.to_string()))
                }
            }
        };
        for waiter in waiters {
            let answer = match refused.contains(&waiter.key.tenant) {
                true => Err(IngestError::Unavailable(DELETED_MEANWHILE.to_owned())),
                false => result.as_ref().map(|_| ()).map_err(Clone::clone),
            };
            // A waiter that is gone has lost its connection; its rows are committed all the same.
            let _ = waiter.done.send(answer);
        }
        result.unwrap_or(Duration::ZERO)
    }

    /// Forgets tenants whose resources or series were deleted: their next requests learn anew.
    fn forget(&self, outdated: &[(TenantId, i64)]) {
        let mut tenants = self.tenants.lock();
        for (tenant, now) in outdated {
            if tenants.get(tenant).is_some_and(|known| known.forgotten != *now) {
                tracing::info!(%tenant, "resources or series were deleted; they are described again");
                tenants.remove(tenant);
            }
        }
    }

    /// Takes everything pending and turns it into record batches.
    fn take(&self) -> Taken {
        let mut taken = Taken {
            commit: Commit::default(),
            waiters: Vec::new(),
            tenants: Vec::new(),
            bytes: 0,
        };
        for shard in &self.shards {
            let pending = std::mem::take(&mut *shard.lock());
            taken.bytes += pending.bytes;
            self.build(pending, &mut taken);
        }
        taken
    }

    fn build(&self, pending: Pending, taken: &mut Taken) {
        for (id, mut pending) in pending.tenants {
            if pending.waiters.is_empty() {
                self.put_back(&pending.tenant, pending.batch, pending.held.max(pending.bytes));
                continue;
            }
            let (finished, ids) = match pending.batch.finish() {
                Ok(finished) => finished,
                Err(error) => {
                    let refused = IngestError::Internal(format!("columns do not fit together: {error}"));
                    tracing::error!(tenant = %id, %error, "columns do not fit together; the requests were refused");
                    for waiter in pending.waiters {
                        let _ = waiter.done.send(Err(refused.clone()));
                    }
                    continue;
                }
            };
            let mut entries = HashMap::new();
            for part in finished {
                taken
                    .commit
                    .columns
                    .extend(pending.tenant.columns.uncommitted(&id, part.dataset, &part.batch));
                entries.insert(part.dataset, taken.commit.rows.len());
                taken.commit.rows.push(Rows {
                    tenant: id.clone(),
                    dataset: part.dataset,
                    batch: part.batch,
                });
            }
            for waiter in &pending.waiters {
                let ranges = Dataset::ALL.into_iter().enumerate().filter_map(|(i, dataset)| {
                    let (from, to) = (waiter.rows.0[i], waiter.rows.1[i]);
                    (from < to).then_some(())?;
                    Some((*entries.get(&dataset)?, from, to))
                });
                taken.commit.requests.push(Request {
                    key: waiter.key.clone(),
                    ranges: ranges.collect(),
                });
            }
            taken.waiters.append(&mut pending.waiters);
            taken.commit.forgotten.push((id, pending.tenant.forgotten));
            self.put_back(&pending.tenant, pending.batch, pending.held.max(pending.bytes));
            taken.tenants.push((pending.tenant, ids));
        }
    }

    /// Keeps a batch's allocations and its memory of known texts for the next commit, unless memory is short: nobody counts them.
    fn put_back(&self, tenant: &Tenant, batch: TenantBatch, bytes: usize) {
        if !self.memory.is_pressed() {
            self.spare.lock().put(tenant, batch, bytes);
        }
    }
}

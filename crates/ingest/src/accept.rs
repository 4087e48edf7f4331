//! The hot path, in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use catalog::RequestKey;
use lake::Lake;
use otlp::decode::{Context, DecodeLimits, KnownIds, Outcome};
use otlp::model::Signal;
use parking_lot::Mutex;
use schema::TenantId;
use telemetry::Telemetry;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use xxhash_rust::xxh3::xxh3_128;

use crate::IngestError;
use crate::columns::TenantColumns;
use crate::pending::{CommitResult, Pending, Tenant, TenantPending, Waiter};

/// Limits and pace of ingest.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Largest request as sent, in bytes.
    pub max_request_bytes: usize,
    /// Largest request when decompressed, in bytes.
    pub max_decompressed_bytes: usize,
    /// How deep attribute values may nest.
    pub max_depth: usize,
    /// Attribute columns per tenant and dataset.
    pub max_attribute_columns: usize,
    /// Bytes that may be decoded and not committed.
    pub max_pending_bytes: usize,
    /// How long a retried request is recognised.
    pub dedupe_window: Duration,
    /// Shortest time between the starts of two commits.
    pub min_interval: Duration,
    /// A commit starts at once when so many bytes wait.
    pub max_commit_bytes: usize,
    /// Commits under way at the same time.
    pub pipeline: usize,
}

/// A request that was accepted: everything not rejected is durable and visible to the next query.
#[derive(Debug, Clone, Default)]
pub struct Accepted {
    /// Items stored.
    pub accepted: u64,
    /// Items rejected.
    pub rejected: u64,
    /// Why; empty if nothing was rejected.
    pub message: String,
}

/// Takes requests. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub lake: Lake,
    pub options: IngestOptions,
    pub telemetry: Telemetry,
    pub shards: Vec<Mutex<Pending>>,
    pub tenants: Mutex<HashMap<TenantId, Arc<Tenant>>>,
    pub spare: Mutex<HashMap<TenantId, Vec<otlp::decode::TenantBatch>>>,
    pub requests: Mutex<Requests>,
    /// One permit per KiB that may be pending.
    pub budget: Arc<Semaphore>,
    pub arrived: Notify,
    pub full: Notify,
    pub closing: watch::Sender<bool>,
}

/// Requests of the last minutes, by hash.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    state: HashMap<RequestKey, RequestState>,
    /// When entries were last swept.
    swept: i64,
}

#[derive(Debug, Clone)]
enum RequestState {
    /// Somebody waits for its commit; the answer comes here.
    Pending(watch::Receiver<Answer>),
    /// Committed by this process at this time (ns), with this answer.
    Committed(i64, Outcome),
}

/// The answer to a request, once there is one.
type Answer = Option<Result<Accepted, IngestError>>;

/// Requests remembered in memory at most (about 150 B each); the catalog remembers them all.
const MAX_REQUESTS: usize = 200_000;

impl Ingest {
    /// Makes the ingest of one process. Call [`Ingest::run`] to get commits going.
    pub fn new(lake: Lake, options: IngestOptions, telemetry: Telemetry) -> Self {
        // Requests are decoded under a shard's lock; half as many shards as cores keep both busy.
        let shards = std::thread::available_parallelism()
            .map_or(1, |n| n.get() / 2)
            .clamp(1, 8);
        let permits = (options.max_pending_bytes / 1024).clamp(1, Semaphore::MAX_PERMITS);
        let inner = Inner {
            lake,
            options,
            telemetry,
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            tenants: Mutex::default(),
            spare: Mutex::default(),
            requests: Mutex::default(),
            budget: Arc::new(Semaphore::new(permits)),
            arrived: Notify::new(),
            full: Notify::new(),
            closing: watch::Sender::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Limits and pace.
    pub fn options(&self) -> &IngestOptions {
        &self.inner.options
    }

    /// Refuses new requests from now on (retryable) while accepted ones are committed.
    pub fn close(&self) {
        self.inner.closing.send_replace(true);
        self.inner.arrived.notify_one();
    }

    /// Accepts one OTLP Export request in protobuf, decompressed. Returns when its items are durable and visible.
    ///
    /// # Errors
    /// [`IngestError`]; nothing of the request is acknowledged then.
    pub async fn accept(&self, tenant: TenantId, signal: Signal, body: Bytes) -> Result<Accepted, IngestError> {
        let inner = &self.inner;
        if *inner.closing.borrow() {
            return Err(IngestError::Unavailable("the process is shutting down".to_owned()));
        }
        // Admit: what is decoded and not committed is bounded in bytes.
        let permits = u32::try_from(body.len() / 1024 + 1).unwrap_or(u32::MAX);
        let permit = Arc::clone(&inner.budget)
            .try_acquire_many_owned(permits)
            .map_err(|_| IngestError::Busy(Duration::from_millis(500)))?;
        // Identify: the same bytes again are the same request, whatever became of the first answer. Two signals may
        // share bytes (an empty body), so the signal is part of the identity.
        let key = lake::request_key(&tenant, xxh3_128(&body) ^ signal as u128);
        let (report, result) = watch::channel(None);
        let now = inner.lake.clock().now();
        let earlier = inner
            .requests
            .lock()
            .begin(&key, result, now, inner.options.dedupe_window);
        match earlier {
            Some(RequestState::Committed(_, outcome)) => return Ok(accepted(&outcome)),
            Some(RequestState::Pending(mut result)) => {
                let done = result.wait_for(Option::is_some).await.map(|r| r.clone());
                return match done {
                    Ok(Some(answer)) => answer,
                    _ => Err(IngestError::Unavailable("the same request failed".to_owned())),
                };
            }
            None => {}
        }
        let registered = Registered { inner, key };
        let outcome = self
            .decode_and_commit(tenant, signal, &body, &registered.key, now, permit)
            .await;
        let answer = outcome.as_ref().map(accepted).map_err(Clone::clone);
        report.send_replace(Some(answer.clone()));
        registered.committed(now, outcome?);
        answer
    }

    async fn decode_and_commit(
        &self,
        tenant: TenantId,
        signal: Signal,
        body: &Bytes,
        key: &RequestKey,
        now: i64,
        permit: OwnedSemaphorePermit,
    ) -> Result<Outcome, IngestError> {
        let tenant = self.tenant(tenant).await?;
        // Decode: straight into the columns of the next commit.
        let (outcome, committed) = self.decode(&tenant, signal, body, key, now, permit)?;
        // Commit: segment, catalog, then this answer.
        if let Some(committed) = committed {
            committed
                .await
                .map_err(|_| IngestError::Unavailable("the commit was abandoned".to_owned()))??;
        }
        Ok(outcome)
    }

    fn decode(
        &self,
        tenant: &Arc<Tenant>,
        signal: Signal,
        body: &[u8],
        key: &RequestKey,
        now: i64,
        permit: OwnedSemaphorePermit,
    ) -> Result<(Outcome, Option<oneshot::Receiver<CommitResult>>), IngestError> {
        let inner = &self.inner;
        let free = inner.shards.iter().find_map(|shard| shard.try_lock());
        let mut pending = free.unwrap_or_else(|| inner.shards[(key.hash[0] as usize) % inner.shards.len()].lock());
        let entry = pending
            .tenants
            .entry(tenant.id.clone())
            .or_insert_with(|| TenantPending {
                tenant: Arc::clone(tenant),
                batch: inner
                    .spare
                    .lock()
                    .get_mut(&tenant.id)
                    .and_then(Vec::pop)
                    .unwrap_or_default(),
                waiters: Vec::new(),
            });
        let before = entry.batch.rows();
        let context = Context {
            admissions: tenant.columns.as_ref(),
            known: &tenant.known,
            now,
            limits: DecodeLimits {
                max_depth: inner.options.max_depth,
            },
        };
        let outcome = entry
            .batch
            .append(signal, body, context)
            .map_err(|error| IngestError::Invalid(format!("the {} request is not valid: {error}", signal.name())))?;
        if outcome.rejected > 0 {
            inner
                .telemetry
                .rejected(telemetry_signal(signal), "invalid_item", outcome.rejected);
        }
        if outcome.accepted == 0 {
            return Ok((outcome, None));
        }
        let rows = (before, entry.batch.rows());
        let (done, committed) = oneshot::channel();
        entry.waiters.push(Waiter {
            key: key.clone(),
            rows,
            done,
            _permit: permit,
        });
        pending.bytes += body.len();
        pending.since.get_or_insert_with(Instant::now);
        let full = pending.bytes >= inner.options.max_commit_bytes / inner.shards.len();
        drop(pending);
        inner.arrived.notify_one();
        if full {
            inner.full.notify_one();
        }
        Ok((outcome, Some(committed)))
    }

    async fn tenant(&self, id: TenantId) -> Result<Arc<Tenant>, IngestError> {
        if let Some(tenant) = self.inner.tenants.lock().get(&id) {
            return Ok(Arc::clone(tenant));
        }
        let columns = TenantColumns::load(self.inner.lake.catalog(), &id, self.inner.options.max_attribute_columns)
            .await
            .map_err(|error| IngestError::Unavailable(error.to_string()))?;
        let mut tenants = self.inner.tenants.lock();
        let tenant = tenants.entry(id.clone()).or_insert_with(|| {
            Arc::new(Tenant {
                id,
                columns: Arc::new(columns),
                known: KnownIds::default(),
            })
        });
        Ok(Arc::clone(tenant))
    }
}

/// A request's entry in [`Requests`]; dropped without a commit (an error, or a sender that went away), it makes room for a
/// retry, which the catalog still recognises if the rows get committed after all.
struct Registered<'a> {
    inner: &'a Inner,
    key: RequestKey,
}

impl Registered<'_> {
    fn committed(self, now: i64, outcome: Outcome) {
        self.inner
            .requests
            .lock()
            .state
            .insert(self.key.clone(), RequestState::Committed(now, outcome));
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let mut requests = self.inner.requests.lock();
        if matches!(requests.state.get(&self.key), Some(RequestState::Pending(_))) {
            requests.state.remove(&self.key);
        }
    }
}

fn accepted(outcome: &Outcome) -> Accepted {
    Accepted {
        accepted: outcome.accepted,
        rejected: outcome.rejected,
        message: outcome.message(),
    }
}

impl Requests {
    /// Registers a request, or says what became of the same one earlier.
    fn begin(
        &mut self,
        key: &RequestKey,
        result: watch::Receiver<Answer>,
        now: i64,
        window: Duration,
    ) -> Option<RequestState> {
        let window = i64::try_from(window.as_nanos()).unwrap_or(i64::MAX);
        if self.state.len() > MAX_REQUESTS || now.saturating_sub(self.swept).abs() > window / 4 {
            self.swept = now;
            let many = self.state.len() > MAX_REQUESTS;
            self.state.retain(|_, state| match state {
                RequestState::Pending(_) => true,
                RequestState::Committed(at, _) => !many && now.saturating_sub(*at).abs() <= window,
            });
        }
        match self.state.get(key) {
            Some(state) => Some(state.clone()),
            None => {
                self.state.insert(key.clone(), RequestState::Pending(result));
                None
            }
        }
    }
}

/// The signal in the vocabulary of the process's own metrics.
pub(crate) const fn telemetry_signal(signal: Signal) -> telemetry::Signal {
    match signal {
        Signal::Traces => telemetry::Signal::Traces,
        Signal::Metrics => telemetry::Signal::Metrics,
        Signal::Logs => telemetry::Signal::Logs,
    }
}

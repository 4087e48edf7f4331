//! The hot path, in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use catalog::{CatalogError, RequestKey};
use lake::Lake;
use limits::Limits;
use memory::{Account, Refused, Reservation, Use};
use otlp::decode::{Context, DecodeLimits, IdRoom, KnownIds, Outcome};
use otlp::model::Signal;
use parking_lot::Mutex;
use schema::TenantId;
use telemetry::Telemetry;
use tokio::sync::{Notify, oneshot, watch};
use xxhash_rust::xxh3::xxh3_128;

use crate::IngestError;
use crate::columns::TenantColumns;
use crate::pending::{CommitResult, Pending, Spare, Tenant, TenantPending, Waiter};
use crate::queue::Queue;
use crate::receive::Received;

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
    /// Bytes of memory that requests may take from their first byte to the end of their commit.
    pub max_pending_bytes: usize,
    /// How long a retried request is recognised.
    pub dedupe_window: Duration,
    /// Shortest time between the starts of two commits.
    pub min_interval: Duration,
    /// A commit starts at once when so many bytes wait.
    pub max_commit_bytes: usize,
    /// Commits under way at the same time.
    pub pipeline: usize,
    /// What each tenant may send.
    pub limits: Limits,
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
    pub spare: Mutex<Spare>,
    pub requests: Mutex<Requests>,
    /// Room for ids that tenants know of.
    ids: Arc<IdRoom>,
    pub memory: Account,
    pub queue: Queue,
    limits: DecodeLimits,
    max_requests: usize,
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

/// Requests remembered in memory at most; the catalog remembers them all.
const MAX_REQUESTS: usize = 200_000;

/// Tenants remembered in memory before those without rows under way are forgotten.
const MAX_TENANTS: usize = 1024;

/// Bytes of memory for each byte of a decompressed request until it is committed: once as columns, once more while
/// they are encoded.
const DECODED: u64 = 2;

/// Parts of the memory for requests that go to what is remembered from one request to the next, with the bytes that
/// one thing remembered takes: requests, ids of resources and series, series of a batch.
const REMEMBERED: [(u64, u64); 3] = [(16, 150), (16, 48), (32, 64)];

/// How long a sender waits that found no memory, or a long queue: some commits.
const BUSY: Duration = Duration::from_millis(500);

/// Below this part of the memory for requests the queue is short, whatever one request in it waits for.
const SHORT_QUEUE: u64 = 4;

/// The refusal of a request that found no memory.
pub(crate) fn busy(_: Refused) -> IngestError {
    IngestError::Busy(BUSY)
}

fn shutting_down() -> IngestError {
    IngestError::Unavailable("the process is shutting down".to_owned())
}

impl Ingest {
    /// Makes the ingest of one process. Call [`Ingest::run`] to get commits going.
    pub fn new(lake: Lake, options: IngestOptions, telemetry: Telemetry) -> Self {
        // Requests are decoded under a shard's lock; half as many shards as cores keep both busy.
        let shards = std::thread::available_parallelism()
            .map_or(1, |n| n.get() / 2)
            .clamp(1, 8);
        let memory = lake.memory().account(Use::Ingest, options.max_pending_bytes as u64);
        let [requests, ids, series] = REMEMBERED.map(|(part, each)| {
            usize::try_from(memory.share() / part / each)
                .unwrap_or(usize::MAX)
                .max(1000)
        });
        let limits = DecodeLimits {
            max_depth: options.max_depth,
            max_remembered: DecodeLimits::default().max_remembered.min(series),
        };
        let inner = Inner {
            lake,
            telemetry,
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            tenants: Mutex::default(),
            spare: Mutex::new(Spare::new(options.max_commit_bytes.saturating_mul(3))),
            requests: Mutex::default(),
            ids: IdRoom::new(ids.min(4_000_000)),
            memory,
            queue: Queue::default(),
            limits,
            max_requests: MAX_REQUESTS.min(requests),
            options,
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

    /// The memory of requests.
    pub(crate) fn account(&self) -> &Account {
        &self.inner.memory
    }

    /// Admits a request that begins to arrive: there is memory for one like the last ones, which is held until it has
    /// arrived. Otherwise many would arrive at the same time, slowly, and find no room in the end.
    ///
    /// # Errors
    /// [`IngestError::Busy`] if memory is short, or many wait and have waited for long.
    pub(crate) fn admit(&self) -> Result<Reservation, IngestError> {
        let Inner {
            memory, queue, options, ..
        } = &*self.inner;
        let many = memory.used() > memory.share() / SHORT_QUEUE;
        if many && queue.is_slow(Instant::now(), options.min_interval) {
            return Err(IngestError::Busy(BUSY));
        }
        let expected = queue.expected_bytes().min(memory.share() / SHORT_QUEUE);
        memory.try_reserve(expected).map_err(busy)
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
        let memory = self.inner.memory.try_reserve(body.len() as u64).map_err(busy)?;
        self.accept_received(tenant, signal, Received { body, memory }).await
    }

    /// As [`Self::accept`], with the memory that the body takes.
    pub(crate) async fn accept_received(
        &self,
        tenant: TenantId,
        signal: Signal,
        request: Received,
    ) -> Result<Accepted, IngestError> {
        let inner = &self.inner;
        if *inner.closing.borrow() {
            return Err(shutting_down());
        }
        let _place = inner.queue.enter(Instant::now());
        // Admit: what a request holds until it is committed is reserved before it is decoded.
        let Received { body, mut memory } = request;
        let length = body.len() as u64;
        memory.try_grow(length.saturating_mul(DECODED)).map_err(busy)?;
        inner.queue.takes(memory.bytes());
        let request = Received { body, memory };
        // Identify: the same bytes again are the same request, whatever became of the first answer. Two signals may
        // share bytes (an empty body), so the signal is part of the identity.
        let key = lake::request_key(&tenant, xxh3_128(&request.body) ^ signal as u128);
        let (report, result) = watch::channel(None);
        let now = inner.lake.clock().now();
        let earlier = inner
            .requests
            .lock()
            .begin(&key, result, now, inner.options.dedupe_window, inner.max_requests);
        match earlier {
            Some(RequestState::Committed(_, outcome)) => return Ok(accepted(&outcome)),
            Some(RequestState::Pending(mut result)) => {
                drop(request);
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
            .decode_and_commit(tenant, signal, request, &registered.key, now)
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
        request: Received,
        key: &RequestKey,
        now: i64,
    ) -> Result<Outcome, IngestError> {
        let tenant = self.tenant(tenant).await?;
        // Within the tenant's limits: after the identity is known, so that a retry of what is stored is never refused.
        if let Some(limits) = &tenant.limits {
            limits
                .admit(request.body.len() as u64, Instant::now())
                .map_err(IngestError::Limited)?;
        }
        // Decode: straight into the columns of the next commit.
        let (outcome, committed) = self.decode(&tenant, signal, request, key, now)?;
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
        request: Received,
        key: &RequestKey,
        now: i64,
    ) -> Result<(Outcome, Option<oneshot::Receiver<CommitResult>>), IngestError> {
        let inner = &self.inner;
        let Received { body, mut memory } = request;
        let length = body.len() as u64;
        let free = inner.shards.iter().find_map(|shard| shard.try_lock());
        let mut pending = free.unwrap_or_else(|| inner.shards[(key.hash[0] as usize) % inner.shards.len()].lock());
        if pending.closed {
            return Err(shutting_down());
        }
        let entry = pending.tenants.entry(tenant.id.clone()).or_insert_with(|| {
            let (batch, held) = inner.spare.lock().take(tenant);
            TenantPending {
                tenant: Arc::clone(tenant),
                batch,
                held,
                waiters: Vec::new(),
                bytes: 0,
            }
        });
        let before = entry.batch.rows();
        let context = Context {
            admissions: tenant.columns.as_ref(),
            known: &tenant.known,
            now,
            limits: inner.limits,
        };
        let outcome = entry
            .batch
            .append(signal, &body, context)
            .map_err(|error| IngestError::Invalid(format!("the {} request is not valid: {error}", signal.name())))?;
        entry.bytes += body.len();
        drop(body);
        memory.shrink(length);
        tenant.charge(&outcome)?;
        let signal = telemetry_signal(signal);
        for (reason, items) in [
            ("invalid_item", outcome.rejected - outcome.limited),
            ("limit", outcome.limited),
        ] {
            if items > 0 {
                inner.telemetry.rejected(signal, reason, items);
            }
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
            _memory: memory,
        });
        pending.bytes += length as usize;
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
        let options = &self.inner.options;
        let unavailable = |error: CatalogError| IngestError::Unavailable(error.to_string());
        // Before anything is learnt: what is learnt later is good at least since then.
        let catalog = self.inner.lake.catalog();
        let forgotten = catalog.forgotten(&id).await.map_err(unavailable)?;
        let limits = options.limits.tenant(&id, Instant::now());
        let columns = TenantColumns::load(catalog, &id, options.max_attribute_columns, limits.clone())
            .await
            .map_err(unavailable)?;
        let mut tenants = self.inner.tenants.lock();
        if tenants.len() >= MAX_TENANTS {
            tenants.retain(|_, tenant| Arc::strong_count(tenant) > 1);
        }
        let tenant = tenants.entry(id.clone()).or_insert_with(|| {
            Arc::new(Tenant {
                id,
                columns: Arc::new(columns),
                known: KnownIds::within(Arc::clone(&self.inner.ids)),
                forgotten,
                limits,
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
        most: usize,
    ) -> Option<RequestState> {
        let window = i64::try_from(window.as_nanos()).unwrap_or(i64::MAX);
        if self.state.len() > most || now.saturating_sub(self.swept).abs() > window / 4 {
            self.swept = now;
            let many = self.state.len() > most;
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

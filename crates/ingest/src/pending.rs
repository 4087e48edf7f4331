//! What is decoded and waits for the next group commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use catalog::RequestKey;
use limits::TenantLimits;
use memory::Reservation;
use otlp::decode::{KnownIds, Outcome, RowCounts, TenantBatch};
use schema::TenantId;
use tokio::sync::oneshot;

use crate::IngestError;
use crate::columns::SharedColumns;

/// What all batches of a tenant share.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub id: TenantId,
    pub columns: SharedColumns,
    pub known: KnownIds,
    /// How often resources and series of it were deleted when `known` began ([`catalog::Catalog::forgotten`]).
    pub forgotten: i64,
    /// What it may send; `None` without limits.
    pub limits: Option<Arc<TenantLimits>>,
}

impl Tenant {
    fn state(&self) -> (TenantId, i64) {
        (self.id.clone(), self.forgotten)
    }

    /// Charges the items of a request to the tenant's limits.
    ///
    /// # Errors
    /// [`IngestError::Limited`] if nothing is left of the request because all of it is new series or keys beyond a
    /// limit: that may pass, so the sender keeps it. If something is left, the rest is rejected alone: a sender that
    /// had to send it all again would hold back what the tenant may send.
    pub(crate) fn charge(&self, outcome: &Outcome) -> Result<(), IngestError> {
        let Some(limits) = &self.limits else {
            return Ok(());
        };
        limits.charge_items(outcome.accepted + outcome.rejected);
        if outcome.limited == 0 {
            return Ok(());
        }
        let refusal = limits.full(outcome.message());
        if outcome.limited == outcome.accepted + outcome.rejected {
            return Err(IngestError::Limited(refusal));
        }
        Ok(())
    }
}

/// The answer of the committer.
pub(crate) type CommitResult = Result<(), IngestError>;

/// A request whose rows are in a batch.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub key: RequestKey,
    /// Row counts of the batch before and after the request.
    pub rows: (RowCounts, RowCounts),
    pub done: oneshot::Sender<CommitResult>,
    /// Its share of what may be pending, held until the commit ended even if the sender went away: the rows stay.
    pub _memory: Reservation,
}

/// Rows of one tenant and the requests that wait for them.
#[derive(Debug)]
pub(crate) struct TenantPending {
    pub tenant: Arc<Tenant>,
    /// The batch, and how many bytes of requests it held at most before.
    pub batch: TenantBatch,
    pub held: usize,
    pub waiters: Vec<Waiter>,
    /// Decompressed bytes of the requests that were decoded into the batch.
    pub bytes: usize,
}

/// Batches kept for reuse per tenant.
const SPARE_BATCHES: usize = 4;

/// Tenants whose batches are kept for reuse.
const SPARE_TENANTS: usize = 256;

/// Batches without rows, kept for their allocations and their memory of known texts.
#[derive(Debug)]
pub(crate) struct Spare {
    /// With each the bytes of the requests it held at most, which tells how much is allocated. A batch remembers resources
    /// and series, so it belongs to the state of the tenant in which it was made.
    batches: HashMap<(TenantId, i64), Vec<(TenantBatch, usize)>>,
    bytes: usize,
    most: usize,
}

impl Spare {
    /// Keeps batches that held up to `most` bytes of requests together.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            batches: HashMap::new(),
            bytes: 0,
            most,
        }
    }

    /// A batch for rows of the tenant.
    pub(crate) fn take(&mut self, tenant: &Tenant) -> (TenantBatch, usize) {
        let taken = self
            .batches
            .get_mut(&tenant.state())
            .and_then(Vec::pop)
            .unwrap_or_default();
        self.bytes -= taken.1;
        taken
    }

    /// Keeps a batch, unless there are enough.
    pub(crate) fn put(&mut self, tenant: &Tenant, batch: TenantBatch, bytes: usize) {
        let tenant = tenant.state();
        if self.bytes + bytes > self.most || self.batches.len() >= SPARE_TENANTS && !self.batches.contains_key(&tenant)
        {
            self.batches.clear();
            self.bytes = 0;
        }
        let batches = self.batches.entry(tenant).or_default();
        if batches.len() < SPARE_BATCHES && bytes <= self.most {
            batches.push((batch, bytes));
            self.bytes += bytes;
        }
    }
}

/// One shard of pending rows: requests are decoded under its lock.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub tenants: HashMap<TenantId, TenantPending>,
    /// Decompressed bytes of the requests in here.
    pub bytes: usize,
    /// When the first of them arrived.
    pub since: Option<Instant>,
    /// The committer has ended: whatever came in here now would wait for ever.
    pub closed: bool,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.tenants.values().all(|t| t.waiters.is_empty())
    }
}

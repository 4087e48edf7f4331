//! What is decoded and waits for the next group commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use catalog::RequestKey;
use otlp::decode::{KnownIds, RowCounts, TenantBatch};
use schema::TenantId;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::IngestError;
use crate::columns::SharedColumns;

/// What all batches of a tenant share.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub id: TenantId,
    pub columns: SharedColumns,
    pub known: KnownIds,
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
    pub _permit: OwnedSemaphorePermit,
}

/// Rows of one tenant and the requests that wait for them.
#[derive(Debug)]
pub(crate) struct TenantPending {
    pub tenant: Arc<Tenant>,
    pub batch: TenantBatch,
    pub waiters: Vec<Waiter>,
}

/// One shard of pending rows: requests are decoded under its lock.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub tenants: HashMap<TenantId, TenantPending>,
    /// Decompressed bytes of the requests in here.
    pub bytes: usize,
    /// When the first of them arrived.
    pub since: Option<Instant>,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.tenants.values().all(|t| t.waiters.is_empty())
    }
}

//! Whose turn it is to change the parts of a tenant's dataset, or to collect garbage: one process at a time, and one task at a time
//! in it.
//!
//! Between processes a lease of the catalog decides. It belongs to the process, so tasks of one process need a
//! second answer: the set of what this process is working on. A turn is kept while the work lasts, however long that is;
//! a process that dies loses it when the lease runs out.

use std::collections::HashSet;
use std::time::Duration;

use catalog::{CatalogError, Lease};
use parking_lot::Mutex;
use schema::{Dataset, TenantId};

use crate::{Lake, LakeError};

/// What this process is working on, by name of the lease.
pub(crate) type Busy = Mutex<HashSet<String>>;

/// The turn of whoever deletes objects: those that wait for it, and those that nobody knows. It is one turn, because what was deleted
/// after it was listed looks like an orphan.
pub(crate) const COLLECT: &str = "gc";

/// The right to do what its lease names.
pub(crate) struct Turn<'a> {
    lake: &'a Lake,
    pub lease: Lease,
    ttl: Duration,
    _busy: BusyMark<'a>,
}

struct BusyMark<'a> {
    busy: &'a Busy,
    name: String,
}

impl Drop for BusyMark<'_> {
    fn drop(&mut self) {
        self.busy.lock().remove(&self.name);
    }
}

/// So many renewals may fail in a row before the lease is lost.
const RENEWALS_PER_TTL: u32 = 3;

impl Lake {
    /// Takes the turn to change the parts of a dataset, or says that somebody else has it.
    pub(crate) async fn turn(
        &self,
        tenant: &TenantId,
        dataset: Dataset,
        ttl: Duration,
    ) -> Result<Option<Turn<'_>>, LakeError> {
        self.turn_of(format!("compact/{tenant}/{dataset}"), ttl).await
    }

    /// Takes the turn of this name, or says that somebody else has it.
    pub(crate) async fn turn_of(&self, name: String, ttl: Duration) -> Result<Option<Turn<'_>>, LakeError> {
        if !self.inner.busy.lock().insert(name.clone()) {
            return Ok(None);
        }
        let busy = BusyMark {
            busy: &self.inner.busy,
            name,
        };
        let now = self.inner.clock.now();
        let lease = self
            .inner
            .catalog
            .acquire_lease(&busy.name, &self.inner.writer, ttl, now)
            .await?;
        Ok(lease.map(|lease| Turn {
            lake: self,
            lease,
            ttl,
            _busy: busy,
        }))
    }
}

impl Turn<'_> {
    /// Does the work while the lease is kept alive, then gives the turn back. `None` if somebody else was faster: the
    /// lease was lost, or what was to be replaced is gone.
    pub(crate) async fn during<T>(
        self,
        work: impl Future<Output = Result<T, LakeError>>,
    ) -> Result<Option<T>, LakeError> {
        let outcome = tokio::select! {
            biased; // what is done is done, even if the lease was lost meanwhile
            outcome = work => outcome,
            () = self.lost() => return Ok(None),
        };
        let released = self.lake.inner.catalog.release_lease(&self.lease).await;
        match outcome {
            Ok(done) => {
                released?;
                Ok(Some(done))
            }
            Err(LakeError::Catalog(CatalogError::Conflict(_) | CatalogError::Fenced { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Renews the lease again and again; resolves when it is somebody else's.
    async fn lost(&self) {
        loop {
            self.lake.inner.host.sleep(self.ttl / RENEWALS_PER_TTL).await;
            let now = self.lake.inner.clock.now();
            // An error is not a loss: what protects the work is the lease's token in its transaction.
            if let Ok(false) = self.lake.inner.catalog.renew_lease(&self.lease, self.ttl, now).await {
                return;
            }
        }
    }
}

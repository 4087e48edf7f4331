//! The memory of queries: DataFusion's pool as an account of the process's budget.

use std::fmt;
use std::sync::Mutex;

use datafusion::common::resources_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
use memory::{Account, Reservation};

/// All queries under way share it; whoever comes first gets the bytes.
#[derive(Debug)]
pub(crate) struct BudgetPool {
    share: u64,
    held: Mutex<Reservation>,
}

impl BudgetPool {
    pub(crate) fn new(account: &Account) -> Self {
        Self {
            share: account.share(),
            held: Mutex::new(account.empty()),
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Reservation> {
        // A number is right or wrong, never half written.
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Display for BudgetPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query.max_memory ({} bytes)", self.share)
    }
}

impl MemoryPool for BudgetPool {
    fn name(&self) -> &str {
        "query.max_memory"
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        self.held().grow(additional as u64);
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        self.held().shrink(shrink as u64);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.held().try_grow(additional as u64).map_err(|refused| {
            let (consumer, held) = (reservation.consumer().name(), reservation.size());
            resources_datafusion_err!("{consumer} holds {held} bytes, {refused}")
        })
    }

    fn reserved(&self) -> usize {
        self.held().bytes() as usize
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(usize::try_from(self.share).unwrap_or(usize::MAX))
    }
}

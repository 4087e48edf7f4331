//! The memory of queries: a pool of DataFusion's for each, all of them on one account of the process's budget.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use datafusion::common::resources_datafusion_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
use memory::{Account, Refused, Reservation};
use tokio::time::Instant;

use crate::error::{MemoryShort, QueryError};

/// How long a query waits for others before it is refused: for its turn, or in the middle for memory.
pub(crate) const QUEUE_TIME: Duration = Duration::from_secs(5);

/// How often a query that waits for memory looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What one query holds. All queries under way share the account; whoever comes first gets the bytes.
#[derive(Debug)]
pub(crate) struct BudgetPool {
    share: u64,
    held: Mutex<Reservation>,
}

/// Why a query that holds `held` bytes does not get `wanted` more: it is too large itself (`None`), or it is not its fault.
fn fault_of_others(refused: Refused, held: u64, wanted: u64, share: u64) -> Option<MemoryShort> {
    // Alone it could have the share; with more than half of it, it is what the others wait for.
    (held.saturating_add(wanted) <= share / 2).then_some(MemoryShort(refused))
}

/// The refusal of a query that wanted `wanted` bytes at once, for `what`.
pub(crate) fn refusal(account: &Account, refused: Refused, wanted: u64, what: &str) -> QueryError {
    match fault_of_others(refused, 0, wanted, account.share()) {
        Some(_) => QueryError::Busy,
        None => QueryError::LimitExceeded {
            what: "memory",
            key: "query.max_memory",
            detail: format!("{what}: {refused}"),
        },
    }
}

/// Makes a reservation hold `bytes`, which a scan has read already. If others have what it needs it waits: a scan holds
/// little, and gives that back when it goes on.
///
/// # Errors
/// [`MemoryShort`] after [`QUEUE_TIME`]; resources exhausted if the query itself is too large.
pub(crate) async fn hold(reservation: &MemoryReservation, bytes: usize) -> Result<()> {
    let begun = Instant::now();
    loop {
        match reservation.try_resize(bytes) {
            Err(DataFusionError::External(error)) if error.is::<MemoryShort>() && begun.elapsed() < QUEUE_TIME => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            done => return done,
        }
    }
}

/// Waits until the process as measured holds no more than it may.
///
/// # Errors
/// [`QueryError::Busy`] after [`QUEUE_TIME`].
pub(crate) async fn relieved(budget: &memory::Budget) -> Result<(), QueryError> {
    let begun = Instant::now();
    while budget.is_pressed() {
        if begun.elapsed() >= QUEUE_TIME {
            return Err(QueryError::Busy);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// What is reserved for bytes that an operator counts. Tables of an aggregation double when they are full, and are counted afterwards: while
/// one is copied it takes as much again, in an instant in which nobody could be refused anything.
fn weighed(reservation: &MemoryReservation, bytes: usize) -> u64 {
    let doubles = reservation.consumer().name().contains("Aggregate");
    bytes as u64 * if doubles { 2 } else { 1 }
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

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.held().grow(weighed(reservation, additional));
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.held().shrink(weighed(reservation, shrink));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut held = self.held();
        let wanted = weighed(reservation, additional);
        held.try_grow(wanted).map_err(|refused| {
            if let Some(short) = fault_of_others(refused, held.bytes(), wanted, self.share) {
                return DataFusionError::External(Box::new(short));
            }
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

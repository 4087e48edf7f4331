//! One budget in bytes for everything that holds bytes for long enough to matter.
//!
//! Whoever is about to hold bytes reserves them first: requests while they are received, decoded and committed; queries;
//! compactions. What cannot be reserved is refused (ingest, queries) or waits (compaction), and the refusal names the
//! configuration key to raise. Caches are bounded by their own capacity, which is taken off the budget once.
//!
//! A reservation is an estimate. What the process really holds is measured by [`watch`] and told with
//! [`Budget::measured`]: above the limit nothing new is granted until it has fallen again, so that a wrong estimate
//! costs a refusal and not the process.
//!
//! Absent on purpose: this crate allocates nothing on anybody's behalf and knows nobody who does.

mod resident;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

pub use resident::{Resident, watch};

/// What bytes are held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Use {
    /// Requests: received, decoded, being committed.
    Ingest,
    /// Queries under way and what they keep for the next one.
    Query,
    /// Compactions under way.
    Compaction,
    /// What limits per tenant remember of series and keys.
    Limits,
}

impl Use {
    /// All uses.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Query, Self::Compaction, Self::Limits];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Query => "query",
            Self::Compaction => "compaction",
            Self::Limits => "limits",
        }
    }
}

/// Bytes cannot be had now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The share of this use is used up.
    #[error("{wanted} bytes more are wanted, {used} of {share} bytes are in use")]
    Share {
        /// Bytes asked for.
        wanted: u64,
        /// Bytes that this use holds.
        used: u64,
        /// Bytes that this use may hold.
        share: u64,
    },
    /// All uses together, or the process as measured, hold as much as they may.
    #[error("{wanted} bytes more are wanted, and the process is at memory.limit ({limit} bytes)")]
    Limit {
        /// Bytes asked for.
        wanted: u64,
        /// The limit.
        limit: u64,
    },
}

/// The budget. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: u64,
    total: AtomicU64,
    used: [AtomicU64; Use::ALL.len()],
    pressed: AtomicBool,
    freed: Notify,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Inner {
            limit,
            total: AtomicU64::new(0),
            used: [const { AtomicU64::new(0) }; Use::ALL.len()],
            pressed: AtomicBool::new(false),
            freed: Notify::new(),
        }))
    }

    /// A budget that only counts.
    pub fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// The limit in bytes.
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// The account of one use, which may hold up to `share` bytes.
    pub fn account(&self, of: Use, share: u64) -> Account {
        Account {
            budget: self.clone(),
            of,
            share: share.min(self.0.limit),
        }
    }

    /// Bytes that a use holds.
    pub fn used(&self, of: Use) -> u64 {
        self.0.used[of as usize].load(Ordering::Relaxed)
    }

    /// Says whether the process, as measured, holds more than it may.
    pub fn measured(&self, too_much: bool) {
        if self.0.pressed.swap(too_much, Ordering::Relaxed) && !too_much {
            self.0.freed.notify_waiters();
        }
    }

    /// Whether the process, as last measured, holds more than it may.
    pub fn is_pressed(&self) -> bool {
        self.0.pressed.load(Ordering::Relaxed)
    }
}

/// The account of one use. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Account {
    budget: Budget,
    of: Use,
    share: u64,
}

impl Account {
    /// Bytes that this use may hold.
    pub fn share(&self) -> u64 {
        self.share
    }

    /// Whether the process, as last measured, holds more than it may.
    pub fn is_pressed(&self) -> bool {
        self.budget.is_pressed()
    }

    /// Bytes that this use holds.
    pub fn used(&self) -> u64 {
        self.budget.used(self.of)
    }

    /// An empty reservation, to be grown.
    pub fn empty(&self) -> Reservation {
        Reservation {
            account: self.clone(),
            bytes: 0,
        }
    }

    /// Reserves bytes until the reservation is dropped.
    ///
    /// # Errors
    /// [`Refused`]; nothing is reserved then.
    pub fn try_reserve(&self, bytes: u64) -> Result<Reservation, Refused> {
        let mut reservation = self.empty();
        reservation.try_grow(bytes)?;
        Ok(reservation)
    }

    /// Reserves bytes, waiting until they can be had. More than the share is never waited for: such a holder gets the
    /// whole share, alone.
    pub async fn reserve(&self, bytes: u64) -> Reservation {
        let bytes = bytes.min(self.share);
        loop {
            // Registered before the attempt, so that a release in between is not missed.
            let freed = self.budget.0.freed.notified();
            match self.try_reserve(bytes) {
                Ok(reservation) => return reservation,
                Err(_) => freed.await,
            }
        }
    }

    fn take(&self, bytes: u64) -> Result<(), Refused> {
        let inner = &self.budget.0;
        let used = &inner.used[self.of as usize];
        let add = |limit: u64| move |held: u64| held.checked_add(bytes).filter(|&sum| sum <= limit);
        if bytes > 0 && self.budget.is_pressed() {
            return Err(Refused::Limit {
                wanted: bytes,
                limit: inner.limit,
            });
        }
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add(self.share))
            .map_err(|used| Refused::Share {
                wanted: bytes,
                used,
                share: self.share,
            })?;
        let total = inner
            .total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add(inner.limit));
        if total.is_err() {
            used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Refused::Limit {
                wanted: bytes,
                limit: inner.limit,
            });
        }
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            let inner = &self.budget.0;
            inner.used[self.of as usize].fetch_sub(bytes, Ordering::Relaxed);
            inner.total.fetch_sub(bytes, Ordering::Relaxed);
            inner.freed.notify_waiters();
        }
    }
}

/// Bytes that are held; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    account: Account,
    bytes: u64,
}

impl Reservation {
    /// How many bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reserves more.
    ///
    /// # Errors
    /// [`Refused`]; the reservation stays as it is then.
    pub fn try_grow(&mut self, bytes: u64) -> Result<(), Refused> {
        self.account.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Reserves more or gives some back, so that it is `bytes` afterwards.
    ///
    /// # Errors
    /// [`Refused`] if more cannot be had; the reservation stays as it is then.
    pub fn try_resize(&mut self, bytes: u64) -> Result<(), Refused> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.try_grow(more),
            None => {
                self.shrink(self.bytes - bytes);
                Ok(())
            }
        }
    }

    /// Counts more bytes, whether they can be had or not: for bytes that are held already.
    pub fn grow(&mut self, bytes: u64) {
        let inner = &self.account.budget.0;
        inner.used[self.account.of as usize].fetch_add(bytes, Ordering::Relaxed);
        inner.total.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
    }

    /// Gives some back; at most what it holds.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.account.give_back(bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests;

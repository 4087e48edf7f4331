//! Which resources and series the lake already holds a row of.

use std::sync::RwLock;

use hashbrown::HashMap;
use schema::UnixNanos;

/// A resource or series is written again after this long (ns), so that every hour of data has its rows near it and
/// retention can drop old ones.
const REPEAT_AFTER: i64 = 3_600_000_000_000;

/// Above this many ids the oldest are forgotten, which only costs a repeated row.
const MAX_IDS: usize = 4_000_000;

/// Ids whose row is committed, with the time of that commit. Shared by all batches of a tenant.
#[derive(Debug, Default)]
pub struct KnownIds(RwLock<HashMap<[u8; 16], UnixNanos>>);

impl KnownIds {
    /// Whether `id` was committed less than an hour before `now`.
    pub fn contains(&self, id: &[u8; 16], now: UnixNanos) -> bool {
        self.until(id, now).is_some()
    }

    /// If `id` was committed less than an hour before `now`, until when that is so.
    pub fn until(&self, id: &[u8; 16], now: UnixNanos) -> Option<UnixNanos> {
        let ids = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = *ids.get(id)?;
        (now.saturating_sub(at).abs() < REPEAT_AFTER).then(|| at.saturating_add(REPEAT_AFTER))
    }

    /// Remembers ids whose rows were committed at `now`.
    pub fn insert(&self, committed: &[[u8; 16]], now: UnixNanos) {
        if committed.is_empty() {
            return;
        }
        let mut ids = self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if ids.len() + committed.len() > MAX_IDS {
            ids.retain(|_, at| now.saturating_sub(*at).abs() < REPEAT_AFTER / 2);
            if ids.len() + committed.len() > MAX_IDS {
                ids.clear();
            }
        }
        ids.extend(committed.iter().map(|&id| (id, now)));
    }
}

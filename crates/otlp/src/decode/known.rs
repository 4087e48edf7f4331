//! Which resources and series the lake already holds a row of.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use hashbrown::HashMap;
use schema::UnixNanos;

/// A resource or series is written again after this long (ns), so that every hour of data has its rows near it and
/// retention can drop old ones.
const REPEAT_AFTER: i64 = 3_600_000_000_000;

/// How many ids may be known together (about 48 B each). What finds no room is forgotten, which only costs a repeated row.
#[derive(Debug)]
pub struct IdRoom {
    most: usize,
    used: AtomicUsize,
}

impl IdRoom {
    /// Room for `most` ids.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            used: AtomicUsize::new(0),
        })
    }
}

/// Ids whose row is committed, with the time of that commit. Shared by all batches of a tenant.
#[derive(Debug)]
pub struct KnownIds {
    ids: RwLock<HashMap<[u8; 16], UnixNanos>>,
    room: Arc<IdRoom>,
}

impl Default for KnownIds {
    fn default() -> Self {
        Self::within(IdRoom::new(4_000_000))
    }
}

impl Drop for KnownIds {
    fn drop(&mut self) {
        let ids = self.ids.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.room.used.fetch_sub(ids.len(), Ordering::Relaxed);
    }
}

impl KnownIds {
    /// No ids yet, in a room that several tenants share.
    pub fn within(room: Arc<IdRoom>) -> Self {
        Self {
            ids: RwLock::default(),
            room,
        }
    }

    /// Whether `id` was committed less than an hour before `now`.
    pub fn contains(&self, id: &[u8; 16], now: UnixNanos) -> bool {
        self.until(id, now).is_some()
    }

    /// If `id` was committed less than an hour before `now`, until when that is so.
    pub fn until(&self, id: &[u8; 16], now: UnixNanos) -> Option<UnixNanos> {
        let ids = self.ids.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = *ids.get(id)?;
        (now.saturating_sub(at).abs() < REPEAT_AFTER).then(|| at.saturating_add(REPEAT_AFTER))
    }

    /// Remembers ids whose rows were committed at `now`.
    pub fn insert(&self, committed: &[[u8; 16]], now: UnixNanos) {
        if committed.is_empty() {
            return;
        }
        let mut ids = self.ids.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = ids.len();
        let others = self.room.used.load(Ordering::Relaxed).saturating_sub(before);
        let mine = self.room.most.saturating_sub(others);
        if before + committed.len() > mine {
            ids.retain(|_, at| now.saturating_sub(*at).abs() < REPEAT_AFTER / 2);
            if ids.len() + committed.len() > mine {
                *ids = HashMap::new();
            }
        }
        ids.extend(committed.iter().take(mine).map(|&id| (id, now)));
        match ids.len().checked_sub(before) {
            Some(more) => self.room.used.fetch_add(more, Ordering::Relaxed),
            None => self.room.used.fetch_sub(before - ids.len(), Ordering::Relaxed),
        };
    }
}

//! How long requests wait for their commit, and when that is too long to let more of them in.
//!
//! Memory alone bounds how many requests wait, not how long: when the processor is short, what fits into memory may take
//! a second. A sender that is told to retry at once is better off than one that waits for its timeout.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The oldest request may wait so long, beside what the store and the pause between commits take, before new ones
/// are refused. Short, because a queue in front of a busy processor adds nothing to what is taken (decision 0014 has
/// the measurements).
const PATIENCE: Duration = Duration::from_millis(20);

/// A commit under way and the one behind it: a request waits for two at most where nothing is short.
const COMMITS: u32 = 2;

/// Requests that were received and not yet answered.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// What store and catalog took lately for a commit, in ns: a moving average.
    storing: AtomicU64,
    /// Bytes of memory that requests took lately: a moving average.
    taking: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

/// The place of a request in the queue; dropped when it is answered.
pub(crate) struct Place<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Queue {
    /// A request was received at `now`.
    pub(crate) fn enter(&self, now: Instant) -> Place<'_> {
        let mut waiting = self.waiting.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.since.insert(number, now);
        Place { queue: self, number }
    }

    /// Store and catalog took so long for a commit.
    pub(crate) fn stored(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        average(&self.storing, took);
    }

    /// A request takes so many bytes of memory.
    pub(crate) fn takes(&self, bytes: u64) {
        average(&self.taking, bytes);
    }

    /// Bytes of memory that the next request will take, as the last ones did.
    pub(crate) fn expected_bytes(&self) -> u64 {
        self.taking.load(Ordering::Relaxed)
    }

    /// Whether the oldest request has waited longer than it should where commits begin `interval` apart.
    pub(crate) fn is_slow(&self, now: Instant, interval: Duration) -> bool {
        let oldest = self.waiting.lock().since.first_key_value().map(|(_, &since)| since);
        let commit = Duration::from_nanos(self.storing.load(Ordering::Relaxed)).saturating_add(interval);
        let expected = PATIENCE.saturating_add(commit.saturating_mul(COMMITS));
        oldest.is_some_and(|since| now.saturating_duration_since(since) > expected)
    }
}

/// Moves an average by an eighth of the way to a new value.
fn average(of: &AtomicU64, new: u64) {
    let moved = |before: u64| Some(before - before / 8 + new / 8);
    // Never `None`, so this does not fail.
    let _ = of.fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved);
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.waiting.lock().since.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_request_decides() {
        let (queue, begun) = (Queue::default(), Instant::now());
        let at = |ms: u64| begun + Duration::from_millis(ms);
        let interval = Duration::from_millis(10);
        assert!(!queue.is_slow(at(9000), interval), "nobody waits");
        let first = queue.enter(at(0));
        let second = queue.enter(at(30));
        assert!(!queue.is_slow(at(40), interval));
        assert!(queue.is_slow(at(41), interval));
        drop(first);
        assert!(!queue.is_slow(at(70), interval), "the second came later");
        assert!(queue.is_slow(at(71), interval));
        drop(second);
        assert!(!queue.is_slow(at(9000), interval));
    }

    #[test]
    fn a_slow_store_is_waited_for() {
        let (queue, begun) = (Queue::default(), Instant::now());
        for _ in 0..100 {
            queue.stored(Duration::from_millis(300));
        }
        let _place = queue.enter(begun);
        assert!(!queue.is_slow(begun + Duration::from_millis(600), Duration::ZERO));
        assert!(queue.is_slow(begun + Duration::from_millis(650), Duration::ZERO));
        // It became quick again.
        for _ in 0..100 {
            queue.stored(Duration::from_millis(5));
        }
        assert!(queue.is_slow(begun + Duration::from_millis(300), Duration::ZERO));
    }
}

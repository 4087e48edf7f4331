//! How many distinct things a tenant uses: series, attribute keys.
//!
//! A thing is known by 64 bits of its hash. It counts from its first use until one to two [`PERIOD`]s after its last
//! one: two generations, of which the older is dropped when the younger is a period old. Callers tell of each use at
//! most once an hour, because they remember what they asked about (`otlp::decode`), and at least that often while it
//! lasts; a period is longer than that.
//!
//! When the limit is reached, what is new is refused and what is in use goes on. So it is when there is no memory to
//! remember more: to admit what cannot be counted would end the limit just when somebody invents series. Some of each tenant
//! are remembered whatever others take.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use memory::{Account, Reservation};

/// Longer than the hour after which the decoder asks again about what it saw before.
pub(crate) const PERIOD: Duration = Duration::from_secs(65 * 60);

/// Uses not yet told to the other processes, at most (8 B each). Beyond it they count too little for others.
const MOST_UNREPORTED: usize = 1_000_000;

/// Refused things about which the others will be asked, at most; the rest is asked about when it is sent again.
const MOST_DOUBTFUL: usize = 1_000;

/// So many are remembered even if there is no memory left (24 KiB): others that use it up must not shut a small tenant out.
const ALWAYS: usize = 1_000;

/// The smallest set that is made.
const FEWEST: usize = 14;

/// The answer to [`Active::admit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Admitted,
    /// It is new, and as many are in use as may be.
    Full,
    /// It is new, and there is no memory to remember it.
    NoMemory,
}

#[derive(Debug)]
pub(crate) struct Active {
    limit: u64,
    young: HashSet<u64>,
    old: HashSet<u64>,
    /// When `young` began.
    began: Instant,
    /// What other processes know and this one does not, at the last exchange.
    elsewhere: u64,
    /// Whether there are other processes to tell.
    shared: bool,
    /// First used since the last exchange.
    first: Vec<u64>,
    /// Used again since the last exchange.
    again: Vec<u64>,
    /// Refused here since the last exchange: another process may know it.
    doubtful: Vec<u64>,
    /// What all of these take.
    memory: Reservation,
}

/// What to tell the other processes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// In use; those that were not told before come first.
    pub used: Vec<u64>,
    first: usize,
    /// Refused; are they known elsewhere?
    pub doubtful: Vec<u64>,
}

impl Active {
    pub(crate) fn new(limit: u64, shared: bool, memory: &Account, now: Instant) -> Self {
        Self {
            limit,
            young: HashSet::new(),
            old: HashSet::new(),
            began: now,
            elsewhere: 0,
            shared,
            first: Vec::new(),
            again: Vec::new(),
            doubtful: Vec::new(),
            memory: memory.empty(),
        }
    }

    fn here(&self) -> u64 {
        (self.young.len() + self.old.len()) as u64
    }

    /// Whether `hash` may be used: it is in use already, or there is room for it.
    pub(crate) fn admit(&mut self, hash: u64, now: Instant) -> Answer {
        self.age(now);
        let young = self.young.contains(&hash);
        let known = young || self.old.contains(&hash);
        if !known && self.here().saturating_add(self.elsewhere) >= self.limit {
            if self.shared && self.doubtful.len() < MOST_DOUBTFUL {
                self.doubtful.push(hash);
                self.settle();
            }
            return Answer::Full;
        }
        if young || self.make_room() {
            self.old.remove(&hash);
            self.young.insert(hash);
        } else if !known {
            return Answer::NoMemory;
        } // else it stays among the old ones, and makes room with them
        self.tell(hash, known);
        Answer::Admitted
    }

    /// Makes room for one more in `young`; false if there is no memory for that.
    fn make_room(&mut self) -> bool {
        let capacity = self.young.capacity();
        if self.young.len() < capacity {
            return true;
        }
        // Both sets are there while one is copied into the other.
        let wanted = (2 * capacity).max(FEWEST);
        let bytes = set_bytes(wanted);
        if self.memory.try_grow(bytes).is_err() {
            if self.here() >= ALWAYS as u64 {
                return false;
            }
            self.memory.grow(bytes);
        }
        self.young.reserve(wanted - self.young.len());
        self.settle();
        true
    }

    /// Notes a use for the other processes. Without memory for that it counts too little for them.
    fn tell(&mut self, hash: u64, known: bool) {
        let unreported = if known { &mut self.again } else { &mut self.first };
        if !self.shared || unreported.len() >= MOST_UNREPORTED {
            return;
        }
        if unreported.len() == unreported.capacity() {
            let more = unreported.capacity().max(64);
            if self.memory.try_grow((2 * more * size_of::<u64>()) as u64).is_err() {
                return;
            }
            unreported.reserve_exact(more);
            unreported.push(hash);
            self.settle();
        } else {
            unreported.push(hash);
        }
    }

    /// Makes the reservation what is held: what could not be asked for before (it is little) counts afterwards.
    fn settle(&mut self) {
        let told = self.first.capacity() + self.again.capacity() + self.doubtful.capacity();
        let sets = set_bytes(self.young.capacity()) + set_bytes(self.old.capacity());
        let held = sets + (told * size_of::<u64>()) as u64;
        match held.checked_sub(self.memory.bytes()) {
            Some(more) => self.memory.grow(more),
            None => self.memory.shrink(self.memory.bytes() - held),
        }
    }

    fn age(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age < PERIOD {
            return;
        }
        self.old = std::mem::take(&mut self.young);
        if age >= 2 * PERIOD {
            self.old = HashSet::new();
        }
        self.began = now;
        self.settle();
    }

    /// Up to `most` uses since the last report, and what was refused meanwhile.
    pub(crate) fn report(&mut self, most: usize) -> Report {
        let mut used: Vec<u64> = self.first.drain(..most.min(self.first.len())).collect();
        let first = used.len();
        used.extend(self.again.drain(..(most - first).min(self.again.len())));
        let doubtful = std::mem::take(&mut self.doubtful);
        for told in [&mut self.first, &mut self.again] {
            if told.is_empty() {
                *told = Vec::new();
            }
        }
        self.settle();
        Report { used, first, doubtful }
    }

    /// The report may not have arrived: its uses are told again.
    pub(crate) fn keep(&mut self, mut report: Report) {
        let again = report.used.split_off(report.first);
        for (queue, lost) in [(&mut self.first, report.used), (&mut self.again, again)] {
            queue.splice(0..0, lost);
            queue.truncate(MOST_UNREPORTED);
        }
        self.settle();
    }

    /// Takes over the answer: how many all processes together use, and which of the doubtful are among them.
    pub(crate) fn learn(&mut self, total: u64, known: impl IntoIterator<Item = u64>) {
        self.young.extend(known);
        let told = self.here().saturating_sub(self.first.len() as u64);
        self.elsewhere = total.saturating_sub(told);
        self.settle();
    }
}

/// Bytes of a set that has room for `capacity` hashes: of its places, a power of two, seven in eight are used, and each
/// takes a byte more.
fn set_bytes(capacity: usize) -> u64 {
    if capacity == 0 {
        return 0;
    }
    let places = (capacity * 8 / 7).next_power_of_two();
    (places * (size_of::<u64>() + 1)) as u64
}

#[cfg(test)]
mod tests {
    use memory::{Budget, Use};

    use super::*;

    fn with_memory(limit: u64, shared: bool, now: Instant) -> Active {
        let memory = Budget::unlimited().account(Use::Limits, u64::MAX);
        Active::new(limit, shared, &memory, now)
    }

    impl Active {
        fn takes(&mut self, hash: u64, now: Instant) -> bool {
            self.admit(hash, now) == Answer::Admitted
        }
    }

    #[test]
    fn what_is_new_is_refused_at_the_limit_and_what_is_in_use_goes_on() {
        let now = Instant::now();
        let mut active = with_memory(3, false, now);
        assert!((1..=3).all(|hash| active.takes(hash, now)));
        assert!(!active.takes(4, now));
        assert!((1..=3).all(|hash| active.takes(hash, now)));
        // Used again after an hour: still in use. The others are forgotten after two periods at the latest.
        let later = now + Duration::from_secs(3700);
        assert!(active.takes(1, later));
        assert!(!active.takes(4, now + PERIOD));
        assert!(active.takes(1, now + PERIOD));
        let end = now + 2 * PERIOD;
        assert!(active.takes(4, end) && active.takes(5, end) && active.takes(1, end));
        assert!(!active.takes(6, end));
    }

    #[test]
    fn silence_of_two_periods_forgets_everything() {
        let now = Instant::now();
        let mut active = with_memory(1, false, now);
        assert!(active.takes(1, now));
        assert!(!active.takes(2, now + PERIOD));
        let mut active = with_memory(1, false, now);
        assert!(active.takes(1, now));
        assert!(active.takes(2, now + 2 * PERIOD));
    }

    #[test]
    fn what_others_use_counts_once_and_is_admitted_when_it_moves_here() {
        let now = Instant::now();
        let mut active = with_memory(4, true, now);
        assert!(active.takes(1, now) && active.takes(2, now));
        let report = active.report(10);
        assert_eq!(report.used, [1, 2]);
        // Two are used elsewhere and not here.
        active.learn(4, []);
        assert!(active.takes(1, now), "used again, which is told again and counts once");
        assert!(!active.takes(3, now), "there may be no fifth");
        let report = active.report(10);
        assert_eq!((report.used, report.doubtful), (vec![1], vec![3]));
        // The others say that 3 is one of theirs.
        active.learn(4, [3]);
        assert!(active.takes(3, now));
        assert!(!active.takes(5, now));
        // One of theirs has ended.
        active.learn(3, []);
        assert!(active.takes(5, now));
    }

    #[test]
    fn a_lost_report_is_told_again_before_what_came_later() {
        let now = Instant::now();
        let mut active = with_memory(100, true, now);
        (1..=5).for_each(|hash| assert!(active.takes(hash, now)));
        let report = active.report(2);
        assert_eq!(report.used, [1, 2]);
        active.keep(report);
        assert_eq!(active.report(4).used, [1, 2, 3, 4]);
        assert_eq!(active.report(4).used, [5]);
    }

    #[test]
    fn all_that_is_held_is_reserved_and_given_back() {
        let now = Instant::now();
        let budget = Budget::unlimited();
        let mut active = Active::new(1 << 20, true, &budget.account(Use::Limits, u64::MAX), now);
        for hash in 0..100_000 {
            assert!(active.takes(hash, now));
        }
        let used = budget.used(Use::Limits);
        // Sets of 131,072 places, and as many hashes not yet told.
        assert!((131_072 * 17..131_072 * 18).contains(&used), "{used}");
        while !active.report(10_000).used.is_empty() {}
        assert_eq!(budget.used(Use::Limits), 131_072 * 9);
        // A period later they are the old ones, and another one later gone.
        assert!(active.takes(0, now + PERIOD));
        let report = active.report(10);
        assert_eq!(report.used, [0]);
        assert!(budget.used(Use::Limits) >= 131_072 * 9);
        assert!(active.takes(0, now + 2 * PERIOD));
        assert!(budget.used(Use::Limits) < 2_000);
        drop(active);
        assert_eq!(budget.used(Use::Limits), 0);
    }

    #[test]
    fn without_memory_what_is_new_is_refused_and_what_is_in_use_goes_on() {
        let now = Instant::now();
        let budget = Budget::new(100 << 10);
        let account = budget.account(Use::Limits, 100 << 10);
        let mut active = Active::new(1 << 20, false, &account, now);
        let first_refused = (0..).find(|&hash| !active.takes(hash, now)).unwrap();
        assert_eq!(active.admit(first_refused, now), Answer::NoMemory);
        assert!(first_refused >= 3_000, "{first_refused}");
        assert!(account.used() <= 100 << 10);
        assert!((0..first_refused).all(|hash| active.takes(hash, now)));
        // Others still get their first thousand.
        let mut other = Active::new(1 << 20, false, &account, now);
        assert!((0..ALWAYS as u64).all(|hash| other.takes(hash, now)));
        assert!((0..1 << 20).any(|hash| !other.takes(hash, now)));
        // A period later all are old: as many as there is memory for become young again, the others stay as they are.
        let later = now + PERIOD;
        assert!((0..first_refused).all(|hash| active.takes(hash, later)));
        // What is silent makes room.
        drop(other);
        assert!((0..1_000).all(|hash| active.takes(hash, later + PERIOD)));
        assert!((0..500).all(|hash| active.takes(first_refused + hash, later + PERIOD)));
    }
}

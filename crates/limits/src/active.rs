//! How many distinct things a tenant uses: series, attribute keys.
//!
//! A thing is known by 64 bits of its hash. It counts from its first use until one to two [`PERIOD`]s after its last
//! one: two generations, of which the older is dropped when the younger is a period old. Callers tell of each use at
//! most once an hour, because they remember what they asked about (`otlp::decode`), and at least that often while it
//! lasts; a period is longer than that.
//!
//! When the limit is reached, what is new is refused and what is in use goes on.

use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Longer than the hour after which the decoder asks again about what it saw before.
pub(crate) const PERIOD: Duration = Duration::from_secs(65 * 60);

/// Uses not yet told to the other processes, at most (8 B each). Beyond it they count too little for others.
const MOST_UNREPORTED: usize = 1_000_000;

/// Refused things about which the others will be asked, at most; the rest is asked about when it is sent again.
const MOST_DOUBTFUL: usize = 1_000;

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
    pub(crate) fn new(limit: u64, shared: bool, now: Instant) -> Self {
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
        }
    }

    fn here(&self) -> u64 {
        (self.young.len() + self.old.len()) as u64
    }

    /// Whether `hash` may be used: it is in use already, or there is room for it.
    pub(crate) fn admit(&mut self, hash: u64, now: Instant) -> bool {
        self.age(now);
        let known = self.young.contains(&hash) || self.old.remove(&hash);
        if !known && self.here() + self.elsewhere >= self.limit {
            if self.shared && self.doubtful.len() < MOST_DOUBTFUL {
                self.doubtful.push(hash);
            }
            return false;
        }
        self.young.insert(hash);
        let unreported = if known { &mut self.again } else { &mut self.first };
        if self.shared && unreported.len() < MOST_UNREPORTED {
            unreported.push(hash);
        }
        true
    }

    fn age(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age < PERIOD {
            return;
        }
        self.old = std::mem::take(&mut self.young);
        if age >= 2 * PERIOD {
            self.old.clear();
        }
        self.began = now;
    }

    /// Up to `most` uses since the last report, and what was refused meanwhile.
    pub(crate) fn report(&mut self, most: usize) -> Report {
        let mut used: Vec<u64> = self.first.drain(..most.min(self.first.len())).collect();
        let first = used.len();
        used.extend(self.again.drain(..(most - first).min(self.again.len())));
        Report {
            used,
            first,
            doubtful: std::mem::take(&mut self.doubtful),
        }
    }

    /// The report may not have arrived: its uses are told again.
    pub(crate) fn keep(&mut self, mut report: Report) {
        let again = report.used.split_off(report.first);
        for (queue, lost) in [(&mut self.first, report.used), (&mut self.again, again)] {
            queue.splice(0..0, lost);
            queue.truncate(MOST_UNREPORTED);
        }
    }

    /// Takes over the answer: how many all processes together use, and which of the doubtful are among them.
    pub(crate) fn learn(&mut self, total: u64, known: impl IntoIterator<Item = u64>) {
        self.young.extend(known);
        let told = self.here().saturating_sub(self.first.len() as u64);
        self.elsewhere = total.saturating_sub(told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_refused_at_the_limit_and_what_is_in_use_goes_on() {
        let now = Instant::now();
        let mut active = Active::new(3, false, now);
        assert!((1..=3).all(|hash| active.admit(hash, now)));
        assert!(!active.admit(4, now));
        assert!((1..=3).all(|hash| active.admit(hash, now)));
        // Used again after an hour: still in use. The others are forgotten after two periods at the latest.
        let later = now + Duration::from_secs(3700);
        assert!(active.admit(1, later));
        assert!(!active.admit(4, now + PERIOD));
        assert!(active.admit(1, now + PERIOD));
        let end = now + 2 * PERIOD;
        assert!(active.admit(4, end) && active.admit(5, end) && active.admit(1, end));
        assert!(!active.admit(6, end));
    }

    #[test]
    fn silence_of_two_periods_forgets_everything() {
        let now = Instant::now();
        let mut active = Active::new(1, false, now);
        assert!(active.admit(1, now));
        assert!(!active.admit(2, now + PERIOD));
        let mut active = Active::new(1, false, now);
        assert!(active.admit(1, now));
        assert!(active.admit(2, now + 2 * PERIOD));
    }

    #[test]
    fn what_others_use_counts_once_and_is_admitted_when_it_moves_here() {
        let now = Instant::now();
        let mut active = Active::new(4, true, now);
        assert!(active.admit(1, now) && active.admit(2, now));
        let report = active.report(10);
        assert_eq!(report.used, [1, 2]);
        // Two are used elsewhere and not here.
        active.learn(4, []);
        assert!(active.admit(1, now), "used again, which is told again and counts once");
        assert!(!active.admit(3, now), "there may be no fifth");
        let report = active.report(10);
        assert_eq!((report.used, report.doubtful), (vec![1], vec![3]));
        // The others say that 3 is one of theirs.
        active.learn(4, [3]);
        assert!(active.admit(3, now));
        assert!(!active.admit(5, now));
        // One of theirs has ended.
        active.learn(3, []);
        assert!(active.admit(5, now));
    }

    #[test]
    fn a_lost_report_is_told_again_before_what_came_later() {
        let now = Instant::now();
        let mut active = Active::new(100, true, now);
        (1..=5).for_each(|hash| assert!(active.admit(hash, now)));
        let report = active.report(2);
        assert_eq!(report.used, [1, 2]);
        active.keep(report);
        assert_eq!(active.report(4).used, [1, 2, 3, 4]);
        assert_eq!(active.report(4).used, [5]);
    }
}

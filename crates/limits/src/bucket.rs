//! A rate: how much may be used per second, and how much at once after silence.
//!
//! A bucket may be overdrawn: whoever asks while it is not empty gets all it needs, and the next one waits until the
//! debt is paid. So a request larger than the bucket is delayed and not refused for ever, and the average is exact.
//!
//! Processes that share a rate each hold a view of one common pool. Between two exchanges a process may use an equal
//! share of what was left at the last one, so that all together do not use the same tokens several times.

use std::time::{Duration, Instant};

/// Nobody is sent away for less: the answer and the retry take about as long.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Bucket {
    /// Tokens per second, for all processes together.
    pub rate: f64,
    /// Tokens at most.
    pub burst: f64,
    /// What is left for all processes, as far as this one knows; negative is debt.
    pool: f64,
    /// What is left for this process until the next exchange.
    share: f64,
    processes: f64,
    /// Used since the last report.
    spent: f64,
    refilled: Instant,
}

impl Bucket {
    pub(crate) fn new(rate: u64, burst: Duration, processes: u32, now: Instant) -> Self {
        let rate = rate as f64;
        // At least a second's worth: less would turn away single requests of a sender that keeps to its rate.
        let burst = rate * burst.as_secs_f64().max(1.0);
        let processes = f64::from(processes.max(1));
        Self {
            rate,
            burst,
            pool: burst,
            share: burst / processes,
            processes,
            spent: 0.0,
            refilled: now,
        }
    }

    fn refill(&mut self, now: Instant) {
        let new = self.rate * now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = self.refilled.max(now);
        self.pool = (self.pool + new).min(self.burst);
        self.share = (self.share + new / self.processes).min(self.burst / self.processes);
    }

    /// How long to wait for tokens; `None` if there are some. `in_contact` says whether the pool is known.
    pub(crate) fn wait(&mut self, now: Instant, in_contact: bool) -> Option<Duration> {
        self.refill(now);
        if self.share > 0.0 {
            return None;
        }
        let seconds = if in_contact {
            (-self.pool).max(0.0) / self.rate
        } else {
            -self.share * self.processes / self.rate
        };
        // Bounded for the conversion only; a year of debt is a year of debt.
        Some(Duration::from_secs_f64(seconds.min(1e9)).max(SHORTEST_WAIT))
    }

    pub(crate) fn spend(&mut self, tokens: u64) {
        let tokens = tokens as f64;
        self.pool -= tokens;
        self.share -= tokens;
        self.spent += tokens;
    }

    /// What was used since the last report.
    pub(crate) fn report(&mut self) -> f64 {
        std::mem::take(&mut self.spent)
    }

    /// Takes over what the last report's answer says: what is left for how many processes.
    pub(crate) fn learn(&mut self, pool: f64, processes: u32, now: Instant) {
        self.processes = f64::from(processes.max(1));
        self.pool = pool - self.spent;
        self.share = pool / self.processes - self.spent;
        self.refilled = self.refilled.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Sends 10 tokens every 10 ms for a minute; returns what got through.
    fn flood(bucket: &mut Bucket, start: Instant) -> u64 {
        (0..6000)
            .filter(|n| {
                let free = bucket.wait(start + Duration::from_millis(10 * n), false).is_none();
                if free {
                    bucket.spend(10);
                }
                free
            })
            .count() as u64
            * 10
    }

    #[test]
    fn the_average_is_the_rate_and_silence_allows_a_burst() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, 5 * SECOND, 1, start);
        let sent = flood(&mut bucket, start);
        assert!((6490..=6510).contains(&sent), "500 at once and 100 a second: {sent}");
    }

    #[test]
    fn one_of_four_processes_has_a_quarter() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, 5 * SECOND, 4, start);
        let sent = flood(&mut bucket, start);
        assert!((1615..=1635).contains(&sent), "125 at once and 25 a second: {sent}");
    }

    #[test]
    fn a_request_larger_than_the_bucket_passes_and_the_next_one_waits_for_it() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, SECOND, 1, start);
        assert_eq!(bucket.wait(start, false), None);
        bucket.spend(1100);
        assert_eq!(bucket.wait(start, false), Some(10 * SECOND));
        assert_eq!(bucket.wait(start + 9 * SECOND, false), Some(SECOND));
        assert_eq!(bucket.wait(start + 10 * SECOND + SHORTEST_WAIT, false), None);
    }

    #[test]
    fn what_others_used_counts_once_it_is_known() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, 10 * SECOND, 1, start);
        bucket.spend(10);
        assert_eq!(bucket.report(), 10.0);
        bucket.spend(5);
        // Two processes used 1,200 of 1,000 when the report arrived; 5 more were used here meanwhile.
        bucket.learn(-200.0, 2, start);
        assert_eq!(bucket.wait(start, true), Some(Duration::from_millis(2050)));
        assert_eq!(bucket.report(), 5.0);
        // Half of what is left is for the other one.
        bucket.learn(100.0, 2, start);
        bucket.spend(50);
        assert_eq!(bucket.wait(start, true), Some(SHORTEST_WAIT));
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_adds_nothing() {
        let start = Instant::now() + 10 * SECOND;
        let mut bucket = Bucket::new(100, SECOND, 1, start);
        bucket.spend(200);
        assert_eq!(bucket.wait(start - 5 * SECOND, false), Some(SECOND));
        assert_eq!(bucket.wait(start, false), Some(SECOND));
    }
}

//! The time by which a catalog's bookkeeping goes.
//!
//! Leases, grace periods and the memory of requests compare times that several processes wrote. The clocks of machines can
//! be hours apart and jump; a process whose clock is ahead would forget requests the moment they were recorded. So
//! PostgreSQL tells the time where there is one: each process asks for it now and then, and counts on from there by its
//! monotonic clock. With SQLite there is one machine and its clock. That either was set is noticed, and said to those
//! who would delete by age ([`Clock::steady_for`]); what came before the process started counts as unknown.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use catalog::{Catalog, CatalogError};
use parking_lot::Mutex;
use schema::{Clock, SystemClock, UnixNanos};

/// How often the database is asked. Between two answers a machine's monotonic clock drifts by less than a millisecond.
const REFRESH: Duration = Duration::from_secs(10);

/// A clock that moved by this much more or less than the monotonic one was set; NTP slews by 0.5 ms a second at most. An
/// answer of the database that took longer says too little about the time.
const TOLERANCE: Duration = Duration::from_secs(1);

/// The catalog's clock in one process.
#[derive(Debug)]
pub struct CatalogClock {
    /// Whether the database tells the time.
    shared: bool,
    last: Mutex<Reading>,
}

#[derive(Debug)]
struct Reading {
    time: UnixNanos,
    at: Instant,
    /// Since when the time is known to have gone evenly.
    steady_since: Instant,
}

impl CatalogClock {
    /// Reads the time and, with a database that tells it, keeps following it until the clock is dropped.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn start(catalog: &Catalog) -> Result<Arc<Self>, CatalogError> {
        let told = ask(catalog).await?;
        let at = Instant::now();
        let last = Reading {
            time: told.map_or_else(|| SystemClock.now(), |(time, _)| time),
            at: told.map_or(at, |(_, at)| at),
            // What happened to the clock before the process started is unknown, and for a while others may count on from what it
            // said before.
            steady_since: at,
        };
        let clock = Arc::new(Self {
            shared: told.is_some(),
            last: Mutex::new(last),
        });
        if clock.shared {
            tokio::spawn(follow(Arc::downgrade(&clock), catalog.clone()));
        }
        Ok(clock)
    }
}

impl Clock for CatalogClock {
    fn now(&self) -> UnixNanos {
        if self.shared {
            self.last.lock().expected(Instant::now())
        } else {
            SystemClock.now()
        }
    }

    fn ticks(&self) -> i64 {
        SystemClock.ticks()
    }

    fn steady_for(&self) -> Duration {
        let (mut last, at) = (self.last.lock(), Instant::now());
        if !self.shared {
            last.read(SystemClock.now(), at);
        }
        at.saturating_duration_since(last.steady_since)
    }
}

impl Reading {
    /// What the time should be if nobody set the clock.
    fn expected(&self, at: Instant) -> UnixNanos {
        let passed = at.saturating_duration_since(self.at).as_nanos();
        self.time.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    fn read(&mut self, time: UnixNanos, at: Instant) {
        let off = time.saturating_sub(self.expected(at)).unsigned_abs();
        if Duration::from_nanos(off) > TOLERANCE {
            let seconds = time.saturating_sub(self.expected(at)) / 1_000_000_000;
            tracing::warn!(
                seconds,
                "the clock was set; requests are remembered for longer until it has gone evenly"
            );
            self.steady_since = at;
        }
        (self.time, self.at) = (time, at);
    }
}

/// The database's time and when it was that; `None` if it tells none.
async fn ask(catalog: &Catalog) -> Result<Option<(UnixNanos, Instant)>, CatalogError> {
    let asked = Instant::now();
    let time = catalog.time().await?;
    Ok(time.map(|time| (time, asked + asked.elapsed() / 2)))
}

async fn follow(clock: Weak<CatalogClock>, catalog: Catalog) {
    loop {
        tokio::time::sleep(REFRESH).await;
        let asked = Instant::now();
        let answer = ask(&catalog).await;
        let Some(clock) = clock.upgrade() else { return };
        // Without an answer the time goes on as it went.
        if let Ok(Some((time, at))) = answer
            && asked.elapsed() < TOLERANCE
        {
            clock.last.lock().read(time, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_clock_that_was_set_is_noticed() {
        let at = Instant::now();
        let after = |seconds| at + Duration::from_secs(seconds);
        let mut last = Reading {
            time: 1_000 * SECOND,
            at,
            steady_since: at,
        };
        assert_eq!(last.expected(after(7)), 1_007 * SECOND);
        last.read(1_010 * SECOND + SECOND / 2, after(10));
        assert_eq!(last.steady_since, at, "half a second is no jump");
        last.read(1_020 * SECOND + 3_600 * SECOND, after(20));
        assert_eq!(last.steady_since, after(20), "set forth");
        last.read(1_030 * SECOND + 3_600 * SECOND, after(30));
        assert_eq!(last.steady_since, after(20));
        last.read(1_040 * SECOND, after(40));
        assert_eq!(last.steady_since, after(40), "set back");
    }

    #[tokio::test]
    async fn with_sqlite_the_machine_tells_the_time_and_is_trusted_from_now_on() {
        let url = catalog::CatalogUrl::SqliteMemory;
        let catalog = Catalog::connect(&url, catalog::ConnectOptions::default())
            .await
            .unwrap();
        let clock = CatalogClock::start(&catalog).await.unwrap();
        assert!((clock.now() - SystemClock.now()).abs() < 60 * SECOND);
        assert!(clock.steady_for() < Duration::from_secs(60));
    }
}

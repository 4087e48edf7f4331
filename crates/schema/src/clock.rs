//! Time as a parameter, so that a test can move it by hand and replay any history.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch, the time unit of OTLP and of every stored column. Covers the years 1970
/// to 2262; negative values are never stored.
pub type UnixNanos = i64;

/// Where the current time comes from.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The current time in ns since the Unix epoch.
    fn now(&self) -> UnixNanos;

    /// For how long it is known that nobody set the clock. What was recorded earlier may seem older than it is: who
    /// deletes by age what must be kept for a time asks this first.
    fn steady_for(&self) -> Duration {
        Duration::MAX
    }

    /// Nanoseconds since some moment, which go on evenly whatever becomes of the time: how long something took in this
    /// process.
    fn ticks(&self) -> i64 {
        self.now()
    }
}

/// An instant is a clock that stands still.
impl Clock for UnixNanos {
    fn now(&self) -> UnixNanos {
        *self
    }
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> UnixNanos {
        (**self).now()
    }

    fn steady_for(&self) -> Duration {
        (**self).steady_for()
    }

    fn ticks(&self) -> i64 {
        (**self).ticks()
    }
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that may read the global clock
    fn now(&self) -> UnixNanos {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }

    fn ticks(&self) -> i64 {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        let since = FIRST.get_or_init(Instant::now).elapsed();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }
}

/// A clock that stands still until it is told otherwise.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `start` (ns).
    pub fn new(start: UnixNanos) -> Self {
        Self(AtomicI64::new(start))
    }

    /// Moves the clock by `delta` ns, backwards when negative.
    pub fn advance(&self, delta: i64) {
        self.0.fetch_add(delta, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixNanos {
        self.0.load(Ordering::SeqCst)
    }
}

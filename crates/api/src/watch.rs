//! Counts a query exactly once, however it ends.

use std::time::Instant;

use telemetry::{QueryStatus, Telemetry};

/// Records a query in our metrics when it ends, or as cancelled when it is dropped before: that is what happens when
/// the client goes away.
pub(crate) struct QueryWatch {
    telemetry: Telemetry,
    api: &'static str,
    started: Instant,
    ended: bool,
}

impl QueryWatch {
    pub(crate) fn new(telemetry: Telemetry, api: &'static str, started: Instant) -> Self {
        Self {
            telemetry,
            api,
            started,
            ended: false,
        }
    }

    /// The query ended; later calls change nothing.
    pub(crate) fn end(&mut self, status: QueryStatus) {
        if !std::mem::replace(&mut self.ended, true) {
            self.telemetry.query(self.api, status, self.started.elapsed());
        }
    }
}

impl Drop for QueryWatch {
    fn drop(&mut self) {
        self.end(QueryStatus::Cancelled);
    }
}

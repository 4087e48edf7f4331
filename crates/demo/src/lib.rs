//! A believable shop of twelve services, for demonstrations and for trying queries: customers browse, fill carts and
//! check out; every request leaves a trace across services, log records with its context, and metrics whose
//! exemplars point back at it. Every few minutes something breaks for a minute or two (see [`incident`]).
//!
//! Life cycle: [`run`] simulates and sends until its duration is over or the shutdown future completes. An endpoint that
//! is away costs the telemetry of that time, as with any SDK whose queue is full; the shop goes on.
//!
//! Absent on purpose: it knows nothing of the server but the OTLP/HTTP endpoint, and holds no data beyond one interval.

mod context;
mod export;
mod incident;
mod instruments;
mod journeys;
mod shop;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use schema::{Clock, SystemClock};

use context::Request;
use export::{Exporter, Outbox};
pub use incident::{Incident, incident_at};
use instruments::Instruments;

/// How often spans and logs are sent: SDKs batch for one to five seconds.
const SPAN_INTERVAL: Duration = Duration::from_secs(1);
/// How often metrics are sent, in intervals of spans. Shorter than the usual minute, so that charts fill quickly.
const METRIC_INTERVALS: u64 = 10;
/// Most requests of customers simulated in one interval, whatever rate was asked for: bounds memory.
const MOST_REQUESTS: f64 = 20_000.0;

/// What to simulate and where to send it.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Base URL of an OTLP/HTTP receiver, for example `http://127.0.0.1:4318`; `/v1/traces` and so on are appended.
    pub endpoint: String,
    /// Sent as `X-Scope-OrgID`; `None` leaves the tenant to the server.
    pub tenant: Option<String>,
    /// Mean requests of customers a second, each of which is one trace of 5 to 50 spans.
    pub traces_per_second: f64,
    /// Equal seeds give equal behaviour, times aside.
    pub seed: u64,
    /// Stop after this long; `None` runs until shutdown.
    pub duration: Option<Duration>,
}

/// What was sent and acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DemoReport {
    /// Traces that were simulated.
    pub traces: u64,
    /// Spans in acknowledged requests.
    pub spans: u64,
    /// Log records in acknowledged requests.
    pub log_records: u64,
    /// Metric data points in acknowledged requests.
    pub data_points: u64,
    /// Export requests that were given up, after retries or as refused.
    pub failed_requests: u64,
}

/// Why the demo could not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The endpoint is not a URL.
    #[error("the endpoint {0:?} is not an http:// or https:// URL; give the base URL of an OTLP/HTTP receiver")]
    Endpoint(String),
    /// The rate is negative, zero, infinite or not a number.
    #[error("traces per second must be a positive number, not {0}")]
    Rate(f64),
    /// The tenant cannot be sent in a header.
    #[error("the tenant {0:?} cannot be sent in an HTTP header; use visible ASCII characters")]
    Tenant(String),
    /// The HTTP client could not be set up.
    #[error("setting up the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Runs the shop on the system's clock until `options.duration` is over or `shutdown` completes.
///
/// # Errors
/// Only when the options are unusable; failed exports are counted in the report.
pub async fn run(options: DemoOptions, shutdown: impl Future<Output = ()>) -> Result<DemoReport, DemoError> {
    run_with(options, Arc::new(SystemClock), shutdown).await
}

/// [`run`] with another clock, which stamps the telemetry; pauses still take real time.
///
/// # Errors
/// Only when the options are unusable; failed exports are counted in the report.
pub async fn run_with(
    options: DemoOptions,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()>,
) -> Result<DemoReport, DemoError> {
    if !(options.traces_per_second.is_finite() && options.traces_per_second > 0.0) {
        return Err(DemoError::Rate(options.traces_per_second));
    }
    let exporter = Exporter::new(&options.endpoint, options.tenant.as_deref())?;
    let mut shop = Shop::new(&options, clock.now());
    let mut ticks = tokio::time::interval(SPAN_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut intervals = 0u64;
    let most = options
        .duration
        .map_or(u64::MAX, |duration| duration.as_secs_f64().ceil().max(1.0) as u64);
    let mut shutdown = std::pin::pin!(shutdown);
    while intervals < most {
        let ended = tokio::select! {
            () = &mut shutdown => true,
            _ = ticks.tick() => false,
        };
        if ended {
            break;
        }
        intervals += 1;
        let last = intervals == most;
        let outbox = shop.interval(clock.now(), intervals.is_multiple_of(METRIC_INTERVALS) || last);
        // A server that is away does not delay the end.
        tokio::select! {
            () = &mut shutdown => break,
            () = exporter.send(outbox, &mut shop.report) => {}
        }
    }
    Ok(shop.report)
}

/// The simulation between two exports.
#[derive(Debug)]
struct Shop {
    seed: u64,
    rate: f64,
    random: StdRng,
    pods: Vec<shop::Pod>,
    instruments: Instruments,
    incident: Option<Incident>,
    report: DemoReport,
}

impl Shop {
    fn new(options: &DemoOptions, now: i64) -> Self {
        let mut random = StdRng::seed_from_u64(options.seed);
        let pods = shop::pods(&mut random);
        Self {
            seed: options.seed,
            rate: options.traces_per_second,
            instruments: Instruments::new(pods.len(), now),
            random,
            pods,
            incident: None,
            report: DemoReport::default(),
        }
    }

    /// Simulates the second that ends at `now` (ns), and collects what the services export then.
    fn interval(&mut self, now: i64, with_metrics: bool) -> Outbox {
        let incident = incident_at(self.seed, now);
        if incident != self.incident {
            match incident {
                Some(incident) => tracing::info!(incident = incident.describe(), "something in the shop breaks"),
                None => tracing::info!("the shop has recovered"),
            }
            self.incident = incident;
        }
        let mut outbox = Outbox::default();
        let length = SPAN_INTERVAL.as_nanos() as i64;
        for _ in 0..self.arrivals() {
            let begun = now - length + self.random.random_range(0..length);
            let mut request = Request::new(begun, incident, &self.pods, &mut self.random);
            journeys::any(&mut request);
            let done = request.finish();
            self.instruments.observe(&done);
            outbox.add(done);
            self.report.traces += 1;
        }
        if with_metrics {
            outbox.metrics = self.instruments.export(now, incident, &self.pods, &mut self.random);
        }
        outbox.group(&self.pods);
        outbox
    }

    /// How many customers come in one second: a Poisson draw, by counting exponential gaps.
    fn arrivals(&mut self) -> u64 {
        let mean = self.rate * SPAN_INTERVAL.as_secs_f64();
        if mean > 500.0 {
            // So many that the draw's own spread no longer shows.
            return mean.min(MOST_REQUESTS) as u64;
        }
        let mut count = 0;
        let mut elapsed = 0.0;
        loop {
            elapsed -= (1.0 - self.random.random::<f64>()).ln() / mean;
            if elapsed >= 1.0 {
                return count;
            }
            count += 1;
        }
    }
}

#[cfg(test)]
mod tests;

//! The phases of a run. Each starts a server of its own on an empty directory, so that none inherits the caches or the
//! backlog of another, and adds its figures to the report as it goes: a run that is interrupted later keeps them.

mod ingest;
mod latency;
mod lookup;
mod overload;
mod postgres;
mod s3;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::api::Api;
use crate::bundle::Bundle;
use crate::load::{Plan, Signal};
use crate::machine::Machine;
use crate::report::{Figure, Report, number};
use crate::server::Launch;
use crate::yardstick::{self, Yardstick};

/// What a caller may choose.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server's release binary.
    pub binary: PathBuf,
    /// Spans of the traces, lookup and S3 phases.
    pub spans: u64,
    /// Log records.
    pub logs: u64,
    /// Scalar samples.
    pub samples: u64,
    /// Concurrent gRPC connections.
    pub connections: usize,
    /// Seed of the loads.
    pub seed: u64,
    /// More environment for the server.
    pub environment: Vec<(String, String)>,
    /// Where the scratch directory is made; `None` for the system's.
    pub scratch: Option<PathBuf>,
    /// `postgres://` URL for the S3 phase; `None` starts a PostgreSQL of its own.
    pub catalog: Option<String>,
    /// How long each half of the latency phase lasts.
    pub latency_time: Duration,
    /// How long the overload lasts.
    pub overload_time: Duration,
    /// Keep the scratch directory, for a look at the log or the files.
    pub keep: bool,
}

/// Which figures to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Phase {
    /// Ingest, compaction and bytes at rest of spans.
    Traces,
    /// The same of log records.
    Logs,
    /// The same of metrics.
    Metrics,
    /// Acknowledgement latency flat out and at half of that rate.
    Latency,
    /// Trace by id, warm and cold, and the start with data.
    Lookup,
    /// Object-store requests of ingest, compaction and a cold lookup.
    S3,
    /// Four times the load that the server takes, in 512 MiB, with heavy queries.
    Overload,
    /// Only the yardsticks of the loads, without a server.
    Calibrate,
    /// Everything.
    All,
}

/// A run in progress.
#[derive(Debug)]
pub struct Bench {
    options: Options,
    scratch: TempDir,
    api: Api,
    report: Report,
    /// Event time of the first item of every load.
    start: i64,
    /// Lookups that did not return their whole trace: spans expected and got.
    incomplete: Vec<(u32, u32)>,
}

/// Event-time rate of the loads: 10 M spans are then 8 minutes of a busy shop.
const EVENT_RATE: f64 = 20_000.0;

impl Bench {
    /// Prepares a run: scratch directory and a description of the machine.
    ///
    /// # Errors
    /// When the scratch directory cannot be used.
    #[expect(
        clippy::disallowed_methods,
        reason = "a run reports when it took place and makes a load of just then"
    )]
    pub fn new(run: String, options: Options) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("otlp-rust-bench-").disable_cleanup(options.keep);
        let scratch = match &options.scratch {
            Some(directory) => builder.tempdir_in(directory),
            None => builder.tempdir(),
        }
        .context("making a scratch directory")?;
        if options.keep {
            eprintln!("scratch directory, kept: {}", scratch.path().display());
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock is before 1970")?;
        let report = Report {
            run,
            began: now.as_secs(),
            machine: Machine::describe(scratch.path())?,
            loads: Vec::new(),
            figures: Vec::new(),
            notes: Vec::new(),
        };
        // The loads lie in the past (the metrics cover more than four hours), so that no item is from the future.
        let start = (now.as_secs() as i64 - 5 * 3600) * 1_000_000_000;
        Ok(Self {
            options,
            scratch,
            api: Api::new()?,
            report,
            start,
            incomplete: Vec::new(),
        })
    }

    /// Runs a phase. Its figures are in the report, also those from before a failure.
    ///
    /// # Errors
    /// When the server fails; the message says how.
    pub async fn run(&mut self, phase: Phase) -> Result<()> {
        match phase {
            Phase::Traces => self.ingest(Signal::Traces).await.map(drop),
            Phase::Logs => self.ingest(Signal::Logs).await.map(drop),
            Phase::Metrics => self.ingest(Signal::Metrics).await.map(drop),
            Phase::Latency => self.latency().await,
            Phase::Lookup => self.lookup_alone().await,
            Phase::S3 => self.s3().await,
            Phase::Overload => self.overload().await,
            Phase::Calibrate => self.calibrate().await,
            Phase::All => self.all().await,
        }
    }

    /// The report so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// One failed phase does not cost the figures of the others.
    async fn all(&mut self) -> Result<()> {
        let outcome = self.traces_and_lookup().await;
        self.survive("traces and lookup", outcome);
        for phase in [Phase::Logs, Phase::Metrics, Phase::Latency, Phase::S3] {
            let outcome = Box::pin(self.run(phase)).await;
            self.survive(&format!("{phase:?}").to_lowercase(), outcome);
        }
        Ok(())
    }

    async fn traces_and_lookup(&mut self) -> Result<()> {
        let (server, bundle) = self.ingest(Signal::Traces).await?;
        self.lookup(server, &bundle).await
    }

    async fn calibrate(&mut self) -> Result<()> {
        for signal in Signal::ALL {
            self.load(signal, self.items(signal).min(2_000_000))?.discard();
        }
        Ok(())
    }

    fn survive(&mut self, what: &str, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.note(format!("**{what} failed**: {error:#}"));
        }
    }

    fn items(&self, signal: Signal) -> u64 {
        match signal {
            Signal::Traces => self.options.spans,
            Signal::Logs => self.options.logs,
            Signal::Metrics => self.options.samples,
        }
    }

    /// Writes the load of a signal and measures its yardsticks.
    fn load(&mut self, signal: Signal, items: u64) -> Result<Bundle> {
        self.load_at(signal, items, EVENT_RATE)
    }

    fn load_at(&mut self, signal: Signal, items: u64, rate: f64) -> Result<Bundle> {
        eprintln!("generating {} {}s", number(items as f64), signal.item());
        let plan = Plan {
            seed: self.options.seed,
            items,
            start: self.start,
            rate,
        };
        let bundle = Bundle::write(self.scratch.path(), signal, plan)?;
        let known = self.report.loads.iter().any(|(name, _)| *name == signal.name());
        if !known {
            let measured = yardstick::measure(&bundle)?;
            let expected = signal.expected();
            if measured.zstd_bytes < expected.zstd_least {
                self.note(format!(
                    "the {} load is easier than the neutral one: zstd -1 reaches {:.2} B, not {:.1} B",
                    signal.name(),
                    measured.zstd_bytes,
                    expected.zstd_least
                ));
            }
            self.report.loads.push((signal.name(), measured));
        }
        Ok(bundle)
    }

    fn yardstick(&self, signal: Signal) -> Result<&Yardstick> {
        let found = self.report.loads.iter().find(|(name, _)| *name == signal.name());
        found
            .map(|(_, yardstick)| yardstick)
            .context("the load comes before its figures")
    }

    /// How to start a server over a new, empty directory called `name`.
    fn launch(&self, name: &str) -> Launch {
        // Replaced objects go soon after compaction, so that a run need not wait a quarter of an hour to weigh the rest.
        let collect = [("OTLP_RUST__GC__GRACE", "1s"), ("OTLP_RUST__GC__INTERVAL", "2s")];
        let mut environment: Vec<_> = collect.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        environment.extend(self.options.environment.iter().cloned());
        Launch {
            binary: self.options.binary.clone(),
            data: self.scratch.path().join(name),
            log: self.scratch.path().join(format!("{name}.log")),
            environment,
            group: None,
        }
    }

    fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    fn figure(&mut self, figure: Figure) {
        eprintln!("{}: {} {}", figure.name, number(figure.measured), figure.unit);
        self.report.figures.push(figure);
    }

    fn note(&mut self, note: String) {
        eprintln!("note: {note}");
        self.report.notes.push(note);
    }
}

//! A trace by its id: warm, as the first question to a cold process, and how long that process took to be ready. Then
//! how long nothing was accepted when the process was killed, and how long deletions take.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use super::Bench;
use crate::api::hex;
use crate::bundle::Bundle;
use crate::load::spans::KnownTrace;
use crate::load::{Request, Signal};
use crate::report::{Better, Figure, number};
use crate::send::{Answer, Clients, quantile};
use crate::server::{Launch, Server};

/// Lookups before the timed ones.
const WARM_UP: usize = 50;
/// Timed warm lookups.
const TIMED: usize = 200;
/// Restarts, each with one cold lookup; the median counts.
const RESTARTS: usize = 5;
/// Spans of the load whose requests are sent to a process before and after it is killed: each once, since one that is
/// repeated is not stored again.
const FEW: u64 = 20_000;

impl Bench {
    /// The phase by itself: ingests first (those figures are reported too).
    pub(super) async fn lookup_alone(&mut self) -> Result<()> {
        let (server, bundle) = self.ingest(Signal::Traces).await?;
        self.lookup(server, &bundle).await
    }

    /// Looks up traces of `bundle`, which `server` holds, compacted.
    pub(super) async fn lookup(&mut self, server: Server, bundle: &Bundle) -> Result<()> {
        let held = number(bundle.items as f64);
        let mut traces = bundle.known.iter().cycle();
        for trace in traces.by_ref().take(WARM_UP) {
            self.fetch(&server, trace).await?;
        }
        let mut times = Vec::with_capacity(TIMED);
        for trace in traces.by_ref().take(TIMED) {
            times.push(self.fetch(&server, trace).await?);
        }
        let median = millis(quantile(&mut times, 0.5));
        let title = format!("trace by id over {held} spans, warm median of {TIMED}");
        self.figure(Figure::goal(title, "ms", median, 5.0, Better::Lower));
        let p99 = millis(quantile(&mut times, 0.99));
        self.figure(Figure::info(
            format!("trace by id over {held} spans, warm p99"),
            "ms",
            p99,
        ));

        let (mut ready, mut first) = (Vec::new(), Vec::new());
        let mut launch = server.stop().await?;
        for trace in traces.take(RESTARTS) {
            let server = launch.start().await?;
            ready.push(server.time_to_ready());
            first.push(self.fetch(&server, trace).await?);
            launch = server.stop().await?;
        }
        self.note_incomplete();
        let title = format!("trace by id over {held} spans, first of a cold process, median of {RESTARTS}");
        self.figure(Figure::goal(
            title,
            "ms",
            millis(quantile(&mut first, 0.5)),
            100.0,
            Better::Lower,
        ));
        let title = format!("start to ready with {held} spans stored, median of {RESTARTS}");
        self.figure(Figure::goal(
            title,
            "s",
            quantile(&mut ready, 0.5).as_secs_f64(),
            0.2,
            Better::Lower,
        ));
        let launch = self.killed(launch, &held).await?;
        self.deleted(launch, bundle, &held).await
    }

    /// From `kill -9` of a process that takes requests to the first acknowledgement by its successor.
    async fn killed(&mut self, mut launch: Launch, held: &str) -> Result<Launch> {
        let small = self.load(Signal::Traces, FEW)?;
        let requests = small.read()?.collect::<Result<Vec<_>>>()?;
        small.discard();
        let mut away = Vec::new();
        for [before, after] in requests.as_chunks::<2>().0.iter().take(RESTARTS) {
            let server = launch.start().await?;
            // A log of the catalog that was not yet written back is part of what the successor finds.
            deliver(&server, before).await?;
            let begun = Instant::now();
            let server = server.kill()?.start().await?;
            deliver(&server, after).await?;
            away.push(begun.elapsed());
            launch = server.stop().await?;
        }
        let title = format!("kill -9 to the next ack with {held} spans stored, median of {RESTARTS}");
        let median = quantile(&mut away, 0.5).as_secs_f64();
        self.figure(Figure::goal(title, "s", median, 1.0, Better::Lower));
        Ok(launch)
    }

    /// Deletes a trace, and rows that lie everywhere.
    async fn deleted(&mut self, launch: Launch, bundle: &Bundle, held: &str) -> Result<()> {
        let server = launch.start().await?;
        let Some(trace) = bundle.known.first() else {
            bail!("the load knows no trace")
        };
        let id = hex(&trace.id);
        let (rows, took) = self
            .api
            .delete(&server, &json!({ "tenant": "default", "trace_id": id }))
            .await?;
        if rows < u64::from(trace.spans) {
            bail!("deleting a trace of {} spans deleted {rows} rows", trace.spans);
        }
        let title = format!("delete a trace of {held} spans, until no query shows it");
        self.figure(Figure::info(title, "s", took.as_secs_f64()));
        // Ids are random: one in a hundred is below this one, in every block of every part.
        let scattered = json!({
            "tenant": "default", "dataset": "spans", "where": "trace_id < X'028f5c28f5c28f5c28f5c28f5c28f5c2'"
        });
        let (rows, took) = self.api.delete(&server, &scattered).await?;
        if rows == 0 {
            bail!("no row was deleted of those that lie everywhere");
        }
        let rows = number(rows as f64);
        let title = format!("delete {rows} of {held} spans that lie in every block, until no query shows them");
        self.figure(Figure::info(title, "s", took.as_secs_f64()));
        server.stop().await?;
        Ok(())
    }

    /// One lookup, checked: the answer must have every span of the trace.
    pub(super) async fn fetch(&mut self, server: &Server, trace: &KnownTrace) -> Result<Duration> {
        let (spans, elapsed) = self.api.trace(server, &trace.id).await?;
        if spans != trace.spans {
            self.incomplete.push((trace.spans, spans));
        }
        Ok(elapsed)
    }

    /// Says once, after a phase, how many lookups were wrong.
    pub(super) fn note_incomplete(&mut self) {
        let wrong = std::mem::take(&mut self.incomplete);
        if let Some((expected, got)) = wrong.first() {
            self.note(format!(
                "**{} lookups did not return the whole trace; the first has {expected} spans and came back with {got}**",
                wrong.len()
            ));
        }
    }
}

/// Sends one request over a new connection.
async fn deliver(server: &Server, request: &Request) -> Result<()> {
    let clients = Clients::connect(&server.otlp(), Signal::Traces, 1).await?;
    match clients.send(0, request.bytes.clone()).await {
        Answer::Acked => Ok(()),
        answer => bail!("a request to a server that is ready was not accepted: {answer:?}"),
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

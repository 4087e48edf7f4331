//! Ingest flat out, then compaction, then what lies on the disk.

use std::time::Duration;

use anyhow::Result;

use super::Bench;
use crate::api::settle;
use crate::bundle::Bundle;
use crate::load::Signal;
use crate::load::metrics::SAMPLES_PER_PROCESS;
use crate::report::{Better, Figure, number};
use crate::send::{Outcome, Pace, Run, quantile, send};
use crate::server::Server;

/// A load that takes longer was chosen too large for the machine.
const LIMIT: Duration = Duration::from_secs(1800);

/// The goals of a signal on the machine of the baseline, and the yardsticks there.
struct Goals {
    acked: Option<f64>,
    compacted: f64,
    bytes: f64,
    prost: f64,
    zstd_bytes: f64,
}

fn goals(signal: Signal) -> Goals {
    match signal {
        Signal::Traces => Goals {
            acked: Some(500_000.0),
            compacted: 250_000.0,
            bytes: 36.0,
            prost: 539_000.0,
            zstd_bytes: 68.0,
        },
        Signal::Logs => Goals {
            acked: None,
            compacted: 400_000.0,
            bytes: 30.0,
            prost: 815_000.0,
            zstd_bytes: 56.5,
        },
        // zstd: the middle of the 5.4 to 7.0 B that the baseline saw.
        Signal::Metrics => Goals {
            acked: None,
            compacted: 2_000_000.0,
            bytes: 1.0,
            prost: 3_750_000.0,
            zstd_bytes: 6.2,
        },
    }
}

/// CPU time of the server between its start and the last acknowledgement.
#[derive(Clone, Copy)]
struct Acked {
    everything: Duration,
    /// That of threads that compact what came in before.
    background: Duration,
}

impl Bench {
    /// Sends a signal's load to a new server and compacts it. Returns the server, still running, and the load.
    pub(super) async fn ingest(&mut self, signal: Signal) -> Result<(Server, Bundle)> {
        let bundle = self.load(signal, self.items(signal))?;
        let server = self.launch(signal.name()).start().await?;
        let idle = server.cpu()?;
        let (background, queries) = (server.background(), server.queries());
        let endpoint = server.otlp();
        let connections = self.options.connections;
        let mut outcome = send(Run {
            endpoint: &endpoint,
            bundle: &bundle,
            connections,
            pace: Pace::FlatOut,
            limit: LIMIT,
        })
        .await?;
        let acked_cpu = Acked {
            everything: server.cpu()?.saturating_sub(idle),
            background: background.total(),
        };
        drop(background);
        bundle.discard();
        self.acked(signal, &mut outcome, acked_cpu, &server)?;
        self.found(signal, &server, outcome.acked, "after the ack").await;

        let stored = crate::process::bytes_below(server.data());
        self.api.compact(&server).await?;
        let (bytes, rests) = settle(&server).await?;
        if !rests {
            self.note(format!(
                "{}: the server was still at work minutes after compaction",
                signal.name()
            ));
        }
        // Only the counting above asked anything; what that took is no work of storing.
        let all_cpu = server.cpu()?.saturating_sub(idle).saturating_sub(queries.total());
        drop(queries);
        self.at_rest(signal, outcome.acked, all_cpu, stored, bytes, &server)?;
        self.found(signal, &server, outcome.acked, "after compaction").await;
        Ok((server, bundle))
    }

    fn acked(&mut self, signal: Signal, outcome: &mut Outcome, cpu: Acked, server: &Server) -> Result<()> {
        let name = signal.name();
        let prost = self.yardstick(signal)?.prost_rate;
        let goals = goals(signal);
        let rate = |cpu: Duration| outcome.acked as f64 / cpu.as_secs_f64().max(0.01);
        let (title, unit) = (
            format!("{name}: {}s per server CPU-second to the ack", signal.item()),
            "/CPU-s",
        );
        let ingest = rate(cpu.everything.saturating_sub(cpu.background));
        let what = format!("{title}, without compaction that ran meanwhile");
        let figure = match goals.acked {
            Some(goal) => Figure::goal(what, unit, ingest, goal, Better::Higher),
            None => Figure::info(what, unit, ingest),
        };
        self.figure(figure.beside("prost decode", prost, goals.prost));
        let what = format!("{title}, everything that ran meanwhile");
        let figure = Figure::info(what, unit, rate(cpu.everything));
        self.figure(figure.beside("prost decode", prost, goals.prost));
        self.figure(Figure::info(
            format!("{name}: {}s a second, wall clock", signal.item()),
            "/s",
            outcome.rate(),
        ));
        let p50 = quantile(&mut outcome.latencies, 0.5);
        let p99 = quantile(&mut outcome.latencies, 0.99);
        self.figure(Figure::info(
            format!("{name}: ack p50 flat out"),
            "ms",
            p50.as_secs_f64() * 1e3,
        ));
        let title = format!("{name}: ack p99 flat out");
        let figure = match signal {
            Signal::Traces => Figure::goal(title, "ms", p99.as_secs_f64() * 1e3, 200.0, Better::Lower),
            _ => Figure::info(title, "ms", p99.as_secs_f64() * 1e3),
        };
        self.figure(figure);
        let peak = server.peak_memory()? as f64 / f64::from(1 << 20);
        self.figure(Figure::info(format!("{name}: peak RSS while ingesting"), "MiB", peak));
        if outcome.retries > 0 {
            self.note(format!(
                "{name}: {} requests were retried after back-pressure",
                outcome.retries
            ));
        }
        if outcome.rejected > 0 {
            self.note(format!("**{name}: {} items were rejected**", outcome.rejected));
        }
        Ok(())
    }

    fn at_rest(
        &mut self,
        signal: Signal,
        items: u64,
        cpu: Duration,
        before: u64,
        bytes: u64,
        server: &Server,
    ) -> Result<()> {
        let name = signal.name();
        let yardstick = self.yardstick(signal)?;
        let (prost, zstd) = (yardstick.prost_rate, yardstick.zstd_bytes);
        let goals = goals(signal);
        let rate = items as f64 / cpu.as_secs_f64().max(0.01);
        let title = format!(
            "{name}: {}s per server CPU-second, compacted, all work counted",
            signal.item()
        );
        let figure = Figure::goal(title, "/CPU-s", rate, goals.compacted, Better::Higher);
        self.figure(figure.beside("prost decode", prost, goals.prost));
        let title = format!("{name}: bytes a {} before compaction", signal.item());
        self.figure(Figure::info(title, "B", before as f64 / items as f64));
        let title = format!("{name}: bytes a {} at rest, everything counted", signal.item());
        let figure = Figure::goal(title, "B", bytes as f64 / items as f64, goals.bytes, Better::Lower);
        self.figure(figure.beside("zstd -1", zstd, goals.zstd_bytes));
        let peak = server.peak_memory()? as f64 / f64::from(1 << 20);
        self.figure(Figure::info(format!("{name}: peak RSS with compaction"), "MiB", peak));
        Ok(())
    }

    /// Counts by SQL what was acknowledged: a figure about lost data is worth nothing.
    async fn found(&mut self, signal: Signal, server: &Server, acked: u64, when: &str) {
        let (sql, expected) = match signal {
            Signal::Traces => ("SELECT count(*) AS n FROM spans", acked),
            Signal::Logs => ("SELECT count(*) AS n FROM logs", acked),
            // The view holds number points: 63 of the 216 scalar samples of a process's export.
            Signal::Metrics => (
                "SELECT count(*) AS n FROM metrics",
                acked / u64::from(SAMPLES_PER_PROCESS) * 63,
            ),
        };
        match self.api.count(server, sql).await {
            Ok(found) if found == expected => {}
            Ok(found) => self.note(format!(
                "**{}: {sql} found {} {when}, expected {}**",
                signal.name(),
                number(found as f64),
                number(expected as f64)
            )),
            Err(error) => self.note(format!("**{}: counting {when} failed**: {error:#}", signal.name())),
        }
    }
}

//! Acknowledgement latency of span exports: flat out for a while, then paced at half of the rate that this reached.

use anyhow::Result;

use super::Bench;
use crate::load::Signal;
use crate::report::{Better, Figure};
use crate::send::{Pace, Run, quantile, send};

/// Spans a second that no server on a few cores reaches; bounds the size of the load that is generated.
const FASTEST: u64 = 400_000;

impl Bench {
    pub(super) async fn latency(&mut self) -> Result<()> {
        let limit = self.options.latency_time;
        let bundle = self.load(
            Signal::Traces,
            (FASTEST * limit.as_secs()).min(self.options.spans.max(1_000_000)),
        )?;
        let connections = self.options.connections;

        let server = self.launch("latency-flat-out").start().await?;
        let endpoint = server.otlp();
        let flat_out = Run {
            endpoint: &endpoint,
            bundle: &bundle,
            connections,
            pace: Pace::FlatOut,
            limit,
        };
        let mut outcome = send(flat_out).await?;
        let rate = outcome.rate();
        self.figure(Figure::info("latency: flat out rate", "spans/s", rate));
        self.figure(millis(
            "latency: ack p50 flat out",
            outcome.latencies.as_mut_slice(),
            0.5,
            None,
        ));
        self.figure(millis(
            "latency: ack p99 flat out",
            outcome.latencies.as_mut_slice(),
            0.99,
            Some(200.0),
        ));
        drop(server);

        let server = self.launch("latency-half").start().await?;
        let endpoint = server.otlp();
        let half = Run {
            endpoint: &endpoint,
            bundle: &bundle,
            connections,
            pace: Pace::Steady(rate / 2.0),
            limit,
        };
        let mut outcome = send(half).await?;
        self.figure(Figure::info("latency: half load, sent", "spans/s", outcome.rate()));
        self.figure(millis(
            "latency: ack p50 at half load",
            outcome.latencies.as_mut_slice(),
            0.5,
            Some(15.0),
        ));
        self.figure(millis(
            "latency: ack p99 at half load",
            outcome.latencies.as_mut_slice(),
            0.99,
            Some(60.0),
        ));
        if outcome.retries > 0 {
            self.note(format!("latency: {} retries at half load", outcome.retries));
        }
        bundle.discard();
        Ok(())
    }
}

fn millis(name: &str, times: &mut [std::time::Duration], q: f64, goal: Option<f64>) -> Figure {
    let measured = quantile(times, q).as_secs_f64() * 1e3;
    match goal {
        Some(goal) => Figure::goal(name, "ms", measured, goal, Better::Lower),
        None => Figure::info(name, "ms", measured),
    }
}

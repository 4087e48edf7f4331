//! Object-store requests: spans at 100,000 a second into S3 and PostgreSQL, compacted, then single lookups by cold
//! processes. The endpoint runs in a process of its own and counts what it is asked.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use testkit::s3::{ACCESS_KEY_ID, COUNTS_PATH, SECRET_ACCESS_KEY};

use super::Bench;
use super::postgres::Postgres;
use crate::load::Signal;
use crate::report::{Better, Figure, number};
use crate::send::{Pace, Run, send};

/// The rate that the goal names.
const RATE: f64 = 100_000.0;
/// Cold processes that look one trace up each; the median counts.
const LOOKUPS: usize = 5;
/// How long replaced objects may take to be deleted after compaction: the collector looks every two seconds.
const COLLECTION: Duration = Duration::from_secs(5);

/// Requests so far, by kind.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Counts {
    gets: u64,
    puts: u64,
    heads: u64,
    lists: u64,
    deletes: u64,
    posts: u64,
    bytes_out: u64,
    bytes_in: u64,
}

#[derive(Debug)]
struct Endpoint {
    child: Child,
    url: String,
}

impl Endpoint {
    /// Starts this program again as an S3 endpoint over `root`.
    fn start(root: &std::path::Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("s3-endpoint").arg("--root").arg(root);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting S3")?;
        let output = child.stdout.take().context("the endpoint's output is piped")?;
        let mut endpoint = Self {
            child,
            url: String::new(),
        };
        BufReader::new(output).read_line(&mut endpoint.url)?;
        endpoint.url = endpoint.url.trim().to_owned();
        Ok(endpoint)
    }

    async fn counts(&self) -> Result<Counts> {
        let text = reqwest::get(format!("{}{COUNTS_PATH}", self.url)).await?.text().await?;
        serde_json::from_str(&text).with_context(|| format!("the S3 endpoint answered {text:?}"))
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bench {
    pub(super) async fn s3(&mut self) -> Result<()> {
        let bundle = self.load_at(Signal::Traces, self.options.spans, RATE)?;
        let endpoint = Endpoint::start(&self.scratch().join("s3"))?;
        let own = match &self.options.catalog {
            Some(_) => None,
            None => Some(Postgres::start().await?),
        };
        let catalog = own
            .as_ref()
            .map(Postgres::url)
            .or_else(|| self.options.catalog.clone())
            .unwrap_or_default();
        let mut launch = self.launch("s3-node");
        for (key, value) in [
            ("STORE__URL", "s3://bench/lake"),
            ("STORE__S3__ENDPOINT", &endpoint.url),
            ("STORE__S3__ACCESS_KEY_ID", ACCESS_KEY_ID),
            ("STORE__S3__SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
            ("STORE__S3__REGION", "us-east-1"),
            ("STORE__S3__ALLOW_HTTP", "true"),
            ("CATALOG__URL", &catalog),
        ] {
            launch.environment.push((format!("OTLP_RUST__{key}"), value.to_owned()));
        }

        let server = launch.start().await?;
        let address = server.otlp();
        let limit = Duration::from_secs(1800);
        let connections = self.options.connections;
        let run = Run {
            endpoint: &address,
            bundle: &bundle,
            connections,
            pace: Pace::Steady(RATE),
            limit,
        };
        let outcome = send(run).await?;
        bundle.discard();
        let sent = outcome.rate();
        if sent < 0.95 * RATE {
            self.note(format!(
                "s3: the load came at {} spans/s instead of {}",
                number(sent),
                number(RATE)
            ));
        }
        self.api.compact(&server).await?;
        tokio::time::sleep(COLLECTION).await;
        let counts = endpoint.counts().await?;
        let millions = outcome.acked as f64 / 1e6;
        let each = |count: u64| count as f64 / millions;
        let title = "s3: PUTs per million spans, ingested and compacted";
        self.figure(Figure::goal(title, "requests", each(counts.puts), 60.0, Better::Lower));
        let title = "s3: POSTs per million spans (bulk deletes; two for each upload in parts)";
        self.figure(Figure::info(title, "requests", each(counts.posts)));
        let title = "s3: GETs per million spans, ingested and compacted";
        self.figure(Figure::goal(title, "requests", each(counts.gets), 120.0, Better::Lower));
        self.figure(Figure::info(
            "s3: LISTs per million spans",
            "requests",
            each(counts.lists),
        ));
        self.figure(Figure::info(
            "s3: HEADs per million spans",
            "requests",
            each(counts.heads),
        ));
        self.figure(Figure::info(
            "s3: DELETEs per million spans",
            "requests",
            each(counts.deletes),
        ));
        self.figure(Figure::info(
            "s3: bytes put a span",
            "B",
            counts.bytes_in as f64 / outcome.acked as f64,
        ));
        self.figure(Figure::info(
            "s3: bytes got a span",
            "B",
            counts.bytes_out as f64 / outcome.acked as f64,
        ));

        let mut launch = server.stop().await?;
        let (mut gets, mut bytes, mut times) = (Vec::new(), Vec::new(), Vec::new());
        for trace in bundle.known.iter().take(LOOKUPS) {
            let server = launch.start().await?;
            let before = endpoint.counts().await?;
            times.push(self.fetch(&server, trace).await?.as_secs_f64() * 1e3);
            let after = endpoint.counts().await?;
            gets.push((after.gets - before.gets) as f64);
            bytes.push((after.bytes_out - before.bytes_out) as f64 / 1e6);
            launch = server.stop().await?;
        }
        self.note_incomplete();
        let held = number(bundle.items as f64);
        let title = format!("s3: GETs of a cold trace lookup over {held} spans, median of {LOOKUPS}");
        self.figure(Figure::goal(title, "requests", middle(gets), 20.0, Better::Lower));
        let title = format!("s3: MB got by a cold trace lookup over {held} spans, median of {LOOKUPS}");
        self.figure(Figure::goal(title, "MB", middle(bytes), 2.0, Better::Lower));
        self.figure(Figure::info(
            "s3: time of a cold trace lookup, median",
            "ms",
            middle(times),
        ));
        Ok(())
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

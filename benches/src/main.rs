//! `bench`: runs measurements of the otlp-rust binary and writes them as Markdown and JSON.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use otlp_rust_bench::phases::{Bench, Options, Phase};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

/// The yardsticks and the generator get the allocator that the server uses, for a fair comparison.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Black-box measurements of the otlp-rust binary.
#[derive(Debug, Parser)]
#[command(about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ingest, compaction and bytes at rest of spans.
    Traces(Settings),
    /// Ingest, compaction and bytes at rest of log records.
    Logs(Settings),
    /// Ingest, compaction and bytes at rest of metrics.
    Metrics(Settings),
    /// Acknowledgement latency, flat out and at half of that rate.
    Latency(Settings),
    /// Trace by id, warm and cold, and start with data (ingests first).
    Lookup(Settings),
    /// Object-store requests on S3 and PostgreSQL.
    S3(Settings),
    /// Four times the load that the server takes, in 512 MiB, with heavy queries. Not part of `all`.
    Overload(Settings),
    /// Only the yardsticks of the loads, without a server.
    Calibrate(Settings),
    /// Every phase.
    All(Settings),
    /// Serves a folder as S3 and counts requests; the S3 phase starts it.
    #[command(hide = true)]
    S3Endpoint {
        /// Folder of the buckets.
        #[arg(long)]
        root: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Settings {
    /// The server's release binary.
    #[arg(long, default_value = "target/release/otlp-rust")]
    binary: PathBuf,
    /// Where the report goes, as Markdown; the JSON goes beside it. Default: benches/results/PHASE.md; `-` only prints.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Spans of the traces, lookup and S3 phases.
    #[arg(long, default_value_t = 10_000_000)]
    spans: u64,
    /// Log records.
    #[arg(long, default_value_t = 5_000_000)]
    logs: u64,
    /// Scalar samples; an explicit histogram point counts 17.
    #[arg(long, default_value_t = 20_000_000)]
    samples: u64,
    /// Concurrent gRPC connections.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Seed of the loads; equal seeds give equal loads.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// More environment for the server, as KEY=VALUE; may be given several times.
    #[arg(long = "server-env", value_parser = pair)]
    environment: Vec<(String, String)>,
    /// Where to make the scratch directory: the disk to measure. Default: the system's temporary directory.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// A postgres:// URL for the S3 phase. Default: a PostgreSQL of its own.
    #[arg(long)]
    catalog_url: Option<String>,
    /// Seconds of each half of the latency phase.
    #[arg(long, default_value_t = 20)]
    latency_seconds: u64,
    /// Seconds of the overload.
    #[arg(long, default_value_t = 600)]
    overload_seconds: u64,
    /// Stop the whole run after this many seconds.
    #[arg(long, default_value_t = 3600)]
    deadline_seconds: u64,
    /// Keep the scratch directory.
    #[arg(long)]
    keep: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[tokio::main]
async fn main() -> Result<()> {
    let (phase, settings) = match Cli::parse().command {
        Command::Traces(settings) => (Phase::Traces, settings),
        Command::Logs(settings) => (Phase::Logs, settings),
        Command::Metrics(settings) => (Phase::Metrics, settings),
        Command::Latency(settings) => (Phase::Latency, settings),
        Command::Lookup(settings) => (Phase::Lookup, settings),
        Command::S3(settings) => (Phase::S3, settings),
        Command::Overload(settings) => (Phase::Overload, settings),
        Command::Calibrate(settings) => (Phase::Calibrate, settings),
        Command::All(settings) => (Phase::All, settings),
        Command::S3Endpoint { root } => return serve_s3(&root).await,
    };
    if phase != Phase::Calibrate && !settings.binary.exists() {
        bail!(
            "{} does not exist; build it with cargo build --release -p otlp-rust -p otlp-rust-bench",
            settings.binary.display()
        );
    }
    let deadline = Duration::from_secs(settings.deadline_seconds);
    let default = || PathBuf::from(format!("benches/results/{}.md", name(phase)));
    let out = settings.out.clone().unwrap_or_else(default);
    let mut bench = Bench::new(title(phase, &settings), options(settings))?;
    // Whatever ends the run first, the servers of the phase are dropped with its future, which kills them.
    let outcome = tokio::select! {
        outcome = bench.run(phase) => outcome,
        () = tokio::time::sleep(deadline) => Err(anyhow::anyhow!("the run's deadline has passed")),
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    let markdown = bench.report().markdown();
    println!("{markdown}");
    if out != Path::new("-") {
        write(&out, &markdown, bench.report())?;
    }
    outcome
}

fn options(settings: Settings) -> Options {
    Options {
        binary: settings.binary,
        spans: settings.spans,
        logs: settings.logs,
        samples: settings.samples,
        connections: settings.connections,
        seed: settings.seed,
        environment: settings.environment,
        scratch: settings.scratch,
        catalog: settings.catalog_url,
        latency_time: Duration::from_secs(settings.latency_seconds),
        overload_time: Duration::from_secs(settings.overload_seconds),
        keep: settings.keep,
    }
}

fn name(phase: Phase) -> String {
    format!("{phase:?}").to_lowercase()
}

/// Says what was run, so that a result can be repeated.
fn title(phase: Phase, settings: &Settings) -> String {
    let extra: Vec<String> = settings
        .environment
        .iter()
        .map(|(key, value)| format!(", {key}={value}"))
        .collect();
    format!(
        "bench {}: {} spans, {} log records, {} samples, {} connections, seed {}{}",
        name(phase),
        settings.spans,
        settings.logs,
        settings.samples,
        settings.connections,
        settings.seed,
        extra.concat(),
    )
}

fn write(out: &Path, markdown: &str, report: &otlp_rust_bench::report::Report) -> Result<()> {
    if let Some(directory) = out.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(out, markdown).with_context(|| format!("writing {}", out.display()))?;
    let json = out.with_extension("json");
    std::fs::write(&json, serde_json::to_string_pretty(report)? + "\n")
        .with_context(|| format!("writing {}", json.display()))
}

async fn interrupted() {
    // Without handlers the run cannot be interrupted gently; it still ends by itself.
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Serves until the parent kills it or is gone itself, which ends the standard input; prints its URL first.
async fn serve_s3(root: &Path) -> Result<()> {
    std::fs::create_dir_all(root)?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let endpoint =
        testkit::s3::S3Endpoint::start(root, listen, &["bench".to_owned()], testkit::s3::Access::Signed).await?;
    println!("{}", endpoint.url());
    let mut input = tokio::io::stdin();
    let mut byte = [0u8; 1];
    tokio::select! {
        _ = input.read(&mut byte) => {}
        () = interrupted() => {}
    }
    // A blocked read of the standard input would hold up the runtime's own end.
    std::process::exit(0)
}

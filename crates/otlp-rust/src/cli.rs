//! The command line.

use std::io::{IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use config::{Config, Sources};
use schema::TenantId;
use tokio::runtime::Runtime;

use crate::doctor::DoctorArgs;
use crate::health::HealthArgs;
use crate::migrate::MigrateArgs;
use crate::quarantine::QuarantineArgs;
use crate::verify::VerifyArgs;
use crate::{allocator, build, doctor, drain, health, migrate, quarantine, serve, verify};

/// Receives OpenTelemetry traces, metrics and logs, stores them as open Parquet, and answers questions about them.
#[derive(Debug, Parser)]
#[command(name = "otlp-rust", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the platform.
    Serve(ServeArgs),
    /// Ask whether a server is ready.
    Health(HealthArgs),
    /// Check everything that the platform rests on, and say what to do about what is wrong.
    Doctor(DoctorArgs),
    /// Send a believable shop's telemetry to a running platform.
    Demo(DemoArgs),
    /// Ask a running platform a question in SQL.
    Sql(SqlArgs),
    /// Delete rows of a tenant on a running platform, for good.
    Delete(DeleteArgs),
    /// Check, print or describe the configuration.
    Config(ConfigArgs),
    /// Check that everything stored is there and is what was written; runs beside the platform.
    Verify(VerifyArgs),
    /// List damaged objects that queries do without, or let queries read them again.
    Quarantine(QuarantineArgs),
    /// Look at the version of the catalog, or change it.
    Catalog(CatalogArgs),
}

/// Options that override the configuration file and the environment.
#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Args)]
pub struct Settings {
    /// Directory of everything that is kept on this machine.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the OTLP/gRPC receiver.
    #[arg(long, value_name = "ADDR")]
    otlp_grpc: Option<SocketAddr>,
    /// Address of the OTLP/HTTP receiver.
    #[arg(long, value_name = "ADDR")]
    otlp_http: Option<SocketAddr>,
    /// Address of the API.
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Address of the process's own metrics.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// What this process does: all, or some of ingest, query and compact, separated by commas.
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// OTLP/HTTP receiver to send to.
    #[arg(long, default_value = "http://127.0.0.1:4318", value_name = "URL")]
    endpoint: String,
    /// Tenant to send as.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Requests of customers per second; each is a trace.
    #[arg(long, default_value_t = 5.0, value_name = "N")]
    rate: f64,
    /// Equal seeds give equal behaviour.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Stop after so many seconds; without it, go on until interrupted.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OutputFormat {
    Table,
    Json,
    Ndjson,
    Csv,
}

#[derive(Debug, Args)]
struct SqlArgs {
    /// The query; without it, or as -, read from standard input.
    query: Option<String>,
    /// Address of the API.
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    url: String,
    /// Tenant to ask as.
    #[arg(long, default_value = TenantId::DEFAULT, value_name = "TENANT")]
    tenant: String,
    /// Form of the answer.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    format: OutputFormat,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["trace", "condition", "everything"])))]
struct DeleteArgs {
    /// Tenant whose rows go.
    #[arg(long, value_name = "TENANT")]
    tenant: String,
    /// Table the rows are in; without it, every table that --trace or --everything is about.
    #[arg(long, value_name = "TABLE")]
    dataset: Option<String>,
    /// Rows of this trace: its id in hexadecimal.
    #[arg(long, value_name = "ID")]
    trace: Option<String>,
    /// Rows that meet this condition, as behind WHERE in SQL. Needs --dataset.
    #[arg(long = "where", value_name = "SQL", requires = "dataset")]
    condition: Option<String>,
    /// All rows of the tenant.
    #[arg(long)]
    everything: bool,
    /// Wait until the rows are gone from queries (done), or their bytes from the store, too (verified).
    #[arg(long, value_enum, value_name = "STATE")]
    wait: Option<WaitFor>,
    /// Address of the API.
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    url: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WaitFor {
    Done,
    Verified,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether the configuration is valid.
    Check(ServeArgs),
    /// Print the configuration in force, secrets hidden.
    Print(ServeArgs),
    /// Print the JSON schema of the configuration file.
    Schema,
}

#[derive(Debug, Args)]
struct CatalogArgs {
    #[command(subcommand)]
    command: CatalogCommand,
}

#[derive(Debug, Subcommand)]
enum CatalogCommand {
    /// Print the version of the catalog and the versions that this program knows.
    Version(ServeArgs),
    /// Bring the catalog to the newest version, or to another one; make it if there is none. Stop all processes first when
    /// you go down.
    Migrate(MigrateArgs),
}

impl Settings {
    /// The configuration in force.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn load(self) -> Result<Config> {
        Ok(config::load(self.sources())?)
    }

    /// Where the configuration comes from.
    pub fn sources(self) -> Sources {
        let mut overrides = Vec::new();
        let mut set = |key: &str, flag: &str, value: Option<String>| {
            if let Some(value) = value {
                overrides.push((key.to_owned(), value, flag.to_owned()));
            }
        };
        let address = |a: Option<SocketAddr>| a.map(|a| a.to_string());
        set(
            "server.data_dir",
            "--data-dir",
            self.data_dir.map(|p| p.to_string_lossy().into_owned()),
        );
        set("server.otlp_grpc", "--otlp-grpc", address(self.otlp_grpc));
        set("server.otlp_http", "--otlp-http", address(self.otlp_http));
        set("server.http", "--http", address(self.http));
        set("server.admin", "--admin", address(self.admin));
        set("server.role", "--role", self.role);
        Sources {
            file: self.config,
            env: std::env::vars().collect(),
            overrides,
        }
    }
}

/// Runs a command.
///
/// # Errors
/// Whatever stopped it, in words for the person at the terminal.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Serve(args) => serve::run(args.settings.load()?),
        Command::Doctor(args) => runtime()?.block_on(doctor::run(args)),
        Command::Health(args) => health::run(args),
        Command::Demo(args) => runtime()?.block_on(demo(args)),
        Command::Sql(args) => runtime()?.block_on(sql(args)),
        Command::Delete(args) => runtime()?.block_on(delete(args)),
        Command::Config(args) => configuration(args.command),
        Command::Verify(args) => Ok(runtime()?.block_on(verify::run(args))),
        Command::Quarantine(args) => runtime()?.block_on(quarantine::run(args)),
        Command::Catalog(args) => runtime()?.block_on(catalog(args.command)),
    }
}

/// Threads for blocking work end when they were idle for so long: until then each holds what the allocator keeps for it, which
/// nobody else can give back (docs/decisions/0014).
const IDLE_THREADS: Duration = Duration::from_millis(250);

/// The asynchronous runtime.
///
/// # Errors
/// If its threads cannot be started.
pub fn runtime() -> Result<Runtime> {
    runtime_builder().build().context("cannot start the runtime")
}

/// The runtime of queries: its threads have a lower priority, so that an acknowledgement does not wait behind somebody's
/// large query.
///
/// # Errors
/// If its threads cannot be started.
pub fn query_runtime() -> Result<Runtime> {
    let mut builder = runtime_builder();
    builder.thread_name("query").on_thread_start(lake::lower_priority);
    builder.build().context("cannot start the runtime of queries")
}

/// DataFusion's planner recurses deeply in debug builds, hence the stack.
fn runtime_builder() -> tokio::runtime::Builder {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .enable_all()
        .thread_keep_alive(IDLE_THREADS)
        .on_thread_park(allocator::idle)
        .thread_stack_size(8 << 20);
    builder
}

fn configuration(command: ConfigCommand) -> Result<ExitCode> {
    let mut out = std::io::stdout();
    match command {
        ConfigCommand::Check(args) => {
            let config = args.settings.load()?;
            for warning in config.warnings() {
                eprintln!("warning: {warning}");
            }
            writeln!(out, "the configuration is valid")?;
        }
        ConfigCommand::Print(args) => write!(out, "{}", args.settings.load()?.to_yaml())?,
        ConfigCommand::Schema => writeln!(out, "{:#}", config::json_schema())?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn catalog(command: CatalogCommand) -> Result<ExitCode> {
    let known = catalog::newest_version();
    let mut out = std::io::stdout();
    match command {
        CatalogCommand::Version(args) => {
            let found = build::existing_catalog(&args.settings.load()?).await?;
            let found = found.schema_version().await?;
            writeln!(out, "catalog {found}, this program {known}")?;
        }
        CatalogCommand::Migrate(args) => writeln!(out, "{}", migrate::run(args).await?)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn sql(args: SqlArgs) -> Result<ExitCode> {
    let tenant = TenantId::parse(&args.tenant)?;
    let query = match args.query {
        Some(query) if query != "-" => query,
        _ => {
            if std::io::stdin().is_terminal() {
                bail!("no query: otlp-rust sql \"SELECT ...\", or send one to standard input");
            }
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read the query")?;
            text
        }
    };
    let format = match args.format {
        OutputFormat::Table => api::Format::Table,
        OutputFormat::Json => api::Format::Json,
        OutputFormat::Ndjson => api::Format::Ndjson,
        OutputFormat::Csv => api::Format::Csv,
    };
    let partial = api::client::run_sql(&args.url, &tenant, &query, format, &mut std::io::stdout()).await?;
    if let Some(reason) = partial {
        eprintln!("warning: {reason}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn delete(args: DeleteArgs) -> Result<ExitCode> {
    let deletion = api::client::NewDeletion {
        tenant: TenantId::parse(&args.tenant)?,
        dataset: args.dataset,
        trace_id: args.trace,
        condition: args.condition,
        everything: args.everything,
    };
    let wait_for = args.wait.map(|state| match state {
        WaitFor::Done => "done",
        WaitFor::Verified => "verified",
    });
    let last = api::client::delete(&args.url, &deletion, wait_for).await?;
    println!("{last:#}");
    let failed = last["state"] == "failed";
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn demo(args: DemoArgs) -> Result<ExitCode> {
    let options = demo::DemoOptions {
        endpoint: args.endpoint.clone(),
        tenant: args.tenant,
        traces_per_second: args.rate,
        seed: args.seed,
        duration: args.seconds.map(Duration::from_secs),
    };
    println!("sending a shop's telemetry to {}; interrupt to stop", args.endpoint);
    let report = demo::run(options, drain::interrupted()).await?;
    println!("sent {report:?}");
    Ok(ExitCode::SUCCESS)
}

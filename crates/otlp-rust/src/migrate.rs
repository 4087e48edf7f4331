//! `otlp-rust catalog migrate`: what a deployment runs before its processes.

use std::time::{Duration, Instant};

use anyhow::Result;
use catalog::{CatalogError, MigrationReport};
use clap::Args;
use config::{Config, HumanDuration};

use crate::build;
use crate::cli::Settings;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    settings: Settings,
    /// Version to go to, up or down. Telemetry stays; what only later versions keep is lost.
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(1..))]
    to: Option<i64>,
    /// How long to wait for a database that does not answer yet, or that another process is migrating.
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    wait: HumanDuration,
}

/// Migrates, and says what was done. Several may do so at once: one does the work, the others find it done.
///
/// # Errors
/// What is wrong with the configuration or the database, when waiting did not help.
pub async fn run(args: MigrateArgs) -> Result<String> {
    let config = args.settings.load()?;
    let started = Instant::now();
    let report = loop {
        match migrated(&config, args.to).await {
            Err(error) if is_retryable(&error) && started.elapsed() < args.wait.0 => {
                eprintln!("waiting: {error:#}");
                tokio::time::sleep(PAUSE).await;
            }
            done => break done?,
        }
    };
    let MigrationReport { from, to } = report;
    Ok(if from == to {
        format!("catalog is at version {to}")
    } else {
        format!("catalog migrated from {from} to {to}")
    })
}

async fn migrated(config: &Config, to: Option<i64>) -> Result<MigrationReport> {
    let catalog = build::connect(config).await?;
    let (from, to) = (
        catalog.schema_version().await?,
        to.unwrap_or_else(catalog::newest_version),
    );
    let report = if to < from {
        catalog.migrate_down(to).await?;
        MigrationReport { from, to }
    } else {
        catalog.migrate_up(to).await?
    };
    catalog.close().await;
    Ok(report)
}

fn is_retryable(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<CatalogError>()
        .is_some_and(CatalogError::is_retryable)
}

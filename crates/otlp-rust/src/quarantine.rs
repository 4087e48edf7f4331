//! `otlp-rust quarantine`: what queries do without, and letting them read it again.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use catalog::{Catalog, Quarantined};
use clap::{Args, Subcommand};
use schema::time_text;
use serde_json::json;

use crate::build;
use crate::cli::Settings;

#[derive(Debug, Args)]
pub struct QuarantineArgs {
    #[command(subcommand)]
    command: QuarantineCommand,
}

#[derive(Debug, Subcommand)]
enum QuarantineCommand {
    /// List what queries do without.
    List(ListArgs),
    /// Let queries read an object again, once it was restored: `otlp-rust verify` says when nothing is wrong with it.
    Release(ReleaseArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    settings: Settings,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ReleaseArgs {
    #[command(flatten)]
    settings: Settings,
    /// Number of the entry, the path of an object, or `all`.
    what: String,
}

/// Runs the command.
///
/// # Errors
/// What is not there or does not answer.
pub async fn run(args: QuarantineArgs) -> Result<ExitCode> {
    match args.command {
        QuarantineCommand::List(args) => {
            let catalog = build::existing_catalog(&args.settings.load()?).await?;
            let mut out = std::io::stdout();
            for entry in catalog.quarantined().await? {
                if args.json {
                    writeln!(out, "{}", entry_json(&entry))?;
                } else {
                    write!(out, "{}", entry_text(&entry))?;
                }
            }
        }
        QuarantineCommand::Release(args) => {
            let catalog = build::existing_catalog(&args.settings.load()?).await?;
            release(&catalog, &args.what).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn release(catalog: &Catalog, what: &str) -> Result<()> {
    let mut entries = catalog.quarantined().await?;
    entries.retain(|entry| what == "all" || what == entry.path || what == entry.id.to_string());
    if entries.is_empty() && what != "all" {
        bail!("there is no {what} in quarantine; `otlp-rust quarantine list` shows what is");
    }
    let mut out = std::io::stdout();
    for entry in entries {
        if catalog.release(entry.id).await? {
            writeln!(out, "released {}: {}", entry.id, entry.path)?;
        }
    }
    Ok(())
}

fn entry_json(entry: &Quarantined) -> serde_json::Value {
    json!({
        "id": entry.id,
        "object": entry.path,
        "tenant": entry.tenant.as_str(),
        "dataset": entry.dataset.name(),
        "rows": entry.rows,
        "from": time_text(entry.min_ts),
        "to": time_text(entry.max_ts),
        "reason": entry.reason,
        "since": time_text(entry.quarantined_at),
    })
}

fn entry_text(entry: &Quarantined) -> String {
    format!(
        "{}: {}\n  {}\n  affects: {} rows of {} of tenant {}, {} to {}\n  since: {}\n",
        entry.id,
        entry.path,
        entry.reason,
        entry.rows,
        entry.dataset,
        entry.tenant,
        time_text(entry.min_ts),
        time_text(entry.max_ts),
        time_text(entry.quarantined_at)
    )
}

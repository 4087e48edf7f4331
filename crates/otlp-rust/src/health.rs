//! `otlp-rust health`: the question of a container's health check.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use config::HumanDuration;
use doctor::health;
use url::Url;

use crate::cli::Settings;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 ready; 1 not ready (starting, draining); 2 cannot be reached, or the configuration is invalid."
)]
pub struct HealthArgs {
    #[command(flatten)]
    settings: Settings,
    /// Address of the API; without it, the one that the configuration names (server.http).
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// How long to wait for an answer.
    #[arg(long, default_value = "5s", value_name = "DURATION")]
    timeout: HumanDuration,
}

/// Without a configuration there is nobody to ask.
const UNREACHABLE: u8 = 2;

/// Prints one line; the exit code says the same.
///
/// # Errors
/// If the runtime cannot start.
pub fn run(args: HealthArgs) -> Result<ExitCode> {
    let configured = || {
        let address = args.settings.load()?.server.http;
        doctor::local_url(address).with_context(|| format!("{address} is not an address"))
    };
    let url = match args.url.map_or_else(configured, Ok) {
        Ok(url) => url,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(UNREACHABLE));
        }
    };
    // One thread, this one: it is asked every few seconds.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let health = runtime.block_on(health::ask(&url, args.timeout.0));
    println!("{}", health.line(&url));
    Ok(ExitCode::from(health.exit_code()))
}

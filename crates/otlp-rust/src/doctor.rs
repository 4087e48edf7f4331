//! `otlp-rust doctor`: what is wrong, and what to do about it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use config::HumanDuration;
use doctor::{Report, Secrets, Status, Subject};
use url::Url;

use crate::build;
use crate::cli::Settings;

/// Something does not work.
const FAILED: u8 = 1;
/// The examination itself could not be done or written down.
const NOT_DONE: u8 = 2;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 nothing failed (warnings do not count, except with --strict); 1 something failed; 2 the \
                        examination could not be done: wrong arguments, or the bundle cannot be written."
)]
pub struct DoctorArgs {
    #[command(flatten)]
    settings: Settings,
    /// Address by which users reach the platform, such as that of an ingress; without it, the server on this machine.
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// Address by which they send OTLP over HTTP, if that is not below --url.
    #[arg(long, value_name = "URL")]
    otlp_url: Option<Url>,
    /// Write a span through that address, as tenant otlp-rust-doctor, and read it back.
    #[arg(long)]
    write: bool,
    /// Print one JSON document instead of a table (docs/guides/doctor.md).
    #[arg(long)]
    json: bool,
    /// Pack findings, configuration, metrics, catalog and system into a file for support, without secrets.
    #[arg(long, value_name = "FILE.tar.gz")]
    bundle: Option<PathBuf>,
    /// Warnings count as failures.
    #[arg(long)]
    strict: bool,
    /// Only these checks, separated by commas.
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    only: Vec<String>,
    /// How long each check may take; they run beside each other.
    #[arg(long, default_value = "10s", value_name = "DURATION")]
    timeout: HumanDuration,
}

/// Examines, prints and packs.
///
/// # Errors
/// If the arguments make no sense together.
pub async fn run(args: DoctorArgs) -> Result<ExitCode> {
    match examine(args).await {
        Ok(code) => Ok(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            Ok(ExitCode::from(NOT_DONE))
        }
    }
}

async fn examine(args: DoctorArgs) -> Result<ExitCode> {
    let known: Vec<_> = doctor::check_names().collect();
    if let Some(unknown) = args.only.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no check {unknown:?}; there are {}", known.join(", "));
    }
    let (json, strict, bundle) = (args.json, args.strict, args.bundle.clone());
    let subject = Arc::new(subject(args));
    let report = doctor::examine(Arc::clone(&subject)).await;
    let mut out = std::io::stdout();
    let text = if json {
        format!("{:#}\n", report.to_json())
    } else {
        report.to_text()
    };
    out.write_all(text.as_bytes()).context("cannot write the report")?;
    if let Some(path) = bundle {
        let files = doctor::bundle::gather(&subject, &report).await;
        let written = doctor::bundle::write(&path, &files, report.at);
        let bytes = written.with_context(|| format!("cannot write {}", path.display()))?;
        // Standard output holds the report alone, for those who read it with a program.
        eprintln!("bundle: {} ({bytes} bytes, {} files)", path.display(), files.len());
    }
    Ok(code(&report, strict))
}

fn code(report: &Report, strict: bool) -> ExitCode {
    let worst = if strict { Status::Warning } else { Status::Failed };
    if report.status() >= worst {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    }
}

fn subject(args: DoctorArgs) -> Subject {
    let environment: Vec<_> = std::env::vars().collect();
    let sources = args.settings.sources();
    let shown = shown(&sources);
    let config = config::load(sources).map_err(|errors| errors.0.iter().map(ToString::to_string).collect());
    let text = |error: anyhow::Error| format!("{error:#}");
    let (store, catalog) = match &config {
        Ok(config) => {
            let store = build::store_location(config).and_then(|location| Ok(location.once()?));
            (
                Some(store.map_err(text)),
                Some(build::catalog_url(config).map_err(text)),
            )
        }
        Err(_) => (None, None),
    };
    let urls = [&args.url, &args.otlp_url];
    let secrets = Secrets::gather(config.as_ref().ok(), environment, urls.into_iter().flatten());
    Subject {
        config,
        sources: shown,
        store,
        catalog,
        url: args.url,
        otlp_url: args.otlp_url,
        write: args.write,
        timeout: args.timeout.0,
        only: args.only,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        secrets,
    }
}

/// Where the configuration comes from.
fn shown(sources: &config::Sources) -> String {
    let file = sources.file.as_ref().map(|file| file.display().to_string());
    let variables = sources
        .env
        .iter()
        .filter(|(name, _)| name.starts_with(config::ENV_PREFIX))
        .count();
    let count = |n: usize, one: &str, many: &str| (n > 0).then(|| format!("{n} {}", if n == 1 { one } else { many }));
    let parts = [
        file,
        count(variables, "variable", "variables"),
        count(sources.overrides.len(), "flag", "flags"),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        "defaults alone".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_named() {
        let mut sources = config::Sources::default();
        assert_eq!(shown(&sources), "defaults alone");
        sources.file = Some("a.yaml".into());
        sources.env = vec![
            ("OTLP_RUST__SERVER__ROLE".into(), "all".into()),
            ("PATH".into(), "x".into()),
        ];
        assert_eq!(shown(&sources), "a.yaml, 1 variable");
    }
}

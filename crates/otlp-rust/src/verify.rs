//! `otlp-rust verify`: what a check of the lake found, for people and for programs.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use catalog::StoredTotals;
use clap::Args;
use lake::{Affected, Finding, LakeError, VerifyOptions, VerifyReport, Watcher};
use parking_lot::Mutex;
use schema::time_text;
use serde_json::{Value, json};
use telemetry::Telemetry;

use crate::build;
use crate::cli::Settings;

/// Something is wrong.
const FOUND: u8 = 1;
/// Nothing wrong was found, but not everything could be checked.
const INCOMPLETE: u8 = 2;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 all is well; 1 something is wrong; 2 nothing wrong was found, but something could not be \
                        checked (the store or the catalog did not answer, or the arguments are wrong)."
)]
pub struct VerifyArgs {
    #[command(flatten)]
    settings: Settings,
    /// Decode every value, and compare trace indexes with traces. Without it, bytes are compared with their checksums,
    /// and counts, times and statistics with the rows.
    #[arg(long)]
    deep: bool,
    /// Put damaged objects into quarantine: queries go on without them, and say that their answers are partial. Nothing is
    /// deleted; `otlp-rust quarantine` lists and releases them.
    #[arg(long)]
    quarantine: bool,
    /// Print one JSON document instead of text: {"findings": [...], "summary": {...}}.
    #[arg(long)]
    json: bool,
}

/// Progress is told this often to a person at a terminal, and this often to a log.
const PROGRESS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(10)];

/// Runs the check. It may run beside a platform, and changes nothing in the store.
pub async fn run(args: VerifyArgs) -> ExitCode {
    let printer = Arc::new(Printer::new(args.json));
    match check(args, &printer).await {
        Ok(report) => {
            printer.end(&report);
            if report.found() > 0 {
                ExitCode::from(FOUND)
            } else if report.unchecked > 0 {
                ExitCode::from(INCOMPLETE)
            } else {
                ExitCode::SUCCESS
            }
        }
        Err(error) => {
            printer.fail(&format!("{error:#}"));
            ExitCode::from(INCOMPLETE)
        }
    }
}

async fn check(args: VerifyArgs, printer: &Arc<Printer>) -> Result<VerifyReport> {
    let config = args.settings.load()?;
    let telemetry = Telemetry::new("otlp-rust", env!("CARGO_PKG_VERSION"));
    let lake = build::lake_beside(&config, &telemetry).await?;
    let options = VerifyOptions {
        deep: args.deep,
        orphan_grace: config.gc.orphan_grace,
        quarantine: args.quarantine,
    };
    let watcher: Arc<dyn Watcher> = Arc::clone(printer) as _;
    Ok(lake.verify(options, watcher).await?)
}

/// Writes findings as they come, and progress beside them.
struct Printer {
    json: bool,
    started: Instant,
    every: Duration,
    state: Mutex<State>,
}

struct State {
    /// Whether a finding was written.
    some: bool,
    told: Instant,
    /// Whether a line of progress stands at the end of the terminal.
    line: bool,
}

impl Printer {
    fn new(json: bool) -> Self {
        let now = Instant::now();
        Self {
            json,
            started: now,
            every: PROGRESS[usize::from(!std::io::stderr().is_terminal())],
            state: Mutex::new(State {
                some: false,
                told: now,
                line: false,
            }),
        }
    }

    /// Writes a piece of the report. Nobody reads any more: there is nothing left to do about it.
    fn print(&self, state: &mut State, text: &str) {
        clear(state);
        let mut out = std::io::stdout();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn item(&self, value: &Value, text: &str) {
        let mut state = self.state.lock();
        if self.json {
            let open = if state.some { "," } else { "{\"findings\":[" };
            self.print(&mut state, &format!("{open}\n{value}"));
        } else {
            self.print(&mut state, text);
        }
        state.some = true;
    }

    fn close(&self, member: &str, value: &Value, text: &str) {
        let mut state = self.state.lock();
        if self.json {
            let open = if state.some { "" } else { "{\"findings\":[" };
            self.print(&mut state, &format!("{open}],\n\"{member}\":{value}}}\n"));
        } else {
            self.print(&mut state, text);
        }
    }

    fn end(&self, report: &VerifyReport) {
        let seconds = self.started.elapsed().as_secs_f64();
        let [waste, wrong, loss] = report.findings;
        let value = json!({
            "ok": report.found() == 0 && report.unchecked == 0,
            "loss": loss, "wrong": wrong, "waste": waste,
            "unchecked": report.unchecked,
            "gone_meanwhile": report.gone_meanwhile,
            "sequence": report.sequence,
            "objects": report.objects, "bytes": report.bytes, "rows": report.rows, "listed": report.listed,
            "seconds": seconds,
        });
        let found = match report.found() {
            0 => "nothing is wrong".to_owned(),
            n => format!("{n} findings: {loss} loss, {wrong} wrong, {waste} waste"),
        };
        let unchecked = match report.unchecked {
            0 => String::new(),
            n => format!("; {n} objects could not be checked"),
        };
        let text = format!(
            "{found}{unchecked}\nchecked at snapshot {}: {} objects, {} bytes, {} rows; the store lists {} objects; {seconds:.1} s\n",
            report.sequence, report.objects, report.bytes, report.rows, report.listed
        );
        self.close("summary", &value, &text);
    }

    fn fail(&self, error: &str) {
        if self.json {
            self.close("error", &json!(error), "");
        }
        clear(&mut self.state.lock());
        eprintln!("error: the check is incomplete: {error}");
    }
}

/// Takes the line of progress away.
fn clear(state: &mut State) {
    if std::mem::take(&mut state.line) {
        eprint!("\r\x1b[K");
    }
}

impl Watcher for Printer {
    fn found(&self, finding: &Finding) {
        let severity = finding.kind.severity().name();
        let value = json!({
            "kind": finding.kind.name(),
            "severity": severity,
            "object": finding.path,
            "what": finding.what,
            "affected": finding.affected.iter().map(affected_json).collect::<Vec<_>>(),
            "remedy": finding.remedy,
            "quarantined": finding.quarantined,
        });
        let mut text = format!("{}: {}", severity.to_uppercase(), finding.kind.name());
        if let Some(path) = &finding.path {
            text += &format!(" {path}");
        }
        text += &format!("\n  what: {}\n", finding.what);
        for affected in &finding.affected {
            text += &format!("  affects: {}\n", affected_text(affected));
        }
        if finding.quarantined {
            text += "  quarantine: queries go on without these rows\n";
        }
        text += &format!("  do: {}\n", finding.remedy);
        self.item(&value, &text);
    }

    fn unchecked(&self, path: &str, error: &LakeError) {
        let error = error.to_string();
        let value = json!({ "kind": "unchecked", "severity": "unknown", "object": path, "what": error });
        self.item(
            &value,
            &format!("UNCHECKED: {path}\n  what: {error}\n  do: check again\n"),
        );
    }

    fn progress(&self, so_far: &VerifyReport, of: &StoredTotals) {
        let mut state = self.state.lock();
        if state.told.elapsed() < self.every {
            return;
        }
        state.told = Instant::now();
        let text = format!(
            "verify: {} of {} objects, {} of {} MB, {} of {} rows, {} findings, {} s",
            so_far.objects,
            of.objects,
            so_far.bytes / 1_000_000,
            of.bytes / 1_000_000,
            so_far.rows,
            of.rows,
            so_far.found(),
            self.started.elapsed().as_secs()
        );
        if self.every == PROGRESS[0] {
            eprint!("\r\x1b[K{text}");
            state.line = true;
        } else {
            eprintln!("{text}");
        }
    }
}

fn affected_json(affected: &Affected) -> Value {
    json!({
        "tenant": affected.tenant.as_ref().map(|t| t.as_str()),
        "dataset": affected.dataset.map(|d| d.name()),
        "rows": affected.rows,
        "from": affected.times.map(|(from, _)| time_text(from)),
        "to": affected.times.map(|(_, to)| time_text(to)),
    })
}

fn affected_text(affected: &Affected) -> String {
    let mut text = format!("{} rows", affected.rows);
    if let Some(dataset) = affected.dataset {
        text += &format!(" of {dataset}");
    }
    if let Some(tenant) = &affected.tenant {
        text += &format!(" of tenant {tenant}");
    }
    if let Some((from, to)) = affected.times {
        text += &format!(", {} to {}", time_text(from), time_text(to));
    }
    text
}

//! What a check found, and what all of them found together.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// How it looks. Ordered from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Not looked at, for the reason given.
    Skipped,
    /// As it should be.
    Ok,
    /// It works, and may not for long, or not as well as it could.
    Warning,
    /// It does not work.
    Failed,
}

impl Status {
    /// Its name in JSON and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The check and what of it, such as `store.put`. Names are stable.
    pub name: String,
    /// Which of several: a directory, an address.
    pub subject: Option<String>,
    /// How it looks.
    pub status: Status,
    /// What was seen.
    pub seen: String,
    /// What to do about it; always there for warnings and failures.
    pub remedy: Option<String>,
    /// Numbers behind what was seen, by name and unit.
    pub figures: Map<String, Value>,
}

impl Finding {
    fn new(name: impl Into<String>, status: Status, seen: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            subject: None,
            status,
            seen: seen.into(),
            remedy: None,
            figures: Map::new(),
        }
    }

    /// As it should be.
    pub fn ok(name: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, seen)
    }

    /// Not looked at.
    pub fn skipped(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(name, Status::Skipped, why)
    }

    /// It works, but.
    pub fn warning(name: impl Into<String>, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..Self::new(name, Status::Warning, seen)
        }
    }

    /// It does not work.
    pub fn failed(name: impl Into<String>, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..Self::new(name, Status::Failed, seen)
        }
    }

    /// Says which of several.
    #[must_use]
    pub fn of(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn figure(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.figures.insert(name.to_owned(), value.into());
        self
    }

    /// Adds how long something took.
    #[must_use]
    pub fn took(self, took: Duration) -> Self {
        self.figure("milliseconds", milliseconds(took))
    }

    /// As an object of the report.
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "subject": self.subject,
            "status": self.status.name(),
            "seen": self.seen,
            "remedy": self.remedy,
            "figures": self.figures,
        })
    }

    /// With every text passed through `clean`.
    #[must_use]
    pub(crate) fn cleaned(mut self, clean: &dyn Fn(&str) -> String) -> Self {
        self.seen = clean(&self.seen);
        self.subject = self.subject.as_deref().map(clean);
        self.remedy = self.remedy.as_deref().map(clean);
        self
    }
}

/// A text that may hold what another server says: what moves a terminal's cursor, colours it or turns its direction becomes U+FFFD.
/// Lines stay lines.
pub(crate) fn plain(text: &str) -> String {
    let acts = |c: char| {
        c != '\n' && c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.replace(acts, "\u{fffd}")
}

/// Milliseconds with three places: a finer figure would be noise.
pub(crate) fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

/// A duration for people.
pub(crate) fn shown(took: Duration) -> String {
    let ms = took.as_secs_f64() * 1e3;
    if ms >= 1000.0 {
        format!("{:.1} s", ms / 1e3)
    } else if ms >= 10.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{ms:.1} ms")
    }
}

/// A number of bytes for people.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

/// All findings.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The version of the program that looked.
    pub version: String,
    /// When (ns since the Unix epoch).
    pub at: i64,
    /// How long that took.
    pub took: Duration,
    /// What it found, by check.
    pub findings: Vec<Finding>,
}

/// The version of the JSON document. It changes when a member changes its meaning or goes; new ones may come.
const SCHEMA: u32 = 1;

impl Report {
    /// The worst of all findings.
    pub fn status(&self) -> Status {
        let worst = self.findings.iter().map(|finding| finding.status).max();
        worst.map_or(Status::Ok, |worst| worst.max(Status::Ok))
    }

    /// How many findings have a status.
    pub fn count(&self, status: Status) -> usize {
        self.findings.iter().filter(|finding| finding.status == status).count()
    }

    /// The document of `--json`.
    pub fn to_json(&self) -> Value {
        let statuses = [Status::Ok, Status::Warning, Status::Failed, Status::Skipped];
        let counts = statuses.map(|status| (status.name().to_owned(), json!(self.count(status))));
        json!({
            "schema": SCHEMA,
            "version": self.version,
            "at": schema::time_text(self.at),
            "seconds": (self.took.as_secs_f64() * 1e3).round() / 1e3,
            "status": self.status().name(),
            "counts": Map::from_iter(counts),
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        })
    }

    /// A table, what to do below each line that needs it, and the sum.
    pub fn to_text(&self) -> String {
        let rows: Vec<_> = self
            .findings
            .iter()
            .map(|finding| {
                let status = match finding.status {
                    Status::Failed => "FAILED",
                    status => status.name(),
                };
                (status, finding)
            })
            .collect();
        let width = rows
            .iter()
            .map(|(_, f)| f.name.len())
            .max()
            .unwrap_or(0)
            .max("CHECK".len());
        let mut text = format!("{:<8} {:<width$}  SEEN\n", "STATUS", "CHECK");
        for (status, finding) in rows {
            let subject = finding.subject.as_ref().map_or_else(String::new, |s| format!("{s}: "));
            text += &format!("{status:<8} {:<width$}  {subject}{}\n", finding.name, finding.seen);
            if let Some(remedy) = &finding.remedy {
                text += &format!("{:<8} {:<width$}  do: {remedy}\n", "", "");
            }
        }
        let sum = [Status::Failed, Status::Warning, Status::Ok, Status::Skipped];
        let sum = sum.map(|status| format!("{} {}", self.count(status), status.name()));
        text += &format!("\n{}; {}\n", sum.join(", "), shown(self.took));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: Vec<Finding>) -> Report {
        Report {
            version: "1.2.3".to_owned(),
            at: 0,
            took: Duration::from_millis(1500),
            findings,
        }
    }

    #[test]
    fn what_others_say_cannot_act_on_a_terminal() {
        let said = "\u{1b}[2J503\r ok\u{202e}\nnext: é ☃\u{7}";
        assert_eq!(plain(said), "\u{fffd}[2J503\u{fffd} ok\u{fffd}\nnext: é ☃\u{fffd}");
    }

    #[test]
    fn the_table_is_aligned_and_says_what_to_do() {
        let findings = vec![
            Finding::ok("store.put", "8 ms"),
            Finding::failed("catalog", "nobody answers", "start it").of("db:5432"),
        ];
        let expected = "\
STATUS   CHECK      SEEN
ok       store.put  8 ms
FAILED   catalog    db:5432: nobody answers
                    do: start it

1 failed, 0 warning, 1 ok, 0 skipped; 1.5 s
";
        assert_eq!(report(findings).to_text(), expected);
    }

    #[test]
    fn the_worst_finding_counts() {
        assert_eq!(report(Vec::new()).status(), Status::Ok);
        assert_eq!(report(vec![Finding::skipped("a", "b")]).status(), Status::Ok);
        let some = vec![Finding::warning("a", "b", "c"), Finding::ok("d", "e").figure("n", 1)];
        let report = report(some);
        assert_eq!(report.status(), Status::Warning);
        let json = report.to_json();
        assert_eq!(json["status"], "warning");
        assert_eq!(json["counts"]["failed"], 0);
        assert_eq!(json["findings"][1]["figures"]["n"], 1);
    }

    #[test]
    fn quantities_are_readable() {
        assert_eq!(bytes(900), "900 B");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!(bytes(256 << 20), "256 MiB");
        assert_eq!(shown(Duration::from_micros(1234)), "1.2 ms");
        assert_eq!(shown(Duration::from_millis(2500)), "2.5 s");
    }
}

//! Runs the checks: all at once, each with its time, none able to stop another.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use config::Config;
use object_store::ObjectStore;
use schema::{Clock as _, SystemClock};
use url::Url;

use crate::checks;
use crate::finding::{Finding, Report, plain, shown};
use crate::secrets::Secrets;

/// What is examined.
pub struct Subject {
    /// The configuration, or everything that is wrong with it.
    pub config: Result<Config, Vec<String>>,
    /// What the configuration was read from, for people.
    pub sources: String,
    /// The store, or why it cannot be opened. It does not retry.
    pub store: Option<Result<Arc<dyn ObjectStore>, String>>,
    /// The catalog's address, or why it is none.
    pub catalog: Option<Result<catalog::CatalogUrl, String>>,
    /// Where the platform is reached from outside.
    pub url: Option<Url>,
    /// Where OTLP over HTTP is reached from outside, if not below `url`.
    pub otlp_url: Option<Url>,
    /// Whether a span may be written and read back through these.
    pub write: bool,
    /// How long each check may take.
    pub timeout: Duration,
    /// Only these checks; all of them when empty.
    pub only: Vec<String>,
    /// The version of the program.
    pub version: String,
    /// What must not be shown.
    pub secrets: Secrets,
}

/// Where a check puts what it finds, as it finds it: what came before a time-out is kept.
#[derive(Clone, Default)]
pub(crate) struct Found(Arc<Mutex<Vec<Finding>>>);

impl Found {
    pub(crate) fn add(&self, finding: Finding) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
    }

    pub(crate) fn take(&self) -> Vec<Finding> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A check under way.
pub(crate) type Checking = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One check: its name, and how it is done.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) run: fn(Arc<Subject>, Found) -> Checking,
}

/// Looks at everything. Takes little longer than `subject.timeout`, whatever hangs.
pub async fn examine(subject: Arc<Subject>) -> Report {
    let started = Instant::now();
    let wanted = |check: &&Check| subject.only.is_empty() || subject.only.iter().any(|name| name == check.name);
    let running: Vec<_> = checks::ALL
        .iter()
        .filter(wanted)
        .map(|check| {
            let found = Found::default();
            let running = (check.run)(Arc::clone(&subject), found.clone());
            // A task of its own: should it panic, the others go on.
            let task = tokio::spawn(tokio::time::timeout(subject.timeout, running));
            (check.name, found, task)
        })
        .collect();
    let mut findings = Vec::new();
    for (name, found, task) in running {
        let ended = task.await;
        findings.extend(found.take());
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(_)) => findings.push(timed_out(name, subject.timeout)),
            Err(error) => findings.push(Finding::failed(
                name,
                format!("the check itself failed: {error}"),
                "report this as a defect of otlp-rust",
            )),
        }
    }
    let clean = |text: &str| plain(&subject.secrets.clean(text));
    Report {
        version: subject.version.clone(),
        at: SystemClock.now(),
        took: started.elapsed(),
        findings: findings.into_iter().map(|finding| finding.cleaned(&clean)).collect(),
    }
}

fn timed_out(name: &str, timeout: Duration) -> Finding {
    Finding::failed(
        format!("{name}.timeout"),
        format!(
            "not done within {}; what was found until then stands above",
            shown(timeout)
        ),
        "look whether the other side hangs or the network drops packets; a longer --timeout waits longer",
    )
}

/// The names of all checks.
pub fn check_names() -> impl Iterator<Item = &'static str> {
    checks::ALL.iter().map(|check| check.name)
}

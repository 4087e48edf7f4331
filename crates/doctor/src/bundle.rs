//! A support bundle: one `.tar.gz` with what a maintainer wants to see, and without secrets.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use catalog::{Backlog, Catalog, Deletion, Quarantined, RetentionState};
use flate2::Compression;
use flate2::write::GzEncoder;
use schema::time_text;
use serde_json::{Value, json};

use crate::examine::Subject;
use crate::finding::Report;
use crate::{checks, http, serving};

/// What the running server is asked.
const ASKED: [(&str, &str); 5] = [
    ("server/health.json", "/health"),
    ("server/metrics.txt", "/metrics"),
    ("server/status.json", "/api/v1/admin/status"),
    ("server/retention.json", "/api/v1/admin/retention"),
    ("server/readyz.txt", "/readyz"),
];

/// What the system says; files that are not there are left out.
const SYSTEM: [(&str, &str); 14] = [
    ("system/os-release.txt", "/etc/os-release"),
    ("system/kernel.txt", "/proc/version"),
    ("system/memory.txt", "/proc/meminfo"),
    ("system/load.txt", "/proc/loadavg"),
    ("system/uptime.txt", "/proc/uptime"),
    ("system/limits.txt", "/proc/self/limits"),
    ("system/pressure-io.txt", "/proc/pressure/io"),
    ("system/pressure-memory.txt", "/proc/pressure/memory"),
    ("system/pressure-cpu.txt", "/proc/pressure/cpu"),
    ("system/cgroup.txt", "/proc/self/cgroup"),
    ("system/cgroup-memory-max.txt", "/sys/fs/cgroup/memory.max"),
    ("system/cgroup-memory-events.txt", "/sys/fs/cgroup/memory.events"),
    ("system/cgroup-cpu-max.txt", "/sys/fs/cgroup/cpu.max"),
    ("system/cgroup-cpu-stat.txt", "/sys/fs/cgroup/cpu.stat"),
];

/// Deletions in a bundle.
const DELETIONS: i64 = 100;

const ABOUT: &str = "\
A support bundle of otlp-rust, made by `otlp-rust doctor --bundle`.

report.txt, report.json  what the checks found
config.yaml              the configuration in force, secrets hidden
environment.txt          names of environment variables, without values
versions.json            of the program, the catalog and the system
server/                  what the running server says of itself, if one was reached
catalog/                 how much is stored, quarantine, deletions (without their conditions), retention and its proofs
system/                  kernel, memory, limits and control group of where the doctor ran

Passwords, keys and tokens are replaced by ***. Names of tenants, services' addresses and paths are in it: look through it
before you send it on.
";

/// The files of a bundle: their names and texts, cleaned.
pub async fn gather(subject: &Subject, report: &Report) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut add = |name: &str, text: String| files.insert(name.to_owned(), text);
    add("README.txt", ABOUT.to_owned());
    add("report.txt", report.to_text());
    add("report.json", format!("{:#}\n", report.to_json()));
    match &subject.config {
        Ok(config) => add("config.yaml", config.to_yaml()),
        Err(problems) => add("config.yaml", format!("# not valid:\n# {}\n", problems.join("\n# "))),
    };
    let mut names: Vec<_> = std::env::vars_os()
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    add("environment.txt", names.join("\n") + "\n");
    for (name, path) in SYSTEM {
        if let Ok(text) = std::fs::read_to_string(path) {
            add(name, text);
        }
    }
    for (name, text) in server(subject).await {
        add(name, text);
    }
    let (version, of_catalog) = catalog(subject).await;
    for (name, value) in of_catalog {
        add(name, format!("{value:#}\n"));
    }
    let versions = json!({
        "otlp-rust": subject.version,
        "catalog": version,
        "catalog_known": catalog::newest_version(),
        "architecture": std::env::consts::ARCH,
        "system": std::env::consts::OS,
    });
    add("versions.json", format!("{versions:#}\n"));
    files
        .into_iter()
        .map(|(name, text)| (name, subject.secrets.clean(&text)))
        .collect()
}

/// What the server says of itself; nothing if none answers.
async fn server(subject: &Subject) -> Vec<(&'static str, String)> {
    let configured = || serving::local_url(subject.config.as_ref().ok()?.server.http);
    let Some(url) = subject.url.clone().or_else(configured) else {
        return Vec::new();
    };
    let Ok(client) = http::client(&url, subject.timeout) else {
        return Vec::new();
    };
    let mut answers = Vec::new();
    for (name, path) in ASKED {
        let Ok(response) = client.get(http::below(&url, path)).send().await else {
            continue;
        };
        let status = response.status();
        let mut text = http::text(response, http::MOST_BYTES).await;
        if !status.is_success() {
            text = format!("status {status}\n{text}");
        }
        answers.push((name, text));
    }
    answers
}

/// The catalog's version and what it knows; as much of it as can be read in time.
async fn catalog(subject: &Subject) -> (Option<i64>, Vec<(&'static str, Value)>) {
    let Ok(config) = &subject.config else {
        return (None, Vec::new());
    };
    let Ok(catalog) = checks::open_catalog(subject, config).await else {
        return (None, Vec::new());
    };
    let timeout = subject.timeout;
    let version = in_time(timeout, catalog.schema_version()).await.ok();
    let known = vec![
        ("catalog/statistics.json", statistics(&catalog, timeout).await),
        (
            "catalog/quarantine.json",
            list(in_time(timeout, catalog.quarantined()).await, quarantined),
        ),
        (
            "catalog/deletions.json",
            list(in_time(timeout, catalog.deletions(DELETIONS)).await, deletion),
        ),
        (
            "catalog/retention.json",
            list(in_time(timeout, catalog.retention_states()).await, retained),
        ),
    ];
    catalog.close().await;
    (version, known)
}

async fn in_time<T>(timeout: Duration, asked: impl Future<Output = catalog::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(timeout, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {timeout:?}")),
    }
}

fn list<T>(found: Result<Vec<T>, String>, shown: fn(&T) -> Value) -> Value {
    match found {
        Ok(found) => found.iter().map(shown).collect(),
        Err(error) => json!({ "error": error }),
    }
}

async fn statistics(catalog: &Catalog, timeout: Duration) -> Value {
    let asked = async {
        Ok((
            catalog.stored_totals().await?,
            catalog.gc_pending().await?,
            catalog.backlog().await?,
        ))
    };
    match in_time(timeout, asked).await {
        Ok((totals, (objects, bytes), backlog)) => json!({
            "snapshot": totals.sequence,
            "objects": totals.objects,
            "bytes": totals.bytes,
            "rows": totals.rows,
            "waiting_for_deletion": { "objects": objects, "bytes": bytes },
            "datasets": backlog.iter().map(dataset).collect::<Vec<_>>(),
        }),
        Err(error) => json!({ "error": error }),
    }
}

fn dataset(entry: &Backlog) -> Value {
    let levels = entry.levels.iter();
    let levels = levels.map(|l| json!({ "level": l.level, "parts": l.parts, "rows": l.rows, "bytes": l.bytes }));
    json!({
        "tenant": entry.tenant.as_str(),
        "dataset": entry.dataset.name(),
        "slices": entry.slices, "rows": entry.rows, "bytes": entry.bytes,
        "oldest_slice": entry.oldest_created_at.map(time_text),
        "levels": levels.collect::<Vec<_>>(),
    })
}

fn quarantined(entry: &Quarantined) -> Value {
    json!({
        "id": entry.id, "object": entry.path, "tenant": entry.tenant.as_str(), "dataset": entry.dataset.name(),
        "rows": entry.rows, "reason": entry.reason, "since": time_text(entry.quarantined_at),
    })
}

/// Without its condition, which may name people, and without the error, which may quote it.
fn deletion(deletion: &Deletion) -> Value {
    json!({
        "id": deletion.id,
        "tenant": deletion.tenant.as_str(),
        "state": deletion.state.name(),
        "requested_at": time_text(deletion.requested_at),
        "done_at": deletion.done_at.map(time_text),
        "verified_at": deletion.verified_at.map(time_text),
        "rows": deletion.progress.iter().map(|progress| progress.rows).sum::<i64>(),
        "objects_queued": deletion.objects.queued,
        "objects_removed": deletion.objects.removed,
    })
}

fn retained(state: &RetentionState) -> Value {
    json!({
        "tenant": state.tenant.as_str(),
        "dataset": state.dataset.name(),
        "rows_deleted": state.rows_deleted,
        "bytes_deleted": state.bytes_deleted,
        "bytes_waiting": state.bytes_waiting,
        "waiting_since": state.waiting_since.map(time_text),
        "proven_at": state.proven_at.map(time_text),
    })
}

/// Writes the files as `.tar.gz`, readable for its owner only; `at` (ns) is when they were made.
///
/// # Errors
/// If the file cannot be written. What was there before stays in that case.
pub fn write(path: &Path, files: &BTreeMap<String, String>, at: i64) -> io::Result<u64> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(directory)?;
    {
        let encoder = GzEncoder::new(temporary.as_file_mut(), Compression::default());
        let mut archive = tar::Builder::new(encoder);
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(u64::try_from(at / 1_000_000_000).unwrap_or_default());
            archive.append_data(&mut header, Path::new("otlp-rust-doctor").join(name), text.as_bytes())?;
        }
        archive.into_inner()?.finish()?.flush()?;
    }
    let bytes = temporary.as_file().metadata()?.len();
    temporary.persist(path)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn a_bundle_can_be_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.tar.gz");
        let files = BTreeMap::from([("a/b.txt".to_owned(), "text".to_owned())]);
        assert!(write(&path, &files, 1_000_000_000_000_000_000).unwrap() > 0);
        let mut archive = tar::Archive::new(GzDecoder::new(std::fs::File::open(&path).unwrap()));
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!(entry.path().unwrap().to_str(), Some("otlp-rust-doctor/a/b.txt"));
        assert_eq!(
            (text.as_str(), entry.header().mtime().unwrap()),
            ("text", 1_000_000_000)
        );
        assert!(write(&directory.path().join("no/such/b.tar.gz"), &files, 0).is_err());
    }
}

//! Does the catalog answer, how fast, in which version, and may this program do there what it needs?

use std::time::{Duration, Instant};

use catalog::{Catalog, CatalogError, ConnectOptions, ConnectionFacts};
use config::{CatalogUrl, Config};

use crate::examine::{Found, Subject};
use crate::finding::{Finding, bytes, shown};
use crate::{endpoints, reach};

/// Every commit and every query takes some round trips.
const SLOW: Duration = Duration::from_millis(50);

const PINGS: usize = 5;

pub(crate) async fn check(subject: &Subject, found: &Found) {
    let Ok(config) = &subject.config else {
        return found.add(Finding::skipped("catalog", "the configuration is not valid"));
    };
    match open(subject, config).await {
        Ok(catalog) => {
            if let Err(error) = look(&catalog, config, found).await {
                found.add(failed("catalog", &error));
            }
            catalog.close().await;
        }
        Err(finding) => found.add(*finding),
    }
}

/// Connects to a catalog that exists; makes none.
///
/// # Errors
/// The finding that says why there is none.
pub(crate) async fn open(subject: &Subject, config: &Config) -> Result<Catalog, Box<Finding>> {
    if let CatalogUrl::Sqlite { path } = &config.catalog.url
        && !path.exists()
    {
        let why = format!(
            "there is none at {} yet; `otlp-rust serve` or `otlp-rust catalog migrate` makes it",
            path.display()
        );
        return Err(Box::new(Finding::skipped("catalog", why)));
    }
    if let Some(endpoint) = endpoints::catalog(config) {
        reach::connect(&endpoint).await?;
    }
    let url = match &subject.catalog {
        Some(Ok(url)) => url,
        Some(Err(error)) => return Err(Box::new(Finding::failed("catalog", error, "correct catalog.url"))),
        None => return Err(Box::new(Finding::skipped("catalog", "there is none"))),
    };
    let options = ConnectOptions {
        max_connections: 2,
        acquire_timeout: subject.timeout / 2,
    };
    let opened = Catalog::connect(url, options).await;
    opened.map_err(|error| Box::new(failed("catalog", &error)))
}

async fn look(catalog: &Catalog, config: &Config, found: &Found) -> catalog::Result<()> {
    catalog.ping().await?; // connects
    let mut pings = Vec::new();
    for _ in 0..PINGS {
        let started = Instant::now();
        catalog.ping().await?;
        pings.push(started.elapsed());
    }
    pings.sort_unstable();
    let median = pings[PINGS / 2];
    let facts = catalog.facts().await?;
    let seen = format!(
        "{}, {}, answers in {}",
        facts.engine,
        bytes(facts.bytes.unsigned_abs()),
        shown(median)
    );
    let finding = if median > SLOW {
        let remedy = "commits and queries wait for it: put it near the platform, and look at its load";
        Finding::warning("catalog.latency", seen, remedy)
    } else {
        Finding::ok("catalog.latency", seen)
    };
    found.add(finding.took(median).figure("bytes", facts.bytes));
    found.add(version(catalog.schema_version().await?));
    found.add(if facts.read_only {
        Finding::failed(
            "catalog.permissions",
            "the database is read-only: a standby, or default_transaction_read_only is on",
            "point catalog.url at the primary",
        )
    } else if facts.missing.is_empty() {
        Finding::ok("catalog.permissions", "reading, writing, and what migrations need")
    } else {
        let missing = facts.missing.join(", ");
        let remedy =
            format!("let the owner of the tables grant them, or use the login that owns them: GRANT {missing} TO ...");
        Finding::failed("catalog.permissions", format!("the login lacks {missing}"), remedy)
    });
    if let Some(connections) = facts.connections {
        found.add(room(connections, i64::from(config.catalog.max_connections)));
        found.add(encryption(connections, config));
    }
    Ok(())
}

fn version(version: i64) -> Finding {
    let known = catalog::newest_version();
    let finding = if version == 0 {
        Finding::warning(
            "catalog.migrations",
            format!("no tables yet; this program makes version {known}"),
            "run `otlp-rust catalog migrate`; `otlp-rust serve` does it by itself at its start",
        )
    } else if version < known {
        Finding::warning(
            "catalog.migrations",
            format!(
                "version {version}, {} migrations behind version {known} of this program",
                known - version
            ),
            "run `otlp-rust catalog migrate`; `otlp-rust serve` does it by itself at its start",
        )
    } else if version > known {
        Finding::ok(
            "catalog.migrations",
            format!("version {version}, which lets programs of version {known} work"),
        )
    } else {
        Finding::ok("catalog.migrations", format!("version {version}, none is pending"))
    };
    finding.figure("version", version).figure("known", known)
}

fn room(connections: ConnectionFacts, each: i64) -> Finding {
    let ConnectionFacts { limit, used, ours, .. } = connections;
    let seen = format!(
        "{used} of {limit} in use, {ours} of them by otlp-rust; catalog.max_connections {each} leaves room for {} processes",
        limit / each.max(1)
    );
    let remedy =
        "raise max_connections of PostgreSQL, lower catalog.max_connections, or put a pooler in session mode between";
    let finding = if each > limit {
        Finding::failed("catalog.connections", seen, remedy)
    } else if limit - used < each && ours < each {
        Finding::warning("catalog.connections", seen, remedy)
    } else {
        Finding::ok("catalog.connections", seen)
    };
    finding
        .figure("limit", limit)
        .figure("used", used)
        .figure("otlp_rust", ours)
        .figure("max_connections", each)
}

fn encryption(connections: ConnectionFacts, config: &Config) -> Finding {
    let near = endpoints::catalog(config).is_none_or(|endpoint| {
        let address = endpoint.host.parse::<std::net::IpAddr>();
        endpoint.host == "localhost" || address.is_ok_and(|ip| ip.is_loopback())
    });
    let name = "catalog.encryption";
    match (connections.encrypted, near) {
        (true, _) => Finding::ok(name, "the connection is encrypted"),
        (false, true) => Finding::ok(name, "not encrypted, and on this machine"),
        (false, false) => Finding::warning(
            name,
            "the connection is not encrypted",
            "turn on TLS at the server and add ?sslmode=verify-full to catalog.url, unless the network encrypts (a service mesh)",
        ),
    }
}

fn failed(name: &str, error: &CatalogError) -> Finding {
    let text = error.to_string();
    let has = |words: &str| text.contains(words);
    let remedy = if has("password authentication failed") || has("no password") || has("does not exist (28000)") {
        "correct user and password in catalog.url"
    } else if has("database") && has("does not exist") {
        "make the database (CREATE DATABASE ...), or correct its name in catalog.url"
    } else if has("pg_hba.conf") {
        "let pg_hba.conf of the server admit this machine and user"
    } else if has("too many") || has("remaining connection slots") {
        "raise max_connections of PostgreSQL, or lower catalog.max_connections of the processes"
    } else if has("certificate") {
        "see the check certificates"
    } else if has("unable to open database file") || has("readonly") {
        "let this user write the file and its directory"
    } else {
        match error {
            CatalogError::NewerSchema { .. } => "run a program at least as new as the one that migrated the catalog",
            CatalogError::Corrupt(_) => "restore the catalog from a backup, and run `otlp-rust verify`",
            _ => "look into the database's log",
        }
    };
    Finding::failed(name, text.clone(), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Status;

    #[test]
    fn room_for_connections() {
        let of = |limit, used, ours, each| {
            let facts = ConnectionFacts {
                limit,
                used,
                ours,
                encrypted: false,
            };
            room(facts, each).status
        };
        assert_eq!(of(97, 30, 20, 10), Status::Ok);
        assert_eq!(of(97, 90, 0, 10), Status::Warning);
        // Its own connections are what fills it.
        assert_eq!(of(12, 11, 10, 10), Status::Ok);
        assert_eq!(of(5, 1, 0, 10), Status::Failed);
    }

    #[test]
    fn versions() {
        let known = catalog::newest_version();
        for (found, status) in [(0, Status::Warning), (known - 1, Status::Warning), (known, Status::Ok)] {
            assert_eq!(version(found).status, status);
        }
    }
}

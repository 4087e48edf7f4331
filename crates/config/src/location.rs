//! Where data lives: the store's and the catalog's addresses, taken apart once.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use crate::secret::HIDDEN;

/// What [`StoreUrl::parse`] accepts.
pub const EXPECTED_STORE: &str = "file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix";

/// What [`CatalogUrl::parse`] accepts.
pub const EXPECTED_CATALOG: &str = "sqlite:///path/catalog.db or postgres://user:password@host:5432/database";

/// Where objects (segments and parts) are kept. `prefix` has no slash at either end and may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A directory of this machine, `file:///var/lib/otlp` or, relative to the working directory, `file://data/store`.
    Local {
        /// The directory; created when missing.
        path: PathBuf,
    },
    /// S3 or what speaks its protocol, `s3://bucket/prefix`.
    S3 {
        /// The bucket.
        bucket: String,
        /// What every key starts with.
        prefix: String,
    },
    /// Google Cloud Storage, `gs://bucket/prefix`.
    Gcs {
        /// The bucket.
        bucket: String,
        /// What every key starts with.
        prefix: String,
    },
    /// Azure Blob Storage, `az://container/prefix`.
    Azure {
        /// The container.
        container: String,
        /// What every key starts with.
        prefix: String,
    },
}

impl StoreUrl {
    /// Takes an address apart; `None` when it is not [`EXPECTED_STORE`]. Local paths are taken literally, without
    /// percent-decoding.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        if scheme == "file" {
            let path = PathBuf::from(rest);
            return (!rest.is_empty()).then_some(Self::Local { path });
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let bucket_ok = !bucket.is_empty() && bucket.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        let prefix = prefix.trim_end_matches('/');
        let segment_ok =
            |s: &str| !matches!(s, "" | "." | "..") && !s.contains(['?', '#', '\\']) && !s.contains(char::is_control);
        if !bucket_ok || !(prefix.is_empty() || prefix.split('/').all(segment_ok)) {
            return None;
        }
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        match scheme {
            "s3" => Some(Self::S3 { bucket, prefix }),
            "gs" => Some(Self::Gcs { bucket, prefix }),
            "az" => Some(Self::Azure {
                container: bucket,
                prefix,
            }),
            _ => None,
        }
    }

    /// Whether objects are files of this machine.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local { .. })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, bucket, prefix) = match self {
            Self::Local { path } => return write!(f, "file://{}", path.display()),
            Self::S3 { bucket, prefix } => ("s3", bucket, prefix),
            Self::Gcs { bucket, prefix } => ("gs", bucket, prefix),
            Self::Azure { container, prefix } => ("az", container, prefix),
        };
        write!(f, "{scheme}://{bucket}")?;
        if prefix.is_empty() {
            Ok(())
        } else {
            write!(f, "/{prefix}")
        }
    }
}

/// Which database holds the catalog. `Debug` and `Display` hide a password.
#[derive(Clone, PartialEq, Eq)]
pub enum CatalogUrl {
    /// A SQLite file, for one process or several on one machine.
    Sqlite {
        /// The file; created when missing.
        path: PathBuf,
    },
    /// A PostgreSQL database, for any number of processes.
    Postgres {
        /// The whole connection URL, password included.
        url: Url,
        /// The file the URL was read from, if it was (`catalog.url_file`).
        file: Option<PathBuf>,
    },
}

impl CatalogUrl {
    /// Takes an address apart; `None` when it is not [`EXPECTED_CATALOG`]. In-memory SQLite is refused: what was
    /// acknowledged must survive the process.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("sqlite:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            let legal = !path.is_empty() && !path.contains(['?', '#']) && !path.contains(":memory:");
            return legal.then(|| Self::Sqlite {
                path: PathBuf::from(path),
            });
        }
        let url = Url::parse(text).ok()?;
        let named = url.has_host() || url.query_pairs().any(|(key, _)| key == "host");
        (matches!(url.scheme(), "postgres" | "postgresql") && named).then_some(Self::Postgres { url, file: None })
    }

    /// The same, remembering that it was read from `file`.
    pub(crate) fn read_from(self, path: &Path) -> Self {
        match self {
            Self::Postgres { url, .. } => Self::Postgres {
                url,
                file: Some(path.to_owned()),
            },
            sqlite => sqlite,
        }
    }
}

impl fmt::Display for CatalogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path } => write!(f, "sqlite://{}", path.display()),
            Self::Postgres { url, .. } => f.write_str(&redact_url(url.as_str())),
        }
    }
}

impl fmt::Debug for CatalogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CatalogUrl({self})")
    }
}

/// What [`RedisUrl::parse`] accepts.
pub const EXPECTED_REDIS: &str = "redis://user:password@host:6379/0 or, with TLS, rediss://user:password@host:6379/0";

/// The address of a Redis server. `Debug` and `Display` hide a password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// The whole URL, password included.
    pub url: Url,
    /// The file the URL was read from, if it was (`redis.url_file`).
    pub file: Option<PathBuf>,
}

impl RedisUrl {
    /// Takes an address apart; `None` when it is not [`EXPECTED_REDIS`].
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let database = url.path().trim_start_matches('/');
        let legal = matches!(url.scheme(), "redis" | "rediss")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
            && (database.is_empty() || database.parse::<u16>().is_ok());
        legal.then_some(Self { url, file: None })
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_url(self.url.as_str()))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

/// A text with the password of a URL in it replaced by `***`, whether it stands before the host or in the query.
/// Works on texts that do not parse as well, because those are what errors show.
pub fn redact_url(text: &str) -> String {
    let (mut shown, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    // The last '@' of all ends the user information: a password may hold an unescaped '@', '/' or '?'.
    let place = match rest.rsplit_once('@') {
        Some((user, place)) => {
            let (name, password) = user
                .split_once(':')
                .map_or((user, None), |(name, password)| (name, Some(password)));
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.%".contains(c));
            shown.push_str(if plain { name } else { HIDDEN });
            shown.push_str(if password.is_some() { ":***@" } else { "@" });
            place
        }
        None => rest,
    };
    let (body, query) = place
        .split_once('?')
        .map_or((place, None), |(body, query)| (body, Some(query)));
    shown.push_str(body);
    if let Some(query) = query {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((key, _)) if key.to_ascii_lowercase().contains("pass") => format!("{key}={HIDDEN}"),
            _ => pair.to_owned(),
        });
        shown.push('?');
        shown.push_str(&pairs.collect::<Vec<_>>().join("&"));
    }
    shown
}

#[cfg(test)]
mod tests;

//! The servers that the configuration names, as hosts and ports.

use config::{CatalogUrl, Config, StoreUrl};
use url::Url;

/// A server somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `catalog`, `store`, `redis` or `url`.
    pub(crate) of: &'static str,
    /// The key that names it.
    pub(crate) key: &'static str,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Tls,
}

/// How TLS is spoken there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Not.
    None,
    /// From the first byte.
    Direct,
    /// After PostgreSQL's question whether (`sslmode`); `verify` if the certificate matters to the client.
    Postgres { verify: bool, roots: Option<String> },
}

impl Endpoint {
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The endpoint of an `http(s)`, `redis(s)` or similar URL.
    fn of_url(of: &'static str, key: &'static str, url: &Url) -> Option<Self> {
        let (port, tls) = match url.scheme() {
            "https" => (443, Tls::Direct),
            "rediss" => (6379, Tls::Direct),
            "redis" => (6379, Tls::None),
            _ => (80, Tls::None),
        };
        Some(Self {
            of,
            key,
            host: bare_host(url)?,
            port: url.port().unwrap_or(port),
            tls,
        })
    }
}

/// The host, an IPv6 address without its brackets.
fn bare_host(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(host.trim_start_matches('[').trim_end_matches(']').to_owned())
}

/// The catalog's server; none for SQLite and for a socket in the file system.
pub(crate) fn catalog(config: &Config) -> Option<Endpoint> {
    let CatalogUrl::Postgres { url, .. } = &config.catalog.url else {
        return None;
    };
    let option = |names: [&str; 2]| {
        let found = url.query_pairs().find(|(key, _)| names.contains(&key.as_ref()));
        found.map(|(_, value)| value.into_owned())
    };
    let host = option(["host", "hostaddr"]).or_else(|| bare_host(url));
    let host = host.filter(|host| !host.is_empty() && !host.contains('/') && !host.contains("%2F"))?;
    let tls = match option(["sslmode", "ssl-mode"]).as_deref() {
        Some("disable" | "allow") => Tls::None,
        mode => Tls::Postgres {
            verify: matches!(mode, Some("verify-ca" | "verify-full")),
            roots: option(["sslrootcert", "ssl-root-cert"]),
        },
    };
    let port = option(["port", "port"]).and_then(|port| port.parse().ok());
    Some(Endpoint {
        of: "catalog",
        key: "catalog.url",
        host,
        port: port.or(url.port()).unwrap_or(5432),
        tls,
    })
}

/// The store's server; none for the local disk.
pub(crate) fn store(config: &Config) -> Option<Endpoint> {
    let store = &config.store;
    let named = |key: &'static str, endpoint: &Option<Url>| {
        let endpoint = endpoint.as_ref()?;
        Endpoint::of_url("store", key, endpoint)
    };
    let public = |host: String| Endpoint {
        of: "store",
        key: "store.url",
        host,
        port: 443,
        tls: Tls::Direct,
    };
    match &store.url {
        StoreUrl::Local { .. } => None,
        StoreUrl::S3 { bucket, .. } => {
            let region = store.s3.region.as_deref().unwrap_or("us-east-1");
            let bucket = if store.s3.virtual_hosted_style {
                format!("{bucket}.")
            } else {
                String::new()
            };
            named("store.s3.endpoint", &store.s3.endpoint)
                .or_else(|| Some(public(format!("{bucket}s3.{region}.amazonaws.com"))))
        }
        StoreUrl::Gcs { .. } => named("store.gcs.endpoint", &store.gcs.endpoint)
            .or_else(|| Some(public("storage.googleapis.com".to_owned()))),
        StoreUrl::Azure { .. } => named("store.azure.endpoint", &store.azure.endpoint).or_else(|| {
            let account = store.azure.account.as_deref()?;
            Some(public(format!("{account}.blob.core.windows.net")))
        }),
    }
}

/// The Redis server, if there is one.
pub(crate) fn redis(config: &Config) -> Option<Endpoint> {
    Endpoint::of_url("redis", "redis.url", &config.redis.url.as_ref()?.url)
}

/// Every server that the configuration or the command line names.
pub(crate) fn all(config: Option<&Config>, urls: [Option<&Url>; 2]) -> Vec<Endpoint> {
    let mut all: Vec<_> = config.map_or_else(Vec::new, |config| {
        [catalog(config), store(config), redis(config)]
            .into_iter()
            .flatten()
            .collect()
    });
    for (of, url) in ["url", "otlp_url"].into_iter().zip(urls) {
        let key = if of == "url" { "--url" } else { "--otlp-url" };
        let endpoint = url.and_then(|url| Endpoint::of_url(of, key, url));
        // Both are usually the same server.
        all.extend(endpoint.filter(|one| !all.iter().any(|other| other.address() == one.address())));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        let overrides = pairs.iter();
        let overrides = overrides.map(|(key, value)| ((*key).to_owned(), (*value).to_owned(), "--x".to_owned()));
        let sources = config::Sources {
            overrides: overrides.collect(),
            ..config::Sources::default()
        };
        config::load(sources).unwrap()
    }

    #[test]
    fn catalogs() {
        let of = |url| catalog(&config(&[("catalog.url", url)])).map(|e| (e.address(), e.tls));
        assert_eq!(of("sqlite:///x.db"), None);
        assert_eq!(of("postgres:///otel?host=/var/run/postgresql"), None);
        let prefer = |verify| Tls::Postgres { verify, roots: None };
        assert_eq!(of("postgres://u:p@db/otel"), Some(("db:5432".into(), prefer(false))));
        assert_eq!(
            of("postgres://u@db:6/o?sslmode=disable"),
            Some(("db:6".into(), Tls::None))
        );
        assert_eq!(
            of("postgres://u@[::1]:6/o?sslmode=verify-full"),
            Some(("[::1]:6".into(), prefer(true)))
        );
    }

    #[test]
    fn stores_and_redis() {
        let of = |pairs: &[(&str, &str)]| store(&config(pairs)).map(|e| (e.address(), e.tls));
        assert_eq!(of(&[]), None);
        let aws = [("store.url", "s3://b"), ("store.s3.region", "eu-central-1")];
        assert_eq!(
            of(&aws),
            Some(("s3.eu-central-1.amazonaws.com:443".into(), Tls::Direct))
        );
        let minio = [("store.url", "s3://b"), ("store.s3.endpoint", "https://minio:9000")];
        assert_eq!(of(&minio), Some(("minio:9000".into(), Tls::Direct)));
        let azure = [("store.url", "az://c"), ("store.azure.account", "acc")];
        assert_eq!(of(&azure), Some(("acc.blob.core.windows.net:443".into(), Tls::Direct)));
        let with_redis = config(&[("redis.url", "rediss://:p@cache/1")]);
        assert_eq!(
            redis(&with_redis).map(|e| (e.address(), e.tls)),
            Some(("cache:6379".into(), Tls::Direct))
        );
    }
}

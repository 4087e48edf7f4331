//! From raw records to [`Config`]: works out defaults, takes addresses apart, reads secrets, and checks what the
//! shape of a value cannot say.
//!
//! Checks do not stop at the first problem: a value that fails is replaced by something harmless, so that the rest is
//! checked too. The result is handed out only when nothing was reported.

mod check;
mod limits;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use schema::TenantId;
use url::Url;

use check::Check;

use crate::human::{ByteSize, HumanDuration};
use crate::layers::Merged;
use crate::location::{CatalogUrl, EXPECTED_CATALOG, EXPECTED_STORE, StoreUrl, redact_url};
use crate::memory::{MemoryLimit, MemorySource, ReadFile, detect_memory_limit_with};
use crate::problem::ConfigErrors;
use crate::raw::{RawConfig, RawLogFormat, RawRole, RawTenantRetention};
use crate::secret::{HIDDEN, Secret};
use crate::settings::{
    Azure, Cache, Catalog, Commit, Compaction, Config, CorsOrigins, Gc, Gcs, Ingest, Log, LogFormat, Periods,
    PostgresWire, Query, Retention, Roles, S3, Server, Store,
};

/// Commit window on local disk: a synced file and a SQLite commit take a few milliseconds, so waiting longer would
/// only add to the acknowledgement.
const LOCAL_COMMIT_INTERVAL: Duration = Duration::from_millis(5);

/// Commit window on object stores: four objects a second and process keep request costs low.
const REMOTE_COMMIT_INTERVAL: Duration = Duration::from_millis(250);

/// A sender waits for its acknowledgement as long as the window: beyond this its own timeout (10 s by default in the
/// OTLP exporters) would strike first.
const LONGEST_COMMIT_INTERVAL: Duration = Duration::from_secs(10);

/// Below this nothing useful fits the budgets.
const SMALLEST_MEMORY: u64 = 64 << 20;

/// Validates merged layers.
pub(crate) fn validate(merged: Merged, read: ReadFile<'_>) -> Result<Config, ConfigErrors> {
    let Merged { raw, origins, problems } = merged;
    let mut check = Check {
        origins,
        problems,
        read,
    };
    let config = check.config(raw);
    if check.problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigErrors(check.problems))
    }
}

/// A request is held as it was sent, decompressed, as columns, and while these are encoded.
const REQUEST_PART: u64 = 4;

/// Commits overlap: one is filled, one or two are written, and each is held twice while it is encoded.
const COMMIT_PART: u64 = 8;

impl Check<'_> {
    fn config(&mut self, raw: RawConfig) -> Config {
        let memory = self.memory(raw.memory.limit);
        let store = self.store(&raw);
        let ingest = self.ingest(&raw, memory.bytes);
        let commit = self.commit(&raw, &store.url, ingest.max_pending_bytes);
        Config {
            server: self.server(&raw),
            catalog: self.catalog(&raw),
            compaction: self.compaction(&raw),
            gc: Gc {
                grace: raw.gc.grace.0,
                interval: self.positive("gc.interval", raw.gc.interval),
                orphan_grace: raw.gc.orphan_grace.0,
            },
            limits: self.limits(&raw),
            redis: self.redis(&raw),
            retention: self.retention(&raw),
            query: Query {
                max_memory: self.share("query.max_memory", raw.query.max_memory, memory.bytes, 1),
                timeout: self.positive("query.timeout", raw.query.timeout),
                max_scan_bytes: self.at_least("query.max_scan_bytes", raw.query.max_scan_bytes, 1),
                max_rows: raw.query.max_rows,
                concurrency: raw.query.concurrency,
            },
            postgres_wire: PostgresWire {
                enabled: raw.postgres_wire.enabled,
                listen: raw.postgres_wire.listen,
            },
            cache: Cache {
                max_bytes: self.share("cache.max_bytes", raw.cache.max_bytes, memory.bytes, 0),
            },
            log: self.log(&raw),
            store,
            ingest,
            commit,
            memory,
        }
    }

    fn memory(&mut self, given: Option<ByteSize>) -> MemoryLimit {
        match given {
            Some(limit) => MemoryLimit {
                bytes: self.at_least("memory.limit", limit, SMALLEST_MEMORY),
                source: MemorySource::Configured,
            },
            None => detect_memory_limit_with(self.read),
        }
    }

    fn server(&mut self, raw: &RawConfig) -> Server {
        let server = &raw.server;
        if server.role.0.is_empty() {
            self.invalid(
                "server.role",
                "[]",
                "all, or one or several of ingest, query and compact",
            );
        }
        let has = |role| server.role.0.contains(&RawRole::All) || server.role.0.contains(&role);
        if server.data_dir.as_os_str().is_empty() {
            self.invalid("server.data_dir", "\"\"", "a directory");
        }
        self.listeners(raw);
        Server {
            roles: Roles {
                ingest: has(RawRole::Ingest),
                query: has(RawRole::Query),
                compact: has(RawRole::Compact),
            },
            data_dir: server.data_dir.clone(),
            otlp_grpc: server.otlp_grpc,
            otlp_http: server.otlp_http,
            http: server.http,
            admin: server.admin,
            drain_delay: server.drain_delay.0,
            shutdown_timeout: self.positive("server.shutdown_timeout", server.shutdown_timeout),
            cors: self.cors(&server.cors_allowed_origins),
        }
    }

    /// Two listeners cannot share a port, neither on one address nor when one of them takes every address.
    fn listeners(&mut self, raw: &RawConfig) {
        let mut listeners = vec![
            ("server.otlp_grpc", raw.server.otlp_grpc),
            ("server.otlp_http", raw.server.otlp_http),
            ("server.http", raw.server.http),
            ("server.admin", raw.server.admin),
        ];
        if raw.postgres_wire.enabled {
            listeners.push(("postgres_wire.listen", raw.postgres_wire.listen));
        }
        let collide = |a: SocketAddr, b: SocketAddr| {
            a.port() != 0
                && a.port() == b.port()
                && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
        };
        for (i, (key, address)) in listeners.iter().enumerate() {
            for (other_key, other) in &listeners[..i] {
                if collide(*address, *other) {
                    self.conflict(
                        &[other_key, key],
                        format!("{other_key} ({other}) and {key} ({address}) take the same port: change one"),
                    );
                }
            }
        }
    }

    fn cors(&mut self, given: &[String]) -> CorsOrigins {
        if given.iter().any(|origin| origin == "*") {
            return CorsOrigins::Any;
        }
        for origin in given {
            // An origin as browsers send it is exactly scheme, host and port (RFC 6454, section 6.2).
            let exact = Url::parse(origin).is_ok_and(|url| url.origin().ascii_serialization() == *origin);
            if !exact {
                self.invalid(
                    "server.cors_allowed_origins",
                    format!("{origin:?}"),
                    "origins such as https://shop.example, in lower case and without path, or *",
                );
            }
        }
        CorsOrigins::List(given.to_vec())
    }

    fn store(&mut self, raw: &RawConfig) -> Store {
        let store = &raw.store;
        let local = || StoreUrl::Local {
            path: raw.server.data_dir.join("store"),
        };
        let url = match &store.url {
            None => local(),
            Some(text) => StoreUrl::parse(text).unwrap_or_else(|| {
                self.invalid("store.url", format!("{:?}", redact_url(text)), EXPECTED_STORE);
                local()
            }),
        };
        let secret = self.secret(
            "store.s3.secret_access_key",
            store.s3.secret_access_key.clone(),
            store.s3.secret_access_key_file.as_deref(),
        );
        let secret_given = store.s3.secret_access_key.is_some() || store.s3.secret_access_key_file.is_some();
        if store.s3.access_key_id.is_some() != secret_given {
            let keys = ["store.s3.access_key_id", "store.s3.secret_access_key"];
            self.conflict(
                &keys,
                "store.s3.access_key_id and store.s3.secret_access_key go together: give both or neither",
            );
        }
        if matches!(url, StoreUrl::Azure { .. }) && store.azure.account.is_none() {
            self.conflict(
                &["store.url", "store.azure.account"],
                "an az:// store needs store.azure.account",
            );
        }
        Store {
            url,
            request_timeout: self.positive("store.request_timeout", store.request_timeout),
            s3: S3 {
                endpoint: self.endpoint(
                    "store.s3.endpoint",
                    store.s3.endpoint.clone(),
                    Some(("store.s3.allow_http", store.s3.allow_http)),
                ),
                region: store.s3.region.clone(),
                access_key_id: store.s3.access_key_id.clone(),
                secret_access_key: secret,
                allow_http: store.s3.allow_http,
                virtual_hosted_style: store.s3.virtual_hosted_style,
            },
            gcs: Gcs {
                service_account_path: store.gcs.service_account_path.clone(),
                endpoint: self.endpoint("store.gcs.endpoint", store.gcs.endpoint.clone(), None),
            },
            azure: Azure {
                account: store.azure.account.clone(),
                access_key: self.secret(
                    "store.azure.access_key",
                    store.azure.access_key.clone(),
                    store.azure.access_key_file.as_deref(),
                ),
                endpoint: self.endpoint(
                    "store.azure.endpoint",
                    store.azure.endpoint.clone(),
                    Some(("store.azure.allow_http", store.azure.allow_http)),
                ),
                allow_http: store.azure.allow_http,
            },
        }
    }

    fn catalog(&mut self, raw: &RawConfig) -> Catalog {
        let given = raw.catalog.url.clone().map(Secret::new);
        let text = self.secret("catalog.url", given, raw.catalog.url_file.as_deref());
        let sqlite = || CatalogUrl::Sqlite {
            path: raw.server.data_dir.join("catalog.db"),
        };
        let url = match &text {
            None => sqlite(),
            Some(text) => match (CatalogUrl::parse(text.expose()), text.file()) {
                (Some(CatalogUrl::Postgres { url, .. }), None) if url.password() == Some(HIDDEN) => {
                    self.invalid(
                        "catalog.url",
                        format!("{:?}", redact_url(text.expose())),
                        "the password itself, not the *** that stands for it in print",
                    );
                    sqlite()
                }
                (Some(url), None) => url,
                (Some(url), Some(file)) => url.read_from(file),
                (None, None) => {
                    self.invalid(
                        "catalog.url",
                        format!("{:?}", redact_url(text.expose())),
                        EXPECTED_CATALOG,
                    );
                    sqlite()
                }
                (None, Some(file)) => {
                    self.invalid(
                        "catalog.url_file",
                        file.display(),
                        format!("a file that holds {EXPECTED_CATALOG}"),
                    );
                    sqlite()
                }
            },
        };
        Catalog {
            url,
            max_connections: raw.catalog.max_connections,
        }
    }

    /// The limits of a request follow the budget for what is pending when they are not set, and must fit it when
    /// they are: a request larger than the whole budget could never be admitted.
    fn ingest(&mut self, raw: &RawConfig, memory: u64) -> Ingest {
        let ingest = &raw.ingest;
        let pending = self.share("ingest.max_pending_bytes", ingest.max_pending_bytes, memory, 1 << 20);
        let decompressed = self.fitting(
            "ingest.max_decompressed_bytes",
            ingest.max_decompressed_bytes,
            "ingest.max_pending_bytes",
            pending,
            REQUEST_PART,
        );
        let request = self.fitting(
            "ingest.max_request_bytes",
            ingest.max_request_bytes,
            "ingest.max_decompressed_bytes",
            decompressed,
            1,
        );
        Ingest {
            max_request_bytes: request,
            max_decompressed_bytes: decompressed,
            max_depth: ingest.max_depth,
            max_attribute_columns: ingest.max_attribute_columns,
            max_pending_bytes: pending,
            dedupe_window: ingest.dedupe_window.0,
        }
    }

    fn commit(&mut self, raw: &RawConfig, store: &StoreUrl, pending: u64) -> Commit {
        let default = if store.is_local() {
            LOCAL_COMMIT_INTERVAL
        } else {
            REMOTE_COMMIT_INTERVAL
        };
        let min_interval = match raw.commit.min_interval {
            Some(given) => self.within("commit.min_interval", given, Duration::ZERO, LONGEST_COMMIT_INTERVAL),
            None => default,
        };
        Commit {
            min_interval,
            max_bytes: self.fitting(
                "commit.max_bytes",
                raw.commit.max_bytes,
                "ingest.max_pending_bytes",
                pending,
                COMMIT_PART,
            ),
            pipeline: raw.commit.pipeline,
        }
    }

    fn compaction(&mut self, raw: &RawConfig) -> Compaction {
        let compaction = &raw.compaction;
        Compaction {
            interval: self.positive("compaction.interval", compaction.interval),
            target_rows: compaction.target_rows,
            max_slice_age: compaction.max_slice_age.0,
            lease_ttl: self.within(
                "compaction.lease_ttl",
                compaction.lease_ttl,
                Duration::from_secs(1),
                Duration::MAX,
            ),
        }
    }

    fn retention(&mut self, raw: &RawConfig) -> Retention {
        // Zero means for ever.
        let period = |value: HumanDuration| (!value.0.is_zero()).then_some(value.0);
        let retention = &raw.retention;
        let signal = |own: Option<HumanDuration>| period(own.unwrap_or(retention.default));
        let default = Periods {
            spans: signal(retention.spans),
            logs: signal(retention.logs),
            metrics: signal(retention.metrics),
        };
        let mut tenants = BTreeMap::new();
        for (name, own) in &retention.tenants {
            let of = |value: Option<HumanDuration>, fallback| match value.or(own.default) {
                Some(given) => period(given),
                None => fallback,
            };
            let RawTenantRetention {
                spans, logs, metrics, ..
            } = *own;
            let periods = Periods {
                spans: of(spans, default.spans),
                logs: of(logs, default.logs),
                metrics: of(metrics, default.metrics),
            };
            match TenantId::parse(name) {
                Ok(tenant) => {
                    tenants.insert(tenant, periods);
                }
                Err(error) => self.bad_tenant("retention.tenants", name, &error.to_string()),
            }
        }
        Retention {
            fallback: period(retention.default),
            default,
            tenants,
        }
    }

    fn log(&mut self, raw: &RawConfig) -> Log {
        let level = raw.log.level.trim();
        if !level.split(',').all(is_log_directive) {
            self.invalid(
                "log.level",
                format!("{level:?}"),
                "off, error, warn, info, debug or trace, also per module as in info,lake=debug",
            );
        }
        let format = match raw.log.format {
            RawLogFormat::Text => LogFormat::Text,
            RawLogFormat::Json => LogFormat::Json,
        };
        Log {
            level: level.to_owned(),
            format,
        }
    }
}

/// `level` or `module::path=level`.
fn is_log_directive(directive: &str) -> bool {
    let (module, level) = match directive.trim().rsplit_once('=') {
        Some((module, level)) => (Some(module), level),
        None => (None, directive.trim()),
    };
    let level_ok = ["off", "error", "warn", "info", "debug", "trace"]
        .iter()
        .any(|name| name.eq_ignore_ascii_case(level));
    let module_ok = |m: &str| {
        !m.is_empty()
            && m.chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-'))
    };
    level_ok && module.is_none_or(module_ok)
}

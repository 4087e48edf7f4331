//! What `config print` shows: the configuration in force, as a file that could have produced it, secrets hidden; and
//! what in it deserves a second look.

use crate::human::{ByteSize, HumanDuration};
use crate::location::CatalogUrl;
use crate::raw::{
    RawAzure, RawCache, RawCatalog, RawCommit, RawCompaction, RawConfig, RawGc, RawGcs, RawIngest, RawLimits, RawLog,
    RawLogFormat, RawMemory, RawPostgresWire, RawQuery, RawRedis, RawRetention, RawRole, RawS3, RawServer, RawStore,
    RawTenantLimits, RawTenantRetention, RoleList,
};
use crate::secret::Secret;
use crate::settings::{Allowance, Config, CorsOrigins, LogFormat, Periods, Roles};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An orphan is told from a commit under way by its age alone; below this a slow commit could be mistaken for one.
const SAFE_ORPHAN_GRACE: Duration = Duration::from_secs(600);

impl Config {
    /// The effective configuration as YAML: every default worked out, every secret shown as `***` or as the file it
    /// was read from. Apart from hidden secrets, loading it gives the same configuration again.
    pub fn to_yaml(&self) -> String {
        // The records are maps, lists and scalars with text keys: YAML has a form for each.
        serde_yaml_ng::to_string(&self.to_raw()).unwrap_or_else(|error| format!("# cannot be printed: {error}\n"))
    }

    /// What is allowed and yet probably not meant; for the log at start and for `config check`.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let show = |duration| HumanDuration(duration);
        if self.gc.grace < self.query.timeout {
            warnings.push(format!(
                "gc.grace ({}) is shorter than query.timeout ({}): a long query may lose an object under its hands; raise gc.grace",
                show(self.gc.grace),
                show(self.query.timeout)
            ));
        }
        if self.gc.orphan_grace < SAFE_ORPHAN_GRACE {
            warnings.push(format!(
                "gc.orphan_grace ({}) is below {}: a slow commit could lose its object; raise it",
                show(self.gc.orphan_grace),
                show(SAFE_ORPHAN_GRACE)
            ));
        }
        let budgets = self
            .ingest
            .max_pending_bytes
            .saturating_add(self.query.max_memory)
            .saturating_add(self.cache.max_bytes);
        if budgets > self.memory.bytes {
            warnings.push(format!(
                "ingest.max_pending_bytes, query.max_memory and cache.max_bytes are {} together, above memory.limit ({}): lower one",
                ByteSize(budgets),
                ByteSize(self.memory.bytes)
            ));
        }
        if !self.store.url.is_local() && matches!(self.catalog.url, CatalogUrl::Sqlite { .. }) {
            warnings.push(
                "the store is shared and the catalog is a SQLite file of this machine: other processes will not see the data; use a postgres:// catalog.url in a cluster"
                    .to_owned(),
            );
        }
        warnings
    }

    fn to_raw(&self) -> RawConfig {
        RawConfig {
            server: self.raw_server(),
            store: self.raw_store(),
            catalog: self.raw_catalog(),
            redis: self.raw_redis(),
            ingest: RawIngest {
                max_request_bytes: ByteSize(self.ingest.max_request_bytes),
                max_decompressed_bytes: ByteSize(self.ingest.max_decompressed_bytes),
                max_depth: self.ingest.max_depth,
                max_attribute_columns: self.ingest.max_attribute_columns,
                max_pending_bytes: Some(ByteSize(self.ingest.max_pending_bytes)),
                dedupe_window: HumanDuration(self.ingest.dedupe_window),
            },
            limits: self.raw_limits(),
            commit: RawCommit {
                min_interval: Some(HumanDuration(self.commit.min_interval)),
                max_bytes: ByteSize(self.commit.max_bytes),
                pipeline: self.commit.pipeline,
            },
            compaction: RawCompaction {
                interval: HumanDuration(self.compaction.interval),
                target_rows: self.compaction.target_rows,
                max_slice_age: HumanDuration(self.compaction.max_slice_age),
                lease_ttl: HumanDuration(self.compaction.lease_ttl),
            },
            gc: RawGc {
                grace: HumanDuration(self.gc.grace),
                interval: HumanDuration(self.gc.interval),
                orphan_grace: HumanDuration(self.gc.orphan_grace),
            },
            memory: RawMemory {
                limit: Some(ByteSize(self.memory.bytes)),
            },
            retention: self.raw_retention(),
            query: RawQuery {
                max_memory: Some(ByteSize(self.query.max_memory)),
                timeout: HumanDuration(self.query.timeout),
                max_scan_bytes: ByteSize(self.query.max_scan_bytes),
                max_rows: self.query.max_rows,
                concurrency: self.query.concurrency,
            },
            postgres_wire: RawPostgresWire {
                enabled: self.postgres_wire.enabled,
                listen: self.postgres_wire.listen,
            },
            cache: RawCache {
                max_bytes: Some(ByteSize(self.cache.max_bytes)),
            },
            log: RawLog {
                level: self.log.level.clone(),
                format: match self.log.format {
                    LogFormat::Text => RawLogFormat::Text,
                    LogFormat::Json => RawLogFormat::Json,
                },
            },
        }
    }

    fn raw_server(&self) -> RawServer {
        let server = &self.server;
        RawServer {
            role: raw_roles(server.roles),
            data_dir: server.data_dir.clone(),
            otlp_grpc: server.otlp_grpc,
            otlp_http: server.otlp_http,
            http: server.http,
            admin: server.admin,
            drain_delay: HumanDuration(server.drain_delay),
            shutdown_timeout: HumanDuration(server.shutdown_timeout),
            cors_allowed_origins: match &server.cors {
                CorsOrigins::Any => vec!["*".to_owned()],
                CorsOrigins::List(origins) => origins.clone(),
            },
        }
    }

    fn raw_store(&self) -> RawStore {
        let store = &self.store;
        let (secret_access_key, secret_access_key_file) = value_or_file(store.s3.secret_access_key.as_ref());
        let (access_key, access_key_file) = value_or_file(store.azure.access_key.as_ref());
        // Without the slash that a URL of a bare host is given in parsing.
        let endpoint = |url: &Option<url::Url>| url.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned());
        RawStore {
            url: Some(store.url.to_string()),
            request_timeout: HumanDuration(store.request_timeout),
            s3: RawS3 {
                endpoint: endpoint(&store.s3.endpoint),
                region: store.s3.region.clone(),
                access_key_id: store.s3.access_key_id.clone(),
                secret_access_key,
                secret_access_key_file,
                allow_http: store.s3.allow_http,
                virtual_hosted_style: store.s3.virtual_hosted_style,
            },
            gcs: RawGcs {
                service_account_path: store.gcs.service_account_path.clone(),
                endpoint: endpoint(&store.gcs.endpoint),
            },
            azure: RawAzure {
                account: store.azure.account.clone(),
                access_key,
                access_key_file,
                endpoint: endpoint(&store.azure.endpoint),
                allow_http: store.azure.allow_http,
            },
        }
    }

    fn raw_catalog(&self) -> RawCatalog {
        let url_file = match &self.catalog.url {
            CatalogUrl::Postgres { file, .. } => file.clone(),
            CatalogUrl::Sqlite { .. } => None,
        };
        let url = url_file.is_none().then(|| self.catalog.url.to_string());
        RawCatalog {
            url,
            url_file,
            max_connections: self.catalog.max_connections,
        }
    }

    fn raw_redis(&self) -> RawRedis {
        let url = self.redis.url.as_ref();
        RawRedis {
            url: url.filter(|url| url.file.is_none()).map(ToString::to_string),
            url_file: url.and_then(|url| url.file.clone()),
            prefix: self.redis.prefix.clone(),
        }
    }

    fn raw_limits(&self) -> RawLimits {
        let limits = &self.limits;
        let tenants = limits.tenants.iter().map(|(tenant, allowance)| {
            let Allowance {
                bytes_per_second,
                items_per_second,
                attribute_keys,
                series,
            } = *allowance;
            let own = RawTenantLimits {
                bytes_per_second: Some(ByteSize(bytes_per_second.unwrap_or_default())),
                items_per_second: Some(items_per_second.unwrap_or_default()),
                attribute_keys: Some(attribute_keys.unwrap_or_default()),
                series: Some(series.unwrap_or_default()),
            };
            (tenant.to_string(), own)
        });
        RawLimits {
            bytes_per_second: ByteSize(limits.default.bytes_per_second.unwrap_or_default()),
            items_per_second: limits.default.items_per_second.unwrap_or_default(),
            attribute_keys: limits.default.attribute_keys.unwrap_or_default(),
            series: limits.default.series.unwrap_or_default(),
            burst: HumanDuration(limits.burst),
            tenants: tenants.collect(),
        }
    }

    fn raw_retention(&self) -> RawRetention {
        let raw = |period: Option<Duration>| HumanDuration(period.unwrap_or_default());
        let Periods { spans, logs, metrics } = self.retention.default;
        let tenants = self.retention.tenants.iter().map(|(tenant, periods)| {
            let periods = RawTenantRetention {
                default: None,
                spans: Some(raw(periods.spans)),
                logs: Some(raw(periods.logs)),
                metrics: Some(raw(periods.metrics)),
            };
            (tenant.to_string(), periods)
        });
        RawRetention {
            default: raw(self.retention.fallback),
            spans: Some(raw(spans)),
            logs: Some(raw(logs)),
            metrics: Some(raw(metrics)),
            tenants: tenants.collect(),
        }
    }
}

fn raw_roles(roles: Roles) -> RoleList {
    let Roles { ingest, query, compact } = roles;
    if ingest && query && compact {
        return RoleList(vec![RawRole::All]);
    }
    let each = [
        (ingest, RawRole::Ingest),
        (query, RawRole::Query),
        (compact, RawRole::Compact),
    ];
    RoleList(each.into_iter().filter(|(on, _)| *on).map(|(_, role)| role).collect())
}

fn value_or_file(secret: Option<&Secret>) -> (Option<Secret>, Option<PathBuf>) {
    match (secret, secret.and_then(Secret::file)) {
        (_, Some(file)) => (None, Some(Path::to_owned(file))),
        (secret, None) => (secret.cloned(), None),
    }
}

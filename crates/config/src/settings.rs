//! The configuration as the rest of the process sees it: plain, validated data.
//!
//! Every default is worked out, every address taken apart, every secret read. Nothing here opens a file or a socket;
//! stores, pools and servers are built from it elsewhere.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schema::{Dataset, TenantId};
use url::Url;

use crate::location::{CatalogUrl, RedisUrl, StoreUrl};
use crate::memory::MemoryLimit;
use crate::secret::Secret;

/// The validated configuration. Made by [`crate::load`].
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What the process does and where it listens.
    pub server: Server,
    /// Where objects are kept.
    pub store: Store,
    /// The database of live objects.
    pub catalog: Catalog,
    /// Where processes share their limits.
    pub redis: Redis,
    /// What is admitted.
    pub ingest: Ingest,
    /// What a tenant may send.
    pub limits: Limits,
    /// How items become durable.
    pub commit: Commit,
    /// How slices become parts.
    pub compaction: Compaction,
    /// How dead objects are deleted.
    pub gc: Gc,
    /// The memory to plan with.
    pub memory: MemoryLimit,
    /// How long data is kept.
    pub retention: Retention,
    /// Limits of one query.
    pub query: Query,
    /// The PostgreSQL wire protocol.
    pub postgres_wire: PostgresWire,
    /// The cache.
    pub cache: Cache,
    /// The process's own log.
    pub log: Log,
}

/// What the process does. At least one is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Receives OTLP and commits it.
    pub ingest: bool,
    /// Answers queries.
    pub query: bool,
    /// Compacts, and enforces retention and garbage collection.
    pub compact: bool,
}

/// Web origins that browsers may call from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Every origin (`*`).
    Any,
    /// These origins, as browsers send them (`https://shop.example`); none when empty.
    List(Vec<String>),
}

/// Section `server`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// What the process does.
    pub roles: Roles,
    /// The directory of local data.
    pub data_dir: PathBuf,
    /// OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
    /// The API.
    pub http: SocketAddr,
    /// The process's own metrics.
    pub admin: SocketAddr,
    /// How long a shutdown goes on serving before it refuses anything; may be zero.
    pub drain_delay: Duration,
    /// How long a shutdown then waits for requests under way; above zero.
    pub shutdown_timeout: Duration,
    /// Origins that browsers may call from.
    pub cors: CorsOrigins,
}

/// Section `store`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Which store.
    pub url: StoreUrl,
    /// When a request to it counts as failed; above zero.
    pub request_timeout: Duration,
    /// For `s3://`.
    pub s3: S3,
    /// For `gs://`.
    pub gcs: Gcs,
    /// For `az://`.
    pub azure: Azure,
}

/// Section `store.s3`. What is `None` comes from the environment's usual credentials chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    /// Another endpoint than AWS.
    pub endpoint: Option<Url>,
    /// The bucket's region.
    pub region: Option<String>,
    /// Set together with the secret.
    pub access_key_id: Option<String>,
    /// Set together with the id.
    pub secret_access_key: Option<Secret>,
    /// Whether plain HTTP is allowed.
    pub allow_http: bool,
    /// Whether the bucket stands in the host name.
    pub virtual_hosted_style: bool,
}

/// Section `store.gcs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gcs {
    /// The service account's JSON file.
    pub service_account_path: Option<PathBuf>,
    /// An emulator's endpoint.
    pub endpoint: Option<Url>,
}

/// Section `store.azure`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Azure {
    /// The storage account; present when the store is `az://`.
    pub account: Option<String>,
    /// Its access key.
    pub access_key: Option<Secret>,
    /// Another endpoint.
    pub endpoint: Option<Url>,
    /// Whether plain HTTP is allowed.
    pub allow_http: bool,
}

/// Section `catalog`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// Which database.
    pub url: CatalogUrl,
    /// Connections at most, 1 to 1000.
    pub max_connections: u32,
}

/// Section `ingest`. `max_request_bytes` <= `max_decompressed_bytes` <= `max_pending_bytes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingest {
    /// Bytes of a request body as it arrives.
    pub max_request_bytes: u64,
    /// Bytes of a request body after decompression.
    pub max_decompressed_bytes: u64,
    /// Nesting of attribute values, 1 to 256.
    pub max_depth: u32,
    /// Attribute columns per tenant and dataset, 0 to 4096.
    pub max_attribute_columns: u32,
    /// Bytes received and not yet committed.
    pub max_pending_bytes: u64,
    /// How long requests are remembered.
    pub dedupe_window: Duration,
}

/// What one tenant may send; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Decompressed bytes of requests per second.
    pub bytes_per_second: Option<u64>,
    /// Spans, log records and data points per second.
    pub items_per_second: Option<u64>,
    /// Distinct attribute keys in use.
    pub attribute_keys: Option<u64>,
    /// Distinct metric series in use.
    pub series: Option<u64>,
}

/// Section `limits`, every fallback worked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Tenants that are not in `tenants`.
    pub default: Allowance,
    /// How much of a rate may be used at once after silence, at least 1 s.
    pub burst: Duration,
    /// Tenants that differ.
    pub tenants: BTreeMap<TenantId, Allowance>,
}

/// Section `redis`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// Which server; `None` without one.
    pub url: Option<RedisUrl>,
    /// What the names of all keys begin with.
    pub prefix: String,
}

/// Section `commit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// How long a commit waits for company; zero is allowed.
    pub min_interval: Duration,
    /// Waiting bytes that start a commit at once; at most `ingest.max_pending_bytes`.
    pub max_bytes: u64,
    /// Commits under way at the same time, 1 to 64.
    pub pipeline: u32,
}

/// Section `compaction`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compaction {
    /// How often work is looked for; above zero.
    pub interval: Duration,
    /// Rows that make slices worth compacting, at least 1.
    pub target_rows: u64,
    /// Age that makes slices worth compacting.
    pub max_slice_age: Duration,
    /// Life of a lease, at least 1 s.
    pub lease_ttl: Duration,
}

/// Section `gc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gc {
    /// How long replaced objects are kept.
    pub grace: Duration,
    /// How often due objects are deleted; above zero.
    pub interval: Duration,
    /// Age at which objects without a catalog row are deleted.
    pub orphan_grace: Duration,
}

/// How long the data of one tenant is kept; `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Periods {
    /// Spans.
    pub spans: Option<Duration>,
    /// Log records.
    pub logs: Option<Duration>,
    /// Metric series and points, exemplars.
    pub metrics: Option<Duration>,
}

/// Section `retention`, every fallback worked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// `retention.default` as it was given; what signals without a period of their own fell back to.
    pub fallback: Option<Duration>,
    /// Tenants that are not in `tenants`.
    pub default: Periods,
    /// Tenants that differ.
    pub tenants: BTreeMap<TenantId, Periods>,
}

impl Retention {
    /// How long rows of a dataset are kept; `None` is for ever.
    ///
    /// Resources are kept as long as anything that may refer to them.
    pub fn period(&self, tenant: &TenantId, dataset: Dataset) -> Option<Duration> {
        let periods = self.tenants.get(tenant).unwrap_or(&self.default);
        match dataset {
            Dataset::Spans => periods.spans,
            Dataset::Logs => periods.logs,
            Dataset::MetricSeries | Dataset::MetricSamples | Dataset::MetricHistograms | Dataset::Exemplars => {
                periods.metrics
            }
            Dataset::Resources => Some(periods.spans?.max(periods.logs?).max(periods.metrics?)),
        }
    }
}

/// Section `query`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Bytes of memory of all queries under way.
    pub max_memory: u64,
    /// How long one query may take; above zero.
    pub timeout: Duration,
    /// Stored bytes that one query may read.
    pub max_scan_bytes: u64,
    /// Rows that one query may return; `None` is no limit.
    pub max_rows: Option<u64>,
    /// Queries at the same time, 1 to 1024.
    pub concurrency: u32,
}

/// Section `postgres_wire`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresWire {
    /// Whether it is served.
    pub enabled: bool,
    /// Where.
    pub listen: SocketAddr,
}

/// Section `cache`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Bytes of memory; zero turns the cache off.
    pub max_bytes: u64,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Section `log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives such as `info,lake=debug`.
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
}

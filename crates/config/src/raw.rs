//! The configuration as it is written: one record per key.
//!
//! Everything that is said about a key once is said here: its name, type, default and description. The JSON schema,
//! the reference, the names of environment variables and the check for unknown keys are derived from these records.
//! A value here has the right shape and nothing more; `validate` decides whether it makes sense.
//!
//! `null` as a default means "worked out from the other values"; the description says how.

mod limits;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::human::{ByteSize, HumanDuration};
use crate::location::{EXPECTED_CATALOG, EXPECTED_STORE};
use crate::secret::Secret;

pub(crate) use limits::{RawLimits, RawRedis, RawTenantLimits};

const EXPECTED_ADDRESS: &str = "an address such as 127.0.0.1:4317 or 0.0.0.0:4317";

/// The configuration of otlp-rust.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawConfig {
    /// What this process does and where it listens.
    pub server: RawServer,
    /// Where segments and parts are kept.
    pub store: RawStore,
    /// The database that knows which objects are live. SQLite serves one machine, PostgreSQL any number of processes.
    pub catalog: RawCatalog,
    /// The Redis through which processes share their limits. While it is away each process keeps to its own share of
    /// them, and nothing stops.
    pub redis: RawRedis,
    /// What is admitted.
    pub ingest: RawIngest,
    /// What a tenant may send. Processes that have `redis.url` share the limits; without it each process applies them alone.
    pub limits: RawLimits,
    /// How received items become durable. An item is acknowledged after the commit that holds it.
    pub commit: RawCommit,
    /// How fresh slices become sorted Parquet parts.
    pub compaction: RawCompaction,
    /// How objects that nothing refers to any more are deleted.
    pub gc: RawGc,
    /// How much memory the process plans with.
    pub memory: RawMemory,
    /// How long data is kept.
    pub retention: RawRetention,
    /// The limits of one query.
    pub query: RawQuery,
    /// The PostgreSQL wire protocol, for psql and BI tools.
    pub postgres_wire: RawPostgresWire,
    /// The cache of decoded slices and of ranges of stored objects.
    pub cache: RawCache,
    /// The process's own log, on standard error.
    pub log: RawLog,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawServer {
    /// What this process does: `all`, or one or several of `ingest`, `query` and `compact`.
    pub role: RoleList,
    /// The directory of the local store and of the SQLite catalog, unless `store.url` and `catalog.url` say otherwise.
    #[schemars(extend("x-expected" = "a directory"))]
    pub data_dir: PathBuf,
    /// Where OTLP over gRPC is received.
    #[schemars(extend("x-expected" = EXPECTED_ADDRESS))]
    pub otlp_grpc: SocketAddr,
    /// Where OTLP over HTTP is received (`/v1/traces`, `/v1/metrics`, `/v1/logs`).
    #[schemars(extend("x-expected" = EXPECTED_ADDRESS))]
    pub otlp_http: SocketAddr,
    /// Where the API is served: queries, administration, `/health`, `/livez`, `/readyz` and `/metrics`.
    #[schemars(extend("x-expected" = EXPECTED_ADDRESS))]
    pub http: SocketAddr,
    /// Where the process's own `/metrics` are served apart from everything else.
    #[schemars(extend("x-expected" = EXPECTED_ADDRESS))]
    pub admin: SocketAddr,
    /// After SIGTERM, how long the process goes on serving while `/readyz` answers 503 and gRPC health NOT_SERVING, so
    /// that load balancers turn away from it first. Longer than they take to notice: in Kubernetes `5s`, behind the
    /// Envoy of `docker/envoy.yaml` `3s`. A second signal ends it early.
    pub drain_delay: HumanDuration,
    /// After that, how long requests that were begun may take, commits and queries alike, before the process exits anyway.
    pub shutdown_timeout: HumanDuration,
    /// Web origins whose pages may send OTLP over HTTP and call the API, such as `https://shop.example`. `*` allows all.
    #[schemars(extend("x-expected" = "a list of web origins such as https://shop.example, or *"))]
    pub cors_allowed_origins: Vec<String>,
}

impl Default for RawServer {
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            role: RoleList(vec![RawRole::All]),
            data_dir: PathBuf::from("./data"),
            otlp_grpc: local(4317),
            otlp_http: local(4318),
            http: local(8080),
            admin: local(9090),
            drain_delay: HumanDuration::from_secs(0),
            shutdown_timeout: HumanDuration::from_secs(30),
            cors_allowed_origins: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RawRole {
    All,
    Ingest,
    Query,
    Compact,
}

/// One role or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OneOrMany", into = "OneOrMany")]
pub(crate) struct RoleList(pub Vec<RawRole>);

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(RawRole),
    Many(Vec<RawRole>),
}

impl From<OneOrMany> for RoleList {
    fn from(given: OneOrMany) -> Self {
        match given {
            OneOrMany::One(role) => Self(vec![role]),
            OneOrMany::Many(roles) => Self(roles),
        }
    }
}

impl From<RoleList> for OneOrMany {
    fn from(RoleList(roles): RoleList) -> Self {
        match roles.as_slice() {
            [one] => Self::One(*one),
            _ => Self::Many(roles),
        }
    }
}

impl JsonSchema for RoleList {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Role".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = serde_json::json!(["all", "ingest", "query", "compact"]);
        json_schema!({
            "anyOf": [
                { "type": "string", "enum": one },
                { "type": "array", "minItems": 1, "items": { "type": "string", "enum": one } },
            ],
            "x-expected": "all, or one or several of ingest, query and compact",
        })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawStore {
    /// `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
    /// Unset: `file://<server.data_dir>/store`.
    #[schemars(extend("x-expected" = EXPECTED_STORE))]
    pub url: Option<String>,
    /// After this long a request to the store counts as failed and is tried again or reported as unavailable.
    pub request_timeout: HumanDuration,
    /// S3 and what speaks its protocol. What is not set here comes from the usual AWS environment variables and the
    /// instance's or pod's role.
    pub s3: RawS3,
    /// Google Cloud Storage.
    pub gcs: RawGcs,
    /// Azure Blob Storage.
    pub azure: RawAzure,
}

impl Default for RawStore {
    fn default() -> Self {
        Self {
            url: None,
            request_timeout: HumanDuration::from_secs(30),
            s3: RawS3::default(),
            gcs: RawGcs::default(),
            azure: RawAzure::default(),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawS3 {
    /// The endpoint of a store other than AWS, such as `https://minio.example:9000`.
    pub endpoint: Option<String>,
    /// The region of the bucket.
    pub region: Option<String>,
    /// The access key's id.
    pub access_key_id: Option<String>,
    /// The access key's secret.
    pub secret_access_key: Option<Secret>,
    /// A file that holds the access key's secret, instead of `secret_access_key`.
    #[schemars(extend("x-expected" = "the path of a file"))]
    pub secret_access_key_file: Option<PathBuf>,
    /// Allow an `http://` endpoint, that is, credentials and data without encryption.
    pub allow_http: bool,
    /// Address the bucket as `bucket.host` instead of `host/bucket`.
    pub virtual_hosted_style: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawGcs {
    /// The JSON file of a service account; without it the application default credentials are used.
    #[schemars(extend("x-expected" = "the path of a file"))]
    pub service_account_path: Option<PathBuf>,
    /// The endpoint of an emulator, such as `http://127.0.0.1:4443`. Without a service account no credentials are sent.
    pub endpoint: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawAzure {
    /// The storage account. Required with an `az://` store.
    pub account: Option<String>,
    /// The account's access key; without it the pod's or machine's managed identity is used.
    pub access_key: Option<Secret>,
    /// A file that holds the access key, instead of `access_key`.
    #[schemars(extend("x-expected" = "the path of a file"))]
    pub access_key_file: Option<PathBuf>,
    /// The endpoint of another cloud, or of an emulator with its account, such as
    /// `http://127.0.0.1:10000/devstoreaccount1`.
    pub endpoint: Option<String>,
    /// Allow an `http://` endpoint, that is, credentials and data without encryption.
    pub allow_http: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawCatalog {
    /// `sqlite:///path/catalog.db` or `postgres://user:password@host:5432/database`.
    /// Unset: `sqlite://<server.data_dir>/catalog.db`. A password is never shown.
    #[schemars(extend("x-expected" = EXPECTED_CATALOG))]
    pub url: Option<String>,
    /// A file that holds the URL, instead of `url`.
    #[schemars(extend("x-expected" = "the path of a file"))]
    pub url_file: Option<PathBuf>,
    /// Connections that this process opens at most.
    #[schemars(range(min = 1, max = 1000))]
    pub max_connections: u32,
}

impl Default for RawCatalog {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            max_connections: 10,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawIngest {
    /// The largest request body as it arrives, compressed or not. Never above `max_decompressed_bytes`.
    pub max_request_bytes: ByteSize,
    /// The largest request body after decompression. Never above a quarter of `max_pending_bytes`.
    pub max_decompressed_bytes: ByteSize,
    /// How deep arrays and maps in an attribute value or a log body may nest. What nests deeper is rejected, alone.
    #[schemars(range(min = 1, max = 256))]
    pub max_depth: u32,
    /// Attribute keys that get a column of their own, per tenant and dataset. Further keys go to the column
    /// `attributes_rest` together; they stay queryable, more slowly.
    #[schemars(range(min = 0, max = 4096))]
    pub max_attribute_columns: u32,
    /// Memory that requests may take from their first byte to the end of their commit; a request takes about three
    /// times its decompressed size. Past it, senders are told to retry (`RESOURCE_EXHAUSTED`, 429). Unset: a quarter of
    /// `memory.limit`.
    pub max_pending_bytes: Option<ByteSize>,
    /// How long a request is remembered, so that the same one sent again after a lost acknowledgement is stored once.
    pub dedupe_window: HumanDuration,
}

impl Default for RawIngest {
    fn default() -> Self {
        Self {
            max_request_bytes: ByteSize::mib(16),
            max_decompressed_bytes: ByteSize::mib(64),
            // Above any real telemetry; protobuf implementations stop at 100 messages, which is 50 such values.
            max_depth: 64,
            max_attribute_columns: 256,
            max_pending_bytes: None,
            dedupe_window: HumanDuration::from_secs(600),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawCommit {
    /// A commit starts this long after its first item arrived, if the one before it has not ended earlier.
    /// Longer means fewer objects and slower acknowledgements. Unset: 5ms on local disk, 250ms on an object store.
    pub min_interval: Option<HumanDuration>,
    /// A commit starts at once when this much is waiting. Never above an eighth of `ingest.max_pending_bytes`.
    pub max_bytes: ByteSize,
    /// Commits that may be under way at the same time.
    #[schemars(range(min = 1, max = 64))]
    pub pipeline: u32,
}

impl Default for RawCommit {
    fn default() -> Self {
        Self {
            min_interval: None,
            max_bytes: ByteSize::mib(32),
            pipeline: 2,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawCompaction {
    /// How often the process looks for work.
    pub interval: HumanDuration,
    /// Slices of one tenant and dataset are compacted when they hold this many rows, or are old enough. Fewer if
    /// `memory.limit` does not allow for so many.
    #[schemars(range(min = 1))]
    pub target_rows: u64,
    /// Slices older than this are compacted however few they are.
    pub max_slice_age: HumanDuration,
    /// A process that does not renew its lease for this long loses its work to another.
    pub lease_ttl: HumanDuration,
}

impl Default for RawCompaction {
    fn default() -> Self {
        Self {
            interval: HumanDuration::from_secs(5),
            target_rows: 2_000_000,
            max_slice_age: HumanDuration::from_secs(60),
            lease_ttl: HumanDuration::from_secs(60),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawGc {
    /// How long an object is kept after compaction or retention replaced it, for the queries that still read it.
    /// Should not be shorter than `query.timeout`.
    pub grace: HumanDuration,
    /// How often due objects are deleted.
    pub interval: HumanDuration,
    /// An object that no catalog row ever named (its commit never happened) is deleted at this age.
    pub orphan_grace: HumanDuration,
}

impl Default for RawGc {
    fn default() -> Self {
        Self {
            grace: HumanDuration::from_secs(15 * 60),
            interval: HumanDuration::from_secs(60),
            orphan_grace: HumanDuration::from_secs(24 * 3600),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawMemory {
    /// What requests, queries, compactions and caches together are planned for. A process that is measured to hold
    /// much more (48MiB, or a quarter) refuses new work until it holds less. Unset: 80 % of the control group's limit
    /// (v1 or v2), or what is left of it after 204MiB; without a limit, 80 % of the machine's memory but at most 4GiB.
    pub limit: Option<ByteSize>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawRetention {
    /// Data older than this is deleted. `0` keeps it for ever.
    pub default: HumanDuration,
    /// The same for spans. Unset: `default`.
    pub spans: Option<HumanDuration>,
    /// The same for log records. Unset: `default`.
    pub logs: Option<HumanDuration>,
    /// The same for metrics, exemplars included. Unset: `default`.
    pub metrics: Option<HumanDuration>,
    /// What differs for single tenants, by their name.
    pub tenants: BTreeMap<String, RawTenantRetention>,
}

impl Default for RawRetention {
    fn default() -> Self {
        let days = |n: u64| HumanDuration::from_secs(n * 24 * 3600);
        Self {
            default: days(30),
            spans: None,
            logs: None,
            metrics: None,
            tenants: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawTenantRetention {
    /// All of this tenant's data. Unset: as for every tenant.
    pub default: Option<HumanDuration>,
    /// This tenant's spans. Unset: the tenant's `default`.
    pub spans: Option<HumanDuration>,
    /// This tenant's log records. Unset: the tenant's `default`.
    pub logs: Option<HumanDuration>,
    /// This tenant's metrics. Unset: the tenant's `default`.
    pub metrics: Option<HumanDuration>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawQuery {
    /// Memory that the queries under way may use together. Unset: a quarter of `memory.limit`.
    pub max_memory: Option<ByteSize>,
    /// How long one query may take.
    pub timeout: HumanDuration,
    /// Stored bytes that one query may read.
    pub max_scan_bytes: ByteSize,
    /// Rows that one query may return. Unset: no limit.
    #[schemars(range(min = 1))]
    pub max_rows: Option<u64>,
    /// Queries that run at the same time; further ones wait.
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: u32,
}

impl Default for RawQuery {
    fn default() -> Self {
        Self {
            max_memory: None,
            timeout: HumanDuration::from_secs(60),
            max_scan_bytes: ByteSize(100 << 30),
            max_rows: None,
            concurrency: 8,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawPostgresWire {
    /// Whether it is served.
    pub enabled: bool,
    /// Where it is served.
    #[schemars(extend("x-expected" = EXPECTED_ADDRESS))]
    pub listen: SocketAddr,
}

impl Default for RawPostgresWire {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: SocketAddr::from(([127, 0, 0, 1], 5433)),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawCache {
    /// Memory of the cache; `0` turns it off. Unset: a quarter of `memory.limit`.
    pub max_bytes: Option<ByteSize>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawLog {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`; also per module, as in `info,lake=debug`.
    pub level: String,
    /// `text` for people, `json` for log pipelines (one object a line).
    pub format: RawLogFormat,
}

impl Default for RawLog {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: RawLogFormat::Text,
        }
    }
}

// No doc comments on the variants: with them the schema would be a `oneOf` of constants instead of an `enum`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RawLogFormat {
    Text,
    Json,
}

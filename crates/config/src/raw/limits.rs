//! The sections `limits` and `redis`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::human::{ByteSize, HumanDuration};
use crate::location::EXPECTED_REDIS;

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawLimits {
    /// Bytes of requests, decompressed, that a tenant may send per second. `0` is no limit. Past it, senders are told
    /// when to retry (`RESOURCE_EXHAUSTED`, 429), as with the other limits.
    pub bytes_per_second: ByteSize,
    /// Spans, log records and data points that a tenant may send per second. `0` is no limit.
    pub items_per_second: u64,
    /// Distinct attribute keys that a tenant may use, in resources, scopes, spans, log records and data points together. A key
    /// counts until one to two hours after its last use. `0` is no limit. Items with a further key are rejected; a
    /// request of nothing else is refused and may be retried. How many keys get a column of their own is
    /// `ingest.max_attribute_columns`.
    pub attribute_keys: u64,
    /// Distinct metric series that a tenant may have. A series counts until one to two hours after its last point. `0` is
    /// no limit. Points of further series are rejected; a request of nothing else is refused and may be retried.
    pub series: u64,
    /// After silence, a tenant may send as much at once as its rates allow in this time.
    pub burst: HumanDuration,
    /// What differs for single tenants, by their name.
    pub tenants: BTreeMap<String, RawTenantLimits>,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            bytes_per_second: ByteSize(0),
            items_per_second: 0,
            attribute_keys: 0,
            series: 0,
            // Exporters collect for 5 s (spans, logs) and more before they send.
            burst: HumanDuration::from_secs(10),
            tenants: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawTenantLimits {
    /// This tenant's bytes per second. Unset: as for every tenant.
    pub bytes_per_second: Option<ByteSize>,
    /// This tenant's items per second. Unset: as for every tenant.
    pub items_per_second: Option<u64>,
    /// This tenant's attribute keys. Unset: as for every tenant.
    pub attribute_keys: Option<u64>,
    /// This tenant's metric series. Unset: as for every tenant.
    pub series: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawRedis {
    /// `redis://user:password@host:6379/0`, or `rediss://` with TLS. Without it each process limits what it
    /// receives itself. A password is never shown.
    #[schemars(extend("x-expected" = EXPECTED_REDIS))]
    pub url: Option<String>,
    /// A file that holds the URL, instead of `url`.
    #[schemars(extend("x-expected" = "the path of a file"))]
    pub url_file: Option<PathBuf>,
    /// What the names of all keys begin with. Clusters of otlp-rust that use one Redis need different ones.
    pub prefix: String,
}

impl Default for RawRedis {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            prefix: "otlp-rust".to_owned(),
        }
    }
}

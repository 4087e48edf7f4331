//! What one tenant may send: bytes and items a second, attribute keys, series.
//!
//! [`Limits`] hands out a [`TenantLimits`] per tenant, which ingest asks before it decodes and, for what is new to the
//! tenant, while it decodes. Asking is a short lock and arithmetic, never I/O: if the processes of a cluster share
//! their limits ([`Sharing`]), a task in the background tells Redis what was used and learns what is left, a few times
//! a second. Redis absent, down or hung means local shares and a warning; no request waits for it.
//!
//! docs/decisions/0010 has the reasons: why a request may overdraw a rate, what a full limit of series does to a
//! request, and what the shares are worth when Redis is away.
//!
//! Absent on purpose: this crate knows no transport, decodes nothing and refuses nothing itself.

mod active;
mod bucket;
mod shared;
mod tenant;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::{Duration, Instant};

use memory::{Account, Budget, Use};
use parking_lot::Mutex;
use schema::TenantId;
use telemetry::Telemetry;

pub use shared::{RedisOptions, Sharing};
pub use tenant::{Refusal, TenantLimits};

/// What a tenant may send; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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

/// The limits of all tenants.
#[derive(Debug, Clone, Default)]
pub struct LimitOptions {
    /// After silence, a tenant may send as much at once as its rates allow in this time.
    pub burst: Duration,
    /// Tenants that are not in `tenants`.
    pub default: Allowance,
    /// Tenants that differ.
    pub tenants: BTreeMap<TenantId, Allowance>,
}

/// The limits of this process's tenants. Cheap to clone; all clones count together. The default limits nothing.
#[derive(Debug, Clone, Default)]
pub struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: LimitOptions,
    telemetry: Option<Telemetry>,
    /// What is remembered of series and keys is reserved here.
    memory: Account,
    tenants: Mutex<HashMap<TenantId, Arc<TenantLimits>>>,
    cluster: Arc<Cluster>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            options: LimitOptions::default(),
            telemetry: None,
            memory: Budget::unlimited().account(Use::Limits, u64::MAX),
            tenants: Mutex::default(),
            cluster: Arc::default(),
        }
    }
}

/// What is known of the processes that share the limits.
#[derive(Debug, Default)]
struct Cluster {
    /// Whether limits are meant to be shared.
    configured: AtomicBool,
    /// Whether the last exchange with Redis went well.
    in_contact: AtomicBool,
    /// The most processes that a tenant was seen to send to; zero before the first contact.
    processes: AtomicU32,
}

impl Limits {
    /// Limits that count from now on, and remember as much as `memory` may hold.
    pub fn new(options: LimitOptions, telemetry: Telemetry, memory: Account) -> Self {
        Self(Arc::new(Inner {
            options,
            telemetry: Some(telemetry),
            memory,
            ..Inner::default()
        }))
    }

    /// The limits of `tenant`; `None` if it has none.
    pub fn tenant(&self, tenant: &TenantId, now: Instant) -> Option<Arc<TenantLimits>> {
        let Inner { options, tenants, .. } = &*self.0;
        let named = options.tenants.get(tenant);
        let allowance = *named.unwrap_or(&options.default);
        if allowance == Allowance::default() {
            return None;
        }
        let mut tenants = tenants.lock();
        let limits = tenants.entry(tenant.clone()).or_insert_with(|| {
            // Only names from the configuration become labels: a sender that invents tenants must not grow our metrics.
            let label = named.map_or(String::new(), |_| tenant.to_string());
            Arc::new(TenantLimits::new(tenant.clone(), label, allowance, &self.0, now))
        });
        Some(Arc::clone(limits))
    }
}

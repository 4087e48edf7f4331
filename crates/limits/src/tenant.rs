//! The limits of one tenant, and how a refusal reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use schema::TenantId;
use telemetry::Telemetry;

use crate::active::{Active, Answer};
use crate::bucket::Bucket;
use crate::{Allowance, Cluster, Inner};

/// How long senders wait whose request holds nothing but new series or keys beyond a limit. Room comes when others fall
/// silent, so trying more often than twice a minute would only be load; exporters give up after some tries.
const FULL_WAIT: Duration = Duration::from_secs(30);

/// A request that has to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which limit, its configuration key, and what to do.
    pub message: String,
    /// When to try again.
    pub retry_after: Duration,
}

/// The limits of one tenant in this process. Times are those of a monotonic clock.
#[derive(Debug)]
pub struct TenantLimits {
    pub(crate) tenant: TenantId,
    /// The tenant's name if the configuration has it, else empty.
    label: Arc<String>,
    pub(crate) rates: Mutex<Rates>,
    pub(crate) series: Option<Mutex<Active>>,
    pub(crate) attribute_keys: Option<Mutex<Active>>,
    series_full: Arc<str>,
    keys_full: Arc<str>,
    no_memory: Arc<str>,
    cluster: Arc<Cluster>,
    telemetry: Option<Telemetry>,
    /// Whether somebody asked since the last exchange.
    pub(crate) asked: AtomicBool,
}

/// The buckets of one tenant.
#[derive(Debug)]
pub(crate) struct Rates {
    pub bytes: Option<Bucket>,
    pub items: Option<Bucket>,
}

impl TenantLimits {
    pub(crate) fn new(tenant: TenantId, label: String, allowance: Allowance, all: &Inner, now: Instant) -> Self {
        let Inner {
            options,
            telemetry,
            memory,
            cluster,
            ..
        } = all;
        let processes = cluster.processes.load(Ordering::Relaxed);
        let shared = cluster.configured.load(Ordering::Relaxed);
        let bucket = |rate: Option<u64>| rate.map(|rate| Bucket::new(rate, options.burst, processes, now));
        let active = |limit: Option<u64>| limit.map(|limit| Mutex::new(Active::new(limit, shared, memory, now)));
        let full = |what: &str, key: &str, limit: Option<u64>| {
            format!(
                "tenant {tenant} uses as many {what} as limits.{key} ({}) allows, and a new one came: send fewer, or raise limits.tenants.{tenant}.{key}",
                limit.unwrap_or_default()
            )
            .into()
        };
        let no_memory = format!(
            "tenant {tenant} uses a new metric series or attribute key, and there is no memory to count it: send fewer, or raise memory.limit, of which limits.* may take {}",
            size(memory.share())
        );
        Self {
            label: Arc::new(label),
            rates: Mutex::new(Rates {
                bytes: bucket(allowance.bytes_per_second),
                items: bucket(allowance.items_per_second),
            }),
            series: active(allowance.series),
            attribute_keys: active(allowance.attribute_keys),
            series_full: full("metric series", "series", allowance.series),
            keys_full: full("attribute keys", "attribute_keys", allowance.attribute_keys),
            no_memory: no_memory.into(),
            cluster: Arc::clone(cluster),
            telemetry: telemetry.clone(),
            asked: AtomicBool::new(true),
            tenant,
        }
    }

    /// Admits a request of so many decompressed bytes and charges them.
    ///
    /// # Errors
    /// A [`Refusal`] if the tenant has used up its bytes or its items; nothing is charged then.
    pub fn admit(&self, bytes: u64, now: Instant) -> Result<(), Refusal> {
        self.asked.store(true, Ordering::Relaxed);
        let in_contact = self.cluster.in_contact.load(Ordering::Relaxed);
        let mut rates = self.rates.lock();
        let Rates { bytes: of_bytes, items } = &mut *rates;
        let wait = |bucket: &mut Option<Bucket>| {
            let bucket = bucket.as_mut()?;
            Some((bucket.wait(now, in_contact)?, bucket.rate as u64))
        };
        let refused = match (wait(of_bytes), wait(items)) {
            (Some(bytes), Some(items)) if items.0 > bytes.0 => Some(("items_per_second", items)),
            (Some(bytes), _) => Some(("bytes_per_second", bytes)),
            (None, Some(items)) => Some(("items_per_second", items)),
            (None, None) => None,
        };
        let Some((key, (retry_after, rate))) = refused else {
            if let Some(bucket) = of_bytes {
                bucket.spend(bytes);
            }
            return Ok(());
        };
        drop(rates);
        self.count(key);
        let tenant = &self.tenant;
        let rate = if key == "bytes_per_second" {
            format!("{}/s", size(rate))
        } else {
            format!("{rate} items/s")
        };
        Err(Refusal {
            message: format!(
                "tenant {tenant} exceeds limits.{key} ({rate}): retry in {:.1} s, or raise limits.tenants.{tenant}.{key}",
                retry_after.as_secs_f64()
            ),
            retry_after,
        })
    }

    /// Charges the items of a request that was admitted. They are known only when it is decoded, so a request may
    /// overdraw; the next one waits for it.
    pub fn charge_items(&self, items: u64) {
        if let Some(bucket) = &mut self.rates.lock().items {
            bucket.spend(items);
        }
    }

    /// Admits a metric series, known by 64 bits of its id; asked once an hour while it lasts.
    ///
    /// # Errors
    /// The reason to tell the sender, if it is a new one and the tenant has as many as it may have, or if there is no memory
    /// to count it.
    pub fn admit_series(&self, hash: u64, now: Instant) -> Result<(), Arc<str>> {
        self.admit_one(self.series.as_ref(), &self.series_full, hash, now)
    }

    /// Admits an attribute key, known by its hash; asked once an hour while it is used.
    ///
    /// # Errors
    /// As [`TenantLimits::admit_series`].
    pub fn admit_key(&self, hash: u64, now: Instant) -> Result<(), Arc<str>> {
        self.admit_one(self.attribute_keys.as_ref(), &self.keys_full, hash, now)
    }

    fn admit_one(
        &self,
        active: Option<&Mutex<Active>>,
        full: &Arc<str>,
        hash: u64,
        now: Instant,
    ) -> Result<(), Arc<str>> {
        let Some(active) = active else { return Ok(()) };
        match active.lock().admit(hash, now) {
            Answer::Admitted => Ok(()),
            Answer::Full => Err(Arc::clone(full)),
            Answer::NoMemory => Err(Arc::clone(&self.no_memory)),
        }
    }

    /// Counts a request of which something was refused for new series or keys, and says when to try again if it was
    /// refused whole. `message` holds the reasons that [`TenantLimits::admit_series`] and [`TenantLimits::admit_key`] gave.
    pub fn full(&self, message: String) -> Refusal {
        self.count(if message.contains(&*self.no_memory) {
            "memory"
        } else if message.contains(&*self.series_full) {
            "series"
        } else {
            "attribute_keys"
        });
        Refusal {
            message,
            retry_after: FULL_WAIT,
        }
    }

    fn count(&self, limit: &'static str) {
        if let Some(telemetry) = &self.telemetry {
            telemetry.limit_reached(&self.label, limit);
        }
    }
}

/// Bytes as one would write them in the configuration.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(bits, _)| bytes.trailing_zeros() >= *bits) {
        Some((bits, unit)) if bytes > 0 => format!("{} {unit}", bytes >> bits),
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use memory::{Budget, Use};

    use super::*;
    use crate::{LimitOptions, Limits};

    fn limits(allowance: Allowance) -> Limits {
        let options = LimitOptions {
            burst: Duration::from_secs(2),
            default: allowance,
            tenants: [(TenantId::parse("free").unwrap(), Allowance::default())].into(),
        };
        let memory = Budget::unlimited().account(Use::Limits, u64::MAX);
        Limits::new(options, Telemetry::new("test", "0"), memory)
    }

    fn shop(limits: &Limits, now: Instant) -> Arc<TenantLimits> {
        limits.tenant(&TenantId::parse("shop").unwrap(), now).unwrap()
    }

    #[test]
    fn a_refusal_names_the_limit_its_key_and_when_to_retry() {
        let now = Instant::now();
        let limits = limits(Allowance {
            bytes_per_second: Some(10 << 20),
            items_per_second: Some(1000),
            ..Allowance::default()
        });
        let shop = shop(&limits, now);
        shop.admit(32 << 20, now).unwrap();
        let refusal = shop.admit(1, now).unwrap_err();
        assert_eq!(refusal.retry_after, Duration::from_millis(1200));
        assert_eq!(
            refusal.message,
            "tenant shop exceeds limits.bytes_per_second (10 MiB/s): retry in 1.2 s, or raise limits.tenants.shop.bytes_per_second"
        );
        let later = now + Duration::from_secs(2);
        shop.admit(1, later).unwrap();
        shop.charge_items(3500);
        let refusal = shop.admit(1, later).unwrap_err();
        assert_eq!(
            refusal.message,
            "tenant shop exceeds limits.items_per_second (1000 items/s): retry in 1.5 s, or raise limits.tenants.shop.items_per_second"
        );
    }

    #[test]
    fn tenants_do_not_share_and_one_without_limits_has_none() {
        let now = Instant::now();
        let limits = limits(Allowance {
            series: Some(1),
            ..Allowance::default()
        });
        assert!(limits.tenant(&TenantId::parse("free").unwrap(), now).is_none());
        let other = limits.tenant(&TenantId::parse("other").unwrap(), now).unwrap();
        let shop = shop(&limits, now);
        for tenant in [&shop, &other] {
            tenant.admit_series(1, now).unwrap();
            tenant.admit_series(1, now).unwrap();
        }
        let reason = shop.admit_series(2, now).unwrap_err();
        assert!(
            reason.contains("limits.series (1)") && reason.contains("limits.tenants.shop.series"),
            "{reason}"
        );
        assert!(
            (0..100).all(|key| shop.admit_key(key, now).is_ok()),
            "keys have no limit"
        );
    }

    #[test]
    fn sizes_read_like_the_configuration() {
        let sizes = [
            (10 << 20, "10 MiB"),
            (1 << 30, "1 GiB"),
            (3 << 10, "3 KiB"),
            (1_500_000, "1500000 B"),
            (0, "0 B"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
    }
}

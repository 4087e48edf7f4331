//! The sections `limits` and `redis`.

use std::collections::BTreeMap;
use std::time::Duration;

use schema::TenantId;

use super::check::Check;
use crate::location::{EXPECTED_REDIS, RedisUrl, redact_url};
use crate::raw::{RawConfig, RawTenantLimits};
use crate::secret::{HIDDEN, Secret};
use crate::settings::{Allowance, Limits, Redis};

impl Check<'_> {
    pub(super) fn limits(&mut self, raw: &RawConfig) -> Limits {
        // Zero means no limit.
        let limit = |value: u64| (value > 0).then_some(value);
        let raw = &raw.limits;
        let default = Allowance {
            bytes_per_second: limit(raw.bytes_per_second.0),
            items_per_second: limit(raw.items_per_second),
            attribute_keys: limit(raw.attribute_keys),
            series: limit(raw.series),
        };
        let mut tenants = BTreeMap::new();
        for (name, own) in &raw.tenants {
            let RawTenantLimits {
                bytes_per_second,
                items_per_second,
                attribute_keys,
                series,
            } = *own;
            let of = |value: Option<u64>, fallback| value.map_or(fallback, limit);
            let allowance = Allowance {
                bytes_per_second: of(bytes_per_second.map(|size| size.0), default.bytes_per_second),
                items_per_second: of(items_per_second, default.items_per_second),
                attribute_keys: of(attribute_keys, default.attribute_keys),
                series: of(series, default.series),
            };
            match TenantId::parse(name) {
                Ok(tenant) => {
                    tenants.insert(tenant, allowance);
                }
                Err(error) => self.bad_tenant("limits.tenants", name, &error.to_string()),
            }
        }
        Limits {
            default,
            burst: self.within("limits.burst", raw.burst, Duration::from_secs(1), Duration::MAX),
            tenants,
        }
    }

    pub(super) fn redis(&mut self, raw: &RawConfig) -> Redis {
        let prefix = raw.redis.prefix.clone();
        // Braces would decide on which node of a Redis cluster a key lies.
        if prefix.is_empty() || prefix.contains(['{', '}']) {
            self.invalid(
                "redis.prefix",
                format!("{prefix:?}"),
                "a text that is not empty and has no braces",
            );
        }
        let given = raw.redis.url.clone().map(Secret::new);
        let text = self.secret("redis.url", given, raw.redis.url_file.as_deref());
        let url = text.and_then(|text| {
            let parsed = RedisUrl::parse(text.expose()).filter(|redis| redis.url.password() != Some(HIDDEN));
            match (&parsed, text.file()) {
                (None, None) => self.invalid(
                    "redis.url",
                    format!("{:?}", redact_url(text.expose())),
                    format!("{EXPECTED_REDIS}, and the password itself"),
                ),
                (None, Some(file)) => {
                    self.invalid(
                        "redis.url_file",
                        file.display(),
                        format!("a file that holds {EXPECTED_REDIS}"),
                    );
                }
                (Some(_), _) => {}
            }
            let file = text.file().map(ToOwned::to_owned);
            parsed.map(|redis| RedisUrl { file, ..redis })
        });
        Redis { url, prefix }
    }
}

//! Does Redis answer, may it be written, and will it keep what it is told?

use std::collections::HashMap;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};

use crate::examine::{Found, Subject};
use crate::finding::{Finding, bytes, shown};
use crate::{endpoints, reach};

/// Processes exchange their limits with it four times a second.
const SLOW: Duration = Duration::from_millis(50);

const PINGS: usize = 5;

/// Of `maxmemory`.
const FULL_PERCENT: u64 = 90;

const AWAY: &str = "; until then each process keeps to its own share of the limits, and nothing else stops";

pub(crate) async fn check(subject: &Subject, found: &Found) {
    let Ok(config) = &subject.config else {
        return found.add(Finding::skipped("redis", "the configuration is not valid"));
    };
    let (Some(redis), Some(endpoint)) = (&config.redis.url, endpoints::redis(config)) else {
        let why = "none is configured: each process applies limits alone";
        return found.add(Finding::skipped("redis", why));
    };
    if let Err(mut finding) = reach::connect(&endpoint).await {
        finding.remedy = finding.remedy.map(|remedy| format!("{remedy}{AWAY}"));
        return found.add(*finding);
    }
    let looked = async {
        let mut connection = connect(redis.url.as_str(), subject.timeout).await?;
        look(&mut connection, found).await
    };
    if let Err(error) = looked.await {
        found.add(failed(&error));
    }
}

/// A connection that does not come back when it is lost.
///
/// # Errors
/// That of the client.
pub(crate) async fn connect(url: &str, timeout: Duration) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout / 2))
        .set_response_timeout(Some(timeout / 2));
    let client = Client::open(url)?;
    client.get_multiplexed_async_connection_with_config(&config).await
}

async fn look(connection: &mut MultiplexedConnection, found: &Found) -> Result<(), RedisError> {
    let mut pings = Vec::new();
    for _ in 0..PINGS {
        let started = Instant::now();
        redis::cmd("PING").exec_async(connection).await?;
        pings.push(started.elapsed());
    }
    pings.sort_unstable();
    let median = pings[PINGS / 2];
    // Limits are two scripts; a login may be kept from loading them.
    let loaded: Result<String, _> = redis::cmd("SCRIPT")
        .arg("LOAD")
        .arg("return 1")
        .query_async(connection)
        .await;
    let info: Result<String, _> = redis::cmd("INFO").query_async(connection).await;
    let info = info.as_deref().map(parse).unwrap_or_default();
    let version = info.get("redis_version").copied().unwrap_or("of unknown version");
    let seen = format!("Redis {version}, answers in {}", shown(median));
    let finding = if median > SLOW {
        Finding::warning(
            "redis.latency",
            seen,
            "limits of processes drift apart: put it near them, and look at its load",
        )
    } else {
        Finding::ok("redis.latency", seen)
    };
    found.add(finding.took(median));
    found.add(match loaded {
        Ok(_) => Finding::ok("redis.scripts", "scripts can be loaded"),
        Err(error) => Finding::failed(
            "redis.scripts",
            format!("scripts cannot be loaded: {error}"),
            "allow the login @scripting and writing below redis.prefix (ACL SETUSER ... +@scripting +@write ~otlp-rust:*)",
        ),
    });
    if info.is_empty() {
        found.add(Finding::skipped("redis.memory", "the login may not ask INFO"));
        return Ok(());
    }
    if info.get("role").is_some_and(|role| *role != "master") {
        found.add(Finding::failed(
            "redis.role",
            "this is a replica, which is not written to",
            "point redis.url at the primary",
        ));
    }
    found.add(memory(&info));
    Ok(())
}

/// The lines of an answer to `INFO`.
fn parse(info: &str) -> HashMap<&str, &str> {
    info.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .collect()
}

fn memory(info: &HashMap<&str, &str>) -> Finding {
    let number = |name| {
        info.get(name)
            .and_then(|value| value.parse::<u64>().ok())
            .unwrap_or_default()
    };
    let (used, limit, evicted) = (number("used_memory"), number("maxmemory"), number("evicted_keys"));
    let policy = info.get("maxmemory_policy").copied().unwrap_or("unknown");
    let of = if limit == 0 {
        "without a limit".to_owned()
    } else {
        format!("of {}", bytes(limit))
    };
    let seen = format!("{} {of}, policy {policy}, {evicted} keys evicted", bytes(used));
    let full = limit > 0 && used >= limit / 100 * FULL_PERCENT;
    let finding = if full && policy == "noeviction" {
        Finding::warning(
            "redis.memory",
            seen,
            "raise maxmemory: when it is full Redis refuses writes, and limits are no longer shared",
        )
    } else if evicted > 0 || full {
        Finding::warning(
            "redis.memory",
            seen,
            "raise maxmemory, or give the platform a Redis of its own with maxmemory-policy noeviction: an evicted key forgets what \
             a tenant has used",
        )
    } else {
        Finding::ok("redis.memory", seen)
    };
    finding
        .figure("used_bytes", used)
        .figure("limit_bytes", limit)
        .figure("evicted_keys", evicted)
        .figure("policy", policy)
}

fn failed(error: &RedisError) -> Finding {
    let text = error.to_string();
    let has = |words: &str| text.contains(words);
    let remedy = if has("NOAUTH") || has("WRONGPASS") || has("AUTH") || has("uthentication") {
        "correct user and password in redis.url"
    } else if has("certificate") {
        "see the check certificates"
    } else if has("LOADING") {
        "wait until Redis has loaded its data"
    } else {
        "look whether it is a Redis that listens there, with TLS (rediss://) or without (redis://)"
    };
    Finding::failed("redis", text.clone(), format!("{remedy}{AWAY}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Status;

    #[test]
    fn memory_and_eviction() {
        let of = |text: &str| memory(&parse(text)).status;
        assert_eq!(
            of("used_memory:100\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n"),
            Status::Ok
        );
        assert_eq!(
            of("used_memory:950\nmaxmemory:1000\nmaxmemory_policy:noeviction"),
            Status::Warning
        );
        assert_eq!(
            of("used_memory:10\nmaxmemory:1000\nmaxmemory_policy:allkeys-lru\nevicted_keys:0"),
            Status::Ok
        );
        assert_eq!(
            of("used_memory:10\nmaxmemory:1000\nmaxmemory_policy:allkeys-lru\nevicted_keys:7"),
            Status::Warning
        );
    }
}

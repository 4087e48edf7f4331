//! How far is this machine's clock from those it works with?
//!
//! With PostgreSQL all processes go by its clock; a store refuses requests whose signature is many minutes old.

use std::time::{Duration, Instant};

use config::Config;
use schema::{Clock as _, SystemClock};
use url::Url;

use crate::examine::{Found, Subject};
use crate::finding::{Finding, shown};
use crate::{checks, endpoints, http};

/// Applications stamp their spans by their own clocks; beyond this a search for "the last minute" misses what was just sent.
const WARNING: Duration = Duration::from_secs(2);

/// S3 refuses requests at 15 minutes.
const FAILED: Duration = Duration::from_secs(300);

pub(crate) async fn check(subject: &Subject, found: &Found) {
    let Ok(config) = &subject.config else {
        return found.add(Finding::skipped("clock", "the configuration is not valid"));
    };
    let (catalog, store, redis) = tokio::join!(
        compare("catalog", catalog_time(subject, config)),
        compare("store", store_time(subject, config)),
        compare("redis", redis_time(subject, config)),
    );
    let findings: Vec<_> = [catalog, store, redis].into_iter().flatten().collect();
    if findings.is_empty() {
        found.add(Finding::skipped("clock", "there is no other clock to compare with"));
    }
    for finding in findings {
        found.add(finding);
    }
}

/// How far another clock is ahead (ns), and how coarse it is.
pub(crate) struct Told {
    at: i64,
    coarse: Duration,
}

/// Asks another clock; `None` if there is none or it does not answer, which other checks say.
pub(crate) async fn compare(of: &str, asked: impl Future<Output = Option<Told>>) -> Option<Finding> {
    let told = asked.await?;
    let skew = told.at;
    let name = format!("clock.{of}");
    let exact = shown(told.coarse);
    let away = Duration::from_nanos(skew.unsigned_abs());
    let direction = if skew < 0 { "behind" } else { "ahead of" };
    let remedy = "synchronise both clocks (chrony, systemd-timesyncd, the hypervisor's clock)";
    let sure = away.saturating_sub(told.coarse);
    let seen = if sure.is_zero() {
        format!("agrees with this machine's within {exact}")
    } else {
        format!("{} {direction} this machine's, give or take {exact}", shown(away))
    };
    let finding = if sure > FAILED {
        Finding::failed(name, seen, remedy)
    } else if sure > WARNING {
        Finding::warning(name, seen, remedy)
    } else {
        Finding::ok(name, seen)
    };
    Some(finding.figure("seconds", (skew as f64 / 1e6).round() / 1e3))
}

/// How far the other clock is ahead (ns), asked between two looks at ours.
fn difference(started: Instant, before: i64, told: i64, coarse: Duration) -> Told {
    let round_trip = started.elapsed();
    let half = i64::try_from(round_trip.as_nanos() / 2).unwrap_or(i64::MAX);
    Told {
        at: told.saturating_sub(before.saturating_add(half)),
        coarse: coarse + round_trip / 2,
    }
}

async fn catalog_time(subject: &Subject, config: &Config) -> Option<Told> {
    let catalog = checks::catalog::open(subject, config).await.ok()?;
    catalog.ping().await.ok()?;
    let (started, before) = (Instant::now(), SystemClock.now());
    let told = catalog.time().await;
    let difference = told
        .ok()
        .flatten()
        .map(|told| difference(started, before, told, Duration::ZERO));
    catalog.close().await;
    difference
}

async fn redis_time(subject: &Subject, config: &Config) -> Option<Told> {
    let url = config.redis.url.as_ref()?.url.as_str();
    let mut connection = checks::redis::connect(url, subject.timeout).await.ok()?;
    let (started, before) = (Instant::now(), SystemClock.now());
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut connection).await.ok()?;
    let told = seconds
        .checked_mul(1_000_000_000)?
        .checked_add(micros.checked_mul(1000)?)?;
    Some(difference(started, before, told, Duration::ZERO))
}

async fn store_time(subject: &Subject, config: &Config) -> Option<Told> {
    let endpoint = endpoints::store(config)?;
    let scheme = if endpoint.tls == endpoints::Tls::None {
        "http"
    } else {
        "https"
    };
    let url = Url::parse(&format!("{scheme}://{}/", endpoint.address())).ok()?;
    header_time(url, subject.timeout).await
}

/// The header `Date` of whatever the store's server answers to an unsigned request; it has whole seconds.
pub(crate) async fn header_time(url: Url, timeout: Duration) -> Option<Told> {
    // Whose clock it is decides nothing here, so a certificate that another check complains of does not matter.
    let client = http::builder(&url, timeout)
        .danger_accept_invalid_certs(true)
        .build()
        .ok()?;
    let (started, before) = (Instant::now(), SystemClock.now());
    let response = client.get(url).send().await.ok()?;
    let date = response.headers().get("date")?.to_str().ok()?;
    let told = httpdate::parse_http_date(date)
        .ok()?
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    let told = i64::try_from(told.as_nanos()).ok()?;
    Some(difference(
        started,
        before,
        told + 500_000_000,
        Duration::from_millis(500),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Status;

    #[tokio::test]
    async fn differences_are_judged_by_what_is_sure() {
        let of = async |ms: i64, coarse: u64| {
            let told = Told {
                at: ms * 1_000_000,
                coarse: Duration::from_millis(coarse),
            };
            compare("x", async { Some(told) }).await.unwrap()
        };
        assert_eq!(of(-40, 50).await.seen, "agrees with this machine's within 50 ms");
        assert_eq!(of(2400, 500).await.status, Status::Ok);
        let behind = of(-3000, 500).await;
        assert_eq!(
            (behind.status, behind.seen.as_str()),
            (Status::Warning, "3.0 s behind this machine's, give or take 500 ms")
        );
        assert_eq!(of(400_000, 500).await.status, Status::Failed);
        assert!(compare("x", async { None }).await.is_none());
    }
}

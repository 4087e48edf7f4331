//! Limits that all processes of a cluster share, through Redis.
//!
//! One task per process exchanges a few numbers with Redis, four times a second, for the tenants that sent something
//! since: what was used goes out, what is left comes back. Two scripts do the arithmetic where it is atomic
//! (`rates.lua`, `active.lua`). Requests only ever see the numbers of the last exchange.
//!
//! Whatever goes wrong (refused, hung, failed over, scripts lost) ends the connection; the next round makes a new one
//! and loads the scripts again. Until then each process keeps to the share it had, and says so.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, Pipeline, RedisError, Value, from_redis_value};
use tokio::sync::watch;

use crate::active::{Active, PERIOD, Report};
use crate::bucket::Bucket;
use crate::{Limits, TenantLimits};

/// Between two exchanges. What several processes may use beyond a limit before they know of each other grows with it.
const INTERVAL: Duration = Duration::from_millis(250);

/// With many tenants exchanges are rarer, so that a process asks for no more than a thousand of them a second: Redis
/// executes some 50,000 of the scripts a second, for all processes.
const INTERVAL_PER_TENANT: Duration = Duration::from_millis(1);

/// A round that takes longer has failed. Redis answers in well under a millisecond; a second is a failover or worse.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A process counts this long after its last exchange about a tenant.
const PROCESS_TTL: Duration = Duration::from_secs(5);

/// Tenants in one round trip, so that neither side holds a long answer.
const PIPELINED: usize = 64;

/// Series or keys of one tenant told in one exchange: Redis does nothing else for the 2 ms that these take.
const MOST_USES: usize = 2_000;

const RATES: &str = include_str!("rates.lua");
const ACTIVE: &str = include_str!("active.lua");

/// Where limits are shared.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://` or, with TLS, `rediss://`.
    pub url: String,
    /// What the names of all keys begin with.
    pub prefix: String,
    /// A name that no other process has.
    pub process: String,
}

/// The task that keeps this process's limits in step with the others'.
pub struct Sharing {
    limits: Limits,
    client: Client,
    prefix: String,
    process: String,
    connection: Option<Connection>,
}

struct Connection {
    redis: MultiplexedConnection,
    /// The scripts' names.
    rates: String,
    active: String,
}

/// What a tenant's exchange takes out of its limits, until the answer is there.
struct Sent {
    tenant: Arc<TenantLimits>,
    has_rates: bool,
    reports: [Option<Report>; 2],
}

impl Sharing {
    /// Prepares sharing. Nothing is connected yet: a Redis that is away keeps nobody from starting.
    ///
    /// # Errors
    /// A text if the URL cannot be used.
    pub fn new(limits: Limits, options: RedisOptions) -> Result<Self, String> {
        let client = Client::open(options.url).map_err(|error| error.to_string())?;
        limits.0.cluster.configured.store(true, Ordering::Relaxed);
        Ok(Self {
            limits,
            client,
            prefix: options.prefix,
            process: options.process,
            connection: None,
        })
    }

    /// Exchanges until it is told to stop.
    pub async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut failed = false;
        let mut first = true;
        loop {
            let tenants = self.asked();
            let pause = INTERVAL.max(INTERVAL_PER_TENANT * tenants.len() as u32);
            let exchanged = tokio::time::timeout(TIMEOUT, self.exchange(&tenants)).await;
            let problem = match exchanged {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {TIMEOUT:?}")),
            };
            match &problem {
                Some(problem) if !failed => tracing::warn!(
                    %problem,
                    "redis cannot be reached: until it can, each process keeps to its own share of the limits; check redis.url and the server"
                ),
                None if failed && !first => tracing::info!("redis is back: limits are shared again"),
                _ => {}
            }
            if problem.is_some() {
                self.lost(&tenants);
            }
            (failed, first) = (problem.is_some(), false);
            self.limits.0.cluster.in_contact.store(!failed, Ordering::Relaxed);
            if let Some(telemetry) = &self.limits.0.telemetry {
                telemetry.set_limits_redis_up(!failed);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    /// The tenants that sent something since the last round.
    fn asked(&self) -> Vec<Arc<TenantLimits>> {
        let tenants = self.limits.0.tenants.lock();
        let asked = tenants
            .values()
            .filter(|tenant| tenant.asked.swap(false, Ordering::Relaxed));
        asked.cloned().collect()
    }

    /// What was used meanwhile came out of this process's own share. It is not charged to the others afterwards.
    fn lost(&mut self, tenants: &[Arc<TenantLimits>]) {
        self.connection = None;
        for tenant in tenants {
            // So that the first round after this one learns of them, whether or not they send anything.
            tenant.asked.store(true, Ordering::Relaxed);
            let mut rates = tenant.rates.lock();
            let rates = &mut *rates;
            for bucket in [&mut rates.bytes, &mut rates.items].into_iter().flatten() {
                bucket.report();
            }
        }
    }

    async fn exchange(&mut self, tenants: &[Arc<TenantLimits>]) -> Result<(), RedisError> {
        if self.connection.is_none() {
            self.connection = Some(Connection::open(&self.client).await?);
        }
        let Some(connection) = &mut self.connection else {
            return Ok(()); // made above
        };
        if tenants.is_empty() {
            // So that a Redis that went away is noticed before the next request needs it.
            return redis::cmd("PING").exec_async(&mut connection.redis).await;
        }
        let mut most_processes = 0;
        for some in tenants.chunks(PIPELINED) {
            let mut pipeline = redis::pipe();
            let mut outstanding = Outstanding(Vec::new());
            for tenant in some {
                let sent = ask(&mut pipeline, connection, &self.prefix, &self.process, tenant);
                outstanding.0.push(sent);
            }
            let answers: Vec<Value> = pipeline.query_async(&mut connection.redis).await?;
            let mut answers = answers.into_iter();
            let now = Instant::now();
            for sent in &mut outstanding.0 {
                most_processes = most_processes.max(learn(sent, &mut answers, now)?);
            }
        }
        let known = &self.limits.0.cluster.processes;
        known.store(most_processes, Ordering::Relaxed);
        Ok(())
    }
}

/// Reports without an answer; dropped with the exchange, whatever ended it, they go back to be told again.
struct Outstanding(Vec<Sent>);

impl Drop for Outstanding {
    fn drop(&mut self) {
        for sent in self.0.drain(..) {
            let sets = [&sent.tenant.series, &sent.tenant.attribute_keys];
            for (active, report) in sets.into_iter().zip(sent.reports) {
                if let (Some(active), Some(report)) = (active, report) {
                    active.lock().keep(report);
                }
            }
        }
    }
}

impl Connection {
    async fn open(client: &Client) -> Result<Self, RedisError> {
        // The round as a whole has a limit of its own.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let mut redis = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut pipeline = redis::pipe();
        for script in [RATES, ACTIVE] {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(script);
        }
        let (rates, active) = pipeline.query_async(&mut redis).await?;
        Ok(Self { redis, rates, active })
    }
}

/// Adds what a tenant has to tell and to ask.
fn ask(
    pipeline: &mut Pipeline,
    connection: &Connection,
    prefix: &str,
    process: &str,
    tenant: &Arc<TenantLimits>,
) -> Sent {
    // In braces, so that all keys of a tenant are on one node of a Redis cluster.
    let key = |name: &str| format!("{prefix}:limits:{{{}}}:{name}", tenant.tenant);
    let mut rates = tenant.rates.lock();
    let rates = &mut *rates;
    let has_rates = rates.bytes.is_some() || rates.items.is_some();
    if has_rates {
        let script = pipeline.cmd("EVALSHA").arg(&connection.rates).arg(1).arg(key("rates"));
        script.arg(process).arg(PROCESS_TTL.as_millis() as u64);
        for bucket in [&mut rates.bytes, &mut rates.items] {
            let [rate, burst, used] = bucket.as_mut().map_or([0.0; 3], |b| [b.rate, b.burst, b.report()]);
            script.arg(rate).arg(burst).arg(used);
        }
    }
    let sets = [("series", &tenant.series), ("attribute_keys", &tenant.attribute_keys)];
    let reports = sets.map(|(name, active)| {
        let report = active.as_ref()?.lock().report(MOST_USES);
        let script = pipeline.cmd("EVALSHA").arg(&connection.active).arg(3);
        for set in ["young", "old", "began"] {
            script.arg(key(&format!("{name}:{set}")));
        }
        script.arg(PERIOD.as_millis() as u64).arg(report.used.len());
        for hash in report.used.iter().chain(&report.doubtful) {
            script.arg(&hash.to_be_bytes()[..]);
        }
        Some(report)
    });
    Sent {
        tenant: Arc::clone(tenant),
        has_rates,
        reports,
    }
}

/// Takes over the answers about one tenant. Returns how many processes it sends to.
fn learn(sent: &mut Sent, answers: &mut impl Iterator<Item = Value>, now: Instant) -> Result<u32, RedisError> {
    let mut next = || answers.next().unwrap_or(Value::Nil);
    let mut processes = 0;
    if sent.has_rates {
        let (bytes, items, seen): (f64, f64, u32) = from_redis_value(next())?;
        // A text can be a number that is none: nothing would ever pay such a debt.
        if !(bytes.is_finite() && items.is_finite()) {
            return Err((ErrorKind::UnexpectedReturnType, "a pool without an end").into());
        }
        processes = seen;
        let mut rates = sent.tenant.rates.lock();
        let rates = &mut *rates;
        let learn = |bucket: &mut Option<Bucket>, pool| {
            if let Some(bucket) = bucket {
                bucket.learn(pool, processes, now);
            }
        };
        learn(&mut rates.bytes, bytes);
        learn(&mut rates.items, items);
    }
    let sets = [&sent.tenant.series, &sent.tenant.attribute_keys];
    for (active, report) in sets.into_iter().zip(&mut sent.reports) {
        let (Some(active), Some(report)) = (active, report.take()) else {
            continue;
        };
        let answer: Vec<u64> = from_redis_value(next())?;
        learn_active(&mut active.lock(), &report, &answer);
    }
    Ok(processes)
}

fn learn_active(active: &mut Active, report: &Report, answer: &[u64]) {
    let Some((&total, known)) = answer.split_first() else {
        return;
    };
    let known = report.doubtful.iter().zip(known).filter(|(_, known)| **known == 1);
    active.learn(total, known.map(|(hash, _)| *hash));
}

#[cfg(test)]
mod tests;

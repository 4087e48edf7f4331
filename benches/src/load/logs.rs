//! Log records: sentences of about 100 bytes from 40 templates with variables, severity, a few attributes, and the
//! context of a trace on three records in five.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;

use super::agents::{Agents, Group};
use super::random::Random;
use super::services::{self, Pod, SERVICES, int, text};
use super::{Plan, Request};

/// Severity number and text of OTLP with how many of 100 records have it.
const SEVERITIES: [(i32, &str, u64); 5] = [
    (5, "DEBUG", 14),
    (9, "INFO", 74),
    (13, "WARN", 7),
    (17, "ERROR", 4),
    (21, "FATAL", 1),
];

/// `{n}` a service's noun, `{i}` a number, `{h}` 12 hexadecimal digits, `{d}` a duration in ms, `{a}` an IPv4 address,
/// `{u}` a user.
const TEMPLATES: [&str; 40] = [
    "request completed method=GET path=/api/v1/{n}/{i} status=200 duration_ms={d} bytes={i}",
    "request completed method=POST path=/api/v1/{n} status=201 duration_ms={d} client={a}",
    "loaded {i} {n} from database in {d} ms for user {u}, cache refreshed for the next 300 seconds",
    "cache miss for key {n}:{i}, falling back to the primary store at {a}",
    "cache hit for key {n}:{i} age={i}s, served from node {a} without touching the primary",
    "published event {n}.updated id={h} partition={i} offset={i} to the broker in {d} ms",
    "consumed event {n}.created id={h} lag={i} from consumer group {n}-workers after {d} ms",
    "user {u} authenticated from {a} with method password, session {h} issued",
    "session {h} of user {u} expired after {i} seconds without activity, tokens were revoked",
    "retrying call to {n} service attempt {i} of 5 after {d} ms: connection reset by peer {a}",
    "connection pool {n}: {i} active, {i} idle, waited {d} ms for a connection to {a}",
    "slow query on table {n}: {d} ms for SELECT with {i} rows examined, plan hash {h}",
    "transaction {h} committed: {i} rows written to {n} in {d} ms on shard {i}",
    "transaction {h} rolled back after {d} ms: could not serialize access to {n} due to concurrent update",
    "payment authorization {h} approved by acquirer in {d} ms for order {i} of user {u}",
    "payment authorization {h} declined by acquirer: insufficient funds for order {i} of user {u}",
    "order {i} moved from state placed to state paid by worker {h} in {d} ms",
    "order {i} contains {i} lines with a total weight of {i} grams, quote {h} requested",
    "shipment label {h} created for order {i} with carrier number {i} after {d} ms",
    "stock of item {i} in warehouse {i} fell to {i}, a transfer of {n} was requested by {h}",
    "email template {n} rendered for user {u} in {d} ms, message id {h} queued at {a}",
    "push notification {h} delivered to device {h} of user {u} after {d} ms",
    "feature flag new-{n} evaluated to variant {i} for user {u} with rule revision {h}",
    "recommendation model {n} scored {i} candidates for user {u} in {d} ms, top candidate {i}",
    "search for {n} returned {i} hits in {d} ms from {i} shards, query hash {h}",
    "index segment {h} of {n} merged: {i} documents, {i} deleted, took {d} ms",
    "rate limit for client {a} exceeded: {i} requests in the last minute, limit is 600 for {n}",
    "circuit breaker for {n} opened after {i} consecutive failures, next probe in {d} ms",
    "circuit breaker for {n} closed after a successful probe of {a} in {d} ms",
    "health check of {n} dependency at {a} succeeded in {d} ms after {i} failures",
    "garbage collection pause of {d} ms reclaimed {i} KiB, heap is now {i} KiB",
    "scheduled job refresh-{n} finished in {d} ms: {i} updated, {i} unchanged, run {h}",
    "configuration reloaded from revision {h}: {i} keys changed in section {n}",
    "uploaded object {n}/{h} of {i} bytes to the media bucket in {d} ms",
    "validation of {n} {i} failed: field quantity must be positive but was -{i} (request {h})",
    "unhandled error while serving {n}: timeout of {d} ms elapsed waiting for {a} request {h}",
    "webhook {h} to partner {i} answered 200 in {d} ms from {a}, {n} acknowledged",
    "webhook {h} to partner {i} answered 503 in {d} ms from {a}, will retry {n} later",
    "currency rates updated: {i} pairs from provider {a} in {d} ms, checksum {h}",
    "loyalty balance of user {u} changed by {i} points for {n} {i}, ledger entry {h}",
];

/// The stream of log export requests.
#[derive(Debug)]
pub struct Logs {
    plan: Plan,
    random: Random,
    pods: Vec<Pod>,
    agents: Agents<LogRecord>,
    now: f64,
    made: u64,
    ended: bool,
}

impl Logs {
    /// The load of `plan`.
    pub fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed);
        let pods = services::pods(&mut random);
        let agents = Agents::new(&mut random);
        Self {
            plan,
            random,
            pods,
            agents,
            now: 0.0,
            made: 0,
            ended: false,
        }
    }

    /// What one request logs: one to six records of one pod, most of them with the request's trace context.
    fn burst(&mut self) {
        let pod = self.random.below(self.pods.len() as u64) as usize;
        let traced = self.random.chance(0.6);
        let trace_id: [u8; 16] = self.random.id();
        let span_id: [u8; 8] = self.random.id();
        let count = self.random.between(1, 6);
        let mut time = self.plan.start + (self.now * 1e9) as i64;
        for _ in 0..count {
            let mut record = record(&self.pods[pod], time, &mut self.random);
            if traced {
                record.trace_id = trace_id.to_vec();
                record.span_id = span_id.to_vec();
                record.flags = 1;
            }
            let scope = self.random.below(2) as usize;
            self.agents
                .push(self.pods[pod].node, pod, scope, record, &mut self.random);
            time += self.random.exponential(2.0e6) as i64;
        }
        self.made += count;
        self.now += self.random.exponential(count as f64 / self.plan.rate);
    }

    fn request(&self, groups: Vec<Group<LogRecord>>) -> Request {
        let mut items = 0;
        let mut resource_logs: Vec<ResourceLogs> = Vec::new();
        let mut last = usize::MAX;
        for group in groups {
            items += group.items.len() as u32;
            if group.pod != last {
                last = group.pod;
                resource_logs.push(ResourceLogs {
                    resource: Some(self.pods[group.pod].resource.clone()),
                    ..Default::default()
                });
            }
            let service = &SERVICES[self.pods[group.pod].service];
            let scope = Some(services::scope(
                &format!("shop.{}.{}", service.name, ["http", "worker"][group.scope]),
                "",
            ));
            if let Some(resource) = resource_logs.last_mut() {
                resource.scope_logs.push(ScopeLogs {
                    scope,
                    log_records: group.items,
                    ..Default::default()
                });
            }
        }
        Request {
            bytes: ExportLogsServiceRequest { resource_logs }.encode_to_vec().into(),
            items,
        }
    }
}

impl Iterator for Logs {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        loop {
            if let Some(groups) = self.agents.next_full() {
                return Some(self.request(groups));
            }
            if self.ended {
                return None;
            }
            if self.made >= self.plan.items {
                self.agents.flush();
                self.ended = true;
                continue;
            }
            self.burst();
        }
    }
}

fn record(pod: &Pod, time: i64, random: &mut Random) -> LogRecord {
    let service = &SERVICES[pod.service];
    let template = (random.skewed(TEMPLATES.len() as u64) as usize + pod.service * 7) % TEMPLATES.len();
    let body = fill(TEMPLATES[template], service.nouns[random.skewed(4) as usize], random);
    let mut draw = random.below(100);
    let (number, name, _) = SEVERITIES
        .into_iter()
        .find(|(_, _, weight)| {
            let found = draw < *weight;
            draw = draw.saturating_sub(*weight);
            found
        })
        .unwrap_or(SEVERITIES[1]);
    let mut attributes = vec![
        text("code.function.name", format!("handle_{template}")),
        int("code.line.number", 40 + template as i64 * 17),
        text("log.iostream", if number > 12 { "stderr" } else { "stdout" }),
        text("thread.name", format!("worker-{}", random.below(16))),
        int("thread.id", 1 + pod.service as i64),
    ];
    if random.chance(0.25) {
        attributes.push(text("user.id", format!("user-{}", random.skewed(200_000))));
    }
    if random.chance(0.25) {
        attributes.push(int(
            "http.response.status_code",
            *random.pick(&[200, 200, 200, 201, 204, 404, 500]),
        ));
    }
    LogRecord {
        time_unix_nano: time as u64,
        observed_time_unix_nano: (time + random.between(20_000, 85_000) as i64) as u64,
        severity_number: number,
        severity_text: name.to_owned(),
        body: Some(AnyValue {
            value: Some(Value::StringValue(body)),
        }),
        attributes,
        ..Default::default()
    }
}

fn fill(template: &str, noun: &str, random: &mut Random) -> String {
    use std::fmt::Write as _;
    let mut line = String::with_capacity(template.len() + 48);
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        line.push_str(&rest[..at]);
        // Writing to a String cannot fail; the templates are ASCII, so that slicing by 3 is safe.
        let _ = match &rest[at + 1..at + 2] {
            "n" => write!(line, "{noun}"),
            "h" => write!(line, "{:012x}", random.bits() >> 16),
            "d" => write!(line, "{:.2}", random.log_normal(12.0, 1.0)),
            "a" => write!(line, "10.2.{}.{}", random.below(64), random.below(256)),
            "u" => write!(line, "user-{}", random.skewed(200_000)),
            _ => write!(line, "{}", random.skewed(100_000)),
        };
        rest = &rest[at + 3..];
    }
    line.push_str(rest);
    line
}

//! Can the platform be used through the address that its users have?
//!
//! Without `--url` it is the server on this machine, if one runs.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use schema::{Clock as _, SystemClock};
use serde_json::json;
use url::Url;

use crate::examine::{Found, Subject};
use crate::finding::{Finding, shown};
use crate::health::{self, Health};
use crate::unique::{hexadecimal, unique_bytes};
use crate::{http, serving};

/// Whose the span is that is written.
pub const TENANT: &str = "otlp-rust-doctor";

const TENANT_HEADER: &str = "X-Scope-OrgID";

/// Of a refusal so many characters are shown.
const SHOWN: usize = 200;

/// What is acknowledged is readable at once; only caches on the way may know an older answer.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const LOOKS: usize = 10;

/// Where users send and ask.
struct Front {
    api: Url,
    otlp: Url,
    /// What to correct if they are wrong.
    advice: &'static str,
}

pub(crate) async fn check(subject: &Subject, found: &Found) {
    let Some(front) = front(subject) else {
        return found.add(Finding::skipped(
            "url",
            "neither --url nor a valid configuration says where",
        ));
    };
    let health = health::ask(&front.api, subject.timeout / 2).await;
    if subject.url.is_none() && matches!(health, Health::Unreachable(_)) {
        return found.add(Finding::skipped(
            "url",
            "no server runs on this machine, and no --url is given",
        ));
    }
    let is_ready = health == Health::Ready;
    found.add(ready(&front, health));
    let takes = export(&front, subject.timeout).await;
    let can_write = takes.status == crate::Status::Ok;
    found.add(takes);
    if !subject.write {
        found.add(Finding::skipped("url.write", "--write writes a span and reads it back"));
    } else if is_ready && can_write {
        found.add(write(&front, subject.timeout).await);
    } else {
        found.add(Finding::skipped("url.write", "not tried: see above"));
    }
}

fn front(subject: &Subject) -> Option<Front> {
    if let Some(url) = &subject.url {
        return Some(Front {
            api: url.clone(),
            otlp: subject.otlp_url.clone().unwrap_or_else(|| url.clone()),
            advice: "let the proxy or ingress in front route it to the platform, or correct --url",
        });
    }
    let server = &subject.config.as_ref().ok()?.server;
    let otlp = subject
        .otlp_url
        .clone()
        .or_else(|| serving::local_url(server.otlp_http));
    Some(Front {
        api: serving::local_url(server.http)?,
        otlp: otlp?,
        advice: "look into the server's log",
    })
}

fn ready(front: &Front, health: Health) -> Finding {
    let line = health.line(&front.api);
    match health {
        Health::Ready => Finding::ok("url.ready", line),
        Health::NotReady(_) => Finding::failed(
            "url.ready",
            line,
            format!("wait if it is starting or draining; {}", front.advice),
        ),
        Health::Unreachable(_) => Finding::failed("url.ready", line, front.advice),
    }
}

/// Sends an export of nothing, which is taken as any other.
async fn export(front: &Front, timeout: Duration) -> Finding {
    let url = http::below(&front.otlp, "/v1/traces");
    let name = "url.otlp";
    let started = Instant::now();
    let sent = async {
        http::empty_export(&http::client(&front.otlp, timeout)?, &front.otlp)
            .send()
            .await
    };
    match sent.await {
        Ok(response) if response.status().is_success() => {
            let took = started.elapsed();
            Finding::ok(name, format!("{} takes exports, {}", http::shown(&url), shown(took))).took(took)
        }
        Ok(response) => {
            refusal(
                name,
                &url,
                response,
                "OTLP over HTTP has a port of its own (server.otlp_http): --otlp-url says where; ",
                front,
            )
            .await
        }
        Err(error) => Finding::failed(
            name,
            format!("{}: {}", http::shown(&url), http::cause(&error)),
            front.advice,
        ),
    }
}

async fn refusal(name: &str, url: &Url, response: reqwest::Response, hint: &str, front: &Front) -> Finding {
    let status = response.status();
    let body = http::text(response, 4 * SHOWN).await;
    let body: String = body
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(SHOWN)
        .collect();
    let remedy = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "let the request through, or run it from where it is let through".to_owned()
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            "the platform is overloaded or not connected: see the other checks and its /metrics".to_owned()
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => format!("{hint}{}", front.advice),
        _ => front.advice.to_owned(),
    };
    Finding::failed(
        name,
        format!("{} answers {} {body}", http::shown(url), status.as_u16()).trim_end(),
        remedy,
    )
}

/// Writes a span as an application does, and reads it as Grafana does.
async fn write(front: &Front, timeout: Duration) -> Finding {
    let name = "url.write";
    let id = hexadecimal(&unique_bytes());
    let target = http::below(&front.otlp, "/v1/traces");
    let failed = |url: &Url, error: &reqwest::Error| {
        Finding::failed(
            name,
            format!("{}: {}", http::shown(url), http::cause(error)),
            front.advice,
        )
    };
    let started = Instant::now();
    let sent = async {
        let client = http::client(&front.otlp, timeout)?;
        let request = client.post(target.clone()).header(TENANT_HEADER, TENANT);
        request
            .header("content-type", "application/json")
            .body(span(&id))
            .send()
            .await
    };
    match sent.await {
        Ok(response) if response.status().is_success() => {}
        Ok(response) => return refusal(name, &target, response, "", front).await,
        Err(error) => return failed(&target, &error),
    }
    let written = started.elapsed();
    let source = http::below(&front.api, &format!("/tempo/api/traces/{id}"));
    let Ok(client) = http::client(&front.api, timeout) else {
        return Finding::skipped(name, "there is no client to read it with");
    };
    let mut last = None;
    for _ in 0..LOOKS {
        let asked = client.get(source.clone()).header(TENANT_HEADER, TENANT);
        match asked.header("accept", "application/json").send().await {
            Ok(response) if response.status().is_success() => {
                let body = http::text(response, http::MOST_BYTES).await;
                let took = started.elapsed();
                return if body.contains(&span_name(&id)) {
                    let seen = format!(
                        "a span was acknowledged after {} and read back after {}",
                        shown(written),
                        shown(took)
                    );
                    Finding::ok(name, seen).took(took).figure("trace_id", id)
                } else {
                    let seen = format!("{} answers without the span", http::shown(&source));
                    Finding::failed(name, seen, "look for a cache or another platform behind this address")
                };
            }
            Ok(response) => {
                last = Some(
                    refusal(
                        name,
                        &source,
                        response,
                        "a process without the role query does not know traces; ",
                        front,
                    )
                    .await,
                )
            }
            Err(error) => last = Some(failed(&source, &error)),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    last.unwrap_or_else(|| Finding::skipped(name, "not read"))
}

fn span_name(id: &str) -> String {
    format!("doctor {id}")
}

fn span(id: &str) -> String {
    let now = SystemClock.now();
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    json!({ "resourceSpans": [{
        "resource": { "attributes": [text("service.name", TENANT)] },
        "scopeSpans": [{
            "scope": { "name": "otlp-rust doctor", "version": env!("CARGO_PKG_VERSION") },
            "spans": [{
                "traceId": id, "spanId": &id[..16], "name": span_name(id), "kind": 1,
                "startTimeUnixNano": (now - 1_000_000).to_string(), "endTimeUnixNano": now.to_string(),
            }],
        }],
    }]})
    .to_string()
}

//! Do the names of all configured servers resolve, and how long does it take?

use std::time::Duration;

use futures::future::join_all;

use crate::endpoints;
use crate::examine::{Found, Subject};
use crate::finding::{Finding, milliseconds, shown};
use crate::reach::resolve;

/// Each new connection waits for it; a resolver near by answers in a few ms.
const SLOW: Duration = Duration::from_millis(500);

pub(crate) async fn check(subject: &Subject, found: &Found) {
    let urls = [subject.url.as_ref(), subject.otlp_url.as_ref()];
    let mut all = endpoints::all(subject.config.as_ref().ok(), urls);
    all.retain(|endpoint| endpoint.host.parse::<std::net::IpAddr>().is_err());
    if all.is_empty() {
        found.add(Finding::skipped("dns", "no server is named by a host name"));
    }
    let findings = all.iter().map(|endpoint| async move {
        let name = format!("dns.{}", endpoint.of);
        let host = endpoint.host.clone();
        match resolve(&host, endpoint.port).await {
            Ok((addresses, took)) => {
                let first: Vec<_> = addresses.iter().take(3).map(|a| a.ip().to_string()).collect();
                let seen = format!("{} in {}", first.join(", "), shown(took));
                let finding = if took > SLOW {
                    Finding::warning(
                        name,
                        seen,
                        "ask why the resolver is slow: /etc/resolv.conf may list a server that is gone, or many search domains",
                    )
                } else {
                    Finding::ok(name, seen)
                };
                finding.of(host).figure("milliseconds", milliseconds(took))
            }
            Err(error) => Finding::failed(
                name,
                format!("does not resolve: {error}"),
                format!("correct the host in {}, or let the name server know it", endpoint.key),
            )
            .of(host),
        }
    });
    for finding in join_all(findings).await {
        found.add(finding);
    }
}

//! Are the certificates of all servers that speak TLS valid, for the right name, and for how long?

use futures::future::join_all;
use schema::{Clock as _, SystemClock, day_text};

use crate::endpoints::{self, Endpoint, Tls};
use crate::examine::{Found, Subject};
use crate::finding::Finding;
use crate::reach;
use crate::tls::{self, NoCertificate, Shown};

const DAY: i64 = 86_400;

/// Renewal by ACME and cert-manager happens a month ahead, so that it has failed by then.
const SOON_DAYS: i64 = 21;

pub(crate) async fn check(subject: &Subject, found: &Found) {
    let urls = [subject.url.as_ref(), subject.otlp_url.as_ref()];
    let mut all = endpoints::all(subject.config.as_ref().ok(), urls);
    all.retain(|endpoint| endpoint.tls != Tls::None);
    let findings = join_all(all.iter().map(look)).await;
    let findings: Vec<_> = findings.into_iter().flatten().collect();
    if findings.is_empty() {
        found.add(Finding::skipped("certificates", "no server that is reached speaks TLS"));
    }
    for finding in findings {
        found.add(finding);
    }
}

/// `None` if the server cannot be reached, which other checks say.
async fn look(endpoint: &Endpoint) -> Option<Finding> {
    let name = format!("certificates.{}", endpoint.of);
    let stream = reach::connect(endpoint).await.ok()?;
    let verifies = !matches!(endpoint.tls, Tls::Postgres { verify: false, .. });
    let finding = match tls::look(endpoint, stream).await {
        Ok(shown) => judge(name, &shown, verifies, SystemClock.now() / 1_000_000_000),
        Err(NoCertificate::NotOffered) if verifies => Finding::failed(
            name,
            "the server speaks no TLS",
            "turn on ssl at the server, or change sslmode in catalog.url",
        ),
        Err(NoCertificate::NotOffered) => {
            Finding::skipped(name, "the server speaks no TLS, and sslmode does not ask for it")
        }
        Err(NoCertificate::Failed(error)) => Finding::failed(
            name,
            format!("no TLS: {error}"),
            format!("look whether that port speaks TLS, and correct {} if not", endpoint.key),
        ),
    };
    Some(finding.of(endpoint.address()))
}

fn judge(name: String, shown: &Shown, verifies: bool, now: i64) -> Finding {
    let days = (shown.not_after - now).div_euclid(DAY);
    let until = day_text(shown.not_after.saturating_mul(1_000_000_000));
    let names = if shown.names.is_empty() {
        shown.subject.clone()
    } else {
        shown.names.join(", ")
    };
    let about = format!("for {names}, by {}", shown.issuer);
    let renew = "renew it; if that is automatic, look why it did not happen";
    let finding = if shown.not_after < now {
        Finding::failed(name, format!("expired on {until}, {about}"), renew)
    } else if shown.not_before > now {
        Finding::failed(
            name,
            format!(
                "not valid before {}, {about}",
                day_text(shown.not_before.saturating_mul(1_000_000_000))
            ),
            "set this machine's clock (see the check clock), or wait",
        )
    } else if let Some(refused) = &shown.refused {
        let seen = format!("refused: {refused}; {about}, until {until}");
        let remedy = "make the certificate for the name that is used, or give this machine the authority that signed it (SSL_CERT_FILE, \
                      ca-certificates, sslrootcert)";
        if verifies {
            Finding::failed(name, seen, remedy)
        } else {
            Finding::warning(
                name,
                seen,
                format!("sslmode does not verify it; {remedy}, then use sslmode=verify-full"),
            )
        }
    } else if days < SOON_DAYS {
        Finding::warning(name, format!("expires on {until}, in {days} days, {about}"), renew)
    } else {
        Finding::ok(name, format!("valid until {until}, {days} days, {about}"))
    };
    finding.figure("days_left", days).figure("issuer", shown.issuer.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Status;

    #[test]
    fn certificates_are_judged() {
        let of = |not_before: i64, not_after: i64, refused: Option<&str>, verifies: bool| {
            let shown = Shown {
                subject: "CN=db".to_owned(),
                issuer: "CN=ca".to_owned(),
                names: Vec::new(),
                not_before: not_before * DAY,
                not_after: not_after * DAY,
                refused: refused.map(str::to_owned),
            };
            judge("certificates.x".to_owned(), &shown, verifies, 1000 * DAY)
        };
        assert_eq!(of(0, 1090, None, true).status, Status::Ok);
        assert_eq!(of(0, 1010, None, true).status, Status::Warning);
        let expired = of(0, 999, Some("expired"), false);
        assert_eq!(expired.status, Status::Failed);
        assert_eq!(expired.seen, "expired on 1972-09-26, for CN=db, by CN=ca");
        assert_eq!(of(1001, 1090, None, true).status, Status::Failed);
        assert_eq!(of(0, 1090, Some("wrong name"), true).status, Status::Failed);
        assert_eq!(of(0, 1090, Some("wrong name"), false).status, Status::Warning);
    }
}

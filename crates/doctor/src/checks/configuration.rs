//! Is the configuration valid, and does it mean what it says?

use crate::examine::{Found, Subject};
use crate::finding::Finding;

pub(crate) async fn check(subject: &Subject, found: &Found) {
    match &subject.config {
        Ok(config) => {
            found.add(Finding::ok("configuration", format!("valid, from {}", subject.sources)));
            for warning in config.warnings() {
                // Warnings say themselves what to do, behind the colon.
                let (seen, remedy) = warning.split_once(": ").unwrap_or((&warning, "change one of them"));
                found.add(Finding::warning("configuration.values", seen, remedy));
            }
        }
        Err(problems) => {
            for problem in problems {
                found.add(Finding::failed(
                    "configuration",
                    problem,
                    "correct it; `otlp-rust config schema` and docs/reference/configuration.md say what there is",
                ));
            }
        }
    }
}

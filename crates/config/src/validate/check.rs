//! The checks of single values, and how a failed one is reported.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use url::Url;

use crate::human::{ByteSize, EXPECTED_BYTES, EXPECTED_DURATION, HumanDuration};
use crate::location::redact_url;
use crate::memory::ReadFile;
use crate::problem::{Origin, Problem};
use crate::secret::{HIDDEN, Secret};
use crate::unreadable;

/// Collects problems while the configuration is built.
pub(super) struct Check<'a> {
    pub origins: BTreeMap<String, Origin>,
    pub problems: Vec<Problem>,
    pub read: ReadFile<'a>,
}

impl Check<'_> {
    // --- reporting

    pub(super) fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        self.origins.contains_key(key)
    }

    pub(super) fn invalid(&mut self, key: &str, value: impl Display, expected: impl Into<String>) {
        let origin = self.origin(key);
        self.problems.push(Problem::Invalid {
            key: key.to_owned(),
            value: value.to_string(),
            expected: expected.into(),
            origin,
        });
    }

    pub(super) fn conflict(&mut self, keys: &[&str], message: impl Into<String>) {
        let origins = keys
            .iter()
            .map(|key| format!("{key} from {}", self.origin(key)))
            .collect::<Vec<_>>()
            .join(", ");
        self.problems.push(Problem::Conflict {
            message: message.into(),
            origins,
        });
    }

    /// A tenant's name, below the map `map`, that cannot be one.
    pub(super) fn bad_tenant(&mut self, map: &str, name: &str, error: &str) {
        let prefix = format!("{map}.{name}.");
        let key = self.origins.keys().find(|key| key.starts_with(&prefix)).cloned();
        self.conflict(&[key.as_deref().unwrap_or(map)], error);
    }

    // --- single values

    pub(super) fn positive(&mut self, key: &str, value: HumanDuration) -> Duration {
        self.within(key, value, Duration::from_nanos(1), Duration::MAX)
    }

    pub(super) fn within(&mut self, key: &str, value: HumanDuration, min: Duration, max: Duration) -> Duration {
        if value.0 < min || value.0 > max {
            let above = if min.as_nanos() == 1 {
                "above zero".to_owned()
            } else {
                format!("of at least {}", HumanDuration(min))
            };
            let below = if max == Duration::MAX {
                String::new()
            } else {
                format!(" and at most {}", HumanDuration(max))
            };
            self.invalid(key, value, format!("{EXPECTED_DURATION}, {above}{below}"));
        }
        value.0
    }

    pub(super) fn at_least(&mut self, key: &str, value: ByteSize, min: u64) -> u64 {
        if value.0 < min {
            self.invalid(key, value, format!("{EXPECTED_BYTES}, of at least {}", ByteSize(min)));
        }
        value.0
    }

    /// A budget out of `memory.limit`: a quarter of it unless set, and never more than all of it.
    pub(super) fn share(&mut self, key: &str, given: Option<ByteSize>, limit: u64, min: u64) -> u64 {
        let Some(given) = given else { return limit / 4 };
        if given.0 > limit {
            let message = format!(
                "{key} ({given}) is larger than memory.limit ({}): lower it or raise memory.limit",
                ByteSize(limit)
            );
            self.conflict(&[key, "memory.limit"], message);
        }
        self.at_least(key, given, min)
    }

    pub(super) fn endpoint(
        &mut self,
        key: &str,
        given: Option<String>,
        allow_http: Option<(&str, bool)>,
    ) -> Option<Url> {
        let text = given?;
        let url = Url::parse(&text).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
        });
        let Some(url) = url else {
            self.invalid(
                key,
                format!("{:?}", redact_url(&text)),
                "an http or https URL without user and query, such as https://host:9000",
            );
            return None;
        };
        if let Some((allow_key, false)) = allow_http
            && url.scheme() == "http"
        {
            self.conflict(
                &[key, allow_key],
                format!("{key} is plain http: set {allow_key} to true if credentials and data may travel in clear"),
            );
        }
        Some(url)
    }

    /// A secret, given itself or as the name of a file that holds it (a trailing line break is not part of it).
    pub(super) fn secret(&mut self, key: &str, given: Option<Secret>, file: Option<&Path>) -> Option<Secret> {
        let file_key = format!("{key}_file");
        match (given, file) {
            (Some(_), Some(_)) => {
                self.conflict(
                    &[key, &file_key],
                    format!("{key} and {file_key} are both given: keep one"),
                );
                None
            }
            (Some(secret), None) if secret.expose().is_empty() || secret.expose() == HIDDEN => {
                self.invalid(
                    key,
                    HIDDEN,
                    "the secret itself, neither empty nor the *** that stands for it in print",
                );
                None
            }
            (given, None) => given,
            (None, Some(path)) => match (self.read)(path) {
                Ok(text) => {
                    let value = text.trim_end_matches(['\r', '\n']);
                    if value.is_empty() {
                        self.invalid(&file_key, path.display(), "a file that is not empty");
                    }
                    Some(Secret::from_file(value, path.to_owned()))
                }
                Err(error) => {
                    self.problems.push(unreadable(path, &file_key, &error));
                    None
                }
            },
        }
    }

    ///
    /// `part` is how many of the value the bound must have room for.
    pub(super) fn fitting(&mut self, key: &str, value: ByteSize, bound_key: &str, bound: u64, part: u64) -> u64 {
        if !self.is_set(key) {
            return value.0.min(bound / part);
        }
        if value.0 > bound / part {
            let share = match part {
                1 => String::new(),
                part => format!("1/{part} of "),
            };
            let message = format!(
                "{key} ({value}) is larger than {share}{bound_key} ({}): lower it or raise {bound_key}",
                ByteSize(bound)
            );
            self.conflict(&[key, bound_key], message);
        }
        self.at_least(key, value, 1024)
    }
}

//! Keeps secrets out of everything that is shown or bundled.
//!
//! Two nets, one behind the other: the values that are known to be secret are replaced wherever they stand, and whatever
//! looks like a secret is replaced where it stands, known or not.

use config::{CatalogUrl, Config};
use url::Url;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// A shorter value is left to the patterns: replacing every `a` would leave nothing to read.
const SHORTEST: usize = 4;

/// Words in names of variables whose values are secret.
const TELLTALE: [&str; 7] = ["SECRET", "PASS", "TOKEN", "KEY", "CREDENTIAL", "AUTH", "SIGNATURE"];

/// Ends of names, without `_` and `-`, whose values are secret wherever they stand as `name=value` or `name: value`.
const NAMES: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "secret",
    "secretaccesskey",
    "accesskey",
    "apikey",
    "privatekey",
    "token",
    "authorization",
    "credential",
    "signature",
];

/// Values that must not be shown.
#[derive(Default, Clone)]
pub struct Secrets {
    /// The longest first, so that one that contains another is replaced whole.
    values: Vec<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.values.len())
    }
}

impl Secrets {
    /// Those of a configuration, of the environment and of addresses from the command line.
    pub fn gather<'a>(
        config: Option<&Config>,
        environment: impl IntoIterator<Item = (String, String)>,
        urls: impl IntoIterator<Item = &'a Url>,
    ) -> Self {
        let mut secrets = Self::default();
        if let Some(config) = config {
            secrets.of_config(config);
        }
        for (name, value) in environment {
            if let Ok(url) = Url::parse(&value) {
                secrets.of_url(&url);
            }
            if tells(&name.to_ascii_uppercase()) {
                secrets.add(&value);
            }
        }
        for url in urls {
            secrets.of_url(url);
        }
        secrets.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        secrets.values.dedup();
        secrets
    }

    fn of_config(&mut self, config: &Config) {
        let store = &config.store;
        for secret in [&store.s3.secret_access_key, &store.azure.access_key]
            .into_iter()
            .flatten()
        {
            self.add(secret.expose());
        }
        // Not secret by itself, and half of one.
        self.add(store.s3.access_key_id.as_deref().unwrap_or_default());
        if let CatalogUrl::Postgres { url, .. } = &config.catalog.url {
            self.of_url(url);
        }
        let redis = config.redis.url.as_ref().map(|redis| &redis.url);
        let endpoints = [&store.s3.endpoint, &store.gcs.endpoint, &store.azure.endpoint];
        for url in endpoints.into_iter().flatten().chain(redis) {
            self.of_url(url);
        }
    }

    /// The password of an address, and what its query calls secret.
    fn of_url(&mut self, url: &Url) {
        let mut values = vec![url.password().unwrap_or_default().to_owned()];
        values.extend(
            url.query_pairs()
                .filter(|(key, _)| is_secret(key))
                .map(|(_, value)| value.into_owned()),
        );
        for value in values {
            self.add(&value);
            self.add(&percent_decoded(&value));
        }
    }

    fn add(&mut self, value: &str) {
        let value = value.trim();
        if value.len() < SHORTEST || is_harmless(value) {
            return;
        }
        self.values.push(value.to_owned());
        // As it stands in JSON.
        let quoted = serde_json::Value::from(value).to_string();
        let inside = quoted.trim_matches('"');
        if inside != value {
            self.values.push(inside.to_owned());
        }
    }

    /// The text without secrets.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for value in &self.values {
            if text.contains(value.as_str()) {
                text = text.replace(value.as_str(), HIDDEN);
            }
        }
        let lines = text
            .split_inclusive('\n')
            .map(|line| without_named(&without_passwords(line)));
        lines.collect()
    }
}

/// Whether the variable of this name, in capitals, holds a secret.
fn tells(name: &str) -> bool {
    if name.starts_with(config::ENV_PREFIX) {
        // Ours are known: OTLP_RUST__LIMITS__ATTRIBUTE_KEYS holds none.
        is_secret(name)
    } else {
        TELLTALE.iter().any(|word| name.contains(word)) && !name.ends_with("_FILE")
    }
}

/// Words that stand in variables with telltale names and in every other text as well.
fn is_harmless(value: &str) -> bool {
    let word = [
        "true", "false", "none", "null", "auto", "default", "enabled", "disabled",
    ];
    word.contains(&value.to_ascii_lowercase().as_str()) || value.starts_with('/')
}

fn percent_decoded(text: &str) -> String {
    let pair = format!("a={}", text.replace('+', "%2B"));
    let decoded = url::form_urlencoded::parse(pair.as_bytes()).next();
    decoded.map_or_else(String::new, |(_, value)| value.into_owned())
}

/// Whether a name is one of a secret.
fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let plain = plain.to_ascii_lowercase();
    let plain = plain.strip_suffix('s').unwrap_or(&plain);
    NAMES
        .iter()
        .any(|end| plain.ends_with(end.strip_suffix('s').unwrap_or(end)))
}

/// Replaces what stands between `://name:` and `@`.
fn without_passwords(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        clean.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || "\"'<>`".contains(c))
            .unwrap_or(after.len());
        // The last '@' of all: a password may hold one.
        rest = match after[..end].rfind('@') {
            Some(at) => {
                let user = after[..at].split(':').next().unwrap_or_default();
                let password = if after[..at].contains(':') { ":***" } else { "" };
                clean.push_str(user);
                clean.push_str(password);
                &after[at..]
            }
            None => after,
        };
    }
    clean.push_str(rest);
    clean
}

/// Replaces the values of `password=...`, `"token": "..."`, `Authorization: Bearer ...` and the like.
fn without_named(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, after) = rest.split_at(at + 1);
        clean.push_str(before);
        rest = after;
        let name = before[..at].trim_end_matches(['"', '\'', ' ']);
        let from = name
            .rfind(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)))
            .map_or(0, |at| at + 1);
        if !is_secret(&name[from..]) || after.starts_with("//") {
            continue;
        }
        let value = after.trim_start_matches([' ', '"', '\'']);
        let skipped = after.len() - value.len();
        let whole = name.to_ascii_lowercase().ends_with("authorization");
        // A value goes to the end of its word; a header to the end of its line.
        let ends = |c: char| {
            if whole {
                "\"'\r\n".contains(c)
            } else {
                c.is_whitespace() || "\"'&,;)}]".contains(c)
            }
        };
        let end = value.find(ends).unwrap_or(value.len());
        if end > 0 && &value[..end] != "null" {
            clean.push_str(&after[..skipped]);
            clean.push_str(HIDDEN);
            rest = &value[end..];
        }
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_hidden() {
        let secrets = Secrets::default();
        for (text, clean) in [
            (
                "at postgres://u:hunter2@db:5432/o it",
                "at postgres://u:***@db:5432/o it",
            ),
            ("redis://:p@ss@cache/0", "redis://:***@cache/0"),
            (
                "https://host/x?a=1&password=pw&b=2",
                "https://host/x?a=1&password=***&b=2",
            ),
            ("{\"token\": \"abc\", \"n\": 1}", "{\"token\": \"***\", \"n\": 1}"),
            ("  secret_access_key: abc\n", "  secret_access_key: ***\n"),
            ("Authorization: Bearer abc def\r\n", "Authorization: ***\r\n"),
            ("AWS_SESSION_TOKEN=xyz next", "AWS_SESSION_TOKEN=*** next"),
            (
                "secret_access_key_file: /run/secrets/key",
                "secret_access_key_file: /run/secrets/key",
            ),
            ("otlp_tokens_total{a=\"b\"} 5", "otlp_tokens_total{a=\"b\"} 5"),
            ("access_key: null", "access_key: null"),
            ("10:20:30 key=value", "10:20:30 key=value"),
        ] {
            assert_eq!(secrets.clean(text), clean);
        }
    }

    #[test]
    fn known_secrets_are_hidden_wherever_they_stand() {
        let environment = [
            ("MY_API_KEY", "key-of-mine"),
            ("DATABASE_URL", "postgres://u:pa%20ss%22word@h/d"),
            ("USE_AUTH", "true"),
            ("TOKEN_FILE", "/run/token"),
            ("OTLP_RUST__LIMITS__ATTRIBUTE_KEYS", "10000"),
            ("OTLP_RUST__STORE__AZURE__ACCESS_KEY", "of-azure"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let url = Url::parse("https://me:front-door@host/?token=in-query").unwrap();
        let secrets = Secrets::gather(None, environment, [&url]);
        let text = "key-of-mine, pa%20ss%22word, pa ss\"word, \"pa ss\\\"word\", front-door, in-query, true, /run/token, 10000, of-azure";
        let clean = secrets.clean(text);
        assert_eq!(clean, "***, ***, ***, \"***\", ***, ***, true, /run/token, 10000, ***");
    }

    #[test]
    fn those_of_the_configuration_are_known() {
        let overrides = [
            ("store.url", "s3://b"),
            ("store.s3.access_key_id", "AKIAXYZ"),
            ("store.s3.secret_access_key", "very-secret"),
            ("catalog.url", "postgres://u:db-pass@h/d"),
            ("redis.url", "redis://:cache-pass@h"),
        ];
        let overrides = overrides.map(|(key, value)| (key.to_owned(), value.to_owned(), "--x".to_owned()));
        let config = config::load(config::Sources {
            overrides: overrides.to_vec(),
            ..config::Sources::default()
        });
        let secrets = Secrets::gather(Some(&config.unwrap()), [], []);
        assert_eq!(
            secrets.clean("AKIAXYZ very-secret db-pass cache-pass"),
            "*** *** *** ***"
        );
    }
}

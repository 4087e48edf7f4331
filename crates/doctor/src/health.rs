//! `otlp-rust health`: is a server ready?
//!
//! It runs every few seconds inside small containers, so it starts no pool of threads and reads nothing that it does not
//! need.

use std::time::Duration;

use url::Url;

use crate::finding::plain;
use crate::http;

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It takes requests.
    Ready,
    /// It answers, and is not ready: it is starting or draining, or something else answers in its place.
    NotReady(String),
    /// Nobody answers.
    Unreachable(String),
}

impl Health {
    /// The exit code: 0 ready, 1 not ready, 2 cannot be reached.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Ready => 0,
            Self::NotReady(_) => 1,
            Self::Unreachable(_) => 2,
        }
    }

    /// One line for `url`.
    pub fn line(&self, url: &Url) -> String {
        let url = http::shown(&http::below(url, READY));
        match self {
            Self::Ready => format!("ready: {url}"),
            Self::NotReady(why) => format!("not ready: {url} answers {why}"),
            Self::Unreachable(why) => format!("cannot be reached: {url}: {why}"),
        }
    }
}

const READY: &str = "/readyz";

/// So many characters of an answer that is not "ok" are shown.
const SHOWN: usize = 200;

/// Asks `/readyz` of the server at `url`, which may be its root or `/readyz` itself. Everything together takes no longer
/// than `timeout`.
pub async fn ask(url: &Url, timeout: Duration) -> Health {
    let asked = async {
        let client = http::client(url, timeout)?;
        let response = client.get(http::below(url, READY)).send().await?;
        let status = response.status();
        let body = http::text(response, 4 * SHOWN).await;
        Ok::<_, reqwest::Error>((status, body))
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(Ok((status, _))) if status.is_success() => Health::Ready,
        Ok(Ok((status, body))) => {
            let first = body.lines().next().unwrap_or_default();
            let text: String = plain(first).chars().take(SHOWN).collect();
            Health::NotReady(format!("{} {text}", status.as_u16()).trim_end().to_owned())
        }
        Ok(Err(error)) if error.is_timeout() => Health::Unreachable(format!("no answer within {timeout:?}")),
        Ok(Err(error)) => Health::Unreachable(http::cause(&error)),
        Err(_) => Health::Unreachable(format!("no answer within {timeout:?}")),
    }
}

#[cfg(test)]
mod tests;

//! The other side of `/api/v1/sql` and `/api/v1/admin/deletions`: what `otlp-rust sql` and `otlp-rust delete` do.

use std::io::Write;
use std::time::Duration;

use schema::TenantId;
use serde::Serialize;
use serde_json::Value;

use crate::Format;
use crate::request::{PARTIAL_HEADER, TENANT_HEADER};

/// Why a query brought no result, or only a part.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("cannot reach {url}: {reason}; is the server running (otlp-rust serve), and is the address right?")]
    Unreachable {
        /// The address that was tried.
        url: String,
        /// What the operating system says.
        reason: String,
    },
    /// The server refused the request or failed.
    #[error("{message}")]
    Refused {
        /// The HTTP status code.
        status: u16,
        /// What the server says.
        message: String,
    },
    /// The query failed after its first rows, which were written.
    #[error("the result is incomplete: {0}")]
    Incomplete(String),
    /// The result cannot be written.
    #[error("cannot write the result: {0}")]
    Write(#[from] std::io::Error),
}

/// So many bytes of the end of a result are looked at for an error.
const TAIL_BYTES: usize = 8192;

/// Runs a query on the server at `url` (such as `http://127.0.0.1:8080`) and writes the answer to `out` as it comes.
///
/// Returns why rows may be missing, if the server says so outside the answer.
///
/// # Errors
/// [`ClientError`]. That nobody reads `out` any more, as in `| head`, is not an error.
pub async fn run_sql(
    url: &str,
    tenant: &TenantId,
    sql: &str,
    format: Format,
    out: &mut dyn Write,
) -> Result<Option<String>, ClientError> {
    let address = format!("{}/api/v1/sql?format={}", url.trim_end_matches('/'), format.name());
    let unreachable = |error: reqwest::Error| ClientError::Unreachable {
        url: url.to_owned(),
        reason: root(&error),
    };
    let request = reqwest::Client::new()
        .post(&address)
        .header(TENANT_HEADER, tenant.as_str())
        .header(reqwest::header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(sql.to_owned());
    let mut response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    if !status.is_success() {
        let body = response.text().await.map_err(unreachable)?;
        return Err(ClientError::Refused {
            status: status.as_u16(),
            message: message_of(status.as_u16(), &body),
        });
    }
    // A table has it in its last line.
    let partial = response
        .headers()
        .get(PARTIAL_HEADER)
        .filter(|_| format != Format::Table);
    let partial = partial.and_then(|reason| reason.to_str().ok()).map(str::to_owned);
    let mut tail = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                tail.extend_from_slice(&chunk[chunk.len().saturating_sub(TAIL_BYTES)..]);
                tail.drain(..tail.len().saturating_sub(TAIL_BYTES));
                if let Err(error) = out.write_all(&chunk) {
                    return ended(error).map(|()| partial);
                }
            }
            Ok(None) => break,
            Err(error) => {
                return Err(ClientError::Incomplete(format!(
                    "the connection broke: {}",
                    root(&error)
                )));
            }
        }
    }
    if let Err(error) = out.flush() {
        return ended(error).map(|()| partial);
    }
    match error_in(format, &String::from_utf8_lossy(&tail)) {
        Some(message) => Err(ClientError::Incomplete(message)),
        None => Ok(partial),
    }
}

/// A deletion to ask for; one of the last three is given.
#[derive(Debug, Clone, Serialize)]
pub struct NewDeletion {
    /// Whose rows.
    #[serde(serialize_with = "as_text")]
    pub tenant: TenantId,
    /// The table they are in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// The trace they are of, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// A condition that they meet, in SQL.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// All of them.
    pub everything: bool,
}

fn as_text<S: serde::Serializer>(tenant: &TenantId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(tenant.as_str())
}

/// Pause between two looks at a deletion that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Asks the server at `url` for a deletion and returns what it says of it: at once, or when it has reached the state
/// `wait_for` or failed.
///
/// # Errors
/// [`ClientError`].
pub async fn delete(url: &str, deletion: &NewDeletion, wait_for: Option<&str>) -> Result<Value, ClientError> {
    let client = reqwest::Client::new();
    let address = format!("{}/api/v1/admin/deletions", url.trim_end_matches('/'));
    let body = serde_json::json!(deletion).to_string();
    let mut last = answer(url, client.post(&address).body(body)).await?;
    let Some(wait_for) = wait_for else { return Ok(last) };
    let address = format!("{address}/{}", last["id"]);
    loop {
        let state = last["state"].as_str().unwrap_or_default();
        if state == wait_for || matches!(state, "verified" | "failed") {
            return Ok(last);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        last = answer(url, client.get(&address)).await?;
    }
}

/// The JSON that the server at `url` answers a request with.
async fn answer(url: &str, request: reqwest::RequestBuilder) -> Result<Value, ClientError> {
    let unreachable = |error: reqwest::Error| ClientError::Unreachable {
        url: url.to_owned(),
        reason: root(&error),
    };
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let body = response.text().await.map_err(unreachable)?;
    let refused = |message| ClientError::Refused {
        status: status.as_u16(),
        message,
    };
    if !status.is_success() {
        return Err(refused(message_of(status.as_u16(), &body)));
    }
    serde_json::from_str(&body).map_err(|error| refused(format!("the answer is not JSON: {error}")))
}

fn ended(error: std::io::Error) -> Result<(), ClientError> {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        Ok(())
    } else {
        Err(error.into())
    }
}

/// The innermost cause: the outer ones only repeat the address.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// What an error body says.
fn message_of(status: u16, body: &str) -> String {
    let parsed = serde_json::from_str::<serde_json::Value>(body).ok();
    match parsed.as_ref().and_then(|body| body["error"]["message"].as_str()) {
        Some(message) => message.to_owned(),
        None if body.trim().is_empty() => format!("the server answered with status {status}"),
        None => format!("the server answered with status {status}: {}", body.trim()),
    }
}

/// The error with which a result ends, if it does; see [`Format`].
fn error_in(format: Format, tail: &str) -> Option<String> {
    let tail = tail.trim_end();
    let last = tail.lines().next_back().unwrap_or_default();
    match format {
        // A whole result ends with its list of rows.
        Format::Json if !tail.ends_with("]}") => {
            let (_, error) = tail.rsplit_once("],\"error\":")?;
            message_in(error.strip_suffix('}')?)
        }
        Format::Ndjson => message_in(last.strip_prefix("{\"error\":")?.strip_suffix('}')?),
        Format::Csv => last.strip_prefix("# error: ").map(str::to_owned),
        Format::Json | Format::Arrow | Format::Table => None,
    }
}

fn message_in(error: &str) -> Option<String> {
    let error = serde_json::from_str::<serde_json::Value>(error).ok()?;
    error["kind"].as_str()?;
    Some(error["message"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests;

//! The parts of the server's HTTP API that a measurement uses: compaction on demand, SQL for counting, and a trace by
//! its id.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message as _;

use crate::process::bytes_below;
use crate::server::Server;

/// A compaction of tens of millions of rows takes minutes; an hour means that it hangs.
const COMPACTION_LIMIT: Duration = Duration::from_secs(3600);
/// Pause between two looks at a deletion.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Replaced objects are deleted after a grace of a second, when the collector next looks, every two seconds.
const SETTLED_AFTER: Duration = Duration::from_secs(8);
/// CPU time that an idle server may use meanwhile: its timers, and a look at the catalog each few seconds.
const IDLE_CPU: Duration = Duration::from_millis(400);
/// Beyond this the server never comes to rest, or the garbage collector does not do its work.
const SETTLE_LIMIT: Duration = Duration::from_secs(180);

/// A client of one server; keeps its connections.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
}

impl Api {
    /// A client without connections yet.
    ///
    /// # Errors
    /// When the HTTP library cannot be set up.
    pub fn new() -> Result<Self> {
        Ok(Self {
            client: reqwest::Client::builder().timeout(COMPACTION_LIMIT).build()?,
        })
    }

    /// Compacts everything that is stored and returns when it is done.
    ///
    /// # Errors
    /// When the server answers with an error.
    pub async fn compact(&self, server: &Server) -> Result<()> {
        let response = self
            .client
            .post(server.url("/api/v1/admin/compact?wait=true"))
            .send()
            .await?;
        let status = response.status();
        if !status.is_success() {
            bail!(
                "compaction answered {status}: {}",
                response.text().await.unwrap_or_default()
            );
        }
        Ok(())
    }

    /// Deletes rows of the default tenant; returns how many went and how long it took until no query shows them.
    ///
    /// # Errors
    /// When the server answers with an error, or the deletion fails.
    pub async fn delete(&self, server: &Server, what: &serde_json::Value) -> Result<(u64, Duration)> {
        let begun = Instant::now();
        let url = server.url("/api/v1/admin/deletions");
        let asked = self.client.post(&url).body(what.to_string()).send().await?;
        let mut record: serde_json::Value = asked.error_for_status()?.json().await?;
        let id = record["id"].as_u64().with_context(|| format!("no id in {record}"))?;
        loop {
            match record["state"].as_str() {
                Some("pending") => tokio::time::sleep(LOOK_AGAIN).await,
                Some("failed") | None => bail!("the deletion of {what} failed: {record}"),
                Some(_) => break,
            }
            record = self.client.get(format!("{url}/{id}")).send().await?.json().await?;
        }
        let rows = record["rows_deleted"].as_u64().context("no count of rows")?;
        Ok((rows, begun.elapsed()))
    }

    /// The single number that `sql` selects as `n`.
    ///
    /// # Errors
    /// When the query fails or selects something else.
    pub async fn count(&self, server: &Server, sql: &str) -> Result<u64> {
        let request = self
            .client
            .post(server.url("/api/v1/sql?format=ndjson"))
            .body(sql.to_owned());
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("{sql} answered {status}: {text}");
        }
        let row: serde_json::Value = serde_json::from_str(text.lines().next().unwrap_or_default())
            .with_context(|| format!("{sql} answered {text:?}"))?;
        row["n"].as_u64().with_context(|| format!("{sql} answered {row}"))
    }

    /// Fetches a trace as protobuf. Returns how many spans came and how long it took, decoding not counted.
    ///
    /// # Errors
    /// When the server answers with an error or something that is not a trace.
    pub async fn trace(&self, server: &Server, id: &[u8; 16]) -> Result<(u32, Duration)> {
        let url = server.url(&format!("/tempo/api/traces/{}", hex(id)));
        let begun = Instant::now();
        let response = self
            .client
            .get(&url)
            .header("accept", "application/protobuf")
            .send()
            .await?;
        let status = response.status();
        let body = response.bytes().await?;
        let elapsed = begun.elapsed();
        if !status.is_success() {
            bail!("GET {url} answered {status}: {}", String::from_utf8_lossy(&body));
        }
        // Tempo's Trace message has the same field number and type as TracesData.
        let trace = TracesData::decode(body).with_context(|| format!("GET {url} answered no protobuf trace"))?;
        let scopes = trace.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        Ok((scopes.map(|scope| scope.spans.len() as u32).sum(), elapsed))
    }
}

/// Waits until the server has come to rest: for some seconds it deletes nothing and uses next to no CPU. Work that
/// compaction leaves to the background thus counts, and does not disturb what is measured next.
///
/// Returns the bytes in its data directory, and whether it came to rest in time.
///
/// # Errors
/// When the server has died.
pub async fn settle(server: &Server) -> Result<(u64, bool)> {
    let begun = Instant::now();
    let mut least = bytes_below(server.data());
    let mut busy = server.cpu()?;
    let mut since = Instant::now();
    while since.elapsed() < SETTLED_AFTER && begun.elapsed() < SETTLE_LIMIT {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let (bytes, cpu) = (bytes_below(server.data()), server.cpu()?);
        // Small movements of the catalog's journal do not count as shrinking.
        if bytes + bytes / 1000 < least || cpu.saturating_sub(busy) > IDLE_CPU {
            since = Instant::now();
            busy = cpu;
        }
        least = least.min(bytes);
    }
    Ok((bytes_below(server.data()), since.elapsed() >= SETTLED_AFTER))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

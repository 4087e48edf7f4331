//! Requests already committed: a client that lost an acknowledgement and sends the same bytes again leaves one copy.

use std::collections::HashSet;
use std::time::Duration;

use schema::{Clock, UnixNanos};

use crate::db::{Kind, Row, Rows, Tx};
use crate::{Catalog, CatalogError, RequestKey, Result, datasets, rules};

/// 10,000 keys a transaction: some 50 ms on SQLite, in which no segment can commit.
const EXPIRE_BATCH: i64 = 10_000;

impl Catalog {
    /// Which of the requests have been committed, in their order.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn committed_requests(&self, hashes: &[RequestKey]) -> Result<Vec<bool>> {
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        let rows = hashes
            .iter()
            .map(|key| vec![(&key.tenant).into(), crate::db::Value::Bytes(key.hash.to_vec())]);
        let rows = Rows {
            kinds: &[Kind::Text, Kind::Bytes],
            rows: rows.collect(),
        };
        let mut tx = self.pools.begin_read().await?;
        let select = "SELECT tenant, hash FROM ingest_dedupe WHERE (tenant, hash) IN (";
        let found = tx.with_rows(select, rows, ")").await?;
        tx.rollback().await?;
        let found = keys(&found)?;
        Ok(hashes.iter().map(|key| found.contains(key)).collect())
    }

    /// Forgets requests committed more than `window` ago and returns how many. A client that repeats one
    /// of them later stores it twice, so keep them longer than clients retry. Nothing is forgotten before the clock has gone
    /// evenly for as long: what was committed before it was set looks older than it is. Both are asked from within the
    /// transaction, because what is committed after a clock was set back looks older than what was decided before.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer; what was forgotten until then stays so.
    pub async fn expire_requests(&self, window: Duration, clock: impl Clock) -> Result<u64> {
        let delete = "DELETE FROM ingest_dedupe WHERE (tenant, hash) IN \
                      (SELECT tenant, hash FROM ingest_dedupe WHERE committed_at < $1 ORDER BY committed_at LIMIT $2)";
        let mut total = 0;
        loop {
            let mut tx = self.pools.begin_write().await?;
            if clock.steady_for() < window {
                tx.rollback().await?;
                return Ok(total);
            }
            let older_than = rules::before(clock.now(), window);
            let deleted = tx.execute(delete, vec![older_than.into(), EXPIRE_BATCH.into()]).await?;
            tx.commit().await?;
            total += deleted;
            if deleted == 0 {
                return Ok(total);
            }
        }
    }
}

/// Records the requests and returns the indexes of those that cannot be: then the caller must roll back.
pub(crate) async fn record(tx: &mut Tx, requests: &[RequestKey], now: UnixNanos) -> Result<Vec<usize>> {
    // In one order everywhere, so that two transactions cannot wait for each other. Of two transactions with the
    // same key the second waits for the first, then finds it taken.
    let mut sorted: Vec<_> = requests.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    let rows = sorted
        .iter()
        .map(|key| {
            vec![
                (&key.tenant).into(),
                crate::db::Value::Bytes(key.hash.to_vec()),
                now.into(),
            ]
        })
        .collect();
    let rows = Rows {
        kinds: &[Kind::Text, Kind::Bytes, Kind::Int],
        rows,
    };
    let insert = "INSERT INTO ingest_dedupe (tenant, hash, committed_at)";
    let inserted = tx
        .with_rows(insert, rows, "ON CONFLICT DO NOTHING RETURNING tenant, hash")
        .await?;
    if inserted.len() == requests.len() {
        return Ok(Vec::new());
    }
    let mut fresh = keys(&inserted)?;
    // Taking a key out at its first use leaves the second use of the same key a duplicate.
    Ok(requests
        .iter()
        .enumerate()
        .filter(|(_, key)| !fresh.remove(*key))
        .map(|(index, _)| index)
        .collect())
}

fn keys(rows: &[Row]) -> Result<HashSet<RequestKey>> {
    rows.iter()
        .map(|row| {
            let hash = row.bytes(1)?;
            let hash = hash
                .try_into()
                .map_err(|h: Vec<u8>| CatalogError::Corrupt(format!("a request hash has {} bytes", h.len())))?;
            Ok(RequestKey {
                tenant: datasets::tenant(row, 0)?,
                hash,
            })
        })
        .collect()
}

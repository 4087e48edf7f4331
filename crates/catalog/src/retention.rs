//! Retention: what is wholly older than a cutoff goes, and how much that was is told.
//!
//! Only whole slices and parts go; a part with one younger row stays until that row is due too. What goes from queries
//! stays in the store until its object is deleted, which for a slice is when the last slice of its segment has gone. Until
//! then it is a debt (`retention_debt`), paid in the transaction in which garbage collection forgets the object.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schema::{Clock, Dataset, TenantId, UnixNanos};

use crate::db::{Kind, Row, Rows, Tx, Value};
use crate::{
    Catalog, Expired, Freed, Lease, Result, RetentionState, compaction, datasets, gc, leases, rules, segments,
};

impl Catalog {
    /// Removes the slices and parts of a dataset whose newest row is before `cutoff` (ns) and queues their objects for
    /// deletion after `grace`, which counts from within the transaction. The snapshot sequence moves if anything went.
    ///
    /// # Errors
    /// [`CatalogError::Fenced`](crate::CatalogError::Fenced) when the lease was taken over,
    /// [`CatalogError::Unavailable`](crate::CatalogError::Unavailable) when the database does not answer.
    pub async fn expire(
        &self,
        tenant: &TenantId,
        dataset: Dataset,
        cutoff: UnixNanos,
        lease: &Lease,
        clock: impl Clock,
        grace: Duration,
    ) -> Result<Expired> {
        let mut tx = self.pools.begin_write().await?;
        leases::hold(&mut tx, lease).await?;
        let now = clock.now();
        let due = rules::after(now, grace);
        let sequence = compaction::next_sequence(&mut tx, now).await?;
        let of_dataset = "dataset_id = (SELECT id FROM dataset WHERE tenant = $1 AND kind = $2) AND max_ts < $3";
        let values = vec![tenant.into(), dataset.id().into(), cutoff.into()];
        let sql = format!(
            "DELETE FROM segment_slice WHERE {of_dataset} RETURNING row_count, byte_length, segment_id, dataset_id"
        );
        let slices = tx.fetch(sql, values.clone()).await?;
        let sql = format!(
            "UPDATE part SET end_seq = $4 WHERE {of_dataset} AND end_seq IS NULL RETURNING row_count, byte_size, id, dataset_id"
        );
        let mut with_sequence = values;
        with_sequence.push(sequence.into());
        let parts = tx.fetch(sql, with_sequence).await?;
        let expired = sum(&slices, &parts)?;
        if expired == Expired::default() {
            tx.rollback().await?;
            return Ok(expired);
        }
        let touched = slices.iter().map(|row| row.int(2)).collect::<Result<BTreeSet<_>>>()?;
        gc::queue_emptied_segments(&mut tx, touched, now, due).await?;
        let ended = parts.iter().map(|row| row.int(2)).collect::<Result<Vec<_>>>()?;
        gc::queue_parts(&mut tx, ended, now, due).await?;
        owe(&mut tx, &slices, &parts, now).await?;
        tx.commit().await?;
        Ok(expired)
    }

    /// What retention did and owes, of every dataset there is, in the order of tenants and datasets.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`](crate::CatalogError::Unavailable) when the database does not answer.
    pub async fn retention_states(&self) -> Result<Vec<RetentionState>> {
        let sql = "SELECT d.tenant, d.kind, COALESCE(r.rows_deleted, 0), COALESCE(r.bytes_deleted, 0), \
                   CAST(COALESCE(o.bytes, 0) AS BIGINT), o.since, r.proven_at FROM dataset d \
                   LEFT JOIN retention_state r ON r.dataset_id = d.id \
                   LEFT JOIN (SELECT dataset_id, SUM(byte_size) AS bytes, MIN(expired_at) AS since \
                   FROM retention_debt GROUP BY dataset_id) o ON o.dataset_id = d.id";
        let rows = self.pools.fetch(sql, Vec::new()).await?;
        let state = |row: &Row| {
            Ok(RetentionState {
                tenant: datasets::tenant(row, 0)?,
                dataset: datasets::dataset(row, 1)?,
                rows_deleted: row.int(2)?,
                bytes_deleted: row.int(3)?,
                bytes_waiting: row.int(4)?,
                waiting_since: row.optional_int(5)?,
                proven_at: row.optional_int(6)?,
            })
        };
        let mut states = rows.iter().map(state).collect::<Result<Vec<_>>>()?;
        states.sort_by(|a, b| (&a.tenant, a.dataset).cmp(&(&b.tenant, b.dataset)));
        Ok(states)
    }

    /// Notes that a scan, which began at `at`, found nothing of the datasets that is older than its period.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`](crate::CatalogError::Unavailable) when the database does not answer.
    pub async fn retention_proven(&self, of: &[(TenantId, Dataset)], at: UnixNanos) -> Result<()> {
        let mut tx = self.pools.begin_write().await?;
        let ids = self.dataset_ids(&mut tx, of.iter().cloned().collect(), at).await?;
        let mut ids = ids.into_values().collect::<Vec<_>>();
        ids.sort_unstable(); // in one order everywhere, so that two transactions cannot wait for each other
        let rows = Rows {
            kinds: &[Kind::Int, Kind::Int],
            rows: ids.into_iter().map(|id| vec![id.into(), at.into()]).collect(),
        };
        let insert = "INSERT INTO retention_state (dataset_id, proven_at)";
        let newer = "ON CONFLICT (dataset_id) DO UPDATE SET proven_at = excluded.proven_at";
        tx.with_rows(insert, rows, newer).await?;
        tx.commit().await
    }

    /// What [`Catalog::expire`] would remove.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`](crate::CatalogError::Unavailable) when the database does not answer.
    pub async fn retention_due(&self, tenant: &TenantId, dataset: Dataset, cutoff: UnixNanos) -> Result<Expired> {
        let values = vec![tenant.into(), dataset.id().into(), cutoff.into()];
        let of_dataset = "dataset_id = (SELECT id FROM dataset WHERE tenant = $1 AND kind = $2) AND max_ts < $3";
        let totals = |bytes: &str, table: &str, live: &str| {
            format!(
                "SELECT CAST(COALESCE(SUM(row_count), 0) AS BIGINT), CAST(COALESCE(SUM({bytes}), 0) AS BIGINT), \
                 COUNT(*) FROM {table} WHERE {of_dataset}{live}"
            )
        };
        let mut tx = self.pools.begin_read().await?;
        let slices = tx
            .fetch(totals("byte_length", "segment_slice", ""), values.clone())
            .await?;
        let parts = tx
            .fetch(totals("byte_size", "part", " AND end_seq IS NULL"), values)
            .await?;
        tx.rollback().await?;
        let (slices, parts) = (segments::only(&slices)?, segments::only(&parts)?);
        Ok(Expired {
            rows: slices.int(0)?.saturating_add(parts.int(0)?),
            bytes: slices.int(1)?.saturating_add(parts.int(1)?),
            slices: slices.int(2)?,
            parts: parts.int(2)?,
        })
    }
}

/// Notes what expired and is still in the store. Slices are rows of (rows, bytes, segment, dataset), parts of (rows, bytes,
/// part, dataset).
async fn owe(tx: &mut Tx, slices: &[Row], parts: &[Row], now: UnixNanos) -> Result<()> {
    let (mut debts, mut gone) = (Vec::new(), BTreeMap::new());
    let kinds = slices
        .iter()
        .map(|row| ("segment", row))
        .chain(parts.iter().map(|row| ("part", row)));
    for (kind, row) in kinds {
        let dataset = row.int(3)?;
        *gone.entry(dataset).or_insert(0_i64) += row.int(0)?;
        debts.push(vec![
            dataset.into(),
            kind.into(),
            row.int(2)?.into(),
            row.int(1)?.into(),
            now.into(),
        ]);
    }
    let rows = Rows {
        kinds: &[Kind::Int, Kind::Text, Kind::Int, Kind::Int, Kind::Int],
        rows: debts,
    };
    let insert = "INSERT INTO retention_debt (dataset_id, kind, object_id, byte_size, expired_at)";
    tx.with_rows(insert, rows, "").await?;
    add(tx, "rows_deleted", gone).await
}

/// Debts whose object is gone from the store are paid: returns what they were, by dataset.
pub(crate) async fn pay(tx: &mut Tx, segments: &[i64], parts: &[i64]) -> Result<Vec<Freed>> {
    let mut paid = BTreeMap::new();
    for (kind, objects) in [("segment", segments), ("part", parts)] {
        let sql = format!(
            "DELETE FROM retention_debt WHERE kind = $1 AND object_id {} RETURNING dataset_id, byte_size",
            tx.dialect().list(2)
        );
        for row in tx.fetch(sql, vec![kind.into(), Value::Ints(objects.to_vec())]).await? {
            *paid.entry(row.int(0)?).or_insert(0_i64) += row.int(1)?;
        }
    }
    if paid.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT id, tenant, kind FROM dataset WHERE id {}", tx.dialect().list(1));
    let ids = vec![Value::Ints(paid.keys().copied().collect())];
    let mut freed = Vec::with_capacity(paid.len());
    for row in tx.fetch(sql, ids).await? {
        freed.push(Freed {
            tenant: datasets::tenant(&row, 1)?,
            dataset: datasets::dataset(&row, 2)?,
            bytes: paid.get(&row.int(0)?).copied().unwrap_or_default(),
        });
    }
    add(tx, "bytes_deleted", paid).await?;
    Ok(freed)
}

/// Adds to a count of `retention_state`, by dataset.
async fn add(tx: &mut Tx, count: &str, by_dataset: BTreeMap<i64, i64>) -> Result<()> {
    let rows = by_dataset.into_iter().map(|(id, more)| vec![id.into(), more.into()]);
    let rows = Rows {
        kinds: &[Kind::Int, Kind::Int],
        rows: rows.collect(),
    };
    let insert = format!("INSERT INTO retention_state (dataset_id, {count})");
    let more = format!("ON CONFLICT (dataset_id) DO UPDATE SET {count} = retention_state.{count} + excluded.{count}");
    tx.with_rows(&insert, rows, &more).await?;
    Ok(())
}

/// Rows of (rows, bytes, ...).
fn sum(slices: &[Row], parts: &[Row]) -> Result<Expired> {
    let mut expired = Expired::default();
    for row in slices.iter().chain(parts) {
        expired.rows = expired.rows.saturating_add(row.int(0)?);
        expired.bytes = expired.bytes.saturating_add(row.int(1)?);
    }
    expired.slices = i64::try_from(slices.len()).unwrap_or(i64::MAX);
    expired.parts = i64::try_from(parts.len()).unwrap_or(i64::MAX);
    Ok(expired)
}

//! Retention: what is wholly older than a cutoff goes, and how much that was is told.
//!
//! Only whole slices and parts go; a part with one younger row stays until that row is due too.

use std::collections::BTreeSet;
use std::time::Duration;

use schema::{Dataset, TenantId, UnixNanos};

use crate::db::Row;
use crate::{Catalog, Expired, Lease, Result, compaction, gc, leases, rules, segments};

impl Catalog {
    /// Removes the slices and parts of a dataset whose newest row is before `cutoff` (ns) and queues their objects for
    /// deletion at `now + grace`. The snapshot sequence moves if anything went.
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
        now: UnixNanos,
        grace: Duration,
    ) -> Result<Expired> {
        let due = rules::after(now, grace);
        let mut tx = self.pools.begin_write().await?;
        leases::hold(&mut tx, lease).await?;
        let sequence = compaction::next_sequence(&mut tx, now).await?;
        let of_dataset = "dataset_id = (SELECT id FROM dataset WHERE tenant = $1 AND kind = $2) AND max_ts < $3";
        let values = vec![tenant.into(), dataset.id().into(), cutoff.into()];
        let sql = format!("DELETE FROM segment_slice WHERE {of_dataset} RETURNING row_count, byte_length, segment_id");
        let slices = tx.fetch(sql, values.clone()).await?;
        let sql = format!(
            "UPDATE part SET end_seq = $4 WHERE {of_dataset} AND end_seq IS NULL RETURNING row_count, byte_size, id"
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
        tx.commit().await?;
        Ok(expired)
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

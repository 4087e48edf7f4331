//! Compaction's side of the catalog: what there is to do, and the one step that publishes what was done.
//!
//! Changes of parts are serialised by the row of `lake_head`: the sequence grows in commit order, and of two
//! changes that empty one segment together the second sees what the first removed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schema::{Clock, Dataset, TenantId, UnixNanos};

use crate::db::{Tx, Value};
use crate::{
    Backlog, Catalog, CatalogError, Lease, LevelSize, Replacement, Result, datasets, ducklake, gc, leases, parts,
    rules, segments,
};

impl Catalog {
    /// Live slices and parts per tenant and dataset, ordered by them, without those in quarantine; datasets without any are
    /// left out.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn backlog(&self) -> Result<Vec<Backlog>> {
        let mut tx = self.pools.begin_read().await?;
        let slices = tx
            .fetch(
                "SELECT d.tenant, d.kind, COUNT(*), CAST(SUM(s.row_count) AS BIGINT), \
                 CAST(SUM(s.byte_length) AS BIGINT), MIN(g.created_at) \
                 FROM segment_slice s JOIN segment g ON g.id = s.segment_id JOIN dataset d ON d.id = s.dataset_id \
                 LEFT JOIN quarantine x ON x.slice_id = s.id WHERE x.id IS NULL \
                 GROUP BY d.tenant, d.kind",
                Vec::new(),
            )
            .await?;
        let levels = tx
            .fetch(
                "SELECT d.tenant, d.kind, p.level, COUNT(*), CAST(SUM(p.row_count) AS BIGINT), \
                 CAST(SUM(p.byte_size) AS BIGINT) \
                 FROM part p JOIN dataset d ON d.id = p.dataset_id LEFT JOIN quarantine x ON x.part_id = p.id \
                 WHERE p.end_seq IS NULL AND x.id IS NULL \
                 GROUP BY d.tenant, d.kind, p.level ORDER BY p.level",
                Vec::new(),
            )
            .await?;
        tx.rollback().await?;
        let mut found = BTreeMap::new();
        for row in &slices {
            let mut backlog = empty(datasets::tenant(row, 0)?, datasets::dataset(row, 1)?);
            backlog.slices = row.int(2)?;
            backlog.rows = row.int(3)?;
            backlog.bytes = row.int(4)?;
            backlog.oldest_created_at = row.optional_int(5)?;
            found.insert((backlog.tenant.clone(), backlog.dataset), backlog);
        }
        for row in &levels {
            let key = (datasets::tenant(row, 0)?, datasets::dataset(row, 1)?);
            let level = LevelSize {
                level: row.int32(2)?,
                parts: row.int(3)?,
                rows: row.int(4)?,
                bytes: row.int(5)?,
            };
            found
                .entry(key.clone())
                .or_insert_with(|| empty(key.0, key.1))
                .levels
                .push(level);
        }
        Ok(found.into_values().collect())
    }

    /// Replaces slices and parts by parts in one transaction and returns the new snapshot sequence. Objects that
    /// nothing live needs any more are queued for deletion after `grace`; choose it above the longest query. It counts from
    /// within the transaction: a process that stood still before it must not find its grace over.
    ///
    /// # Errors
    /// [`CatalogError::Fenced`] when the lease was taken over, [`CatalogError::Conflict`] when an input is no longer
    /// live, a path was used before or an object was condemned ([`Catalog::condemn`]), [`CatalogError::Invalid`] for a change that is empty or mixes datasets,
    /// [`CatalogError::Unavailable`] when the database does not answer. Nothing was changed then.
    pub async fn replace(
        &self,
        change: &Replacement,
        lease: &Lease,
        clock: impl Clock,
        grace: Duration,
    ) -> Result<i64> {
        check(change)?;
        let mut tx = self.pools.begin_write().await?;
        leases::hold(&mut tx, lease).await?;
        let now = clock.now();
        let (sequence, ids) = self.replace_in(&mut tx, change, now, rules::after(now, grace)).await?;
        tx.commit().await?;
        self.remember_datasets(&ids);
        Ok(sequence)
    }

    /// [`Catalog::replace`] inside a transaction that holds the lease; objects may be deleted from `due` on.
    pub(crate) async fn replace_in(
        &self,
        tx: &mut Tx,
        change: &Replacement,
        now: UnixNanos,
        due: UnixNanos,
    ) -> Result<(i64, datasets::DatasetIds)> {
        let sequence = next_sequence(tx, now).await?;
        gc::refuse_condemned(tx, &change.add).await?;
        let ids = self
            .dataset_ids(tx, BTreeSet::from([(change.tenant.clone(), change.dataset)]), now)
            .await?;
        let dataset_id = datasets::id_of(&ids, &change.tenant, change.dataset)?;
        // Before the replaced parts end: as long as they live, the new ones may go on with their mapping.
        let mapping = match change.add.is_empty() {
            true => None,
            false => Some(ducklake::publish(tx, &change.tenant, dataset_id, sequence).await?),
        };

        // `+dataset_id` only checks: it keeps SQLite from walking the dataset's index instead of looking up ids.
        if !change.slices.is_empty() {
            let sql = format!(
                "DELETE FROM segment_slice WHERE id {} AND +dataset_id = $2 RETURNING segment_id",
                tx.dialect().list(1)
            );
            let gone = tx
                .fetch(sql, vec![Value::Ints(change.slices.clone()), dataset_id.into()])
                .await?;
            all_live("slices", change.slices.len(), gone.len())?;
            let touched = gone.iter().map(|row| row.int(0)).collect::<Result<BTreeSet<_>>>()?;
            gc::queue_emptied_segments(tx, touched, now, due).await?;
        }
        if !change.parts.is_empty() {
            let sql = format!(
                "UPDATE part SET end_seq = $3 WHERE id {} AND +dataset_id = $2 AND end_seq IS NULL RETURNING id",
                tx.dialect().list(1)
            );
            let values = vec![Value::Ints(change.parts.clone()), dataset_id.into(), sequence.into()];
            let gone = tx.fetch(sql, values).await?;
            all_live("parts", change.parts.len(), gone.len())?;
            gc::queue_parts(tx, change.parts.clone(), now, due).await?;
        }
        if let Some(mapping) = mapping {
            parts::insert(tx, dataset_id, &change.add, sequence, mapping, now).await?;
        }
        Ok((sequence, ids))
    }
}

/// Moves the snapshot sequence; until the transaction ends no other can.
pub(crate) async fn next_sequence(tx: &mut Tx, now: UnixNanos) -> Result<i64> {
    let sql = "UPDATE lake_head SET sequence = sequence + 1 WHERE id = 1 RETURNING sequence, schema_version";
    let moved = tx.fetch(sql, Vec::new()).await?;
    let moved = segments::only(&moved)?;
    let (sequence, schema_version) = (moved.int(0)?, moved.int(1)?);
    tx.execute(
        "INSERT INTO lake_commit (seq, committed_at, schema_version) VALUES ($1, $2, $3)",
        vec![sequence.into(), now.into(), schema_version.into()],
    )
    .await?;
    Ok(sequence)
}

fn empty(tenant: TenantId, dataset: Dataset) -> Backlog {
    Backlog {
        tenant,
        dataset,
        slices: 0,
        rows: 0,
        bytes: 0,
        oldest_created_at: None,
        levels: Vec::new(),
    }
}

fn all_live(what: &str, wanted: usize, found: usize) -> Result<()> {
    if wanted == found {
        return Ok(());
    }
    Err(CatalogError::Conflict(format!(
        "{} of {wanted} {what} to replace are no longer live",
        wanted - found
    )))
}

pub(crate) fn check(change: &Replacement) -> Result<()> {
    if change.slices.is_empty() && change.parts.is_empty() && change.add.is_empty() {
        return Err(CatalogError::Invalid("a replacement that changes nothing".into()));
    }
    rules::distinct("slice", change.slices.iter().copied())?;
    rules::distinct("part", change.parts.iter().copied())?;
    for part in &change.add {
        parts::check(part)?;
        if part.tenant != change.tenant || part.dataset != change.dataset {
            return Err(CatalogError::Invalid(format!(
                "the part {} belongs to another dataset",
                part.path
            )));
        }
    }
    Ok(())
}

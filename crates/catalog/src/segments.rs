//! Committing segments: the step after which data is durable and visible.
//!
//! One transaction of plain inserts and no global lock, so that many pods commit at once.

use std::collections::{BTreeSet, HashMap};

use schema::{Clock, Dataset, TenantId};

use crate::db::{Kind, Row, Rows};
use crate::{
    Catalog, CatalogError, CommitOutcome, Holder, NewSegment, Quarantined, Result, Slice, columns, datasets,
    descriptions, requests, rules,
};

impl Catalog {
    /// Makes a segment's slices live, records its requests and adds its columns, in one transaction. If any request
    /// was committed before, nothing is written and the duplicates are named. Nor is anything written if the rows of a tenant rely on
    /// descriptions that were deleted.
    ///
    /// After an error of unknown outcome, and after `Duplicates`, do not delete the object at once: an earlier
    /// attempt may have committed it. Ask [`Catalog::known_objects`].
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer (retry with the same requests),
    /// [`CatalogError::Late`] when the transaction begins after `commit_by`, [`CatalogError::Conflict`] when the path was
    /// used before or condemned ([`Catalog::condemn`]), [`CatalogError::Invalid`] for a segment
    /// without slices, with slices beyond the object or at one offset, or with times or sizes out of order.
    pub async fn commit_segment(&self, segment: &NewSegment, clock: impl Clock) -> Result<CommitOutcome> {
        check(segment)?;
        let mut tx = self.pools.begin_write().await?;
        // Within the transaction: a process that stood still before it is found out.
        let now = clock.now();
        if now > segment.commit_by || clock.ticks() > segment.commit_by_ticks {
            return Err(CatalogError::Late);
        }
        let wanted: BTreeSet<_> = segment.slices.iter().map(|s| (s.tenant.clone(), s.dataset)).collect();
        let wanted = wanted
            .into_iter()
            .chain(segment.columns.iter().map(|c| (c.tenant.clone(), c.dataset)))
            .collect();
        let ids = self.dataset_ids(&mut tx, wanted, now).await?;
        let outdated = descriptions::outdated(&mut tx, &segment.forgotten).await?;
        if !outdated.is_empty() {
            tx.rollback().await?;
            return Ok(CommitOutcome::Forgotten(outdated));
        }
        let duplicates = requests::record(&mut tx, &segment.requests, now).await?;
        if !duplicates.is_empty() {
            tx.rollback().await?;
            return Ok(CommitOutcome::Duplicates(duplicates));
        }
        let inserted = tx
            .fetch(
                "INSERT INTO segment (path, byte_size, created_at, committed_at, writer, format_version) \
                 VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
                vec![
                    segment.path.as_str().into(),
                    segment.bytes.into(),
                    segment.created_at.into(),
                    now.into(),
                    segment.writer.as_str().into(),
                    i64::from(segment.format_version).into(),
                ],
            )
            .await?;
        let segment_id = only(&inserted)?.int(0)?;
        let mut rows = Vec::with_capacity(segment.slices.len());
        for slice in &segment.slices {
            rows.push(vec![
                segment_id.into(),
                datasets::id_of(&ids, &slice.tenant, slice.dataset)?.into(),
                slice.offset.into(),
                slice.length.into(),
                slice.rows.into(),
                slice.min_ts.into(),
                slice.max_ts.into(),
                slice.checksum.into(),
            ]);
        }
        let insert = "INSERT INTO segment_slice \
                      (segment_id, dataset_id, byte_offset, byte_length, row_count, min_ts, max_ts, checksum)";
        let inserted = tx
            .with_rows(
                insert,
                Rows {
                    kinds: &[Kind::Int; 8],
                    rows,
                },
                "RETURNING byte_offset, id",
            )
            .await?;
        // Neither database promises an order of what it returns; offsets are distinct.
        let by_offset = inserted
            .iter()
            .map(|row| Ok((row.int(0)?, row.int(1)?)))
            .collect::<Result<HashMap<_, _>>>()?;
        let slice_ids = segment
            .slices
            .iter()
            .filter_map(|slice| by_offset.get(&slice.offset).copied())
            .collect();
        columns::add(&mut tx, &ids, &segment.columns, now).await?;
        tx.commit().await?;
        self.remember_datasets(&ids);
        Ok(CommitOutcome::Committed { segment_id, slice_ids })
    }

    /// The id of the newest live slice of all datasets; `None` if there is none. What is committed later has larger ids,
    /// except that on PostgreSQL a commit that is under way may have a smaller one.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn newest_slice(&self) -> Result<Option<i64>> {
        let rows = self
            .pools
            .fetch("SELECT MAX(id) FROM segment_slice", Vec::new())
            .await?;
        only(&rows)?.optional_int(0)
    }

    /// Up to `limit` live slices of a dataset, oldest first, without those in quarantine.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn live_slices(&self, tenant: &TenantId, dataset: Dataset, limit: i64) -> Result<Vec<Slice>> {
        let sql = format!("{SELECT} WHERE d.tenant = $1 AND d.kind = $2 AND x.id IS NULL ORDER BY s.id LIMIT $3");
        let rows = self
            .pools
            .fetch(sql, vec![tenant.into(), dataset.id().into(), limit.max(0).into()])
            .await?;
        rows.iter().map(read).collect()
    }
}

pub(crate) const SELECT: &str = "SELECT s.id, s.segment_id, g.path, d.tenant, d.kind, s.byte_offset, s.byte_length, \
     s.row_count, s.min_ts, s.max_ts, s.checksum, g.created_at, g.format_version, x.id, x.reason, x.quarantined_at \
     FROM dataset d JOIN segment_slice s ON s.dataset_id = d.id JOIN segment g ON g.id = s.segment_id \
     LEFT JOIN quarantine x ON x.slice_id = s.id";

/// A row of [`SELECT`].
pub(crate) fn read(row: &Row) -> Result<Slice> {
    Ok(Slice {
        id: row.int(0)?,
        segment_id: row.int(1)?,
        path: row.text(2)?,
        tenant: datasets::tenant(row, 3)?,
        dataset: datasets::dataset(row, 4)?,
        offset: row.int(5)?,
        length: row.int(6)?,
        rows: row.int(7)?,
        min_ts: row.int(8)?,
        max_ts: row.int(9)?,
        checksum: row.int(10)?,
        created_at: row.int(11)?,
        format_version: row.int32(12)?,
    })
}

/// A row of [`SELECT`]: the slice, and its entry if it is in quarantine.
pub(crate) fn read_marked(row: &Row) -> Result<(Slice, Option<Quarantined>)> {
    let slice = read(row)?;
    let Some(id) = row.optional_int(13)? else {
        return Ok((slice, None));
    };
    let entry = Quarantined {
        id,
        holder: Holder::Slice(slice.id),
        path: slice.path.clone(),
        tenant: slice.tenant.clone(),
        dataset: slice.dataset,
        rows: slice.rows,
        min_ts: slice.min_ts,
        max_ts: slice.max_ts,
        reason: row.text(14)?,
        quarantined_at: row.int(15)?,
    };
    Ok((slice, Some(entry)))
}

/// The one row of a statement that always returns one.
pub(crate) fn only(rows: &[Row]) -> Result<&Row> {
    rows.first()
        .ok_or_else(|| CatalogError::Corrupt("a statement that returns one row returned none".into()))
}

fn check(segment: &NewSegment) -> Result<()> {
    rules::text("segment path", &segment.path)?;
    rules::text("segment writer", &segment.writer)?;
    rules::size("segment bytes", segment.bytes)?;
    if segment.slices.is_empty() {
        return Err(CatalogError::Invalid(
            "a segment without slices has nothing to commit".into(),
        ));
    }
    for slice in &segment.slices {
        rules::size("slice offset", slice.offset)?;
        rules::size("slice length", slice.length)?;
        rules::size("slice rows", slice.rows)?;
        rules::range(slice.min_ts, slice.max_ts)?;
        if slice.offset + slice.length > segment.bytes {
            return Err(CatalogError::Invalid(format!(
                "the slice at {} with {} bytes ends beyond the object of {} bytes",
                slice.offset, slice.length, segment.bytes
            )));
        }
    }
    rules::distinct("slice offset", segment.slices.iter().map(|slice| slice.offset))?;
    segment.columns.iter().try_for_each(columns::check)
}

//! Deletions that somebody asked for: durable tasks, and the steps in which they are worked off.
//!
//! A deletion is `pending` until a scan under the lease of each of its datasets found no matching row any more, `done` until
//! every object that may hold one is gone from the store, then `verified`. Those are the objects that it replaced, and whatever
//! compaction had replaced before and was still there: segments and ended parts up to the moment when it was done. What it took away is counted in the transaction
//! that takes it away ([`Catalog::delete_rows`]), so a crash neither loses nor repeats a count, and whoever holds the
//! dataset's lease goes on where another stopped.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use schema::{Clock, Dataset, UnixNanos};

use crate::db::{Kind, Row, Rows, Tx, Value};
use crate::{
    Catalog, CatalogError, Deletion, DeletionObjects, DeletionProgress, DeletionState, DeletionStep, DeletionTarget,
    Lease, NewDeletion, Result, compaction, datasets, descriptions, leases, rules, segments,
};

/// A condition on `deletion`: the catalog knows none of the objects any more. An ended part stays in its table until its
/// object is deleted, as does a segment.
const COLLECTED: &str = "NOT EXISTS (SELECT 1 FROM deletion_object o WHERE o.deletion_id = deletion.id AND o.removed = 0) \
     AND NOT EXISTS (SELECT 1 FROM segment g WHERE g.id <= deletion.last_segment AND g.byte_size > 0) \
     AND NOT EXISTS (SELECT 1 FROM part p JOIN dataset d ON d.id = p.dataset_id \
     JOIN deletion_dataset k ON k.kind = d.kind WHERE k.deletion_id = deletion.id AND d.tenant = deletion.tenant \
     AND p.end_seq <= deletion.last_sequence)";

impl Catalog {
    /// Records a deletion and returns its number.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] for one without datasets or with a condition that cannot be stored,
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn request_deletion(&self, new: &NewDeletion, now: UnixNanos) -> Result<i64> {
        if new.datasets.is_empty() {
            return Err(CatalogError::Invalid("a deletion without datasets".into()));
        }
        let (target, argument) = match &new.target {
            DeletionTarget::Everything => ("everything", String::new()),
            DeletionTarget::Trace(id) => ("trace", format!("{:032x}", u128::from_be_bytes(*id))),
            DeletionTarget::Where(condition) => {
                rules::text("condition", condition)?;
                ("where", condition.clone())
            }
        };
        let mut tx = self.pools.begin_write().await?;
        let sql = "INSERT INTO deletion (tenant, target, argument, state, requested_at) \
                   VALUES ($1, $2, $3, 'pending', $4) RETURNING id";
        let values = vec![
            (&new.tenant).into(),
            target.into(),
            argument.as_str().into(),
            now.into(),
        ];
        let id = segments::only(&tx.fetch(sql, values).await?)?.int(0)?;
        let rows = new.datasets.iter().map(|d| vec![id.into(), d.id().into()]).collect();
        let rows = Rows {
            kinds: &[Kind::Int, Kind::Int],
            rows,
        };
        let insert = "INSERT INTO deletion_dataset (deletion_id, kind)";
        tx.with_rows(insert, rows, "ON CONFLICT DO NOTHING").await?;
        tx.commit().await?;
        Ok(id)
    }

    /// The deletion of a number.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn deletion(&self, id: i64) -> Result<Option<Deletion>> {
        let mut tx = self.pools.begin_read().await?;
        let found = select(&mut tx, "WHERE id = $1", vec![id.into()]).await?;
        tx.rollback().await?;
        Ok(found.into_iter().next())
    }

    /// The newest `limit` deletions, newest first.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn deletions(&self, limit: i64) -> Result<Vec<Deletion>> {
        let mut tx = self.pools.begin_read().await?;
        let found = select(&mut tx, "ORDER BY id DESC LIMIT $1", vec![limit.max(0).into()]).await?;
        tx.rollback().await?;
        Ok(found)
    }

    /// Deletions that are pending or done and not yet verified, oldest first.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn open_deletions(&self) -> Result<Vec<Deletion>> {
        let mut tx = self.pools.begin_read().await?;
        let found = select(&mut tx, "WHERE state IN ('pending', 'done') ORDER BY id", Vec::new()).await?;
        tx.rollback().await?;
        Ok(found)
    }

    /// As [`Catalog::replace`], for a pending deletion: in the same transaction the objects that go are noted as those that
    /// hold deleted rows, and the counts are added to the deletion's.
    ///
    /// # Errors
    /// Those of [`Catalog::replace`]; [`CatalogError::Conflict`] also when the deletion is not pending.
    pub async fn delete_rows(
        &self,
        step: &DeletionStep,
        lease: &Lease,
        clock: impl Clock,
        grace: Duration,
    ) -> Result<i64> {
        let change = &step.change;
        compaction::check(change)?;
        let mut tx = self.pools.begin_write().await?;
        leases::hold(&mut tx, lease).await?;
        hold_pending(&mut tx, step.deletion).await?;
        let list = tx.dialect().list(2);
        let insert = "INSERT INTO deletion_object (deletion_id, path, byte_size)";
        let segments = format!(
            "{insert} SELECT $1, g.path, g.byte_size FROM segment g \
             WHERE g.id IN (SELECT s.segment_id FROM segment_slice s WHERE s.id {list}) ON CONFLICT DO NOTHING"
        );
        tx.execute(segments, vec![step.deletion.into(), Value::Ints(change.slices.clone())])
            .await?;
        let parts =
            format!("{insert} SELECT $1, p.path, p.byte_size FROM part p WHERE p.id {list} ON CONFLICT DO NOTHING");
        tx.execute(parts, vec![step.deletion.into(), Value::Ints(change.parts.clone())])
            .await?;
        let now = clock.now();
        let (sequence, ids) = self.replace_in(&mut tx, change, now, rules::after(now, grace)).await?;
        descriptions::forget(&mut tx, &change.tenant, change.dataset).await?;
        let sql = "UPDATE deletion_dataset SET rows_deleted = rows_deleted + $3, bytes_read = bytes_read + $4, \
                   bytes_written = bytes_written + $5 WHERE deletion_id = $1 AND kind = $2";
        let counts = [step.rows, step.bytes_read, step.bytes_written];
        let mut values = vec![step.deletion.into(), change.dataset.id().into()];
        values.extend(counts.map(Value::Int));
        tx.execute(sql, values).await?;
        tx.commit().await?;
        self.remember_datasets(&ids);
        Ok(sequence)
    }

    /// Notes that a scan under the dataset's lease found nothing that matches. True if that was the deletion's last
    /// dataset: it is done then.
    ///
    /// # Errors
    /// [`CatalogError::Fenced`] when the lease was taken over, [`CatalogError::Conflict`] when the deletion is not
    /// pending, [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn deletion_scanned(&self, id: i64, dataset: Dataset, lease: &Lease, now: UnixNanos) -> Result<bool> {
        let mut tx = self.pools.begin_write().await?;
        leases::hold(&mut tx, lease).await?;
        // Of two workers that end the last two datasets at once, the second waits here and sees what the first did.
        hold_pending(&mut tx, id).await?;
        let sql = "UPDATE deletion_dataset SET scanned_at = $3 WHERE deletion_id = $1 AND kind = $2";
        tx.execute(sql, vec![id.into(), dataset.id().into(), now.into()])
            .await?;
        let sql = "UPDATE deletion SET state = 'done', done_at = $2, \
                   last_segment = (SELECT COALESCE(MAX(id), 0) FROM segment), \
                   last_sequence = (SELECT sequence FROM lake_head WHERE id = 1) WHERE id = $1 AND NOT EXISTS \
                   (SELECT 1 FROM deletion_dataset d WHERE d.deletion_id = $1 AND d.scanned_at IS NULL)";
        let done = tx.execute(sql, vec![id.into(), now.into()]).await?;
        tx.commit().await?;
        Ok(done > 0)
    }

    /// The objects that held deleted rows, and whether garbage collection has deleted them.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn deletion_objects(&self, id: i64) -> Result<Vec<(String, bool)>> {
        let sql = "SELECT path, removed FROM deletion_object WHERE deletion_id = $1 ORDER BY path";
        let rows = self.pools.fetch(sql, vec![id.into()]).await?;
        rows.iter().map(|row| Ok((row.text(0)?, row.int(1)? != 0))).collect()
    }

    /// Whether garbage collection has deleted every object that may hold rows of a deletion that is done.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn deletion_collected(&self, id: i64) -> Result<bool> {
        let sql = format!("SELECT id FROM deletion WHERE id = $1 AND state = 'done' AND {COLLECTED}");
        Ok(!self.pools.fetch(sql, vec![id.into()]).await?.is_empty())
    }

    /// Notes that the store has none of the objects any more. False if the deletion is not done, or not
    /// [collected](Self::deletion_collected).
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn deletion_verified(&self, id: i64, now: UnixNanos) -> Result<bool> {
        let sql = format!(
            "UPDATE deletion SET state = 'verified', verified_at = $2 WHERE id = $1 AND state = 'done' AND {COLLECTED} \
             RETURNING id"
        );
        Ok(!self.pools.write(sql, vec![id.into(), now.into()]).await?.is_empty())
    }

    /// Gives a pending deletion up for a reason that no retry helps against. What it deleted stays deleted.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn fail_deletion(&self, id: i64, error: &str) -> Result<()> {
        let error = error.replace('\0', " ");
        let sql = "UPDATE deletion SET state = 'failed', error = $2 WHERE id = $1 AND state = 'pending'";
        self.pools
            .write(sql, vec![id.into(), error.as_str().into()])
            .await
            .map(|_| ())
    }
}

/// Notes that objects of these paths are gone from the store.
pub(crate) async fn objects_gone(tx: &mut Tx, paths: Vec<String>) -> Result<()> {
    let sql = format!(
        "UPDATE deletion_object SET removed = 1 WHERE removed = 0 AND path {}",
        tx.dialect().list(1)
    );
    tx.execute(sql, vec![Value::Texts(paths)]).await.map(|_| ())
}

/// Makes sure that the deletion is pending and stays so until the transaction ends.
async fn hold_pending(tx: &mut Tx, id: i64) -> Result<()> {
    // An update rather than a select: it locks the row on both databases.
    let sql = "UPDATE deletion SET state = state WHERE id = $1 AND state = 'pending'";
    match tx.execute(sql, vec![id.into()]).await? {
        0 => Err(CatalogError::Conflict(format!("the deletion {id} is not pending"))),
        _ => Ok(()),
    }
}

async fn select(tx: &mut Tx, which: &str, values: Vec<Value>) -> Result<Vec<Deletion>> {
    let sql = format!(
        "SELECT id, tenant, target, argument, state, error, requested_at, done_at, verified_at FROM deletion {which}"
    );
    let mut found = tx
        .fetch(sql, values)
        .await?
        .iter()
        .map(read)
        .collect::<Result<Vec<_>>>()?;
    let ids = vec![Value::Ints(found.iter().map(|deletion| deletion.id).collect())];
    let list = tx.dialect().list(1);
    let sql = format!(
        "SELECT deletion_id, kind, rows_deleted, bytes_read, bytes_written, scanned_at FROM deletion_dataset \
         WHERE deletion_id {list} ORDER BY deletion_id, kind"
    );
    let mut progress: BTreeMap<i64, Vec<DeletionProgress>> = BTreeMap::new();
    for row in tx.fetch(sql, ids.clone()).await? {
        progress.entry(row.int(0)?).or_default().push(DeletionProgress {
            dataset: datasets::dataset(&row, 1)?,
            rows: row.int(2)?,
            bytes_read: row.int(3)?,
            bytes_written: row.int(4)?,
            scanned_at: row.optional_int(5)?,
        });
    }
    let sql = format!(
        "SELECT deletion_id, COUNT(*), CAST(SUM(byte_size) AS BIGINT), CAST(SUM(removed) AS BIGINT), \
         CAST(SUM(removed * byte_size) AS BIGINT) FROM deletion_object WHERE deletion_id {list} GROUP BY deletion_id"
    );
    let mut objects = HashMap::new();
    for row in tx.fetch(sql, ids).await? {
        let counts = DeletionObjects {
            queued: row.int(1)?,
            queued_bytes: row.int(2)?,
            removed: row.int(3)?,
            removed_bytes: row.int(4)?,
        };
        objects.insert(row.int(0)?, counts);
    }
    for deletion in &mut found {
        deletion.progress = progress.remove(&deletion.id).unwrap_or_default();
        deletion.objects = objects.remove(&deletion.id).unwrap_or_default();
    }
    Ok(found)
}

fn read(row: &Row) -> Result<Deletion> {
    let (target, argument) = (row.text(2)?, row.text(3)?);
    let corrupt = |what: &str| CatalogError::Corrupt(format!("a deletion has the {what}"));
    let target = match target.as_str() {
        "everything" => DeletionTarget::Everything,
        "where" => DeletionTarget::Where(argument),
        "trace" => {
            let id = u128::from_str_radix(&argument, 16).map_err(|_| corrupt(&format!("trace {argument:?}")))?;
            DeletionTarget::Trace(id.to_be_bytes())
        }
        other => return Err(corrupt(&format!("target {other:?}"))),
    };
    let state = row.text(4)?;
    let state = DeletionState::ALL
        .into_iter()
        .find(|known| known.name() == state)
        .ok_or_else(|| corrupt(&format!("state {state:?}")))?;
    Ok(Deletion {
        id: row.int(0)?,
        tenant: datasets::tenant(row, 1)?,
        target,
        state,
        error: Some(row.text(5)?).filter(|error| !error.is_empty()),
        requested_at: row.int(6)?,
        done_at: row.optional_int(7)?,
        verified_at: row.optional_int(8)?,
        progress: Vec::new(),
        objects: DeletionObjects::default(),
    })
}

//! Garbage: objects that nothing live names any more, waiting until no running query can need them.
//!
//! Delete the object first, then call [`Catalog::gc_done`]: a crash in between leads to a second deletion of the same
//! object, never to a forgotten one.

use std::collections::{BTreeSet, HashSet};

use schema::UnixNanos;

use crate::db::{Tx, Value};
use crate::{Catalog, Freed, GcEntry, Result, deletions, retention, segments};

impl Catalog {
    /// Up to `limit` objects that may be deleted at `now`, longest due first.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`](crate::CatalogError::Unavailable) when the database does not answer.
    pub async fn gc_due(&self, now: UnixNanos, limit: i64) -> Result<Vec<GcEntry>> {
        let sql = "SELECT id, path, byte_size, due_at FROM gc_queue WHERE due_at <= $1 ORDER BY due_at, id LIMIT $2";
        let rows = self.pools.fetch(sql, vec![now.into(), limit.max(0).into()]).await?;
        rows.iter()
            .map(|row| {
                Ok(GcEntry {
                    id: row.int(0)?,
                    path: row.text(1)?,
                    bytes: row.int(2)?,
                    due_at: row.int(3)?,
                })
            })
            .collect()
    }

    /// Forgets objects that have been deleted from the store: their queue entries, their rows, and the snapshots that
    /// can no longer be read without them. Deletions and retention learn of it in the same transaction; returned is what
    /// retention owed and now has done. Ids that are not in the queue are ignored.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`](crate::CatalogError::Unavailable) when the database does not answer.
    pub async fn gc_done(&self, ids: &[i64]) -> Result<Vec<Freed>> {
        let mut tx = self.pools.begin_write().await?;
        let list = tx.dialect().list(1);
        let sql = format!("DELETE FROM gc_queue WHERE id {list} RETURNING kind, object_id, path");
        let (mut segments, mut parts, mut paths) = (Vec::new(), Vec::new(), Vec::new());
        for row in tx.fetch(sql, vec![Value::Ints(ids.to_vec())]).await? {
            let objects = if row.text(0)? == "part" {
                &mut parts
            } else {
                &mut segments
            };
            objects.push(row.int(1)?);
            paths.push(row.text(2)?);
        }
        deletions::objects_gone(&mut tx, paths).await?;
        let freed = retention::pay(&mut tx, &segments, &parts).await?;
        if !parts.is_empty() {
            let parts = vec![Value::Ints(parts)];
            let sql = format!(
                "DELETE FROM lake_commit WHERE seq < \
                 (SELECT MAX(end_seq) FROM part WHERE id {list} AND end_seq IS NOT NULL)"
            );
            tx.execute(sql, parts.clone()).await?;
            tx.execute(format!("DELETE FROM part_stat WHERE part_id {list}"), parts.clone())
                .await?;
            tx.execute(format!("DELETE FROM part WHERE id {list}"), parts).await?;
        }
        if !segments.is_empty() {
            tx.execute(
                format!("DELETE FROM segment WHERE id {list}"),
                vec![Value::Ints(segments)],
            )
            .await?;
        }
        tx.commit().await?;
        Ok(freed)
    }

    /// Number and bytes of the objects that wait for deletion, due or not.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`](crate::CatalogError::Unavailable) when the database does not answer.
    pub async fn gc_pending(&self) -> Result<(i64, i64)> {
        let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(byte_size), 0) AS BIGINT) FROM gc_queue";
        let rows = self.pools.fetch(sql, Vec::new()).await?;
        let row = segments::only(&rows)?;
        Ok((row.int(0)?, row.int(1)?))
    }

    /// Those of the paths that the catalog knows, live or waiting for deletion. An object that is not among them and is
    /// older than any commit that may still be under way is an orphan.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`](crate::CatalogError::Unavailable) when the database does not answer.
    pub async fn known_objects(&self, paths: &[String]) -> Result<HashSet<String>> {
        let list = self.pools.dialect().list(1);
        let sql = format!(
            "SELECT path FROM segment WHERE path {list} UNION SELECT path FROM part WHERE path {list} \
             UNION SELECT path FROM gc_queue WHERE path {list}"
        );
        // A path with NUL was never stored, and PostgreSQL would refuse the question.
        let paths = paths.iter().filter(|path| !path.contains('\0')).cloned().collect();
        let rows = self.pools.fetch(sql, vec![Value::Texts(paths)]).await?;
        rows.iter().map(|row| row.text(0)).collect()
    }
}

/// Queues those of the segments that have no slice left.
pub(crate) async fn queue_emptied_segments(
    tx: &mut Tx,
    segments: BTreeSet<i64>,
    now: UnixNanos,
    due: UnixNanos,
) -> Result<()> {
    if segments.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO gc_queue (kind, object_id, path, byte_size, queued_at, due_at) \
         SELECT 'segment', g.id, g.path, g.byte_size, $2, $3 FROM segment g WHERE g.id {} \
         AND NOT EXISTS (SELECT 1 FROM segment_slice s WHERE s.segment_id = g.id)",
        tx.dialect().list(1)
    );
    tx.execute(
        sql,
        vec![Value::Ints(segments.into_iter().collect()), now.into(), due.into()],
    )
    .await?;
    Ok(())
}

/// Queues parts that have just ended.
pub(crate) async fn queue_parts(tx: &mut Tx, parts: Vec<i64>, now: UnixNanos, due: UnixNanos) -> Result<()> {
    if parts.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO gc_queue (kind, object_id, path, byte_size, queued_at, due_at) \
         SELECT 'part', p.id, p.path, p.byte_size, $2, $3 FROM part p WHERE p.id {}",
        tx.dialect().list(1)
    );
    tx.execute(sql, vec![Value::Ints(parts), now.into(), due.into()])
        .await?;
    Ok(())
}

//! Garbage: objects that nothing live names any more, waiting until no running query can need them.
//!
//! Delete the object first, then call [`Catalog::gc_done`]: a crash in between leads to a second deletion of the same
//! object, never to a forgotten one.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use schema::UnixNanos;

use crate::db::{Kind, Rows, Tx, Value};
use crate::{Catalog, CatalogError, Collected, GcEntry, NewPart, Result, deletions, retention, rules, segments};

/// How long the path of an orphan stays taken: no process stands still for 30 days between a put and its commit.
const CONDEMNED_FOR: Duration = Duration::from_secs(30 * 86_400);

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
    /// can no longer be read without them. Deletions and retention learn of it in the same transaction. Ids that are not in the queue
    /// are ignored, and not counted in what is returned.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`](crate::CatalogError::Unavailable) when the database does not answer.
    pub async fn gc_done(&self, ids: &[i64]) -> Result<Collected> {
        let mut tx = self.pools.begin_write().await?;
        let list = tx.dialect().list(1);
        let sql = format!("DELETE FROM gc_queue WHERE id {list} RETURNING kind, object_id, path, byte_size");
        let (mut segments, mut parts, mut paths) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0_i64;
        for row in tx.fetch(sql, vec![Value::Ints(ids.to_vec())]).await? {
            let objects = if row.text(0)? == "part" {
                &mut parts
            } else {
                &mut segments
            };
            objects.push(row.int(1)?);
            paths.push(row.text(2)?);
            bytes = bytes.saturating_add(row.int(3)?);
        }
        let objects = paths.len() as u64;
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
        Ok(Collected { objects, bytes, freed })
    }

    /// Number and bytes of the objects that wait for deletion, due or not.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`](crate::CatalogError::Unavailable) when the database does not answer.
    pub async fn gc_pending(&self) -> Result<(i64, i64)> {
        let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(byte_size), 0) AS BIGINT) FROM gc_queue \
                   WHERE byte_size > 0";
        let rows = self.pools.fetch(sql, Vec::new()).await?;
        let row = segments::only(&rows)?;
        Ok((row.int(0)?, row.int(1)?))
    }

    /// Those of the paths that the catalog knows, live or waiting for deletion. An object that is not among them and is
    /// older than commits take is an orphan, if [`Catalog::condemn`] agrees.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`](crate::CatalogError::Unavailable) when the database does not answer.
    pub async fn known_objects(&self, paths: &[String]) -> Result<HashSet<String>> {
        let list = self.pools.dialect().list(1);
        let sql = format!(
            "SELECT path FROM segment WHERE path {list} AND byte_size > 0 UNION SELECT path FROM part WHERE path {list} \
             UNION SELECT path FROM gc_queue WHERE path {list} AND byte_size > 0"
        );
        // A path with NUL was never stored, and PostgreSQL would refuse the question.
        let paths = paths.iter().filter(|path| !path.contains('\0')).cloned().collect();
        let rows = self.pools.fetch(sql, vec![Value::Texts(paths)]).await?;
        rows.iter().map(|row| row.text(0)).collect()
    }
}

impl Catalog {
    /// Takes the paths of orphans, segments and parts, so that no commit can name them any more, and returns those
    /// whose objects may be deleted now: all but the ones that were committed meanwhile.
    ///
    /// Age alone does not tell an orphan from an object whose writer stands still or whose clock is wrong. The paths
    /// stay in the queue, as objects of no bytes, and are deleted once more when they leave it.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn condemn(&self, segments: &[String], parts: &[String], now: UnixNanos) -> Result<HashSet<String>> {
        let mut tx = self.pools.begin_write().await?;
        let list = tx.dialect().list(1);
        // Segments: each path is of one row, so of a commit and this one waits for the other and finds it taken.
        let row = |path: &String| {
            let none = Value::Int(0);
            vec![
                path.as_str().into(),
                none.clone(),
                now.into(),
                now.into(),
                "".into(),
                none,
            ]
        };
        let rows = Rows {
            kinds: &[Kind::Text, Kind::Int, Kind::Int, Kind::Int, Kind::Text, Kind::Int],
            rows: segments.iter().map(row).collect(),
        };
        let insert = "INSERT INTO segment (path, byte_size, created_at, committed_at, writer, format_version)";
        let taken = tx
            .with_rows(insert, rows, "ON CONFLICT DO NOTHING RETURNING id, path")
            .await?;
        let mut queue = Vec::new();
        for row in &taken {
            queue.push(("segment", row.int(0)?, row.text(1)?));
        }
        if !parts.is_empty() {
            // Parts: whoever publishes one holds the head.
            tx.execute("UPDATE lake_head SET sequence = sequence WHERE id = 1", Vec::new())
                .await?;
            let sql = format!("SELECT path FROM part WHERE path {list}");
            let live = tx.fetch(sql, vec![Value::Texts(parts.to_vec())]).await?;
            let live = live.iter().map(|row| row.text(0)).collect::<Result<HashSet<_>>>()?;
            let gone = parts.iter().filter(|path| !live.contains(*path));
            queue.extend(gone.map(|path| ("part", 0, path.clone())));
        }
        let due = rules::after(now, CONDEMNED_FOR);
        let row = |(kind, id, path): &(&str, i64, String)| {
            vec![
                (*kind).into(),
                (*id).into(),
                path.as_str().into(),
                Value::Int(0),
                now.into(),
                due.into(),
            ]
        };
        let rows = Rows {
            kinds: &[Kind::Text, Kind::Int, Kind::Text, Kind::Int, Kind::Int, Kind::Int],
            rows: queue.iter().map(row).collect(),
        };
        let insert = "INSERT INTO gc_queue (kind, object_id, path, byte_size, queued_at, due_at)";
        tx.with_rows(insert, rows, "ON CONFLICT DO NOTHING").await?;
        let condemned = condemned(&mut tx, segments.iter().chain(parts).cloned().collect()).await?;
        tx.commit().await?;
        Ok(condemned)
    }
}

/// Those of the paths that are condemned.
async fn condemned(tx: &mut Tx, paths: Vec<String>) -> Result<HashSet<String>> {
    let sql = format!(
        "SELECT path FROM gc_queue WHERE path {} AND byte_size = 0",
        tx.dialect().list(1)
    );
    let rows = tx.fetch(sql, vec![Value::Texts(paths)]).await?;
    rows.iter().map(|row| row.text(0)).collect()
}

/// Refuses parts whose objects were taken for orphans. The transaction must hold the head.
pub(crate) async fn refuse_condemned(tx: &mut Tx, parts: &[NewPart]) -> Result<()> {
    if parts.is_empty() {
        return Ok(());
    }
    match condemned(tx, parts.iter().map(|part| part.path.clone()).collect())
        .await?
        .iter()
        .next()
    {
        None => Ok(()),
        Some(path) => Err(CatalogError::Conflict(format!(
            "the object {path} was deleted as an orphan"
        ))),
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

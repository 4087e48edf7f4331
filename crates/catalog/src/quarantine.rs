//! Quarantine: slices and parts that queries do without, because they are damaged.
//!
//! Without it one damaged object makes every query fail that needs it, and compaction of its dataset for ever. A
//! snapshot tells what it leaves out, so that answers can say that they are partial. Nothing is deleted: what is released is
//! there again. An entry goes with the slice or part that it names, when retention or deletion takes that.

use schema::UnixNanos;

use crate::db::Row;
use crate::{Catalog, CatalogError, Holder, Quarantined, Result, datasets, rules};

const OF_SLICES: &str = "SELECT x.id, x.slice_id, x.part_id, g.path, d.tenant, d.kind, s.row_count, s.min_ts, s.max_ts, \
     x.reason, x.quarantined_at FROM quarantine x JOIN segment_slice s ON s.id = x.slice_id \
     JOIN segment g ON g.id = s.segment_id JOIN dataset d ON d.id = s.dataset_id";
const OF_PARTS: &str = "SELECT x.id, x.slice_id, x.part_id, p.path, d.tenant, d.kind, p.row_count, p.min_ts, p.max_ts, \
     x.reason, x.quarantined_at FROM quarantine x JOIN part p ON p.id = x.part_id JOIN dataset d ON d.id = p.dataset_id \
     WHERE p.end_seq IS NULL";

fn read(row: &Row) -> Result<Quarantined> {
    let holder = match (row.optional_int(1)?, row.optional_int(2)?) {
        (Some(slice), _) => Holder::Slice(slice),
        (None, Some(part)) => Holder::Part(part),
        (None, None) => return Err(CatalogError::Corrupt("a quarantine entry names nothing".into())),
    };
    Ok(Quarantined {
        id: row.int(0)?,
        holder,
        path: row.text(3)?,
        tenant: datasets::tenant(row, 4)?,
        dataset: datasets::dataset(row, 5)?,
        rows: row.int(6)?,
        min_ts: row.int(7)?,
        max_ts: row.int(8)?,
        reason: row.text(9)?,
        quarantined_at: row.int(10)?,
    })
}

impl Catalog {
    /// Puts live slices and parts into quarantine and returns how many are new there. Those that are not live any more are
    /// left out.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] without a reason, [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn quarantine(&self, holders: &[Holder], reason: &str, now: UnixNanos) -> Result<u64> {
        rules::text("reason for a quarantine", reason)?;
        let mut tx = self.pools.begin_write().await?;
        let mut new = 0;
        for holder in holders {
            let (id, sql) = match holder {
                Holder::Slice(id) => (
                    *id,
                    "INSERT INTO quarantine (slice_id, reason, quarantined_at) \
                     SELECT id, $2, $3 FROM segment_slice WHERE id = $1 ON CONFLICT DO NOTHING",
                ),
                Holder::Part(id) => (
                    *id,
                    "INSERT INTO quarantine (part_id, reason, quarantined_at) \
                     SELECT id, $2, $3 FROM part WHERE id = $1 AND end_seq IS NULL ON CONFLICT DO NOTHING",
                ),
            };
            new += tx.execute(sql, vec![id.into(), reason.into(), now.into()]).await?;
        }
        tx.commit().await?;
        Ok(new)
    }

    /// Everything in quarantine, in the order in which it came there.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn quarantined(&self) -> Result<Vec<Quarantined>> {
        let mut tx = self.pools.begin_read().await?;
        let mut found = Vec::new();
        for sql in [OF_SLICES, OF_PARTS] {
            for row in tx.fetch(sql, Vec::new()).await? {
                found.push(read(&row)?);
            }
        }
        tx.rollback().await?;
        found.sort_by_key(|entry| entry.id);
        Ok(found)
    }

    /// Takes an entry out of quarantine: queries read the object again. False if there is no such entry.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn release(&self, id: i64) -> Result<bool> {
        let sql = "DELETE FROM quarantine WHERE id = $1 RETURNING id";
        Ok(!self.pools.write(sql, vec![id.into()]).await?.is_empty())
    }
}

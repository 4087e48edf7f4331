//! Parts: how they are written to and read from their two tables.

use std::collections::HashMap;

use schema::{Dataset, TenantId, UnixNanos};

use crate::db::{Kind, Row, Rows, Tx, Value};
use crate::{Catalog, CatalogError, Holder, NewPart, Part, PartStat, Quarantined, Result, datasets, rules};

impl Catalog {
    /// The live parts of a dataset without those in quarantine, in the order of their ids.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn live_parts(&self, tenant: &TenantId, dataset: Dataset) -> Result<Vec<Part>> {
        let mut tx = self.pools.begin_read().await?;
        let live = "d.tenant = $1 AND d.kind = $2 AND p.end_seq IS NULL";
        let parts = select(&mut tx, live, vec![tenant.into(), dataset.id().into()]).await?;
        tx.rollback().await?;
        let whole = parts.into_iter().filter(|(_, entry)| entry.is_none());
        Ok(whole.map(|(part, _)| part).collect())
    }
}

/// A part, and its entry if it is in quarantine.
pub(crate) type Marked = (Part, Option<Quarantined>);

pub(crate) fn check(part: &NewPart) -> Result<()> {
    rules::text("part path", &part.path)?;
    for (what, value) in [
        ("part rows", part.rows),
        ("part file rows", part.file_rows),
        ("part bytes", part.bytes),
        ("part footer bytes", part.footer_bytes),
        ("part index offset", part.index_offset),
        ("part index bytes", part.index_bytes),
        ("part index entries", part.index_entries),
        ("part level", part.level.into()),
    ] {
        rules::size(what, value)?;
    }
    rules::range(part.min_ts, part.max_ts)?;
    let mut names: Vec<_> = part.stats.iter().map(|stat| &stat.column).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(CatalogError::Invalid(format!(
            "the part has two statistics of column {:?}",
            pair[0]
        )));
    }
    Ok(())
}

/// Publishes parts of one dataset as of `sequence`, with the mapping of names that [`crate::ducklake::publish`] gave.
pub(crate) async fn insert(
    tx: &mut Tx,
    dataset_id: i64,
    parts: &[NewPart],
    sequence: i64,
    mapping: i64,
    now: UnixNanos,
) -> Result<()> {
    let total: i64 = parts.iter().map(|part| part.rows).sum();
    let sql = "UPDATE dataset SET next_row_id = next_row_id + $1 WHERE id = $2 RETURNING next_row_id";
    let moved = tx.fetch(sql, vec![total.into(), dataset_id.into()]).await?;
    let mut row_id = crate::segments::only(&moved)?.int(0)? - total;
    let mut rows = Vec::with_capacity(parts.len());
    for part in parts {
        rows.push(vec![
            dataset_id.into(),
            i64::from(part.level).into(),
            part.path.as_str().into(),
            part.rows.into(),
            part.bytes.into(),
            part.footer_bytes.into(),
            part.min_ts.into(),
            part.max_ts.into(),
            part.index_offset.into(),
            part.index_bytes.into(),
            part.index_entries.into(),
            i64::from(part.format_version).into(),
            part.checksum.into(),
            row_id.into(),
            now.into(),
            sequence.into(),
            part.file_rows.into(),
            mapping.into(),
        ]);
        row_id += part.rows;
    }
    let kinds = const {
        let mut kinds = [Kind::Int; 18];
        kinds[2] = Kind::Text;
        &{ kinds }
    };
    let insert = "INSERT INTO part (dataset_id, level, path, row_count, byte_size, footer_bytes, min_ts, max_ts, \
                  index_offset, index_bytes, index_entries, format_version, checksum, row_id_start, created_at, begin_seq, \
                  file_rows, schema_seq)";
    let inserted = tx.with_rows(insert, Rows { kinds, rows }, "RETURNING path, id").await?;
    let ids = inserted
        .iter()
        .map(|row| Ok((row.text(0)?, row.int(1)?)))
        .collect::<Result<HashMap<_, _>>>()?;
    let mut stats = Vec::new();
    for part in parts {
        let id = *ids
            .get(&part.path)
            .ok_or_else(|| CatalogError::Corrupt(format!("the part {} was not inserted", part.path)))?;
        for stat in &part.stats {
            let texts = [&stat.column, &stat.min, &stat.max];
            if texts.iter().all(|text| !text.contains('\0')) {
                let mut row = vec![Value::Int(id)];
                row.extend(texts.map(|text| Value::Text(text.clone())));
                stats.push(row);
            }
        }
    }
    let kinds = &[Kind::Int, Kind::Text, Kind::Text, Kind::Text];
    let insert = "INSERT INTO part_stat (part_id, column_name, min_value, max_value)";
    tx.with_rows(insert, Rows { kinds, rows: stats }, "").await?;
    Ok(())
}

/// Parts `p` of datasets `d` that meet a condition, with their statistics and their entries in quarantine, in the order of
/// their ids. The transaction must see one state throughout.
pub(crate) async fn select(tx: &mut Tx, condition: &str, values: Vec<Value>) -> Result<Vec<Marked>> {
    let sql = format!(
        "SELECT p.id, p.begin_seq, p.created_at, p.row_id_start, d.tenant, d.kind, p.level, p.path, p.row_count, \
         p.byte_size, p.footer_bytes, p.min_ts, p.max_ts, p.index_offset, p.index_bytes, p.index_entries, \
         p.format_version, p.checksum, x.id, x.reason, x.quarantined_at \
         FROM dataset d JOIN part p ON p.dataset_id = d.id \
         LEFT JOIN quarantine x ON x.part_id = p.id WHERE {condition} ORDER BY p.id"
    );
    let mut parts = tx
        .fetch(sql, values.clone())
        .await?
        .iter()
        .map(read_marked)
        .collect::<Result<Vec<_>>>()?;
    if parts.is_empty() {
        return Ok(parts);
    }
    let sql = format!(
        "SELECT t.part_id, t.column_name, t.min_value, t.max_value \
         FROM dataset d JOIN part p ON p.dataset_id = d.id JOIN part_stat t ON t.part_id = p.id \
         WHERE {condition} ORDER BY t.part_id"
    );
    let mut at = 0;
    for row in tx.fetch(sql, values).await? {
        let id = row.int(0)?;
        while parts.get(at).is_some_and(|(part, _)| part.id < id) {
            at += 1;
        }
        if let Some((part, _)) = parts.get_mut(at).filter(|(part, _)| part.id == id) {
            part.stats.push(PartStat {
                column: row.text(1)?,
                min: row.text(2)?,
                max: row.text(3)?,
            });
        }
    }
    for (part, _) in &mut parts {
        part.stats.sort_unstable_by(|a, b| a.column.cmp(&b.column)); // the databases may collate differently
    }
    Ok(parts)
}

fn read_marked(row: &Row) -> Result<Marked> {
    let part = read(row)?;
    let Some(id) = row.optional_int(18)? else {
        return Ok((part, None));
    };
    let entry = Quarantined {
        id,
        holder: Holder::Part(part.id),
        path: part.path.clone(),
        tenant: part.tenant.clone(),
        dataset: part.dataset,
        rows: part.rows,
        min_ts: part.min_ts,
        max_ts: part.max_ts,
        reason: row.text(19)?,
        quarantined_at: row.int(20)?,
    };
    Ok((part, Some(entry)))
}

fn read(row: &Row) -> Result<Part> {
    Ok(Part {
        id: row.int(0)?,
        begin_seq: row.int(1)?,
        created_at: row.int(2)?,
        row_id_start: row.int(3)?,
        tenant: datasets::tenant(row, 4)?,
        dataset: datasets::dataset(row, 5)?,
        level: row.int32(6)?,
        path: row.text(7)?,
        rows: row.int(8)?,
        bytes: row.int(9)?,
        footer_bytes: row.int(10)?,
        min_ts: row.int(11)?,
        max_ts: row.int(12)?,
        index_offset: row.int(13)?,
        index_bytes: row.int(14)?,
        index_entries: row.int(15)?,
        format_version: row.int32(16)?,
        checksum: row.int(17)?,
        stats: Vec::new(),
    })
}

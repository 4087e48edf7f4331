//! The catalog as DuckLake 1.0: what its views (migration 0004) show, and from which snapshot on.
//!
//! The views are made of tables that the rest of the crate writes anyway, and of three things that are written here: what
//! the program says of its datasets ([`Catalog::publish_lake`], at its start), the schema of each tenant and the columns
//! of each dataset (`publish`, when a compaction makes parts that may hold them). A change of either moves
//! `schema_version`, by which attached readers know that they have to look at schemas again.
//!
//! DuckDB's names do not tell upper from lower case, ours do. Of tenants that differ in nothing else all but the first are shown
//! as `name#2`, `name#3` and so on. Columns that differ in nothing else are not shown from the snapshot on in which the
//! second appears: files are read by name.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use schema::{Dataset, TenantId, UnixNanos};

use crate::columns::unescape;
use crate::compaction::next_sequence;
use crate::db::{Dialect, Kind, Rows, Tx, Value};
use crate::{Catalog, Result, segments};

/// What DuckLake shows of every tenant. Ids never change their meaning: readers keep what they know of old snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeDefinition {
    /// Names this very definition: no other has it.
    pub name: String,
    /// One per dataset.
    pub tables: Vec<LakeTable>,
    /// Those that every tenant has; attribute columns are added as they appear.
    pub columns: Vec<LakeColumn>,
    /// Views over the tables.
    pub views: Vec<LakeView>,
}

/// A dataset as a table, shown as `<name>_stored`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeTable {
    /// The dataset.
    pub dataset: Dataset,
    /// The id of the column that a part's times are about.
    pub time_column: i64,
}

/// A column of a table, or what is inside of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeColumn {
    /// The table.
    pub dataset: Dataset,
    /// From 1 to 2^30 - 1, one in the table.
    pub id: i64,
    /// Columns are shown in this order.
    pub place: i64,
    /// The name shown.
    pub name: String,
    /// The name in Parquet files, as DuckDB reads them.
    pub source: String,
    /// A type of DuckLake.
    pub data_type: &'static str,
    /// The column that this is an item or a field of, 0 for none.
    pub parent: i64,
}

/// A view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeView {
    /// From 8 to 15; smaller ones are the tables'.
    pub id: i64,
    /// Its name.
    pub name: &'static str,
    /// A query in DuckDB's SQL; `{TENANT}` stands for the tenant's schema.
    pub body: String,
}

impl Catalog {
    /// Publishes what the program says of its datasets, and all tenants that have parts. `data_path` is where paths of
    /// objects begin, with a slash at its end. Nothing is written if it was published before.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`](crate::CatalogError::Unavailable) when the database does not answer,
    /// [`CatalogError::NotMigrated`](crate::CatalogError::NotMigrated) before [`Catalog::migrate`].
    pub async fn publish_lake(&self, definition: &LakeDefinition, data_path: &str, now: UnixNanos) -> Result<()> {
        let metadata = match self.pools.dialect() {
            Dialect::Sqlite => "ducklake_metadata",
            Dialect::Postgres => "lake.ducklake_metadata",
        };
        let entries = [
            ("version", "1.0"),
            ("created_by", definition.name.as_str()),
            ("data_path", data_path),
            ("encrypted", "false"),
        ];
        let sql = format!("SELECT \"key\", \"value\" FROM {metadata}");
        let found = self.pools.fetch(sql, Vec::new()).await?;
        let found = found.iter().map(|row| Ok((row.text(0)?, row.text(1)?)));
        let found = found.collect::<Result<HashSet<_>>>()?;
        if entries
            .iter()
            .all(|&(key, value)| found.contains(&(key.to_owned(), value.to_owned())))
        {
            return Ok(());
        }
        let mut tx = self.pools.begin_write().await?;
        // First, because it keeps everybody else from doing the same.
        let sequence = next_sequence(&mut tx, now).await?;
        write_definition(&mut tx, definition).await?;
        tx.execute(format!("DELETE FROM {metadata}"), Vec::new()).await?;
        let rows = entries.map(|(key, value)| vec![key.into(), value.into()]).to_vec();
        let insert = format!("INSERT INTO {metadata} (\"key\", \"value\")");
        tx.with_rows(
            &insert,
            Rows {
                kinds: &[Kind::Text, Kind::Text],
                rows,
            },
            "",
        )
        .await?;
        let with_parts = "SELECT d.id, d.tenant FROM dataset d WHERE EXISTS \
                          (SELECT 1 FROM part p WHERE p.dataset_id = d.id AND p.end_seq IS NULL) ORDER BY d.id";
        for row in tx.fetch(with_parts, Vec::new()).await? {
            publish(&mut tx, &crate::datasets::tenant(&row, 1)?, row.int(0)?, sequence).await?;
        }
        let sql = "UPDATE lake_head SET definition_seq = $1 WHERE id = 1";
        tx.execute(sql, vec![sequence.into()]).await?;
        schema_changed(&mut tx, sequence).await?;
        tx.commit().await
    }
}

async fn write_definition(tx: &mut Tx, definition: &LakeDefinition) -> Result<()> {
    for table in ["lake_table", "lake_column", "lake_view"] {
        tx.execute(format!("DELETE FROM {table}"), Vec::new()).await?;
    }
    let rows = definition.tables.iter();
    let rows = rows.map(|t| vec![t.dataset.id().into(), t.dataset.name().into(), t.time_column.into()]);
    let rows = Rows {
        kinds: &[Kind::Int, Kind::Text, Kind::Int],
        rows: rows.collect(),
    };
    let insert = "INSERT INTO lake_table (kind, name, time_column)";
    tx.with_rows(insert, rows, "").await?;
    let rows = definition.columns.iter().map(|c| {
        vec![
            c.dataset.id().into(),
            c.id.into(),
            c.place.into(),
            c.parent.into(),
            c.name.as_str().into(),
            c.source.as_str().into(),
            c.data_type.into(),
        ]
    });
    let rows = Rows {
        kinds: &[
            Kind::Int,
            Kind::Int,
            Kind::Int,
            Kind::Int,
            Kind::Text,
            Kind::Text,
            Kind::Text,
        ],
        rows: rows.collect(),
    };
    let insert = "INSERT INTO lake_column (kind, id, place, parent, name, source, data_type)";
    tx.with_rows(insert, rows, "").await?;
    let rows = definition.views.iter();
    let rows = rows.map(|v| vec![v.id.into(), v.name.into(), v.body.as_str().into()]);
    let rows = Rows {
        kinds: &[Kind::Int, Kind::Text, Kind::Text],
        rows: rows.collect(),
    };
    tx.with_rows("INSERT INTO lake_view (id, name, body)", rows, "").await?;
    Ok(())
}

/// Shows the tenant and the columns of its dataset that no snapshot showed before, from `sequence` on. Returns the number of
/// the mapping of names for parts that `sequence` publishes; it is that of a snapshot since which columns did not change.
/// A reader that stays attached looks only for mappings from the snapshot on at which it looked last. So live parts have had
/// this one ever since it was made, or it is made now. The caller holds the row of `lake_head`.
pub(crate) async fn publish(tx: &mut Tx, tenant: &TenantId, dataset_id: i64, sequence: i64) -> Result<i64> {
    let known = "SELECT begin_seq FROM lake_schema WHERE tenant = $1";
    let known = tx.fetch(known, vec![tenant.into()]).await?;
    let mut last_change = known.first().map_or(Ok(sequence), |row| row.int(0))?;
    if known.is_empty() {
        let names = tx.fetch("SELECT name FROM lake_schema", Vec::new()).await?;
        let names = names.iter().map(|row| row.text(0)).collect::<Result<Vec<_>>>()?;
        // Schemas that DuckDB has of its own.
        let reserved = ["information_schema", "pg_catalog"].map(str::to_owned);
        let mut taken = names.into_iter().chain(reserved).map(|name| fold(&name)).collect();
        let sql = "INSERT INTO lake_schema (tenant, name, begin_seq) VALUES ($1, $2, $3)";
        let name = free_name(tenant.as_str().to_owned(), &mut taken);
        let values = vec![tenant.into(), name.as_str().into(), sequence.into()];
        tx.execute(sql, values).await?;
    }
    let columns = "SELECT id, name FROM dataset_column WHERE dataset_id = $1 AND lake_seq IS";
    let hidden = format!("{columns} NULL ORDER BY id");
    let hidden = tx.fetch(hidden, vec![dataset_id.into()]).await?;
    if !hidden.is_empty() {
        let mut known = HashMap::new();
        for row in tx.fetch(format!("{columns} NOT NULL"), vec![dataset_id.into()]).await? {
            known.insert(fold(&row.text(1)?), row.int(0)?);
        }
        let (mut shown, mut ended) = (Vec::new(), Vec::new());
        for row in &hidden {
            let (id, name) = (row.int(0)?, row.text(1)?);
            shown.push(id);
            match known.entry(fold(&name)) {
                // A file that has one of them would be read as if it had the other.
                Entry::Occupied(other) => ended.extend([id, *other.get()]),
                Entry::Vacant(place) => {
                    place.insert(id);
                    if !can_be_shown(&name) {
                        ended.push(id);
                    }
                }
            }
        }
        let list = tx.dialect().list(1);
        for (ids, column) in [(shown, "lake_seq"), (ended, "lake_end")] {
            let sql = format!("UPDATE dataset_column SET {column} = $2 WHERE id {list} AND {column} IS NULL");
            tx.execute(sql, vec![Value::Ints(ids), sequence.into()]).await?;
        }
        last_change = sequence;
    }
    if last_change == sequence {
        schema_changed(tx, sequence).await?;
        return Ok(sequence);
    }
    let newest = "SELECT definition_seq, (SELECT COALESCE(MAX(lake_seq), 0) FROM dataset_column WHERE dataset_id = $1) \
                  FROM lake_head WHERE id = 1";
    let newest = tx.fetch(newest, vec![dataset_id.into()]).await?;
    let newest = segments::only(&newest)?;
    let last_change = last_change.max(newest.int(0)?).max(newest.int(1)?);
    // The parts of the newest rows first: they are the likeliest to have one.
    let shown = "SELECT schema_seq FROM part WHERE dataset_id = $1 AND end_seq IS NULL AND schema_seq >= $2 \
                 ORDER BY max_ts DESC LIMIT 1";
    let shown = tx.fetch(shown, vec![dataset_id.into(), last_change.into()]).await?;
    shown.first().map_or(Ok(sequence), |row| row.int(0))
}

async fn schema_changed(tx: &mut Tx, sequence: i64) -> Result<()> {
    for sql in [
        "UPDATE lake_head SET schema_version = $1 WHERE id = 1",
        "UPDATE lake_commit SET schema_version = $1 WHERE seq = $1",
    ] {
        tx.execute(sql, vec![sequence.into()]).await?;
    }
    Ok(())
}

/// A name as a reader without cases sees it.
fn fold(name: &str) -> String {
    name.to_lowercase()
}

/// Whether a column can be shown at all, by its name as it is stored: not with NUL in it, nor the empty key, whose name the
/// views of DuckLake need.
fn can_be_shown(stored: &str) -> bool {
    let unescaped = unescape(stored);
    unescaped != "attr." && !unescaped.contains('\0')
}

/// The name, or the first of `name#2`, `name#3`... that is not taken, which then is.
fn free_name(name: String, taken: &mut HashSet<String>) -> String {
    let mut free = name.clone();
    let mut number = 1u64;
    while !taken.insert(fold(&free)) {
        number += 1;
        free = format!("{name}#{number}");
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_in_more_than_their_case() {
        let mut taken = HashSet::from(["main".to_owned()]);
        let mut free = |name: &str| free_name(name.to_owned(), &mut taken);
        assert_eq!(free("Team"), "Team");
        assert_eq!(free("team"), "team#2");
        assert_eq!(free("TEAM"), "TEAM#3");
        assert_eq!(free("MAIN"), "MAIN#2");
    }

    #[test]
    fn some_names_cannot_be_shown() {
        for (stored, shown) in [
            ("attr.x", true),
            ("attr.", false),
            ("attr.\\0", false),
            ("attr.\\\\0", true),
        ] {
            assert_eq!(can_be_shown(stored), shown, "{stored}");
        }
    }
}

//! Columns of datasets: they appear with the first row that has them and stay.
//!
//! A name may contain any character, because attribute keys do. PostgreSQL's text type cannot hold NUL, so names are
//! stored with `\` as `\\` and NUL as `\0`.

use std::collections::BTreeSet;

use schema::{Dataset, TenantId, UnixNanos};

use crate::datasets::{self, DatasetIds};
use crate::db::{Kind, Row, Rows, Tx};
use crate::{Catalog, CatalogError, Column, NewColumn, Result, rules};

impl Catalog {
    /// The columns of a dataset in the order of first appearance.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn columns(&self, tenant: &TenantId, dataset: Dataset) -> Result<Vec<Column>> {
        let sql = format!("{SELECT} WHERE d.tenant = $1 AND d.kind = $2 ORDER BY c.id");
        let rows = self.pools.fetch(sql, vec![tenant.into(), dataset.id().into()]).await?;
        rows.iter().map(read).collect()
    }
}

pub(crate) const SELECT: &str =
    "SELECT c.id, d.tenant, d.kind, c.name, c.data_type FROM dataset d JOIN dataset_column c ON c.dataset_id = d.id";

/// A row of [`SELECT`].
pub(crate) fn read(row: &Row) -> Result<Column> {
    Ok(Column {
        id: row.int(0)?,
        tenant: datasets::tenant(row, 1)?,
        dataset: datasets::dataset(row, 2)?,
        name: unescape(&row.text(3)?),
        data_type: row.text(4)?,
    })
}

pub(crate) fn check(column: &NewColumn) -> Result<()> {
    if column.name.is_empty() {
        return Err(CatalogError::Invalid("a column name must not be empty".into()));
    }
    rules::text("column type", &column.data_type)
}

/// Adds columns; those that exist stay as they are.
pub(crate) async fn add(tx: &mut Tx, ids: &DatasetIds, columns: &[NewColumn], now: UnixNanos) -> Result<()> {
    // In one order everywhere, so that two transactions cannot wait for each other; the first type of a name wins.
    let mut names = BTreeSet::new();
    let mut rows = Vec::with_capacity(columns.len());
    let mut sorted: Vec<_> = columns.iter().collect();
    sorted.sort_by(|a, b| (&a.tenant, a.dataset, &a.name).cmp(&(&b.tenant, b.dataset, &b.name)));
    for column in sorted {
        if names.insert((&column.tenant, column.dataset, &column.name)) {
            let id = datasets::id_of(ids, &column.tenant, column.dataset)?;
            let name = escape(&column.name);
            rows.push(vec![
                id.into(),
                name.as_str().into(),
                column.data_type.as_str().into(),
                now.into(),
            ]);
        }
    }
    let kinds = &[Kind::Int, Kind::Text, Kind::Text, Kind::Int];
    let insert = "INSERT INTO dataset_column (dataset_id, name, data_type, first_seen_at)";
    tx.with_rows(insert, Rows { kinds, rows }, "ON CONFLICT DO NOTHING")
        .await?;
    Ok(())
}

fn escape(name: &str) -> String {
    name.replace('\\', "\\\\").replace('\0', "\\0")
}

pub(crate) fn unescape(stored: &str) -> String {
    let mut name = String::with_capacity(stored.len());
    let mut chars = stored.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('0') => name.push('\0'),
                Some(other) => name.push(other),
                None => {}
            },
            other => name.push(other),
        }
    }
    name
}

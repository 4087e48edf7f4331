//! Resources and series describe the rows that name them, and writers remember which are described.
//!
//! A row of them is written once an hour; the rows between rely on it. When somebody has such rows deleted, what writers
//! remember is wrong: what they commit afterwards would be described by nothing. So a deletion of descriptions counts up a number
//! per tenant, a commit says which number its writer knows, and is refused if that is not the number now
//! ([`CommitOutcome::Forgotten`](crate::CommitOutcome::Forgotten)). Both hold the dataset's row, so of a commit and a deletion one
//! is before the other: the rows of a commit that was before are there when the deletion looks for rows.

use std::collections::HashMap;

use schema::{Dataset, TenantId};

use crate::db::{Dialect, Tx, Value};
use crate::{Catalog, Result, datasets};

/// The datasets that describe rows of others.
pub const DESCRIBING: [Dataset; 2] = [Dataset::Resources, Dataset::MetricSeries];

impl Catalog {
    /// How often descriptions of a tenant were deleted: what a writer knows of them is good for as long as this stays the same.
    /// Ask before learning the first.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`](crate::CatalogError::Unavailable) when the database does not answer.
    pub async fn forgotten(&self, tenant: &TenantId) -> Result<i64> {
        let mut tx = self.pools.begin_read().await?;
        let found = counts(&mut tx, vec![tenant.to_string()], "").await?;
        tx.rollback().await?;
        Ok(found.get(tenant).copied().unwrap_or(0))
    }
}

async fn counts(tx: &mut Tx, tenants: Vec<String>, lock: &str) -> Result<HashMap<TenantId, i64>> {
    let dialect = tx.dialect();
    let sql = format!(
        "SELECT tenant, forgotten FROM dataset WHERE tenant {} AND kind {} ORDER BY id {lock}",
        dialect.list(1),
        dialect.list(2)
    );
    let kinds = DESCRIBING.map(|dataset| dataset.id()).to_vec();
    let mut found = HashMap::new();
    for row in tx.fetch(sql, vec![Value::Texts(tenants), Value::Ints(kinds)]).await? {
        *found.entry(datasets::tenant(&row, 0)?).or_insert(0) += row.int(1)?;
    }
    Ok(found)
}

/// Those of the tenants whose number is another than their writer knows, with the number now. It stays so until the
/// transaction ends.
pub(crate) async fn outdated(tx: &mut Tx, known: &[(TenantId, i64)]) -> Result<Vec<(TenantId, i64)>> {
    if known.is_empty() {
        return Ok(Vec::new());
    }
    // The weakest lock that a deletion waits for, which commits share; compaction does not wait for it.
    let lock = match tx.dialect() {
        Dialect::Postgres => "FOR KEY SHARE",
        Dialect::Sqlite => "",
    };
    let tenants = known.iter().map(|(tenant, _)| tenant.to_string()).collect();
    let now = counts(tx, tenants, lock).await?;
    let mut outdated = Vec::new();
    for (tenant, known) in known {
        let now = now.get(tenant).copied().unwrap_or(0);
        if now != *known && !outdated.contains(&(tenant.clone(), now)) {
            outdated.push((tenant.clone(), now));
        }
    }
    Ok(outdated)
}

/// Counts up when rows of a dataset that describes others are deleted.
pub(crate) async fn forget(tx: &mut Tx, tenant: &TenantId, dataset: Dataset) -> Result<()> {
    if !DESCRIBING.contains(&dataset) {
        return Ok(());
    }
    let row = || vec![tenant.into(), dataset.id().into()];
    if let Dialect::Postgres = tx.dialect() {
        // An update alone would not wait for the commits that hold the row.
        let sql = "SELECT id FROM dataset WHERE tenant = $1 AND kind = $2 FOR UPDATE";
        tx.fetch(sql, row()).await?;
    }
    let sql = "UPDATE dataset SET forgotten = forgotten + 1 WHERE tenant = $1 AND kind = $2";
    tx.execute(sql, row()).await.map(|_| ())
}

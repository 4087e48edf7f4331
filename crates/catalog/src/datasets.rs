//! The tables of tenants: one row per tenant and kind of row, made by the first commit that needs it.

use std::collections::{BTreeSet, HashMap};

use schema::{Dataset, TenantId, UnixNanos};

use crate::db::{Kind, Row, Rows, Tx};
use crate::{Catalog, CatalogError, Result};

/// Ids of the datasets that a transaction works on.
pub(crate) type DatasetIds = HashMap<(TenantId, Dataset), i64>;

impl Catalog {
    /// Every tenant that ever stored something, in the order of names.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer.
    pub async fn tenants(&self) -> Result<Vec<TenantId>> {
        let rows = self
            .pools
            .fetch("SELECT DISTINCT tenant FROM dataset ORDER BY tenant", Vec::new())
            .await?;
        let mut tenants = rows.iter().map(|row| tenant(row, 0)).collect::<Result<Vec<_>>>()?;
        tenants.sort(); // the databases may collate differently
        Ok(tenants)
    }

    /// Ids of datasets, made where missing. Remember them with [`Catalog::remember_datasets`] only after the commit.
    pub(crate) async fn dataset_ids(
        &self,
        tx: &mut Tx,
        wanted: BTreeSet<(TenantId, Dataset)>,
        now: UnixNanos,
    ) -> Result<DatasetIds> {
        let mut ids = DatasetIds::new();
        let mut missing = Vec::new();
        {
            let known = self.dataset_ids.read();
            for key in wanted {
                match known.get(&key) {
                    Some(id) => {
                        ids.insert(key, *id);
                    }
                    None => missing.push(key),
                }
            }
        }
        if missing.is_empty() {
            return Ok(ids);
        }
        // In one order everywhere (the set is sorted), so that two transactions cannot wait for each other.
        let rows = missing
            .iter()
            .map(|(t, d)| vec![t.into(), d.id().into(), d.name().into(), now.into()])
            .collect();
        let kinds = &[Kind::Text, Kind::Int, Kind::Text, Kind::Int];
        let insert = "INSERT INTO dataset (tenant, kind, name, created_at)";
        tx.with_rows(insert, Rows { kinds, rows }, "ON CONFLICT DO NOTHING")
            .await?;
        let rows = missing.iter().map(|(t, d)| vec![t.into(), d.id().into()]).collect();
        let select = "SELECT tenant, kind, id FROM dataset WHERE (tenant, kind) IN (";
        for row in tx
            .with_rows(
                select,
                Rows {
                    kinds: &[Kind::Text, Kind::Int],
                    rows,
                },
                ")",
            )
            .await?
        {
            ids.insert((tenant(&row, 0)?, dataset(&row, 1)?), row.int(2)?);
        }
        match missing.iter().find(|key| !ids.contains_key(*key)) {
            None => Ok(ids),
            Some((t, d)) => Err(CatalogError::Corrupt(format!(
                "the dataset {d} of tenant {t} cannot be made"
            ))),
        }
    }

    pub(crate) fn remember_datasets(&self, ids: &DatasetIds) {
        let mut known = self.dataset_ids.write();
        for (key, id) in ids {
            if !known.contains_key(key) {
                known.insert(key.clone(), *id);
            }
        }
    }
}

/// The id of a key that [`Catalog::dataset_ids`] was asked for.
pub(crate) fn id_of(ids: &DatasetIds, tenant: &TenantId, dataset: Dataset) -> Result<i64> {
    ids.get(&(tenant.clone(), dataset))
        .copied()
        .ok_or_else(|| CatalogError::Corrupt(format!("the dataset {dataset} of tenant {tenant} has no id")))
}

pub(crate) fn tenant(row: &Row, index: usize) -> Result<TenantId> {
    TenantId::parse(&row.text(index)?).map_err(|error| CatalogError::Corrupt(error.to_string()))
}

pub(crate) fn dataset(row: &Row, index: usize) -> Result<Dataset> {
    let id = row.int(index)?;
    Dataset::from_id(id).ok_or_else(|| CatalogError::Corrupt(format!("there is no dataset number {id}")))
}

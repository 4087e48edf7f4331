//! Which attribute columns a tenant's datasets have, and how many they may have; which keys and series are new.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use catalog::{Catalog, CatalogError, NewColumn};
use limits::TenantLimits;
use otlp::columns::ColumnAdmission;
use otlp::decode::Admissions;
use parking_lot::Mutex;
use schema::columns::{AttributeType, has_attributes};
use schema::sparse::SparseBatch;
use schema::{Dataset, TenantId};
use xxhash_rust::xxh3::xxh3_64;

/// The columns of one tenant. Shared by all batches of the tenant.
#[derive(Debug)]
pub(crate) struct TenantColumns {
    datasets: Vec<DatasetColumns>,
    limits: Option<Arc<TenantLimits>>,
}

#[derive(Debug)]
struct DatasetColumns {
    limit: usize,
    limits: Option<Arc<TenantLimits>>,
    /// Physical name to whether the catalog has it.
    known: Mutex<HashMap<String, bool>>,
}

impl TenantColumns {
    /// Reads the columns that exist. Each dataset may have `limit` of them; `limits` bounds keys and series.
    pub(crate) async fn load(
        catalog: &Catalog,
        tenant: &TenantId,
        limit: usize,
        limits: Option<Arc<TenantLimits>>,
    ) -> Result<Self, CatalogError> {
        let mut datasets = Vec::new();
        for dataset in Dataset::ALL {
            let mut known = HashMap::new();
            if has_attributes(dataset) {
                for column in catalog.columns(tenant, dataset).await? {
                    known.insert(column.name, true);
                }
            }
            datasets.push(DatasetColumns {
                limit,
                limits: limits.clone(),
                known: Mutex::new(known),
            });
        }
        Ok(Self { datasets, limits })
    }

    fn of(&self, dataset: Dataset) -> &DatasetColumns {
        &self.datasets[dataset.id() as usize - 1]
    }

    /// Those of a batch's columns that the catalog does not have yet.
    pub(crate) fn uncommitted(&self, tenant: &TenantId, dataset: Dataset, batch: &SparseBatch) -> Vec<NewColumn> {
        let known = self.of(dataset).known.lock();
        let new = batch.columns().iter().filter_map(|(name, column)| {
            let (_, _, kind) = schema::columns::parse_physical(name, column.data_type())?;
            if known.get(name).copied().unwrap_or(false) {
                return None;
            }
            Some(NewColumn {
                tenant: tenant.clone(),
                dataset,
                name: name.clone(),
                data_type: kind.name().to_owned(),
            })
        });
        new.collect()
    }

    /// Remembers that the catalog has these columns.
    pub(crate) fn committed(&self, columns: &[NewColumn]) {
        for column in columns {
            self.of(column.dataset).known.lock().insert(column.name.clone(), true);
        }
    }
}

impl ColumnAdmission for DatasetColumns {
    fn admit(&self, physical_name: &str, _: AttributeType) -> bool {
        let mut known = self.known.lock();
        if known.contains_key(physical_name) {
            return true;
        }
        if known.len() >= self.limit {
            return false;
        }
        known.insert(physical_name.to_owned(), false);
        true
    }

    fn admit_key(&self, key: &[u8]) -> Result<(), Arc<str>> {
        match &self.limits {
            Some(limits) => limits.admit_key(xxh3_64(key), Instant::now()),
            None => Ok(()),
        }
    }
}

impl Admissions for TenantColumns {
    fn for_dataset(&self, dataset: Dataset) -> &dyn ColumnAdmission {
        self.of(dataset)
    }

    fn admit_series(&self, id: &[u8; 16]) -> Result<(), Arc<str>> {
        let Some(limits) = &self.limits else {
            return Ok(());
        };
        // The first bytes are the same for all series of a metric; the last ones are as good as a hash of it all.
        let [.., a, b, c, d, e, f, g, h] = *id;
        limits.admit_series(u64::from_be_bytes([a, b, c, d, e, f, g, h]), Instant::now())
    }
}

/// Shared handle.
pub(crate) type SharedColumns = Arc<TenantColumns>;

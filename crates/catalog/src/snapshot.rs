//! The snapshot: what a query plans from, as of one instant.

use schema::{Dataset, TenantId, UnixNanos};

use crate::db::{Tx, Value};
use crate::{Catalog, Result, Snapshot, columns, parts, segments};

impl Catalog {
    /// Live slices and parts of the datasets, those that overlap the inclusive time range (ns) when one is given, and
    /// all columns. What is in quarantine is told apart. One read transaction: a row is never missing and never seen both in
    /// a slice and in a part.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`](crate::CatalogError::Unavailable) when the database does not answer.
    pub async fn snapshot(
        &self,
        tenant: &TenantId,
        datasets: &[Dataset],
        time: Option<(UnixNanos, UnixNanos)>,
    ) -> Result<Snapshot> {
        let mut tx = self.pools.begin_read().await?;
        let snapshot = read(&mut tx, tenant, datasets, time).await?;
        tx.rollback().await?; // nothing to commit
        Ok(snapshot)
    }
}

async fn read(
    tx: &mut Tx,
    tenant: &TenantId,
    datasets: &[Dataset],
    time: Option<(UnixNanos, UnixNanos)>,
) -> Result<Snapshot> {
    let sequence = sequence(tx).await?;
    let kinds = tx.dialect().list(2);
    let of_datasets = format!("d.tenant = $1 AND d.kind {kinds}");
    let mut values: Vec<Value> = vec![
        tenant.into(),
        Value::Ints(datasets.iter().map(|dataset| dataset.id()).collect()),
    ];

    let sql = format!("{} WHERE {of_datasets} ORDER BY c.id", columns::SELECT);
    let columns = tx
        .fetch(sql, values.clone())
        .await?
        .iter()
        .map(columns::read)
        .collect::<Result<_>>()?;

    let overlap = |table: &str| match time {
        Some(_) => format!(" AND {table}.max_ts >= $3 AND {table}.min_ts <= $4"),
        None => String::new(),
    };
    if let Some((from, to)) = time {
        values.extend([Value::Int(from), Value::Int(to)]);
    }
    let sql = format!("{} WHERE {of_datasets}{} ORDER BY s.id", segments::SELECT, overlap("s"));
    let (mut slices, mut quarantined) = (Vec::new(), Vec::new());
    for row in tx.fetch(sql, values.clone()).await? {
        match segments::read_marked(&row)? {
            (slice, None) => slices.push(slice),
            (_, Some(entry)) => quarantined.push(entry),
        }
    }
    let live = format!("{of_datasets}{} AND p.end_seq IS NULL", overlap("p"));
    let mut parts = Vec::new();
    for marked in parts::select(tx, &live, values).await? {
        match marked {
            (part, None) => parts.push(part),
            (_, Some(entry)) => quarantined.push(entry),
        }
    }
    Ok(Snapshot {
        sequence,
        slices,
        parts,
        quarantined,
        columns,
    })
}

/// The snapshot sequence.
pub(crate) async fn sequence(tx: &mut Tx) -> Result<i64> {
    let rows = tx
        .fetch("SELECT sequence FROM lake_head WHERE id = 1", Vec::new())
        .await?;
    segments::only(&rows)?.int(0)
}

//! Leases: who may do work that one process must do alone.
//!
//! A lease can be lost without its holder noticing (a paused process, a clock that jumped). So a lease alone protects
//! nothing: what it protects presents the fencing token in the same transaction as its change ([`hold`]).

use std::time::Duration;

use schema::UnixNanos;

use crate::db::Tx;
use crate::{Catalog, CatalogError, Lease, Result, rules};

/// A lease that would go on for so many times as long as it was asked for now was taken by a clock that was wrong, or is
/// judged by one: it counts as expired, or nobody would do its work for hours. Fencing makes a mistake harmless.
const DOUBTFUL: u32 = 10;

impl Catalog {
    /// Takes the lease if it is free, expired or doubtfully long, renews it with the same token if it is ours, and returns nothing if
    /// somebody else holds it. `holder` must be unique to the process, not to the machine.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] for an empty name or holder, [`CatalogError::Unavailable`] when the database
    /// does not answer.
    pub async fn acquire_lease(
        &self,
        name: &str,
        holder: &str,
        ttl: Duration,
        now: UnixNanos,
    ) -> Result<Option<Lease>> {
        rules::text("lease name", name)?;
        rules::text("lease holder", holder)?;
        let expires_at = rules::after(now, ttl);
        let sql = "INSERT INTO lease (name, holder, token, expires_at) VALUES ($1, $2, 1, $3) \
                   ON CONFLICT (name) DO UPDATE SET \
                   token = CASE WHEN lease.holder = excluded.holder THEN lease.token ELSE lease.token + 1 END, \
                   holder = excluded.holder, expires_at = excluded.expires_at \
                   WHERE lease.holder = excluded.holder OR lease.expires_at <= $4 OR lease.expires_at > $5 \
                   RETURNING token";
        let doubtful = rules::after(now, ttl.saturating_mul(DOUBTFUL));
        let rows = self
            .pools
            .write(
                sql,
                vec![
                    name.into(),
                    holder.into(),
                    expires_at.into(),
                    now.into(),
                    doubtful.into(),
                ],
            )
            .await?;
        let lease = |token| Lease {
            name: name.to_owned(),
            holder: holder.to_owned(),
            token,
            expires_at,
        };
        rows.first().map(|row| row.int(0).map(lease)).transpose()
    }

    /// Extends a lease to `now + ttl`; false when it is no longer ours.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer; the lease then runs out as it was.
    pub async fn renew_lease(&self, lease: &Lease, ttl: Duration, now: UnixNanos) -> Result<bool> {
        let sql = "UPDATE lease SET expires_at = $4 WHERE name = $1 AND holder = $2 AND token = $3 RETURNING token";
        let mut values = key(lease);
        values.push(rules::after(now, ttl).into());
        Ok(!self.pools.write(sql, values).await?.is_empty())
    }

    /// Gives a lease back, so that others need not wait for its end. No error when it is no longer ours.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the database does not answer; the lease then runs out by itself.
    pub async fn release_lease(&self, lease: &Lease) -> Result<()> {
        // No holder has an empty name, so the next one gets a new token.
        let sql = "UPDATE lease SET holder = '', expires_at = $4 WHERE name = $1 AND holder = $2 AND token = $3";
        let mut values = key(lease);
        values.push(i64::MIN.into());
        self.pools.write(sql, values).await.map(|_| ())
    }
}

fn key(lease: &Lease) -> Vec<crate::db::Value> {
    vec![
        lease.name.as_str().into(),
        lease.holder.as_str().into(),
        lease.token.into(),
    ]
}

/// Makes sure that the lease is still its holder's and stays so until the transaction ends. A lease past its end that
/// nobody took is good: no one else can have done the work.
pub(crate) async fn hold(tx: &mut Tx, lease: &Lease) -> Result<()> {
    // An update rather than a select: it locks the row on both databases.
    let sql = "UPDATE lease SET expires_at = expires_at WHERE name = $1 AND holder = $2 AND token = $3";
    match tx.execute(sql, key(lease)).await? {
        0 => Err(CatalogError::Fenced {
            name: lease.name.clone(),
            token: lease.token,
        }),
        _ => Ok(()),
    }
}

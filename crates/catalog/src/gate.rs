//! A place for a test to stand between the catalog and its database.
//!
//! A simulation of several processes must decide in which order their transactions run and which of them fail or lose
//! their reply. [`Catalog::gated`] gives each process a view of one catalog that asks first. Without a gate nothing is
//! asked and nothing is paid.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::db::Pools;
use crate::{Catalog, CatalogError, Result};

/// What an operation does to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    Read,
    /// It may change something.
    Write,
}

/// How an operation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// As the database wants it.
    Happens,
    /// As unavailable, before anything happened.
    Fails,
    /// As unavailable, although everything happened.
    ReplyLost,
}

/// The permission to run one operation: one statement or one transaction.
pub struct Pass {
    /// How it ends.
    pub fate: Fate,
    /// Dropped when the operation has ended, however it did.
    pub under_way: Box<dyn Send>,
}

/// Who decides when operations run.
pub trait Gate: Debug + Send + Sync {
    /// Resolves when the operation may begin.
    fn enter(&self, access: Access) -> Pin<Box<dyn Future<Output = Pass> + Send + '_>>;
}

impl Catalog {
    /// The same database, seen by another process that asks `gate` before each operation.
    pub fn gated(&self, gate: Arc<dyn Gate>) -> Self {
        Self {
            pools: Pools {
                connections: self.pools.connections.clone(),
                gate: Some(gate),
            },
            dataset_ids: Arc::default(),
        }
    }
}

impl Pools {
    /// Waits for the gate, if there is one.
    pub(crate) async fn enter(&self, access: Access) -> Result<Option<Pass>> {
        let Some(gate) = &self.gate else { return Ok(None) };
        let pass = gate.enter(access).await;
        if pass.fate == Fate::Fails {
            return Err(unavailable());
        }
        Ok(Some(pass))
    }
}

impl Pass {
    /// What the caller hears of an operation that happened.
    pub(crate) fn reply(pass: Option<Self>) -> Result<()> {
        match pass {
            Some(pass) if pass.fate == Fate::ReplyLost => Err(unavailable()),
            _ => Ok(()),
        }
    }
}

fn unavailable() -> CatalogError {
    CatalogError::Unavailable(sqlx::Error::WorkerCrashed)
}

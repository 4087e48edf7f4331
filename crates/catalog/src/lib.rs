//! The catalog: which rows exist, where they are, and who may change that.
//!
//! It exists so that acknowledged data has one source of truth. Objects in the store mean nothing until a row here
//! names them; recovery after a crash is to read the catalog. SQLite serves one node, PostgreSQL a cluster; both run the
//! same statements and pass the same tests.
//!
//! Life cycle of the data: [`Catalog::commit_segment`] makes slices live, [`Catalog::replace`] turns slices and parts
//! into parts and moves the snapshot sequence, [`Catalog::expire`] ends what is past its retention. Objects
//! that are no longer named by anything live wait in the garbage queue ([`Catalog::gc_due`]) for a grace period,
//! because running queries still read them. [`Catalog::delete_rows`] is a replacement that somebody asked for: its record says how
//! many rows went and which objects held them.
//!
//! Failure: every method is one transaction, all or nothing. [`CatalogError`] says whether to retry, to plan again or to
//! stop. When the connection breaks during a commit the outcome is unknown: a retry of `commit_segment` then reports its
//! own requests as duplicates, which means success.
//!
//! Time is always passed in; the crate reads no clock. It only tells what the database's clock says ([`Catalog::time`]).

mod audit;
mod checkpoints;
mod columns;
mod compaction;
mod connect;
mod datasets;
mod db;
mod deletions;
mod descriptions;
mod directories;
mod ducklake;
mod error;
mod facts;
mod gate;
mod gc;
mod leases;
mod migrate;
mod parts;
mod quarantine;
mod requests;
mod retention;
mod rules;
mod segments;
mod snapshot;
#[cfg(feature = "testing")]
pub mod testing;
mod types;
mod url;

pub use audit::{RowProblem, RowRule, StoredPart, StoredSegment, StoredTotals};
pub use connect::{Catalog, ConnectOptions};
pub use descriptions::DESCRIBING;
pub use directories::create_directories;
pub use ducklake::{LakeColumn, LakeDefinition, LakeTable, LakeView};
pub use error::{CatalogError, Result};
pub use facts::{ConnectionFacts, DatabaseFacts};
pub use gate::{Access, Fate, Gate, Pass};
pub use migrate::{MigrationReport, newest_version};
pub use types::*;
pub use url::CatalogUrl;

//! From OTLP/protobuf requests to columns, without a tree of objects in between.
//!
//! [`TenantBatch`] takes requests of all three signals, one after the other, until a commit takes its rows. Two kinds
//! of trouble are kept apart: bytes that are not protobuf spoil the whole request, which then leaves no row; an
//! item that is well-formed but breaks a rule of OTLP is rejected alone and counted (partial success).

pub mod any_value;
mod batch;
mod identity;
mod known;
mod logs;
mod metrics;
mod outcome;
mod points;
mod resource;
mod series;
mod traces;

pub use batch::{Admissions, AdmitAll, Context, Finished, RowCounts, TenantBatch};
pub use known::KnownIds;
pub use outcome::{DecodeLimits, Fault, ItemError, Outcome};

#[cfg(test)]
mod tests;

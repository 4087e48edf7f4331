//! From OTLP/protobuf requests to columns, without a tree of objects in between.
//!
//! [`TenantBatch`] takes requests of all three signals, one after the other, until a commit takes its rows. Two kinds
//! of trouble are kept apart: bytes that are not protobuf spoil the whole request, which then leaves no row; an
//! item that is well-formed but breaks a rule of OTLP is rejected alone and counted (partial success).
//!
//! Where protobuf has a parser merge a singular message field that is sent twice, the last one is taken whole: no
//! encoder does that, and a merge would need the tree of objects.

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
mod span_lists;
mod traces;

pub use batch::{Admissions, AdmitAll, Context, Finished, RowCounts, TenantBatch};
pub use known::{IdRoom, KnownIds};
pub use outcome::{DecodeLimits, Fault, ItemError, Outcome};
pub use series::series_prefix;

#[cfg(test)]
mod tests;

//! The vocabulary that every other crate shares: tenants, datasets, ids, time and column names.
//!
//! `schema` does no I/O, reads no clock of its own and knows no wire format, no query language and no
//! storage. A type here exists because at least two crates must agree on it.

mod clock;
pub mod columns;
mod dataset;
pub mod sparse;
mod tenant;
mod time;

pub use clock::{Clock, ManualClock, SystemClock, UnixNanos};
pub use dataset::Dataset;
pub use tenant::{InvalidTenant, TenantId};
pub use time::{day_text, rfc3339, time_text};

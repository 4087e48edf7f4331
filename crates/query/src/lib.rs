//! Answers questions about the lake: SQL, and a trace by its id.
//!
//! Every query begins with one catalog snapshot of all datasets it touches, so it sees every acknowledged row exactly
//! once, whatever compaction does meanwhile. DataFusion plans and runs it over slices and parts; memory, time,
//! bytes read and the number of queries at once are limited, and dropping a result cancels its query.
//!
//! It also tells `lake` which rows a deletion is about (`matching`).
//!
//! Absent on purpose: `query` writes nothing, knows no HTTP, and no query language but SQL.

mod blocks;
mod bodies;
mod chunks;
mod coop;
mod engine;
mod error;
mod holding;
mod lookup;
mod matching;
mod names;
mod partial;
mod pool;
pub mod postgres;
mod reader;
mod table;
mod trace;
mod views;

pub use engine::{QueryEngine, QueryOptions, QueryResult};
pub use error::{QueryError, stream_error};
pub use holding::FoundTrace;
pub use matching::table_of;
pub use trace::Trace;

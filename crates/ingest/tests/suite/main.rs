//! Ingest over a real lake: SQLite as catalog, a store in memory that fails on demand.

mod accept;
mod deletions;
mod fixture;
mod hostile;
mod limits;
mod transports;

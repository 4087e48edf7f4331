//! The query engine over a lake in memory.

mod fixture;
mod hostile;
mod logs;
mod metrics;
mod spans;

//! Measurements of the otlp-rust binary from outside: a neutral load, a sender that never re-encodes it, and the
//! operating system's own account of what the server used. Nothing here links the code under test.
//!
//! A run generates its loads to a scratch directory, measures the yardsticks on them, starts the server for each
//! phase, and writes figures beside goals and yardsticks. It ends by itself and takes its servers along, whether it
//! succeeds, fails or is interrupted. There are no timed assertions: a slow machine makes a slow report, not a failure.

pub mod api;
pub mod bundle;
pub mod cgroup;
pub mod load;
pub mod machine;
pub mod phases;
pub mod process;
pub mod report;
pub mod send;
pub mod server;
pub mod yardstick;

//! The lake against a real catalog (SQLite) and real stores (local disk, memory), with a clock moved by hand and a store
//! that fails on demand. Everything is looked at from outside: through commits, snapshots and what can be read back.

mod commit;
mod compaction;
mod deletions;
mod duplicates;
mod fixture;
mod golden;
mod hostile;
mod maintenance;
mod rows;
mod segments;
mod verify;

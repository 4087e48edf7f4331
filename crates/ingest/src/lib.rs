//! From a request on the wire to an acknowledgement that holds.
//!
//! [`Ingest::accept`] is the whole path in one list: admit, identify, decode, wait for the group commit. The
//! receivers around it ([`grpc`], [`http`]) only translate between OTLP's transports and that call.
//!
//! Absent on purpose: `ingest` writes neither the store nor the catalog itself (that is `lake`), reads nothing back, and
//! decides nothing about who may send.

mod accept;
mod columns;
mod committer;
mod decompress;
mod error;
pub mod grpc;
pub mod http;
mod pending;
mod queue;
mod receive;

pub use accept::{Accepted, Ingest, IngestOptions};
pub use error::IngestError;

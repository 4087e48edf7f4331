//! OTLP on the wire: reading requests and writing answers.
//!
//! Requests are decoded without building a tree of objects: [`wire`] walks protobuf bytes in place. Everything that leaves
//! (exported traces, responses, generated load) goes through plain structs and encoders of its own.
//!
//! Absent on purpose: this crate does no I/O, knows no storage and no query language, and keeps no state between requests.

pub mod columns;
pub mod decode;
pub mod encode;
pub mod json;
pub mod model;
pub mod wire;

#[cfg(test)]
mod oracle;

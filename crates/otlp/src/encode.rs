//! The model on its way out: one description of each message, two forms.
//!
//! `fields` names each message's fields once, by number and by JSON name; [`protobuf`] and [`json`] are the two sinks
//! that write them down. Encoding cannot fail. Fields at their default value are left out where proto3 leaves them out, so
//! an empty message is empty.

mod answers;
mod fields;
pub mod json;
pub mod protobuf;
mod sink;

#[cfg(test)]
mod tests;

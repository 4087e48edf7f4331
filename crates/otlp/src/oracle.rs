//! For tests: random messages, and the same messages as prost's generated types, which judge our bytes.

mod convert;
mod random;

pub(crate) use convert::{logs_request, metrics_request, traces_request};
pub(crate) use random::Random;

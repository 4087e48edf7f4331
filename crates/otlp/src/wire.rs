//! Protobuf at the level of fields: tags, varints and lengths, with no knowledge of any message.
//!
//! Ingest spends most of its CPU here, so [`Reader`] borrows from the request, allocates nothing and never panics: any
//! byte string either yields fields or a [`WireError`]. The encoding is that of
//! <https://protobuf.dev/programming-guides/encoding/>.

mod error;
mod packed;
mod reader;
mod writer;

pub use error::{WireError, WireType};
pub use packed::{PackedDoubles, PackedFixed64, PackedVarints};
pub use reader::{Reader, Value};
pub use writer::{Open, Writer};

#[cfg(test)]
mod tests;

//! What can be wrong with protobuf bytes.

use std::fmt;

/// The six wire types of protobuf, as found in the low three bits of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireType {
    Varint,
    Fixed64,
    Bytes,
    StartGroup,
    EndGroup,
    Fixed32,
}

impl fmt::Display for WireType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WireType::Varint => "varint",
            WireType::Fixed64 => "64-bit",
            WireType::Bytes => "length-delimited",
            WireType::StartGroup => "start-group",
            WireType::EndGroup => "end-group",
            WireType::Fixed32 => "32-bit",
        })
    }
}

/// Why bytes are not the protobuf message they claim to be. The request is malformed: the sender must not retry it.
///
/// Offsets count bytes from the start of the message handed to the [`Reader`](super::Reader) that failed, which for a
/// nested message is not the start of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends inside a field.
    #[error("truncated protobuf: the message ends inside the field at byte {offset}")]
    Truncated { offset: usize },
    /// A varint of more than ten bytes, or of more than 64 bits.
    #[error("malformed protobuf: the varint at byte {offset} is longer than 64 bits")]
    VarintTooLong { offset: usize },
    /// Field number 0, a field number above 2^29 - 1, or wire type 6 or 7.
    #[error("malformed protobuf: {tag:#x} at byte {offset} is not a field tag")]
    InvalidTag { offset: usize, tag: u64 },
    /// A length that points past the end of the message.
    #[error("truncated protobuf: the field at byte {offset} claims {length} bytes but {available} remain")]
    LengthOverflow {
        offset: usize,
        length: u64,
        available: usize,
    },
    /// A known field that arrived as another wire type than its definition has.
    #[error("malformed protobuf: expected a {expected} field, found {found}")]
    WrongWireType { expected: WireType, found: WireType },
    /// A packed list whose length is not a multiple of its elements'.
    #[error("malformed protobuf: a packed list of {length} bytes does not divide into {width}-byte elements")]
    PackedLength { length: usize, width: usize },
    /// An end-group tag that closes nothing, or closes another field's group.
    #[error("malformed protobuf: unmatched end-group tag at byte {offset}")]
    UnmatchedEndGroup { offset: usize },
    /// Groups (which no OTLP message uses) nested deeper than any sane unknown field.
    #[error("malformed protobuf: groups nested deeper than {limit} levels at byte {offset}")]
    GroupTooDeep { offset: usize, limit: usize },
}

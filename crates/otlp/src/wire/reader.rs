//! The field iterator. See the module above for why it is written by hand.

use super::{WireError, WireType};

/// Unknown groups nested deeper than this are refused: protobuf's own parsers stop at 100 levels.
const MAX_GROUP_DEPTH: usize = 100;

/// The largest field number protobuf allows, 2^29 - 1.
const MAX_FIELD: u64 = (1 << 29) - 1;

/// One field's content, borrowed from the message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The wire type the field came with.
    #[inline]
    pub fn wire_type(self) -> WireType {
        match self {
            Value::Varint(_) => WireType::Varint,
            Value::Fixed64(_) => WireType::Fixed64,
            Value::Bytes(_) => WireType::Bytes,
            Value::Fixed32(_) => WireType::Fixed32,
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn wrong(self, expected: WireType) -> WireError {
        WireError::WrongWireType {
            expected,
            found: self.wire_type(),
        }
    }

    /// A string (not checked for UTF-8), bytes, a nested message or a packed list.
    #[inline]
    pub fn bytes(self) -> Result<&'a [u8], WireError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            other => Err(other.wrong(WireType::Bytes)),
        }
    }

    /// A nested message, ready to be walked.
    #[inline]
    pub fn message(self) -> Result<Reader<'a>, WireError> {
        self.bytes().map(Reader::new)
    }

    /// `uint64`, `uint32`, and the raw form of every other varint.
    #[inline]
    pub fn varint(self) -> Result<u64, WireError> {
        match self {
            Value::Varint(value) => Ok(value),
            other => Err(other.wrong(WireType::Varint)),
        }
    }

    /// `uint32`; larger values lose their high bits, as in every protobuf parser.
    #[inline]
    pub fn uint32(self) -> Result<u32, WireError> {
        self.varint().map(|v| v as u32)
    }

    /// `int64`: two's complement in a varint.
    #[inline]
    pub fn int64(self) -> Result<i64, WireError> {
        self.varint().map(|v| v as i64)
    }

    /// `int32` and enums: sign-extended to 64 bits on the wire; larger values lose their high bits.
    #[inline]
    pub fn int32(self) -> Result<i32, WireError> {
        self.varint().map(|v| v as i32)
    }

    /// `sint32`: zigzag.
    #[inline]
    pub fn sint32(self) -> Result<i32, WireError> {
        self.varint().map(|v| {
            let v = v as u32;
            ((v >> 1) as i32) ^ -((v & 1) as i32)
        })
    }

    /// `sint64`: zigzag.
    #[inline]
    pub fn sint64(self) -> Result<i64, WireError> {
        self.varint().map(|v| ((v >> 1) as i64) ^ -((v & 1) as i64))
    }

    /// `bool`: any varint but 0 is true.
    #[inline]
    pub fn bool(self) -> Result<bool, WireError> {
        self.varint().map(|v| v != 0)
    }

    /// `fixed64`.
    #[inline]
    pub fn fixed64(self) -> Result<u64, WireError> {
        match self {
            Value::Fixed64(value) => Ok(value),
            other => Err(other.wrong(WireType::Fixed64)),
        }
    }

    /// `sfixed64`.
    #[inline]
    pub fn sfixed64(self) -> Result<i64, WireError> {
        self.fixed64().map(|v| v as i64)
    }

    /// `double`, bit for bit (a NaN keeps its payload).
    #[inline]
    pub fn f64(self) -> Result<f64, WireError> {
        self.fixed64().map(f64::from_bits)
    }

    /// `fixed32`.
    #[inline]
    pub fn fixed32(self) -> Result<u32, WireError> {
        match self {
            Value::Fixed32(value) => Ok(value),
            other => Err(other.wrong(WireType::Fixed32)),
        }
    }
}

/// Walks the fields of one message in the order they were sent.
///
/// Copy it to walk a message twice. After an error the reader's position is unspecified (it still cannot panic): give the
/// message up.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// What is left to read.
    rest: &'a [u8],
    /// The message's whole length in bytes, to turn `rest` into an offset for errors.
    total: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `message`.
    #[inline]
    pub fn new(message: &'a [u8]) -> Self {
        Reader {
            rest: message,
            total: message.len(),
        }
    }

    /// Bytes read so far.
    #[inline]
    pub fn offset(&self) -> usize {
        self.total - self.rest.len()
    }

    /// What has not been read yet.
    #[inline]
    pub fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// The next field's number and content, or `None` at the end of the message. Groups are skipped, whatever is in them.
    ///
    /// Errors when the bytes are not protobuf; see [`WireError`].
    #[allow(
        clippy::should_implement_trait,
        reason = "a fallible iterator: `?` on each step is the point"
    )]
    // Left to itself the compiler makes this a call that returns the field through memory, written in halves and read
    // whole: a stall for every field of every message.
    #[inline(always)]
    pub fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, WireError> {
        loop {
            let Some((&first, after)) = self.rest.split_first() else {
                return Ok(None);
            };
            // Fields 1 to 15, nearly all of OTLP, have a tag of one byte.
            let tag = if (0x08..0x80).contains(&first) {
                self.rest = after;
                u32::from(first)
            } else {
                self.long_tag()?
            };
            let field = tag >> 3;
            let value = match tag & 7 {
                0 => Value::Varint(self.varint()?),
                1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
                2 => Value::Bytes(self.bytes()?),
                5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
                _ => {
                    self.skip_group(tag)?;
                    continue;
                }
            };
            return Ok(Some((field, value)));
        }
    }

    /// A bare varint, as inside packed lists.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, WireError> {
        match *self.rest {
            [a, ref rest @ ..] if a < 0x80 => {
                self.rest = rest;
                Ok(u64::from(a))
            }
            // Lengths of most nested messages.
            [a, b, ref rest @ ..] if b < 0x80 => {
                self.rest = rest;
                Ok(u64::from(a & 0x7f) | u64::from(b) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let offset = self.offset();
        let mut value = 0u64;
        for (i, &byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte holds bit 63 alone.
            if i == 9 && byte > 1 {
                return Err(WireError::VarintTooLong { offset });
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = self.rest.get(i + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(WireError::Truncated { offset })
    }

    #[cold]
    #[inline(never)]
    fn long_tag(&mut self) -> Result<u32, WireError> {
        let offset = self.offset();
        let tag = self.varint()?;
        if tag < 8 || tag >> 3 > MAX_FIELD {
            return Err(WireError::InvalidTag { offset, tag });
        }
        Ok(tag as u32)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        match self.rest.split_first_chunk::<N>() {
            Some((array, rest)) => {
                self.rest = rest;
                Ok(*array)
            }
            None => Err(WireError::Truncated { offset: self.offset() }),
        }
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.varint()?;
        // On a 32-bit target a length past usize must not wrap.
        let split = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length));
        match split {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.length_overflow(length)),
        }
    }

    #[cold]
    #[inline(never)]
    fn length_overflow(&self, length: u64) -> WireError {
        WireError::LengthOverflow {
            offset: self.offset(),
            length,
            available: self.rest.len(),
        }
    }

    /// Reads on to the end of the group that `tag` opens. A loop, not a recursion: nesting costs 4 bytes a level.
    #[cold]
    #[inline(never)]
    fn skip_group(&mut self, tag: u32) -> Result<(), WireError> {
        let mut open = Vec::new();
        let mut tag = tag;
        let mut offset = self.offset();
        loop {
            match tag & 7 {
                0 => drop(self.varint()?),
                1 => drop(self.array::<8>()?),
                2 => drop(self.bytes()?),
                3 if open.len() == MAX_GROUP_DEPTH => {
                    return Err(WireError::GroupTooDeep {
                        offset,
                        limit: MAX_GROUP_DEPTH,
                    });
                }
                3 => open.push(tag >> 3),
                4 => {
                    if open.pop() != Some(tag >> 3) {
                        return Err(WireError::UnmatchedEndGroup { offset });
                    }
                    if open.is_empty() {
                        return Ok(());
                    }
                }
                5 => drop(self.array::<4>()?),
                _ => {
                    return Err(WireError::InvalidTag {
                        offset,
                        tag: u64::from(tag),
                    });
                }
            }
            offset = self.offset();
            if self.rest.is_empty() {
                return Err(WireError::Truncated { offset });
            }
            tag = self.long_tag()?;
        }
    }
}

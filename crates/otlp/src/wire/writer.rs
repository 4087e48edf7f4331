//! Writes protobuf fields at the end of a buffer.

use super::WireType;

/// Appends fields to a `Vec<u8>`. Every method writes its field whatever the value: leaving out defaults is the caller's
/// choice.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

/// A length-delimited field whose length is not known yet; hand it to [`Writer::close`].
#[derive(Debug)]
#[must_use = "an open field has no length until it is closed"]
pub struct Open {
    /// Where the content starts, one byte past the reserved length.
    content: usize,
}

impl<'a> Writer<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Writer { out }
    }

    fn tag(&mut self, field: u32, wire_type: WireType) {
        let wire_type = match wire_type {
            WireType::Varint => 0,
            WireType::Fixed64 => 1,
            WireType::Bytes => 2,
            WireType::StartGroup => 3,
            WireType::EndGroup => 4,
            WireType::Fixed32 => 5,
        };
        self.raw_varint(u64::from(field) << 3 | wire_type);
    }

    /// A varint without a tag, as inside packed lists.
    pub fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    /// A little-endian 64-bit number without a tag, as inside packed lists.
    pub fn raw_fixed64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// `uint32`, `uint64`, `bool`, and `int32`, `int64` and enums as sign-extended 64 bits.
    pub fn varint(&mut self, field: u32, value: u64) {
        self.tag(field, WireType::Varint);
        self.raw_varint(value);
    }

    /// `sint32`: zigzag.
    pub fn sint32(&mut self, field: u32, value: i32) {
        self.varint(field, u64::from((value << 1 ^ value >> 31) as u32));
    }

    /// `fixed64`, and `sfixed64` and `double` as bits.
    pub fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, WireType::Fixed64);
        self.raw_fixed64(value);
    }

    /// `fixed32`.
    pub fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, WireType::Fixed32);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// `string`, `bytes`, or a message that is already encoded.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, WireType::Bytes);
        self.raw_varint(value.len() as u64);
        self.out.extend_from_slice(value);
    }

    /// Starts a nested message or a packed list.
    pub fn open(&mut self, field: u32) -> Open {
        self.tag(field, WireType::Bytes);
        // Most nested messages are shorter than 128 bytes: one byte of length. Longer ones are moved when they close.
        self.out.push(0);
        Open {
            content: self.out.len(),
        }
    }

    /// Ends what [`open`](Self::open) started. Fields nest: close them in the reverse order.
    pub fn close(&mut self, open: Open) {
        let length = self.out.len() - open.content;
        let mut prefix = [0u8; 10];
        let mut used = 0;
        let mut left = length as u64;
        for slot in &mut prefix {
            used += 1;
            *slot = left as u8 & 0x7f;
            left >>= 7;
            if left == 0 {
                break;
            }
            *slot |= 0x80;
        }
        if let Some(slot) = self.out.get_mut(open.content - 1) {
            *slot = prefix[0];
        }
        if used > 1 {
            let tail = prefix[1..used].iter().copied();
            self.out.splice(open.content..open.content, tail);
        }
    }
}

//! Repeated scalars. A parser must accept them packed (one length-delimited field) and one by one, whatever the definition
//! says (<https://protobuf.dev/programming-guides/encoding/#packed>), so each iterator here takes either form.

use super::{Reader, Value, WireError, WireType};

/// The `fixed64` values of one field occurrence.
#[derive(Clone, Debug)]
pub struct PackedFixed64<'a> {
    /// A multiple of 8 bytes.
    packed: &'a [u8],
    single: Option<u64>,
}

/// The `double` values of one field occurrence.
#[derive(Clone, Debug)]
pub struct PackedDoubles<'a>(PackedFixed64<'a>);

/// The varints (`uint64`, raw) of one field occurrence. Ends after the first error.
#[derive(Clone, Debug)]
pub struct PackedVarints<'a> {
    packed: Reader<'a>,
    single: Option<u64>,
}

impl<'a> Value<'a> {
    /// A `repeated fixed64`. Errors on a wire type that is neither packed nor 64-bit, and on a ragged length.
    #[inline]
    pub fn packed_fixed64(self) -> Result<PackedFixed64<'a>, WireError> {
        match self {
            Value::Bytes(packed) if packed.len().is_multiple_of(8) => Ok(PackedFixed64 { packed, single: None }),
            Value::Bytes(packed) => Err(WireError::PackedLength {
                length: packed.len(),
                width: 8,
            }),
            Value::Fixed64(value) => Ok(PackedFixed64 {
                packed: &[],
                single: Some(value),
            }),
            other => Err(other.wrong(WireType::Bytes)),
        }
    }

    /// A `repeated double`. Errors as [`packed_fixed64`](Self::packed_fixed64).
    #[inline]
    pub fn packed_doubles(self) -> Result<PackedDoubles<'a>, WireError> {
        self.packed_fixed64().map(PackedDoubles)
    }

    /// A `repeated uint64`. Errors on a wire type that is neither packed nor varint; a malformed varint shows up as an
    /// `Err` item.
    #[inline]
    pub fn packed_varints(self) -> Result<PackedVarints<'a>, WireError> {
        match self {
            Value::Bytes(packed) => Ok(PackedVarints {
                packed: Reader::new(packed),
                single: None,
            }),
            Value::Varint(value) => Ok(PackedVarints {
                packed: Reader::new(&[]),
                single: Some(value),
            }),
            other => Err(other.wrong(WireType::Bytes)),
        }
    }
}

impl Iterator for PackedFixed64<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        match self.packed.split_first_chunk::<8>() {
            Some((chunk, rest)) => {
                self.packed = rest;
                Some(u64::from_le_bytes(*chunk))
            }
            None => self.single.take(),
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.packed.len() / 8 + usize::from(self.single.is_some());
        (len, Some(len))
    }
}

impl ExactSizeIterator for PackedFixed64<'_> {}

impl Iterator for PackedDoubles<'_> {
    type Item = f64;

    #[inline]
    fn next(&mut self) -> Option<f64> {
        self.0.next().map(f64::from_bits)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for PackedDoubles<'_> {}

impl Iterator for PackedVarints<'_> {
    type Item = Result<u64, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.packed.remaining().is_empty() {
            return self.single.take().map(Ok);
        }
        let item = self.packed.varint();
        if item.is_err() {
            self.packed = Reader::new(&[]);
        }
        Some(item)
    }
}

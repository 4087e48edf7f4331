//! `KeyValue` and `AnyValue` (opentelemetry/proto/common/v1), and their JSON text form.
//!
//! The JSON form is plain where JSON has the type: text, booleans, integers, arrays and objects. Doubles always carry
//! a point or an exponent so that they stay apart from integers; what JSON lacks is an object with one `$` key:
//! `{"$bytes":"<base64>"}`, `{"$double":"NaN"}`. An unset value is `null`. Of a repeated key the last value is kept,
//! because readers of JSON disagree about which one counts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Fault, ItemError};
use crate::wire::{Reader, WireError};

/// An `AnyValue` still in wire form.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AnyRef<'a> {
    /// No value set.
    Empty,
    /// `string_value`, not yet checked to be UTF-8.
    Text(&'a [u8]),
    /// `bool_value`.
    Bool(bool),
    /// `int_value`.
    Int(i64),
    /// `double_value`.
    Double(f64),
    /// The `ArrayValue` message.
    Array(&'a [u8]),
    /// The `KeyValueList` message.
    Map(&'a [u8]),
    /// `bytes_value`.
    Bytes(&'a [u8]),
}

/// Reads an `AnyValue` message.
///
/// # Errors
/// Malformed protobuf.
#[inline]
pub fn any_value(message: &[u8]) -> Result<AnyRef<'_>, WireError> {
    let mut reader = Reader::new(message);
    let mut value = AnyRef::Empty;
    while let Some((field, content)) = reader.next()? {
        value = match field {
            1 => AnyRef::Text(content.bytes()?),
            2 => AnyRef::Bool(content.bool()?),
            3 => AnyRef::Int(content.int64()?),
            4 => AnyRef::Double(content.f64()?),
            5 => AnyRef::Array(content.bytes()?),
            6 => AnyRef::Map(content.bytes()?),
            7 => AnyRef::Bytes(content.bytes()?),
            _ => value,
        };
    }
    Ok(value)
}

/// Reads a `KeyValue` message into key and value.
///
/// # Errors
/// Malformed protobuf.
#[inline]
pub fn key_value(message: &[u8]) -> Result<(&[u8], AnyRef<'_>), WireError> {
    match usual_key_value(message) {
        Some(pair) => Ok(pair),
        None => any_key_value(message),
    }
}

/// The `KeyValue` as every encoder writes it: key, then value, each once, nothing else, and lengths of one byte or, for
/// the value, two. `None` for all else, valid or not. Nearly all attributes are such, and reading them without
/// the loop over fields takes half the time.
#[inline]
fn usual_key_value(message: &[u8]) -> Option<(&[u8], AnyRef<'_>)> {
    let [0x0a, key_len @ 0..0x80, rest @ ..] = message else {
        return None;
    };
    let (key, rest) = rest.split_at_checked(usize::from(*key_len))?;
    let value = match rest {
        [0x12, len @ 0..0x80, value @ ..] if usize::from(*len) == value.len() => value,
        [0x12, low @ 0x80..=0xff, high @ 1..0x80, value @ ..]
            if usize::from(low & 0x7f) | usize::from(*high) << 7 == value.len() =>
        {
            value
        }
        _ => return None,
    };
    let value = match value {
        [0x0a, len @ 0..0x80, text @ ..] if usize::from(*len) == text.len() => AnyRef::Text(text),
        [0x0a, low @ 0x80..=0xff, high @ 1..0x80, text @ ..]
            if usize::from(low & 0x7f) | usize::from(*high) << 7 == text.len() =>
        {
            AnyRef::Text(text)
        }
        [0x18, number @ 0..0x80] => AnyRef::Int(i64::from(*number)),
        [0x18, bytes @ ..] => AnyRef::Int(usual_varint(bytes)?),
        [0x10, flag @ 0..=1] => AnyRef::Bool(*flag == 1),
        [0x21, bytes @ ..] => AnyRef::Double(f64::from_le_bytes(bytes.try_into().ok()?)),
        _ => return None,
    };
    Some((key, value))
}

/// A varint of up to 9 bytes that fills `bytes`; the tenth byte, of negative numbers, has rules of its own.
#[inline]
fn usual_varint(bytes: &[u8]) -> Option<i64> {
    let (&last, front) = bytes.split_last()?;
    if last >= 0x80 || front.len() > 8 {
        return None;
    }
    let mut value = i64::from(last);
    for &byte in front.iter().rev() {
        if byte < 0x80 {
            return None;
        }
        value = value << 7 | i64::from(byte & 0x7f);
    }
    Some(value)
}

#[inline(never)]
fn any_key_value(message: &[u8]) -> Result<(&[u8], AnyRef<'_>), WireError> {
    let mut reader = Reader::new(message);
    let (mut key, mut value) = (&[][..], AnyRef::Empty);
    while let Some((field, content)) = reader.next()? {
        match field {
            1 => key = content.bytes()?,
            2 => value = any_value(content.bytes()?)?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// Appends the JSON form of a value.
///
/// # Errors
/// Malformed protobuf, text that is not UTF-8, nesting deeper than `depth` levels.
pub fn write_json(value: AnyRef<'_>, out: &mut Vec<u8>, depth: usize) -> Result<(), Fault> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| ItemError::InvalidUtf8("an attribute's value"));
    match value {
        AnyRef::Empty => out.extend_from_slice(b"null"),
        AnyRef::Text(bytes) => write_json_string(text(bytes)?, out),
        AnyRef::Bool(flag) => out.extend_from_slice(if flag { b"true" } else { b"false" }),
        AnyRef::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
        AnyRef::Double(number) if number.is_finite() => out.extend_from_slice(format!("{number:?}").as_bytes()),
        AnyRef::Double(number) => {
            let name = if number.is_nan() {
                "NaN"
            } else if number > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            out.extend_from_slice(format!("{{\"$double\":\"{name}\"}}").as_bytes());
        }
        AnyRef::Bytes(bytes) => {
            out.extend_from_slice(b"{\"$bytes\":\"");
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.extend_from_slice(b"\"}");
        }
        AnyRef::Array(message) => {
            let depth = depth.checked_sub(1).ok_or(ItemError::TooDeep)?;
            out.push(b'[');
            let mut reader = Reader::new(message);
            let mut first = true;
            while let Some((field, content)) = reader.next()? {
                if field == 1 {
                    if !std::mem::take(&mut first) {
                        out.push(b',');
                    }
                    write_json(any_value(content.bytes()?)?, out, depth)?;
                }
            }
            out.push(b']');
        }
        AnyRef::Map(message) => {
            let depth = depth.checked_sub(1).ok_or(ItemError::TooDeep)?;
            let mut reader = Reader::new(message);
            let mut pairs = Vec::new();
            while let Some((field, content)) = reader.next()? {
                if field == 1 {
                    pairs.push(key_value(content.bytes()?)?);
                }
            }
            write_pairs(&pairs, out, depth)?;
        }
    }
    Ok(())
}

/// Appends a JSON object of repeated `KeyValue` messages, or nothing if there are none.
///
/// # Errors
/// As [`write_json`].
pub fn write_json_object<'a>(
    attributes: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Fault> {
    let pairs = attributes.map(key_value).collect::<Result<Vec<_>, _>>()?;
    if pairs.is_empty() {
        return Ok(());
    }
    write_pairs(&pairs, out, depth)
}

fn write_pairs(pairs: &[(&[u8], AnyRef<'_>)], out: &mut Vec<u8>, depth: usize) -> Result<(), Fault> {
    let mut dead = superseded(pairs).into_iter().peekable();
    out.push(b'{');
    let mut first = true;
    for (index, &(key, value)) in pairs.iter().enumerate() {
        if dead.next_if_eq(&index).is_some() {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        let key = std::str::from_utf8(key).map_err(|_| ItemError::InvalidUtf8("an attribute's key"))?;
        write_json_string(key, out);
        out.push(b':');
        write_json(value, out, depth)?;
    }
    out.push(b'}');
    Ok(())
}

/// Indexes, ascending, of the pairs whose key comes again later.
pub(super) fn superseded(pairs: &[(&[u8], AnyRef<'_>)]) -> Vec<usize> {
    // Below this many, comparing each with each needs no memory and is faster than hashing.
    const FEW: usize = 12;
    if pairs.len() <= FEW {
        let later = |i: usize| pairs[i + 1..].iter().any(|pair| pair.0 == pairs[i].0);
        return (0..pairs.len()).filter(|&i| later(i)).collect();
    }
    let mut seen = hashbrown::HashSet::with_capacity(pairs.len());
    let mut dead: Vec<_> = (0..pairs.len()).rev().filter(|&i| !seen.insert(pairs[i].0)).collect();
    dead.reverse();
    dead
}

/// Appends a JSON string (RFC 8259, section 7).
pub fn write_json_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_form_reads_as_the_general_one() {
        let (mut usual, mut state) = (0, 0x9e37_79b9_7f4a_7c15_u64);
        let samples: [&[u8]; 7] = [
            b"\x0a\x03key\x12\x05\x0a\x03abc",
            b"\x0a\x01k\x12\x04\x18\xff\x80\x01",
            b"\x0a\x01k\x12\x0a\x18\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\x0a\x01k\x12\x0b\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0a\x01k\x12\x02\x10\x01",
            b"\x0a\x01k\x12\x09\x21\x00\x00\x00\x00\x00\x00\xf8\x3f",
            b"\x0a\x00\x12\x00",
        ];
        for round in 0..70_000_usize {
            let mut message = samples[round % samples.len()].to_vec();
            // The untouched samples first, then one or two bytes changed (xorshift64).
            for _ in 0..(round / samples.len()).min(2) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = state as usize % message.len();
                message[at] = (state >> 32) as u8;
            }
            if let Some((key, value)) = usual_key_value(&message) {
                usual += 1;
                let (general_key, general) = any_key_value(&message).unwrap();
                let same = match (value, general) {
                    (AnyRef::Double(a), AnyRef::Double(b)) => a.to_bits() == b.to_bits(),
                    (a, b) => a == b,
                };
                assert!(key == general_key && same, "{message:x?}: {value:?}, {general:?}");
            }
        }
        assert!(usual > 5_000);
    }
}

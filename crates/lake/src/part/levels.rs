//! Parquet's hybrid of runs and bit-packed numbers, for definition levels and dictionary codes.
//!
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE>: a run is `varint(count << 1)` and the value; a
//! packed stretch is `varint(groups << 1 | 1)` and eight numbers a group, least significant bits first.

use arrow::buffer::NullBuffer;

/// Bits of a code below `count`.
pub(super) const fn bit_width(count: usize) -> u32 {
    match count {
        0 | 1 => 0,
        _ => usize::BITS - (count - 1).leading_zeros(),
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_run(out: &mut Vec<u8>, count: usize, value: u32, width: u32) {
    put_varint(out, count << 1);
    out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(8) as usize]);
}

fn put_packed(out: &mut Vec<u8>, values: &[u32], width: u32) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(8);
    put_varint(out, groups << 1 | 1);
    let end = out.len() + groups * width as usize;
    let (mut bits, mut filled) = (0u64, 0);
    for &value in values {
        bits |= u64::from(value) << filled;
        filled += width;
        if filled >= 32 {
            out.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            filled -= 32;
        }
    }
    out.extend_from_slice(&bits.to_le_bytes()[..filled.div_ceil(8) as usize]);
    out.resize(end, 0);
}

/// Codes of `width` bits, with runs of eight and more as such.
pub(super) fn put_codes(out: &mut Vec<u8>, codes: &[u32], width: u32) {
    let (mut packed_from, mut at) = (0, 0);
    while at < codes.len() {
        let value = codes[at];
        let run = codes[at..].iter().take_while(|&&code| code == value).count();
        // Packed numbers come in eights: the run gives up those that complete the group before it.
        let missing = (8 - (at - packed_from) % 8) % 8;
        if run >= 8 + missing {
            put_packed(out, &codes[packed_from..at + missing], width);
            put_run(out, run - missing, value, width);
            packed_from = at + run;
        }
        at += run;
    }
    put_packed(out, &codes[packed_from..], width);
}

/// Equal bytes of a bitmap from which on a run is shorter than the bitmap.
const RUN_BYTES: usize = 4;

/// The definition levels of `rows` rows from `start` of a column of which `nulls` are null, after their length in bytes.
pub(super) fn put_levels(out: &mut Vec<u8>, nulls: Option<&NullBuffer>, start: usize, rows: usize) {
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    match nulls {
        None => put_run(out, rows, 1, 1),
        Some(nulls) => put_bitmap(out, &nulls.slice(start, rows)),
    }
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

fn put_bitmap(out: &mut Vec<u8>, valid: &NullBuffer) {
    // A bitmap is packed numbers of one bit already.
    let bits = valid.inner().sliced();
    let bytes = &bits.as_slice()[..valid.len().div_ceil(8)];
    let whole = valid.len() / 8;
    let (mut packed_from, mut at) = (0, 0);
    while at < whole {
        let byte = bytes[at];
        let run = match byte {
            0 | 0xff => bytes[at..whole].iter().take_while(|&&b| b == byte).count(),
            _ => 1,
        };
        if run >= RUN_BYTES {
            put_packed_bytes(out, &bytes[packed_from..at]);
            put_run(out, run * 8, u32::from(byte & 1), 1);
            packed_from = at + run;
        }
        at += run;
    }
    put_packed_bytes(out, &bytes[packed_from..]);
}

fn put_packed_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_varint(out, bytes.len() << 1 | 1);
        out.extend_from_slice(bytes);
    }
}

//! The trace index of a spans part: which blocks hold a trace.
//!
//! Entries are 8 bytes, a 32-bit hash of the trace id and a block number, sorted by hash. Hashes are uniform, so the
//! place of a hash can be computed instead of searched: a reader fetches one short range around it, whatever the
//! size of the part.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

/// Where a trace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceEntry {
    hash: u32,
    block: u32,
}

/// Bytes of an entry: hash and block, both `u32` big-endian.
pub const ENTRY_BYTES: u64 = 8;

fn hash(trace_id: &[u8]) -> u32 {
    (xxh3_64(trace_id) >> 32) as u32
}

impl TraceEntry {
    /// An entry for a 16-byte trace id.
    pub fn new(trace_id: &[u8], block: u32) -> Self {
        Self {
            hash: hash(trace_id),
            block,
        }
    }
}

/// Encodes entries, which it sorts.
pub fn encode(mut entries: Vec<TraceEntry>) -> Vec<u8> {
    entries.sort_unstable();
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES as usize);
    for entry in entries {
        bytes.extend_from_slice(&entry.hash.to_be_bytes());
        bytes.extend_from_slice(&entry.block.to_be_bytes());
    }
    bytes
}

/// The range of entry numbers to read for a trace among `entries`: the expected place and six standard deviations
/// (binomial: at most sqrt(n)/2) to each side, so that one read in a billion falls short.
pub fn guess(trace_id: &[u8], entries: u64) -> Range<u64> {
    let expected = ((u128::from(hash(trace_id)) * u128::from(entries)) >> 32) as u64;
    let margin = ((entries as f64).sqrt() * 3.0) as u64 + 16;
    expected.saturating_sub(margin)..(expected + margin).min(entries)
}

/// What a read of entries tells of a trace.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The blocks, ascending; empty if the part does not have the trace.
    Blocks(Vec<u32>),
    /// The range was too short to tell: read all entries.
    ReadMore,
}

/// Searches entries number `range` of `entries` in all.
pub fn search(trace_id: &[u8], bytes: &[u8], range: Range<u64>, entries: u64) -> Lookup {
    let wanted = hash(trace_id);
    let (all, _) = bytes.as_chunks::<8>();
    let hash_of = |e: &[u8; 8]| u32::from_be_bytes([e[0], e[1], e[2], e[3]]);
    let from = all.partition_point(|e| hash_of(e) < wanted);
    let to = all.partition_point(|e| hash_of(e) <= wanted);
    if (from == 0 && range.start > 0) || (to == all.len() && range.end < entries) {
        return Lookup::ReadMore;
    }
    Lookup::Blocks(
        all[from..to]
            .iter()
            .map(|e| u32::from_be_bytes([e[4], e[5], e[6], e[7]]))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_trace_with_one_short_read() {
        let id = |n: u64| [n.to_be_bytes(), (!n).to_be_bytes()].concat();
        let count = 100_000u64;
        let bytes = encode((0..count).map(|n| TraceEntry::new(&id(n), n as u32 / 30)).collect());
        for n in (0..count).step_by(97) {
            let range = guess(&id(n), count);
            assert!(range.end - range.start < 2500);
            let read = &bytes[(range.start * 8) as usize..(range.end * 8) as usize];
            let Lookup::Blocks(blocks) = search(&id(n), read, range, count) else {
                panic!("read more for {n}")
            };
            assert!(blocks.contains(&(n as u32 / 30)));
        }
        let absent = id(count + 5);
        let range = guess(&absent, count);
        let read = &bytes[(range.start * 8) as usize..(range.end * 8) as usize];
        assert!(matches!(search(&absent, read, range, count), Lookup::Blocks(b) if b.len() < 2));
    }
}

//! Distinct texts of one column, each stored once.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// Maps texts to dense codes (0, 1, 2, ... in order of first appearance). UTF-8 is checked once per distinct text.
#[derive(Debug, Default)]
pub struct Interner {
    table: HashTable<u32>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    start: u32,
    end: u32,
}

/// The bytes were not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotUtf8;

impl Interner {
    /// The code of `text`, new or known.
    ///
    /// # Errors
    /// [`NotUtf8`] when the bytes are not UTF-8; nothing is stored then.
    #[inline]
    pub fn intern(&mut self, text: &[u8]) -> Result<u32, NotUtf8> {
        let hash = xxh3_64(text);
        let (entries, bytes) = (&self.entries, &self.bytes);
        let same = |&code: &u32| {
            let e = &entries[code as usize];
            e.hash == hash && same(&bytes[e.start as usize..e.end as usize], text)
        };
        if let Some(&code) = self.table.find(hash, same) {
            return Ok(code);
        }
        self.insert(text, hash)
    }

    #[cold]
    fn insert(&mut self, text: &[u8], hash: u64) -> Result<u32, NotUtf8> {
        if simdutf8::basic::from_utf8(text).is_err() {
            return Err(NotUtf8);
        }
        let code = self.entries.len() as u32;
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(text);
        self.entries.push(Entry {
            hash,
            start,
            end: self.bytes.len() as u32,
        });
        let entries = &self.entries;
        self.table.insert_unique(hash, code, |&c| entries[c as usize].hash);
        Ok(code)
    }

    /// How many distinct texts there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was interned.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of a code given out by this interner.
    #[inline]
    pub fn get(&self, code: u32) -> &[u8] {
        let e = &self.entries[code as usize];
        &self.bytes[e.start as usize..e.end as usize]
    }

    /// Bytes held by the texts.
    pub fn text_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Where each text ends, and the bytes of all, in code order; the interner is empty afterwards.
    pub fn take(&mut self) -> (Vec<u32>, Vec<u8>) {
        let ends = self.entries.iter().map(|e| e.end).collect();
        let room = Vec::with_capacity(self.bytes.len());
        let bytes = std::mem::replace(&mut self.bytes, room);
        self.clear();
        (ends, bytes)
    }

    /// Forgets every text, keeping the allocations.
    pub fn clear(&mut self) {
        self.table.clear();
        self.entries.clear();
        self.bytes.clear();
    }
}

/// Whether two texts are equal: for the short ones that keys and values mostly are, without the call that `==` makes.
#[inline]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (Some((a_last, b_last)), true) = (a.last_chunk::<8>().zip(b.last_chunk::<8>()), a.len() <= 40) else {
        return a == b;
    };
    // Whole words from the front, and the last 8 bytes, which may overlap them.
    let (a_words, _) = a.as_chunks::<8>();
    let (b_words, _) = b.as_chunks::<8>();
    a_last == b_last && a_words.iter().zip(b_words).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_agrees_with_equality_at_every_length() {
        let text: Vec<u8> = (0..60).collect();
        for len in 0..60 {
            let copy = text[..len].to_vec();
            assert!(same(&text[..len], &copy));
            assert!(!same(&text[..len], &text[..len + 1]));
            for at in 0..len {
                let mut other = text[..len].to_vec();
                other[at] ^= 0x80;
                assert!(!same(&text[..len], &other), "length {len}, byte {at}");
            }
        }
    }
}

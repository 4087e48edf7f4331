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
            e.hash == hash && &bytes[e.start as usize..e.end as usize] == text
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
        self.entries.push(Entry { hash, start, end: self.bytes.len() as u32 });
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

    /// Arrow offsets and value bytes of all texts in code order; the interner is empty afterwards.
    pub fn take(&mut self) -> (Vec<i32>, Vec<u8>) {
        let mut offsets = Vec::with_capacity(self.entries.len() + 1);
        offsets.push(0);
        offsets.extend(self.entries.iter().map(|e| e.end as i32));
        let bytes = std::mem::take(&mut self.bytes);
        self.clear();
        (offsets, bytes)
    }

    /// Forgets every text, keeping the allocations.
    pub fn clear(&mut self) {
        self.table.clear();
        self.entries.clear();
        self.bytes.clear();
    }
}

//! Reading what an object holds, in little memory.

use std::ops::Range;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use xxhash_rust::xxh3::Xxh3;

use super::{CHUNK_BYTES, Check};
use crate::LakeError;

/// What an object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    pub bytes: u64,
    /// xxh3-64 of all of it.
    pub checksum: i64,
}

/// The value, or nothing if the object is not there.
pub(super) fn found<T>(result: object_store::Result<T>) -> Result<Option<T>, LakeError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Check {
    /// Size of an object; `None` if it is not there.
    pub(super) async fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        let head = self.lake.store().head(&Path::from(path)).await;
        Ok(found(head)?.map(|meta| meta.size))
    }

    /// Reads an object from end to end; `None` if it is not there.
    pub(super) async fn content(&self, path: &str) -> Result<Option<Content>, LakeError> {
        match self.size(path).await? {
            Some(bytes) => self.hash(path, bytes, None).await,
            None => Ok(None),
        }
    }

    /// The checksum that an object of `bytes` bytes would have with other bytes at a place.
    pub(super) async fn hash(
        &self,
        path: &str,
        bytes: u64,
        instead: Option<(u64, &[u8])>,
    ) -> Result<Option<Content>, LakeError> {
        let mut hasher = Xxh3::new();
        let (skip, put) = instead.map_or((bytes..bytes, &[][..]), |(at, put)| (at..at + put.len() as u64, put));
        for (range, put) in [(0..skip.start.min(bytes), put), (skip.end.min(bytes)..bytes, &[][..])] {
            if !self.hash_range(path, range, &mut hasher).await? {
                return Ok(None);
            }
            hasher.update(put);
        }
        Ok(Some(Content {
            bytes,
            checksum: hasher.digest() as i64,
        }))
    }

    /// False if the object is not there.
    async fn hash_range(&self, path: &str, range: Range<u64>, hasher: &mut Xxh3) -> Result<bool, LakeError> {
        let location = Path::from(path);
        let mut at = range.start;
        while at < range.end {
            let chunk = at..(at + CHUNK_BYTES).min(range.end);
            at = chunk.end;
            let Some(bytes) = found(self.lake.store().get_range(&location, chunk).await)? else {
                return Ok(false);
            };
            self.count(|c| &c.bytes, bytes.len() as u64);
            hasher.update(&bytes);
        }
        Ok(true)
    }
}

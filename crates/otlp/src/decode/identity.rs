//! Stable identities: the same resource or series has the same 128-bit id whoever sends it, whenever.

use xxhash_rust::xxh3::Xxh3;

use super::Fault;
use super::any_value::{AnyRef, key_value, superseded, write_json};

/// Hashes attributes independent of their order: sorted by key, each as length-prefixed key, type tag and value. Of a
/// repeated key only the last value counts, as in storage.
///
/// # Errors
/// As [`write_json`], for arrays and maps.
pub(super) fn hash_attributes(hasher: &mut Xxh3, attributes: &[&[u8]], max_depth: usize) -> Result<(), Fault> {
    let mut pairs = Vec::with_capacity(attributes.len());
    for message in attributes {
        pairs.push(key_value(message)?);
    }
    let dead = superseded(&pairs);
    if !dead.is_empty() {
        let mut index = 0..;
        pairs.retain(|_| index.next().is_some_and(|i| dead.binary_search(&i).is_err()));
    }
    pairs.sort_unstable_by_key(|pair| pair.0);
    let mut text = Vec::new();
    for (key, value) in pairs {
        update(hasher, 0, key);
        match value {
            AnyRef::Text(bytes) => update(hasher, 1, bytes),
            AnyRef::Bool(flag) => update(hasher, 2, &[u8::from(flag)]),
            AnyRef::Int(number) => update(hasher, 3, &number.to_le_bytes()),
            AnyRef::Double(number) => update(hasher, 4, &number.to_bits().to_le_bytes()),
            AnyRef::Bytes(bytes) => update(hasher, 5, bytes),
            AnyRef::Empty => update(hasher, 6, &[]),
            AnyRef::Array(_) | AnyRef::Map(_) => {
                text.clear();
                write_json(value, &mut text, max_depth)?;
                update(hasher, 7, &text);
            }
        }
    }
    Ok(())
}

/// Adds one length-prefixed, tagged part.
pub(super) fn update(hasher: &mut Xxh3, tag: u8, bytes: &[u8]) {
    hasher.update(&[tag]);
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

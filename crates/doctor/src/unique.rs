//! Names that nobody else has.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// 16 random bytes.
pub(crate) fn unique_bytes() -> [u8; 16] {
    // Each state has random keys of its own.
    let random = || RandomState::new().build_hasher().finish().to_be_bytes();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random());
    bytes[8..].copy_from_slice(&random());
    bytes
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unique_name() -> String {
    hexadecimal(&unique_bytes())
}

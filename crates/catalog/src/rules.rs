//! Checks of what callers hand in, so that both databases refuse the same things with the same words.

use std::time::Duration;

use schema::UnixNanos;

use crate::{CatalogError, Result};

/// 2^48 rows or bytes: above any object that exists, and low enough that a sum over 32,000 of them fits 64 bits
/// (SQLite fails a statement whose sum overflows).
const MAX_SIZE: i64 = 1 << 48;

/// `time - duration`, stopping at the beginning of time.
pub(crate) fn before(time: UnixNanos, duration: Duration) -> UnixNanos {
    time.saturating_sub(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// `time + duration`, stopping at the end of time.
pub(crate) fn after(time: UnixNanos, duration: Duration) -> UnixNanos {
    time.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// A count of rows or bytes: not negative and below 2^48.
pub(crate) fn size(what: &str, value: i64) -> Result<()> {
    if (0..=MAX_SIZE).contains(&value) {
        return Ok(());
    }
    Err(CatalogError::Invalid(format!(
        "{what} is {value}, must be 0 to {MAX_SIZE}"
    )))
}

/// A time range in order.
pub(crate) fn range(min: UnixNanos, max: UnixNanos) -> Result<()> {
    if min <= max {
        return Ok(());
    }
    Err(CatalogError::Invalid(format!(
        "the time range ends ({max}) before it begins ({min})"
    )))
}

/// A text that both databases can store: not empty, without NUL, which PostgreSQL's text type refuses.
pub(crate) fn text(what: &str, value: &str) -> Result<()> {
    if value.is_empty() || value.contains('\0') {
        return Err(CatalogError::Invalid(format!(
            "{what} {value:?} must not be empty nor contain a NUL character"
        )));
    }
    Ok(())
}

/// Ids without repetition.
pub(crate) fn distinct(what: &str, ids: impl IntoIterator<Item = i64>) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    match ids.into_iter().find(|id| !seen.insert(*id)) {
        None => Ok(()),
        Some(id) => Err(CatalogError::Invalid(format!("{what} {id} is named twice"))),
    }
}

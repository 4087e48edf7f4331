//! Durations and byte sizes as people write them: `250ms`, `15m`, `64MiB`.
//!
//! Both types parse from text, print back the same way and carry their own JSON schema, so that the configuration
//! file, the environment, the flags, the reference and `config print` share one notation. Parsing refuses what it
//! cannot represent exactly; it never rounds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What [`HumanDuration`] accepts, for error messages and the reference.
pub const EXPECTED_DURATION: &str = "a duration such as 10ms, 5s, 15m, 72h or 30d";

/// What [`ByteSize`] accepts, for error messages and the reference.
pub const EXPECTED_BYTES: &str = "a byte size such as 64MiB, 512MB or 1048576";

/// Why a text is not a duration or a byte size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct NotHuman {
    text: String,
    expected: &'static str,
}

impl NotHuman {
    fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.chars().take(80).collect(),
            expected,
        }
    }
}

/// A span of time, written as a whole number and a unit: `ns`, `us`, `ms`, `s`, `m`, `h` or `d`.
///
/// Parts may be joined (`1h30m`); a bare `0` is zero. The longest is 2^63 - 1 nanoseconds (about 292 years), so that
/// every duration can be added to a timestamp in nanoseconds as `i64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HumanDuration(pub Duration);

const DURATION_UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Up to this many hours are printed in hours, because `72h` and `36h` read better than `3d` and a mixture would.
const LONGEST_IN_HOURS: u64 = 72;

impl HumanDuration {
    /// A duration of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A duration of whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

impl FromStr for HumanDuration {
    type Err = NotHuman;

    fn from_str(text: &str) -> Result<Self, NotHuman> {
        let error = || NotHuman::new(text, EXPECTED_DURATION);
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Self(Duration::ZERO));
        }
        if rest.is_empty() {
            return Err(error());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let (number, unit, tail) = split_quantity(rest).ok_or_else(error)?;
            let (_, nanos) = DURATION_UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(error)?;
            total = number
                .checked_mul(*nanos)
                .and_then(|n| total.checked_add(n))
                .ok_or_else(error)?;
            rest = tail;
        }
        if i64::try_from(total).is_err() {
            return Err(error());
        }
        Ok(Self(Duration::from_nanos(total)))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in DURATION_UNITS {
            let size = u128::from(size);
            let too_short_for_days =
                unit == "d" && nanos <= u128::from(LONGEST_IN_HOURS) * u128::from(DURATION_UNITS[1].1);
            if nanos.is_multiple_of(size) && !too_short_for_days {
                return write!(f, "{}{unit}", nanos / size);
            }
        }
        Ok(())
    }
}

/// A number of bytes: a bare whole number, or one with a decimal (`kB`, `MB`, `GB`, `TB`) or binary (`KiB`, `MiB`,
/// `GiB`, `TiB`, or as Kubernetes writes them `Ki`, `Mi`, `Gi`, `Ti`) unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

const BYTE_UNITS: [(&str, u64); 14] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    // Accepted, not printed: a bare number is bytes, and each of the others has a twin above.
    ("B", 1),
    ("KB", 1_000),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
];
const PRINTED_BYTE_UNITS: usize = 8;

impl ByteSize {
    /// A size of whole mebibytes.
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }
}

impl FromStr for ByteSize {
    type Err = NotHuman;

    fn from_str(text: &str) -> Result<Self, NotHuman> {
        let error = || NotHuman::new(text, EXPECTED_BYTES);
        let trimmed = text.trim();
        if let Ok(bytes) = trimmed.parse::<u64>() {
            return Ok(Self(bytes));
        }
        let (number, unit, tail) = split_quantity(trimmed).ok_or_else(error)?;
        let (_, size) = BYTE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
        if !tail.is_empty() {
            return Err(error());
        }
        number.checked_mul(*size).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The unit that leaves the smallest number: 512000000 is 512MB, although it is also 500000KiB.
        let best = BYTE_UNITS[..PRINTED_BYTE_UNITS]
            .iter()
            .filter(|(_, size)| self.0 != 0 && self.0.is_multiple_of(*size))
            .max_by_key(|(_, size)| *size);
        match best {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Splits `250ms...` into the number, the unit and what follows; `None` when it does not start like a quantity.
fn split_quantity(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text[..digits].parse().ok()?;
    let after = text[digits..].trim_start();
    let unit = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
    Some((number, &after[..unit], &after[unit..]))
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = HumanDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED_DURATION)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<HumanDuration, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<HumanDuration, E> {
                // A bare number has no unit: only zero means the same in all of them.
                if number == 0 {
                    Ok(HumanDuration(Duration::ZERO))
                } else {
                    Err(E::invalid_value(de::Unexpected::Unsigned(number), &self))
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED_BYTES)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^\\s*(0|([0-9]+\\s*(ns|us|ms|s|m|h|d))+)\\s*$",
            "minimum": 0,
            "maximum": 0,
            "x-expected": EXPECTED_DURATION,
        })
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^\\s*[0-9]+\\s*(B|[kK]B|[MGT]B|[KMGT]i|[KMGT]iB)?\\s*$",
            "minimum": 0,
            "x-expected": EXPECTED_BYTES,
        })
    }
}

#[cfg(test)]
mod tests;

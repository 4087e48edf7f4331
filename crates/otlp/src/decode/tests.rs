//! The decoder against prost, against the rules of OTLP, and against senders that mean harm.

mod admission;
mod differential;
mod expected;
mod hostile;
mod memory;
mod messages;
mod rows;
mod rules;

use super::{AdmitAll, Context, DecodeLimits, KnownIds};

/// 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600_000_000_000;

fn context(known: &KnownIds) -> Context<'_> {
    Context {
        admissions: &AdmitAll,
        known,
        now: NOW,
        limits: DecodeLimits::default(),
    }
}

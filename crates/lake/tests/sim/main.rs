//! Deterministic simulation of commit, compaction, leases, garbage collection and retention.
//!
//! Several processes (real lakes over one real catalog, an exact store in memory) work, fail, stop and crash in an order
//! that a seed decides; a ledger says what must be true (docs/decisions/0009). `SIM_HISTORIES=100000` plays more (`make sim`),
//! `SIM_SEED=17` begins with that seed and, alone, plays only it and prints what happened.

mod actors;
mod history;
mod ledger;
mod process;
mod schedule;
mod store;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::history::{Outcome, play};

/// So many are played in about twenty-five seconds of two cores (a debug build).
const HISTORIES: u64 = 500;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
    )
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

fn fail(seed: u64, outcome: &Outcome, violation: &str) -> ! {
    panic!(
        "seed {seed}: {violation}\n{}\nplay it again with SIM_SEED={seed}",
        outcome.log.join("\n")
    )
}

#[test]
fn no_history_breaks_a_promise() {
    let alone = number("SIM_SEED");
    let first = alone.unwrap_or(0);
    let count = number("SIM_HISTORIES").unwrap_or(if alone.is_some() { 1 } else { HISTORIES });
    let next = AtomicU64::new(first);
    let promised = AtomicU64::new(0);
    let telemetry = telemetry::Telemetry::new("simulation", "0");
    let player = || {
        let runtime = runtime();
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= first + count {
                return;
            }
            let outcome = runtime.block_on(play(seed, &telemetry));
            promised.fetch_add(outcome.promised as u64, Ordering::SeqCst);
            if let Some(violation) = &outcome.violation {
                next.store(first + count, Ordering::SeqCst); // the others stop, too
                fail(seed, &outcome, violation);
            }
            if count == 1 {
                println!("{}", outcome.log.join("\n"));
            }
        }
    };
    std::thread::scope(|scope| {
        let players = [scope.spawn(player), scope.spawn(player)];
        for player in players {
            if let Err(panic) = player.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let promised = promised.into_inner();
    println!("{count} histories from seed {first}: {promised} rows promised and kept");
    assert!(promised > count, "histories in which nothing is stored prove nothing");
}

#[test]
fn a_seed_decides_everything() {
    let telemetry = telemetry::Telemetry::new("simulation", "0");
    for seed in [3, 4, 5] {
        let first = runtime().block_on(play(seed, &telemetry));
        let second = runtime().block_on(play(seed, &telemetry));
        assert_eq!(first.log, second.log);
    }
}

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::resident::measure;
use super::*;

#[test]
fn a_share_and_the_limit_are_kept() {
    let budget = Budget::new(100);
    let ingest = budget.account(Use::Ingest, 60);
    let query = budget.account(Use::Query, 60);
    let held = ingest.try_reserve(50).unwrap();
    let refused = ingest.try_reserve(11).unwrap_err();
    assert_eq!(
        refused,
        Refused::Share {
            wanted: 11,
            used: 50,
            share: 60
        }
    );
    let other = query.try_reserve(50).unwrap();
    assert_eq!(
        query.try_reserve(1).unwrap_err(),
        Refused::Limit { wanted: 1, limit: 100 }
    );
    assert_eq!((budget.used(Use::Ingest), budget.used(Use::Query)), (50, 50));
    drop(held);
    assert_eq!(query.try_reserve(10).unwrap().bytes(), 10);
    drop(other);
    assert_eq!((budget.used(Use::Ingest), budget.used(Use::Query)), (0, 0));
}

#[test]
fn a_process_that_holds_too_much_grants_nothing() {
    let budget = Budget::new(100);
    let account = budget.account(Use::Query, 100);
    let mut held = account.try_reserve(10).unwrap();
    budget.measured(true);
    assert!(held.try_grow(1).is_err());
    held.try_resize(5).unwrap();
    held.try_grow(0).unwrap();
    budget.measured(false);
    held.try_grow(1).unwrap();
    assert_eq!(account.used(), 6);
}

#[tokio::test]
async fn who_may_wait_gets_its_turn() {
    let budget = Budget::new(100);
    let compaction = budget.account(Use::Compaction, 50);
    // More than the share is cut to the share.
    let first = compaction.reserve(1000).await;
    assert_eq!(first.bytes(), 50);
    let waiting = tokio::spawn({
        let compaction = compaction.clone();
        async move { compaction.reserve(20).await.bytes() }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(first);
    assert_eq!(waiting.await.unwrap(), 20);
    // A budget under pressure is waited for as well.
    budget.measured(true);
    let waiting = tokio::spawn(async move { compaction.reserve(20).await.bytes() });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    budget.measured(false);
    assert_eq!(waiting.await.unwrap(), 20);
}

#[test]
fn measures_and_reclaims_before_refusing() {
    let pages = Arc::new(AtomicU64::new(10));
    let resident = Resident::with_reader(10, {
        let pages = Arc::clone(&pages);
        move |path| {
            assert_eq!(path, std::path::Path::new("/proc/self/statm"));
            Ok(format!("900 {} 5 1 0 7 0\n", pages.load(Ordering::Relaxed) + 5))
        }
    });
    let budget = Budget::new(1000);
    let reclaim = || {
        // Of 25 pages five are unused.
        let _ = pages.compare_exchange(25, 20, Ordering::Relaxed, Ordering::Relaxed);
    };
    for (held, expected) in [(10, 100), (25, 200), (30, 300), (20, 200)] {
        pages.store(held, Ordering::Relaxed);
        assert_eq!(measure(&budget, &resident, 200, &reclaim), Some(expected));
        assert_eq!(budget.is_pressed(), expected > 200);
    }
}

#[test]
fn a_system_that_does_not_say_is_no_error() {
    let silent = Resident::with_reader(4096, |_| Err(std::io::Error::other("no /proc")));
    assert_eq!(silent.bytes(), None);
    let odd = Resident::with_reader(4096, |_| Ok("what".to_owned()));
    assert_eq!(odd.bytes(), None);
}

proptest! {
    #[test]
    fn whatever_is_done_the_sums_are_right(steps in prop::collection::vec((0usize..3, 0u64..80, 0u8..5), 1..60)) {
        let budget = Budget::new(150);
        let accounts = Use::ALL.map(|of| budget.account(of, 70));
        let mut held: Vec<(usize, Reservation)> = Vec::new();
        for (of, bytes, what) in steps {
            match what {
                0 | 1 => held.extend(accounts[of].try_reserve(bytes).ok().map(|r| (of, r))),
                2 if !held.is_empty() => drop(held.swap_remove(bytes as usize % held.len())),
                3 if !held.is_empty() => {
                    let at = bytes as usize % held.len();
                    let before = held[at].1.bytes();
                    let done = held[at].1.try_resize(bytes);
                    prop_assert_eq!(held[at].1.bytes(), if done.is_ok() { bytes } else { before });
                }
                _ => if let Some((_, r)) = held.last_mut() { r.shrink(bytes) },
            }
            for of in Use::ALL {
                let sum: u64 = held.iter().filter(|(o, _)| *o == of as usize).map(|(_, r)| r.bytes()).sum();
                prop_assert_eq!(budget.used(of), sum);
                prop_assert!(sum <= 70);
            }
            prop_assert!(Use::ALL.iter().map(|&of| budget.used(of)).sum::<u64>() <= 150);
        }
    }
}

//! What breaks when. Incidents follow from the seed and the time alone, so that a restarted demo, or a second one with
//! the same seed, is in the middle of the same incident.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// One incident falls into each period: often enough to see one in a short demonstration, rare enough to be news.
const PERIOD: i64 = 6 * 60 * 1_000_000_000;

/// Something that is broken for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incident {
    /// The card acquirer times out: checkouts fail with payment errors.
    AcquirerTimeouts,
    /// The inventory database lacks an index: everything that asks for stock is slow, and some of it times out.
    SlowInventoryDatabase,
    /// The recommendation cache is gone: the front page degrades but works.
    RecommendationCacheDown,
    /// A pod of the cart service restarts again and again: a third of the cart calls find nobody.
    CartCrashLoop,
    /// A bad deploy of the currency service fails for one currency.
    CurrencyBadDeploy,
}

impl Incident {
    /// One sentence for the log.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::AcquirerTimeouts => "the card acquirer times out, checkouts fail in payment",
            Self::SlowInventoryDatabase => "the inventory database is slow, product pages and carts wait for it",
            Self::RecommendationCacheDown => "the recommendation cache is down, the front page degrades",
            Self::CartCrashLoop => "a cart pod is in a crash loop, a third of the cart calls fail",
            Self::CurrencyBadDeploy => "currency 1.10.0 was deployed and fails for JPY",
        }
    }
}

/// The incident that is on at `now` (ns since the Unix epoch), for a demo with this seed.
pub fn incident_at(seed: u64, now: i64) -> Option<Incident> {
    let period = now.div_euclid(PERIOD);
    // Each period has randomness of its own; the multiplier spreads neighbouring periods over all seeds.
    let mut random = StdRng::seed_from_u64(seed ^ (period as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let length = random.random_range(60..150) * 1_000_000_000;
    let begin = random.random_range(0..PERIOD - length);
    let kinds = [
        Incident::AcquirerTimeouts,
        Incident::SlowInventoryDatabase,
        Incident::RecommendationCacheDown,
        Incident::CartCrashLoop,
        Incident::CurrencyBadDeploy,
    ];
    let kind = kinds[random.random_range(0..kinds.len())];
    let within = now.rem_euclid(PERIOD);
    (begin..begin + length).contains(&within).then_some(kind)
}

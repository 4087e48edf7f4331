use std::cell::Cell;

use memory::{Budget, Use};
use parking_lot::Mutex;
use schema::TenantId;
use telemetry::Telemetry;
use testkit::fuzz::{self, Source};

use super::*;
use crate::{Allowance, LimitOptions};

const LIMIT: u64 = 100;

fn limits() -> Limits {
    let options = LimitOptions {
        burst: Duration::from_secs(2),
        default: Allowance {
            bytes_per_second: Some(10_000),
            items_per_second: Some(500),
            attribute_keys: Some(LIMIT),
            series: Some(LIMIT),
        },
        ..LimitOptions::default()
    };
    let memory = Budget::unlimited().account(Use::Limits, u64::MAX);
    let limits = Limits::new(options, Telemetry::new("test", "0"), memory);
    limits.0.cluster.configured.store(true, Ordering::Relaxed);
    limits.0.cluster.in_contact.store(true, Ordering::Relaxed);
    limits
}

/// What [`ask`] tells, without a connection.
fn told(tenant: &Arc<TenantLimits>) -> Sent {
    let rates = &mut *tenant.rates.lock();
    for bucket in [&mut rates.bytes, &mut rates.items].into_iter().flatten() {
        bucket.report();
    }
    let report = |active: &Option<Mutex<Active>>| Some(active.as_ref()?.lock().report(MOST_USES));
    Sent {
        tenant: Arc::clone(tenant),
        has_rates: true,
        reports: [report(&tenant.series), report(&tenant.attribute_keys)],
    }
}

/// Numbers and what may stand in their place.
const SCALARS: [&[u8]; 16] = [
    b":0\r\n",
    b":1\r\n",
    b":-1\r\n",
    b":100\r\n",
    b":4294967295\r\n",
    b":9223372036854775807\r\n",
    b":-9223372036854775808\r\n",
    b"$20\r\n18446744073709551615\r\n",
    b"$20\r\n18446744073709551614\r\n",
    b"$5\r\n1e308\r\n",
    b"$6\r\n-1e308\r\n",
    b"$3\r\ninf\r\n",
    b",nan\r\n",
    b"$-1\r\n",
    b"#t\r\n",
    b"*0\r\n",
];

/// An answer about rates, one about series and one about keys, of any numbers.
fn any_answers(source: &mut Source) -> Vec<u8> {
    let mut bytes = b"*3\r\n".to_vec();
    for lengths in [3..4, 1..4, 1..3] {
        let length = lengths.start + source.below(lengths.len());
        bytes.extend(format!("*{length}\r\n").bytes());
        // Those at the end of the list are refused whole: seldom, or nothing is learned.
        let among = if source.below(4) > 0 { 11 } else { SCALARS.len() };
        (0..length).for_each(|_| bytes.extend(SCALARS[source.below(among)]));
    }
    bytes
}

/// Takes `bytes` for an answer of Redis; whether it was learned. This process's own limits hold all the same, and the next answer
/// that is right puts everything right.
fn hear(bytes: &[u8], start: Instant) -> bool {
    let limits = limits();
    let tenant = limits.tenant(&TenantId::default(), start).unwrap();
    tenant.admit(5_000, start).unwrap();
    tenant.charge_items(1_500);
    for hash in 0..=LIMIT {
        assert_eq!(tenant.admit_series(hash, start).is_ok(), hash < LIMIT);
    }
    let mut sent = told(&tenant);
    // Used between the question and its answer.
    tenant.admit_key(1, start).unwrap();
    let answers = match redis::parse_redis_value(bytes) {
        Ok(Value::Array(answers)) => answers,
        _ => Vec::new(),
    };
    let learned = learn(&mut sent, &mut answers.into_iter(), start).is_ok();
    let _ = tenant.admit(1, start);
    assert!(tenant.admit_series(LIMIT + 1, start).is_err());
    let keys = (0..2 * LIMIT).filter(|&key| tenant.admit_key(key, start).is_ok());
    assert!(keys.count() as u64 <= LIMIT);

    let right = |numbers: &[i64]| Value::Array(numbers.iter().copied().map(Value::Int).collect());
    let mut answers = [right(&[10_000, 500, 1]), right(&[0]), right(&[0])].into_iter();
    assert_eq!(learn(&mut told(&tenant), &mut answers, start).unwrap(), 1);
    tenant.admit(1, start).unwrap();
    learned
}

/// Whatever comes from the address of Redis is learned or an error.
#[test]
fn mutated_answers_are_learned_or_errors() {
    let start = Instant::now();
    let (learned, refused) = (Cell::new(0), Cell::new(0));
    let count = |bytes: &[u8]| {
        let counter = if hear(bytes, start) { &learned } else { &refused };
        counter.set(counter.get() + 1);
    };
    fuzz::run(&fuzz::corpus("redis"), 2_000, count);
    fuzz::run(&[vec![0; 16]], 4_000, |choice| {
        let seed = choice.iter().fold(1, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        count(&any_answers(&mut Source::new(seed)));
    });
    println!("{} learned, {} errors", learned.get(), refused.get());
    assert!(fuzz::number("OTLP_FUZZ_ROUNDS").is_some() || (learned.get() > 500 && refused.get() > 500));
}

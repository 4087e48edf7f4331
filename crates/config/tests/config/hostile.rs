//! Configuration that nobody would write: it is taken or refused with a reason, and never a panic.

use config::{ByteSize, CatalogUrl, HumanDuration, StoreUrl};
use testkit::fuzz;

use super::{load_env, load_yaml};

#[test]
fn mutated_files_are_taken_or_refused() {
    fuzz::run(&fuzz::corpus("config"), 1_500, |input| {
        if let Err(refused) = load_yaml(&String::from_utf8_lossy(input)) {
            assert!(!refused.0.is_empty());
        }
    });
}

#[test]
fn mutated_values_are_taken_or_refused() {
    let keys = [
        "COMMIT__MIN_INTERVAL",
        "INGEST__MAX_REQUEST_BYTES",
        "STORE__URL",
        "CATALOG__URL",
        "SERVER__HTTP",
        "SERVER__ROLES",
    ];
    let values = [fuzz::lines("human"), fuzz::lines("addresses")].concat();
    fuzz::run(&values, 1_000, |input| {
        let text = String::from_utf8_lossy(input);
        for key in keys {
            let _ = load_env(&[(&format!("OTLP_RUST__{key}"), &text)]);
        }
    });
}

/// What is understood is printed so that it is understood again.
#[test]
fn mutated_durations_and_sizes_print_as_they_read() {
    fuzz::run(&fuzz::lines("human"), 50_000, |input| {
        let text = String::from_utf8_lossy(input);
        if let Ok(duration) = text.parse::<HumanDuration>() {
            assert_eq!(duration.to_string().parse(), Ok(duration), "{text}");
        }
        if let Ok(size) = text.parse::<ByteSize>() {
            assert_eq!(size.to_string().parse(), Ok(size), "{text}");
        }
    });
}

#[test]
fn mutated_addresses_print_as_they_read() {
    fuzz::run(&fuzz::lines("addresses"), 50_000, |input| {
        let text = String::from_utf8_lossy(input);
        if let Some(store) = StoreUrl::parse(&text) {
            assert_eq!(StoreUrl::parse(&store.to_string()), Some(store), "{text}");
        }
        if let Some(catalog) = CatalogUrl::parse(&text) {
            assert!(!catalog.to_string().is_empty());
        }
    });
}

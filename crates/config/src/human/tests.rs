use proptest::prelude::*;

use super::*;

#[test]
fn durations_print_back_as_they_were_written() {
    for text in [
        "10ms", "250ms", "5s", "90s", "15m", "72h", "30d", "1ns", "7us", "0s", "24h", "106751d",
    ] {
        assert_eq!(text.parse::<HumanDuration>().unwrap().to_string(), text);
    }
    for (text, canonical) in [
        ("60s", "1m"),
        ("1h30m", "90m"),
        (" 5 s ", "5s"),
        ("0", "0s"),
        ("7d", "7d"),
        ("3d", "72h"),
        ("0d", "0s"),
    ] {
        assert_eq!(text.parse::<HumanDuration>().unwrap().to_string(), canonical);
    }
}

#[test]
fn durations_refuse_what_they_cannot_represent() {
    for text in [
        "",
        " ",
        "5",
        "s",
        "1.5s",
        "-5s",
        "5x",
        "5S",
        "106752d",
        "99999999999999999999s",
        "5s 3",
        "10 m s",
        "5s,",
        "١s",
    ] {
        let error = text.parse::<HumanDuration>().unwrap_err().to_string();
        assert!(error.contains(EXPECTED_DURATION), "{text:?}: {error}");
    }
}

#[test]
fn byte_sizes_print_back_as_they_were_written() {
    for text in ["64MiB", "512MB", "100GiB", "1kB", "3TB", "0", "1", "1023", "5TiB"] {
        assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
    }
    for (text, bytes, canonical) in [
        ("1048576", 1 << 20, "1MiB"),
        ("2 KB", 2_000, "2kB"),
        ("512Mi", 512 << 20, "512MiB"),
        ("17B", 17, "17"),
    ] {
        let size = text.parse::<ByteSize>().unwrap();
        assert_eq!((size.0, size.to_string().as_str()), (bytes, canonical));
    }
}

#[test]
fn byte_sizes_refuse_what_they_cannot_represent() {
    for text in [
        "",
        "MiB",
        "1.5GiB",
        "-1",
        "64M",
        "64mib",
        "1MiB2",
        "99999999999TiB",
        "1 MiB x",
    ] {
        let error = text.parse::<ByteSize>().unwrap_err().to_string();
        assert!(error.contains(EXPECTED_BYTES), "{text:?}: {error}");
    }
}

#[test]
fn a_bare_number_is_bytes_but_no_duration() {
    assert_eq!(serde_json::from_str::<ByteSize>("1024").unwrap(), ByteSize(1024));
    assert_eq!(serde_json::from_str::<HumanDuration>("0").unwrap().0, Duration::ZERO);
    assert!(serde_json::from_str::<HumanDuration>("30").is_err());
    assert!(serde_json::from_str::<HumanDuration>("true").is_err());
    assert!(serde_json::from_str::<ByteSize>("-1").is_err());
}

proptest! {
    #[test]
    fn every_duration_survives_printing(nanos in 0..=i64::MAX as u64) {
        let duration = HumanDuration(Duration::from_nanos(nanos));
        prop_assert_eq!(duration.to_string().parse::<HumanDuration>().unwrap(), duration);
    }

    #[test]
    fn every_size_survives_printing(bytes: u64) {
        prop_assert_eq!(ByteSize(bytes).to_string().parse::<ByteSize>().unwrap(), ByteSize(bytes));
    }

    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = text.parse::<HumanDuration>();
        let _ = text.parse::<ByteSize>();
    }
}

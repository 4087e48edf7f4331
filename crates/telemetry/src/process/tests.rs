use super::*;

const STAT: &str =
    "42 (a (weird) name) S 1 42 42 0 -1 4194560 100 0 0 0 250 150 0 0 20 0 8 0 12345 1000000 200 18446744073709551615";

#[test]
fn stat_is_read_past_any_program_name() {
    assert_eq!(
        Stat::parse(STAT),
        Some(Stat {
            cpu_seconds: 4.0,
            start_seconds: 123.45
        })
    );
}

#[test]
fn odd_files_give_nothing() {
    for text in ["", ")", "1 (x", "1 (x) S", "1 (x) S 1 2 3 4 5 6 7 8 9 10 a b c"] {
        assert_eq!(Stat::parse(text), None, "{text:?}");
    }
    assert_eq!(resident_bytes("VmRSS: many kB"), None);
    assert_eq!(resident_bytes("Name: x\nVmRSS:\t  2048 kB\n"), Some(2_097_152.0));
    assert_eq!(boot_time("cpu 1\nbtime 1700000000\n"), Some(1_700_000_000.0));
    assert_eq!(boot_time("cpu 1\n"), None);
}

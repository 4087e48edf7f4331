use super::{Better, Figure, number};

#[test]
fn numbers_are_readable() {
    for (value, text) in [
        (1_234_567.4, "1,234,567"),
        (10_000.0, "10,000"),
        (9_999.0, "9999"),
        (36.2, "36.20"),
        (0.1, "0.10"),
        (20.0, "20"),
    ] {
        assert_eq!(number(value), text);
    }
}

#[test]
fn a_goal_is_met_by_value_or_by_ratio() {
    let fast = Figure::goal("rate", "1/s", 400.0, 500.0, Better::Higher);
    assert_eq!(fast.met(), Some(false));
    // The machine is half as fast: 400 here is worth 800 there.
    assert_eq!(fast.clone().beside("copy", 50.0, 100.0).met(), Some(true));
    assert_eq!(fast.beside("copy", 100.0, 100.0).met(), Some(false));
    let small = Figure::goal("size", "B", 36.0, 36.0, Better::Lower);
    assert_eq!(small.met(), Some(true));
    assert_eq!(Figure::info("retries", "", 1.0).met(), None);
}

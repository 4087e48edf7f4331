//! Times and days as text.

use std::io::Write as _;

use crate::UnixNanos;

const SECONDS_PER_DAY: i64 = 86_400;

/// Appends `2026-01-02T03:04:05.000000006Z`: always UTC, always nine digits, so that text sorts like time. `nanos` is
/// below 10^9. Years outside 0 to 9999 have more digits or a sign, which RFC 3339 does not know but ISO 8601 does.
pub fn rfc3339(seconds: i64, nanos: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(seconds.div_euclid(SECONDS_PER_DAY));
    let second = seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    // Writing to a vector does not fail.
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z"
    );
}

/// A time as [`rfc3339`] writes it.
pub fn time_text(time: UnixNanos) -> String {
    let mut text = Vec::with_capacity(30);
    rfc3339(
        time.div_euclid(1_000_000_000),
        time.rem_euclid(1_000_000_000),
        &mut text,
    );
    String::from_utf8_lossy(&text).into_owned()
}

/// The UTC day of a time as `2026-01-02`.
pub fn day_text(time: UnixNanos) -> String {
    let (year, month, day) = civil(time.div_euclid(SECONDS_PER_DAY * 1_000_000_000));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of a number of days since 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Days are counted from 1 March of a year divisible by 400, so that the leap day is the last of a cycle.
    let days = i128::from(days) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    // i64 seconds are fewer than 10^12 years: everything fits.
    (year as i64, month as i64, day as i64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn formats_times() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (1_767_323_045_000_000_006, "2026-01-02T03:04:05.000000006Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
        ] {
            assert_eq!(super::time_text(nanos), expected);
        }
    }

    #[test]
    fn names_days() {
        assert_eq!(super::day_text(0), "1970-01-01");
        assert_eq!(super::day_text(951_782_400_000_000_000), "2000-02-29");
        assert_eq!(super::day_text(i64::MAX), "2262-04-11");
    }

    #[test]
    fn no_second_is_out_of_range() {
        let mut out = Vec::new();
        super::rfc3339(i64::MAX, 0, &mut out);
        super::rfc3339(i64::MIN, 0, &mut out);
        assert!(!out.is_empty());
    }
}

//! Doubles that people or clocks wrote as decimals: 60.25 is 6025 / 10^2.

/// More places than any clock or person gives; beyond it a double counts as full of noise.
const MAX_SCALE: usize = 9;

const POWERS: [f64; MAX_SCALE + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Mantissas stay below this, so that the difference of two of them is exact as a double.
const MAX_MANTISSA: i64 = 1 << 52;

/// The integer that gives `value` bit for bit when divided by 10^`scale`, if there is one below [`MAX_MANTISSA`].
#[inline]
pub(super) fn mantissa(value: f64, scale: usize) -> Option<i64> {
    let power = *POWERS.get(scale)?;
    let scaled = value * power;
    // Conversion saturates and makes NaN 0; what is then wrong is found by going back.
    let mantissa = (scaled + 0.5f64.copysign(scaled)) as i64;
    (mantissa.unsigned_abs() < MAX_MANTISSA as u64 && number(mantissa, scale).to_bits() == value.to_bits())
        .then_some(mantissa)
}

/// `mantissa` / 10^`scale`. Both are exact as doubles, so the quotient is the double nearest to the decimal.
#[inline]
pub(super) fn number(mantissa: i64, scale: usize) -> f64 {
    mantissa as f64 / POWERS[scale.min(MAX_SCALE)]
}

/// Appends the mantissas of all values at their common scale to `out` and returns the scale; `None` if a value has
/// none, with `out` in no particular state.
pub(super) fn mantissas(values: &[f64], out: &mut Vec<i64>) -> Option<usize> {
    let mut scale = 0;
    for &value in values {
        while mantissa(value, scale).is_none() {
            scale += 1;
            if scale > MAX_SCALE {
                return None;
            }
        }
    }
    out.clear();
    for &value in values {
        out.push(mantissa(value, scale)?);
    }
    Some(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_a_common_scale_and_noise_has_none() {
        let mut out = Vec::new();
        assert_eq!(mantissas(&[60.25, 1.0, -0.5], &mut out), Some(2));
        assert_eq!(out, [6025, 100, -50]);
        assert_eq!(mantissas(&[0.1 + 0.2], &mut out), None);
        assert_eq!(mantissas(&[std::f64::consts::PI], &mut out), None);
        for odd in [
            -0.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            1e300,
        ] {
            assert_eq!(mantissas(&[1.0, odd], &mut out), None, "{odd}");
        }
        // Each fits alone, but not at the scale of the other.
        assert_eq!(mantissas(&[(1u64 << 51) as f64, 0.001], &mut out), None);
    }

    #[test]
    fn a_mantissa_gives_its_double_back() {
        for thousandths in (-3_000_000i64..3_000_000).step_by(37) {
            let value = thousandths as f64 / 1e3;
            let found = mantissa(value, 3).unwrap();
            assert_eq!(number(found, 3).to_bits(), value.to_bits());
        }
    }
}

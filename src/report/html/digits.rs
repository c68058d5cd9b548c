//! Significant digits: how many of them the page keeps of each figure.
//!
//! Invariants: a figure keeps four significant digits, unless its caller asks for fewer; a value that is not finite
//! becomes 0. Neighbours: `payload`, `columns` and `stacks` round with these functions.

/// Seconds as microseconds, rounded to four significant digits.
pub(super) fn micros(seconds: f64) -> i64 {
    rounded(seconds * 1e6)
}

/// Rounds to four significant digits; 0 if `value` is not finite.
pub(super) fn rounded(value: f64) -> i64 {
    to_digits(4, value)
}

/// Rounds to `digits` significant digits; 0 if `value` is not finite.
pub(super) fn to_digits(digits: u32, value: f64) -> i64 {
    if !value.is_finite() {
        return 0;
    }
    let length = (value.abs().round() as u64).checked_ilog10().map_or(1, |last| last + 1);
    let unit = 10_f64.powi(length.saturating_sub(digits) as i32);
    ((value / unit).round() * unit) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_are_kept() {
        assert_eq!([0.4, 9999.0, 12345.0, -98765.0, f64::NAN].map(rounded), [0, 9999, 12350, -98770, 0]);
        assert_eq!([149.6, 0.0, -1999.0].map(|value| to_digits(2, value)), [150, 0, -2000]);
    }
}

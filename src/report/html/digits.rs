//! Leading digits: how many of each figure the page keeps.
//!
//! Invariant: a figure keeps four significant digits, and a value that is no number becomes 0. Neighbours: `payload`,
//! `columns` and `stacks` round.

/// Microseconds to four digits.
pub(super) fn micros(seconds: f64) -> i64 {
    rounded(seconds * 1e6)
}

/// Four significant digits of a figure; 0 for what is no number.
pub(super) fn rounded(value: f64) -> i64 {
    to_digits(4, value)
}

/// The leading digits of a figure; 0 for what is no number.
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

//! Formats quantities for people: seconds, bytes, counts and shares, always with their unit.
//!
//! Job: one format of every figure for tables, HTML and messages. Invariant: the text is ASCII, never empty, and at
//! most 24 characters long for every value. Callers: `report` and `commands`. The JSON does not use this file: its
//! numbers are raw.

/// Larger values can only come from a broken or hostile profile. They are printed as a power of ten, so that they stay
/// short.
const READABLE: f64 = 1e15;

/// A duration in prose: three significant digits, and the fitting unit.
///
/// ```
/// use rscalene::units::seconds;
/// assert_eq!(seconds(0.0123), "12.3 ms");
/// assert_eq!(seconds(3.017), "3.02 s");
/// assert_eq!(seconds(123.4), "2 min 03 s");
/// ```
#[must_use]
pub fn seconds(s: f64) -> String {
    let size = s.abs();
    if !size.is_finite() || size >= READABLE {
        return format!("{s:.1e} s");
    }
    match size {
        0.0 => "0 s".to_owned(),
        _ if size < 0.5e-6 => significant(s * 1e9, " ns"),
        _ if size < 0.9995e-3 => significant(s * 1e6, " us"),
        _ if size < 0.9995 => significant(s * 1e3, " ms"),
        _ if size < 119.5 => significant(s, " s"),
        _ => minutes(s),
    }
}

/// A duration of two minutes and more, to the second below an hour and to the minute above.
fn minutes(s: f64) -> String {
    let sign = if s < 0.0 { "-" } else { "" };
    let whole = s.abs().round();
    if whole < 3600.0 {
        return format!("{sign}{:.0} min {:02.0} s", (whole / 60.0).floor(), whole % 60.0);
    }
    let whole = (s.abs() / 60.0).round();
    format!("{sign}{:.0} h {:02.0} min", (whole / 60.0).floor(), whole % 60.0)
}

/// Formats `value` with three significant digits and `unit`. From 100 on there are no decimals.
fn significant(value: f64, unit: &str) -> String {
    let decimals = match value.abs() {
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    decimal(value, decimals, unit)
}

/// Formats `value` with up to three decimals and `unit`. The code formats whole numbers, which takes a third of the
/// time of formatting a float: a table of 100,000 lines has a million figures.
fn decimal(value: f64, decimals: usize, unit: &str) -> String {
    let (scale, whole_width) = [(1_u32, 0), (10, 1), (100, 2), (1000, 3)][decimals.min(3)];
    // `as` saturates; callers pass values far below the limit of u64.
    let scaled = (value.abs() * f64::from(scale)).round() as u64;
    let (whole, rest) = (scaled / u64::from(scale), scaled % u64::from(scale));
    let sign = if value < 0.0 && scaled > 0 { "-" } else { "" };
    if whole_width == 0 { format!("{sign}{whole}{unit}") } else { format!("{sign}{whole}.{rest:0whole_width$}{unit}") }
}

/// A duration in a column: seconds with a fixed number of decimals, so that the decimal points line up. A duration
/// below half of the last decimal place is written as `<1 ms` or similar, never as `0.000 s`.
#[must_use]
pub fn seconds_in_column(s: f64, decimals: usize) -> String {
    if !s.is_finite() || s.abs() >= READABLE {
        return format!("{s:.1e} s");
    }
    if s > 0.0 && s < 0.5 * 10f64.powi(-(decimals as i32)) {
        return ["<1 s", "<0.1 s", "<0.01 s", "<1 ms"]
            .get(decimals)
            .map_or_else(|| seconds(s), |text| (*text).to_owned());
    }
    decimal(s, decimals, " s")
}

/// Decimals for a column of seconds whose largest entry is `largest`.
#[must_use]
pub fn column_decimals(largest: f64) -> usize {
    match largest.abs() {
        size if size < 99.995 => 3,
        size if size < 9999.5 => 1,
        _ => 0,
    }
}

/// Bytes in binary units, three significant digits (four from 1000 to 1023), at most eight characters.
///
/// ```
/// use rscalene::units::bytes;
/// assert_eq!(bytes(512), "512 B");
/// assert_eq!(bytes(12_897_485), "12.3 MiB");
/// ```
#[must_use]
pub fn bytes(b: u64) -> String {
    const UNITS: [&str; 6] = [" KiB", " MiB", " GiB", " TiB", " PiB", " EiB"];
    if b < 1024 {
        return format!("{b} B");
    }
    let mut value = b as f64 / 1024.0;
    let mut unit = 0;
    // 1023.5 would round to 1024 of the smaller unit.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    significant(value, UNITS[unit])
}

/// Signed bytes: [`bytes`] with a minus sign if more memory was freed than allocated.
#[must_use]
pub fn signed_bytes(b: i64) -> String {
    let size = bytes(b.unsigned_abs());
    if b < 0 { format!("-{size}") } else { size }
}

/// Bytes a second.
#[must_use]
pub fn bytes_per_second(rate: f64) -> String {
    // `as` saturates, so a hostile rate gives the largest u64.
    format!("{}/s", bytes(rate.max(0.0) as u64))
}

/// A count with its thousands apart.
///
/// ```
/// assert_eq!(rscalene::units::count(1_234_567), "1,234,567");
/// ```
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share (1.0 is the whole) in per cent with one decimal. A share too small to show is `<0.1%`, never `0.0%`.
///
/// ```
/// use rscalene::units::percent;
/// assert_eq!(percent(0.401), "40.1%");
/// assert_eq!(percent(0.0), "0%");
/// assert_eq!(percent(0.0001), "<0.1%");
/// ```
#[must_use]
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    // Thousands of threads can wait for thousands of per cent. Larger values come from a broken or hostile profile.
    if !value.is_finite() || value.abs() >= 99_999.5 {
        return format!("{value:.0e}%");
    }
    match value {
        0.0 => "0%".to_owned(),
        v if v > 0.0 && v < 0.05 => "<0.1%".to_owned(),
        v if v < 0.0 && v > -0.05 => ">-0.1%".to_owned(),
        v if v.abs() >= 999.5 => decimal(v, 0, "%"),
        v => decimal(v, 1, "%"),
    }
}

/// A share in prose: whole per cent from ten on.
#[must_use]
pub fn percent_in_prose(share: f64) -> String {
    if (0.0995..900.0).contains(&share) { format!("{:.0}%", share * 100.0) } else { percent(share) }
}

/// The signal that ended a process, with a reason for the signals whose number alone says why.
#[must_use]
pub fn signal(number: i32) -> String {
    match number {
        libc::SIGSYS => format!("signal {number} (SIGSYS: a seccomp filter forbids a system call that it made)"),
        libc::SIGXFSZ => format!("signal {number} (SIGXFSZ: a file became longer than `ulimit -f` allows)"),
        _ => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_three_digits_and_pick_their_unit() {
        let cases = [
            (0.0, "0 s"),
            (3.2e-7, "320 ns"),
            (4.26e-5, "42.6 us"),
            (0.000_999_6, "1.00 ms"),
            (0.9994, "999 ms"),
            (0.9996, "1.00 s"),
            (9.996, "10.0 s"),
            (99.96, "100 s"),
            (119.6, "2 min 00 s"),
            (3599.4, "59 min 59 s"),
            (3599.7, "1 h 00 min"),
            (90_061.0, "25 h 01 min"),
            (-1.5, "-1.50 s"),
        ];
        for (value, text) in cases {
            assert_eq!(seconds(value), text, "{value}");
        }
    }

    #[test]
    fn a_duration_in_a_column_that_is_not_zero_never_reads_zero() {
        assert_eq!(seconds_in_column(1.2346, 3), "1.235 s");
        assert_eq!(seconds_in_column(0.0004, 3), "<1 ms");
        assert_eq!(seconds_in_column(0.04, 1), "<0.1 s");
        assert_eq!(seconds_in_column(0.0, 3), "0.000 s");
        assert_eq!((column_decimals(99.99), column_decimals(100.0), column_decimals(1e5)), (3, 1, 0));
    }

    #[test]
    fn bytes_are_binary_and_never_read_1024_of_a_unit() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_048_063, "1023 KiB"),
            (1_048_575, "1.00 MiB"),
            (102_399, "100 KiB"),
            (64_000_031, "61.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (value, text) in cases {
            assert_eq!(bytes(value), text);
        }
        assert_eq!(signed_bytes(-64_000_031), "-61.0 MiB");
        assert_eq!(signed_bytes(i64::MIN), "-8.00 EiB");
    }

    #[test]
    fn a_share_that_is_not_zero_never_reads_zero() {
        for share in [1e-300, 1e-9, 0.000_49, -1e-9] {
            assert!(!percent(share).starts_with('0'), "{share}: {}", percent(share));
        }
        assert_eq!(percent(1.0), "100.0%");
        assert_eq!(percent_in_prose(0.994), "99%");
        assert_eq!(percent_in_prose(0.034), "3.4%");
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1000), "1,000");
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn every_spelling_stays_short_and_ascii_for_any_value() {
        let wild = [f64::MAX, f64::MIN, f64::MIN_POSITIVE, f64::NAN, f64::INFINITY, -0.0, 1e15, 999_999.9];
        for value in wild {
            for text in [seconds(value), seconds_in_column(value, 3), percent(value), bytes_per_second(value)] {
                assert!(text.len() <= 24 && text.is_ascii() && !text.is_empty(), "{value}: {text}");
            }
        }
    }
}

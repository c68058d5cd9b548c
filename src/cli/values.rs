//! Parses the values of options.
//!
//! Job: read numbers, times, ranks and names of formats. Invariant: the error of each function names the valid values.
//! Caller: `flags` passes these functions to clap.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::profile::merge::By;
use crate::report::Format;
use crate::report::export::Weight;
use crate::report::view::SortKey;

pub(super) fn parse_sort(text: &str) -> Result<SortKey, String> {
    SortKey::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = SortKey::all().map(|key| key.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

pub(super) fn parse_format(text: &str) -> Result<Format, String> {
    Format::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

pub(super) fn parse_weight(text: &str) -> Result<Weight, String> {
    Weight::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Weight::ALL.iter().map(|weight| weight.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

/// The ranks to profile, from `--ranks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ranks(Vec<RangeInclusive<u32>>);

impl Ranks {
    /// Does the set contain `rank`?
    pub(crate) fn contains(&self, rank: u32) -> bool {
        self.0.iter().any(|ranks| ranks.contains(&rank))
    }
}

pub(super) fn parse_ranks(text: &str) -> Result<Ranks, String> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first <= last).then_some(first..=last)
    };
    let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
    ranges.map(Ranks).ok_or_else(|| "numbers and ranges of ranks, as in 0,3 or 0-3".to_owned())
}

pub(super) fn parse_by(text: &str) -> Result<By, String> {
    By::from_name(text).ok_or_else(|| format!("one of {}", By::ALL.map(By::name).join(", ")))
}

pub(super) fn parse_count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "a whole number, as in 20".to_owned())
}

pub(super) fn parse_percent(text: &str) -> Result<f64, String> {
    let value: f64 = text.trim_end_matches('%').parse().map_err(|_| "a number from 0 to 100".to_owned())?;
    if (0.0..=100.0).contains(&value) { Ok(value) } else { Err("a number from 0 to 100".to_owned()) }
}

pub(super) fn parse_pid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| {
        let is_file = std::path::Path::new(text).is_file();
        let other = if is_file { "; `rscalene view FILE` shows a saved profile" } else { "" };
        format!("a process id is a number, as `ps` shows it{other}")
    })
}

pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if time < Duration::from_micros(50) || time > Duration::from_secs(1) {
        return Err("from 50us to 1s".to_owned());
    }
    Ok(time)
}

/// Parses a number with a unit: `250us`, `1ms`, `1.5s`, `5m`. A number without a unit is in seconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a time such as 250us, 1ms, 1.5s or 5m".to_owned();
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit.trim() {
        "us" | "µs" => number * 1e-6,
        "ms" => number * 1e-3,
        "s" | "" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    if seconds > 0.0 { Duration::try_from_secs_f64(seconds).map_err(|_| wrong()) } else { Err(wrong()) }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_numbers_and_ranges() {
        let ranks = parse_ranks("0, 3,5-7").expect("three parts");
        assert_eq!((0..9).filter(|rank| ranks.contains(*rank)).collect::<Vec<_>>(), [0, 3, 5, 6, 7]);
        for wrong in ["", "a", "1,", "-1", "3-1", "1-2-3"] {
            assert!(parse_ranks(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "-1s", "1x", "s", "0", "nan", "inf"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert!(parse_interval("1us").is_err());
    }
}

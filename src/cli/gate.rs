//! Parses the limits of `rscalene diff`: `--fail mem:+5%,cpu:+100ms` and `--min 1MiB,1ms`.
//!
//! Invariant: the error for a text that does not parse names the valid forms. Neighbour: `profile::compare::gate`
//! applies the limits.

use crate::profile::compare::gate::{Allowance, Figure, Least, Rule};

/// Parses rules, separated by commas. A rule is a figure, `:+`, and a share, an amount of bytes or a time.
pub(crate) fn parse_rules(text: &str) -> Result<Vec<Rule>, String> {
    text.split(',').map(|rule| parse_rule(rule.trim())).collect()
}

fn parse_rule(text: &str) -> Result<Rule, String> {
    let names: Vec<&str> = Figure::ALL.iter().map(|(name, _)| *name).collect();
    let wrong = || format!("a figure ({}) and what it may grow by, as in mem:+5% or cpu:+100ms", names.join(", "));
    let (name, allowance) = text.split_once(':').ok_or_else(wrong)?;
    let (_, figure) = Figure::ALL.into_iter().find(|(known, _)| *known == name.trim()).ok_or_else(wrong)?;
    let allowance = allowance.trim().strip_prefix('+').ok_or_else(wrong)?;
    let allowance = match allowance.strip_suffix('%') {
        Some(share) => Allowance::Share(number(share).ok_or_else(wrong)? / 100.0),
        None if figure.is_time() => Allowance::Amount(seconds(allowance).ok_or_else(wrong)?),
        None => Allowance::Amount(bytes(allowance).ok_or_else(wrong)?),
    };
    Ok(Rule { figure, allowance })
}

/// Parses amounts of bytes and of time, separated by commas.
pub(crate) fn parse_least(text: &str) -> Result<Least, String> {
    let mut least = Least::default();
    for amount in text.split(',').map(str::trim) {
        if let Some(bytes) = bytes(amount) {
            least.bytes = bytes;
        } else if let Some(seconds) = seconds(amount) {
            least.seconds = seconds;
        } else {
            return Err("bytes and a time, as in 1MiB,1ms".to_owned());
        }
    }
    Ok(least)
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)
}

fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let (value, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?;
    Some(number(value)? * scale)
}

fn bytes(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 7] = [
        ("B", 1.0),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("KiB", 1_024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
    ];
    with_unit(text, &UNITS)
}

fn seconds(text: &str) -> Option<f64> {
    with_unit(text, &[("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("min", 60.0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_a_figure_and_an_allowance() {
        let rules = parse_rules("mem:+5%, cpu:+100ms,peak:+1MiB").expect("all three are good");
        assert_eq!(rules[0], Rule { figure: Figure::Mem, allowance: Allowance::Share(0.05) });
        assert_eq!(rules[1], Rule { figure: Figure::Cpu, allowance: Allowance::Amount(0.1) });
        assert_eq!(rules[2], Rule { figure: Figure::Peak, allowance: Allowance::Amount(1_048_576.0) });
        for wrong in ["", "mem", "mem:5%", "mem:+", "size:+5%", "cpu:+1MiB", "mem:+1ms", "mem:+-5%", "mem:+nan%"] {
            assert!(parse_rules(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_least_change_is_of_bytes_and_of_time() {
        assert_eq!(parse_least("1MiB,1ms"), Ok(Least { bytes: 1_048_576.0, seconds: 0.001 }));
        assert_eq!(parse_least("2KB"), Ok(Least { bytes: 2_000.0, seconds: 0.0 }));
        assert!(parse_least("1").is_err());
    }
}

//! Limits on the changes between two profiles, as `rscalene diff --fail` sets them.
//!
//! Job: judge the totals and each line by rules such as `mem:+5%`. Invariant: pure; a change within its own printed
//! error is never a failure. If such a change exceeds a rule, the verdict lists the change as unclear. Neighbours:
//! `diff` computes the figures, `report::diff::gate` prints the verdict.

use serde::Serialize;

use super::diff::{Change, Changes, Diff};

/// The figure of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Figure {
    /// Bytes allocated.
    Mem,
    /// Bytes live at the peak.
    Peak,
    /// Bytes live at the end.
    Live,
    /// CPU seconds.
    Cpu,
    /// Seconds off the CPU.
    Wait,
}

impl Figure {
    /// The names in rules.
    pub const ALL: [(&'static str, Self); 5] =
        [("mem", Self::Mem), ("peak", Self::Peak), ("live", Self::Live), ("cpu", Self::Cpu), ("wait", Self::Wait)];

    /// Its name in rules.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, figure)| *figure == self).map_or("", |(name, _)| name)
    }

    /// True for seconds, false for bytes.
    #[must_use]
    pub fn is_time(self) -> bool {
        matches!(self, Self::Cpu | Self::Wait)
    }

    fn of(self, changes: &Changes) -> Change {
        match self {
            Self::Mem => changes.alloc_bytes,
            Self::Peak => changes.peak_bytes,
            Self::Live => changes.live_bytes,
            Self::Cpu => changes.cpu_s,
            Self::Wait => changes.wait_s,
        }
    }
}

/// The growth that a rule allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowance {
    /// A share of the figure before.
    Share(f64),
    /// Bytes or seconds.
    Amount(f64),
}

/// A limit on the growth of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// The figure.
    pub figure: Figure,
    /// Its largest allowed growth.
    pub allowance: Allowance,
}

/// Lines are judged from these changes on; smaller changes always pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Least {
    /// Bytes.
    pub bytes: f64,
    /// Seconds.
    pub seconds: f64,
}

/// A figure that grew by more than its rule allows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Passed {
    /// The figure's kind.
    pub figure: Figure,
    /// File and line, in the later profile; `None`: the whole run.
    pub place: Option<(String, u32)>,
    /// Function of the line.
    pub function: String,
    /// Text of the line.
    pub source: Option<String>,
    /// Its change.
    pub change: Change,
}

/// The result of judging a comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// Changes beyond a rule and beyond their error: for each rule the run's first, then lines by their change.
    pub failures: Vec<Passed>,
    /// Changes beyond a rule whose error is larger than the change.
    pub unclear: Vec<Passed>,
}

/// Judges a comparison.
#[must_use]
pub fn judge(diff: &Diff, rules: &[Rule], least: Least) -> Verdict {
    let mut verdict = Verdict::default();
    for rule in rules {
        let least = if rule.figure.is_time() { least.seconds } else { least.bytes };
        let run = rule.figure.of(&diff.totals);
        if exceeds(&run, rule.allowance) {
            let passed =
                Passed { figure: rule.figure, place: None, function: String::new(), source: None, change: run };
            verdict.add(passed);
        }
        let mut lines: Vec<Passed> = diff
            .lines
            .iter()
            .filter_map(|line| {
                let change = rule.figure.of(&line.changes);
                let place = Some((line.path.clone(), line.after_line?));
                let large = change.delta.is_some_and(|delta| delta >= least);
                (large && exceeds(&change, rule.allowance)).then(|| Passed {
                    figure: rule.figure,
                    place,
                    function: line.function.clone(),
                    source: line.source.clone(),
                    change,
                })
            })
            .collect();
        let delta = |passed: &Passed| passed.change.delta.unwrap_or(0.0);
        lines.sort_by(|one, two| delta(two).total_cmp(&delta(one)));
        lines.into_iter().for_each(|passed| verdict.add(passed));
    }
    verdict
}

impl Verdict {
    fn add(&mut self, passed: Passed) {
        if passed.change.noise { &mut self.unclear } else { &mut self.failures }.push(passed);
    }
}

fn exceeds(change: &Change, allowance: Allowance) -> bool {
    let (Some(before), Some(delta)) = (change.before, change.delta) else { return false };
    delta > 0.0
        && match allowance {
            Allowance::Share(share) => delta > before * share,
            Allowance::Amount(amount) => delta > amount,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::compare::diff::LineChange;

    fn change(before: f64, after: f64, noise: bool) -> Change {
        Change { before: Some(before), after: Some(after), delta: Some(after - before), se: None, noise }
    }

    fn compared() -> Diff {
        let line = |number, bytes: Change, cpu: Change| LineChange {
            path: "/a.py".to_owned(),
            after_line: Some(number),
            changes: Changes { alloc_bytes: bytes, cpu_s: cpu, ..Changes::default() },
            ..LineChange::default()
        };
        let totals =
            Changes { alloc_bytes: change(100e6, 108e6, false), cpu_s: change(1.0, 1.2, true), ..Changes::default() };
        let quiet = change(0.0, 0.0, true);
        let lines = vec![
            line(3, change(1e6, 2e6, false), quiet),
            line(9, change(1e6, 8e6, false), quiet),
            line(12, change(10.0, 900.0, false), quiet),
        ];
        Diff { totals, lines, ..Diff::default() }
    }

    #[test]
    fn a_rule_speaks_of_the_run_and_of_lines_that_are_large_enough() {
        let rule = Rule { figure: Figure::Mem, allowance: Allowance::Share(0.05) };
        let verdict = judge(&compared(), &[rule], Least { bytes: 1_048.0, seconds: 0.001 });
        let places: Vec<_> = verdict.failures.iter().map(|passed| passed.place.as_ref().map(|place| place.1)).collect();
        assert_eq!(places, [None, Some(9), Some(3)]);
        assert!(verdict.unclear.is_empty());
    }

    #[test]
    fn a_change_within_its_error_is_no_failure() {
        let rule = Rule { figure: Figure::Cpu, allowance: Allowance::Share(0.05) };
        let verdict = judge(&compared(), &[rule], Least::default());
        assert!(verdict.failures.is_empty());
        assert_eq!(verdict.unclear.len(), 1);
    }

    #[test]
    fn an_amount_is_allowed_whatever_the_share() {
        let rule = |amount| Rule { figure: Figure::Mem, allowance: Allowance::Amount(amount) };
        assert!(judge(&compared(), &[rule(8e6)], Least::default()).failures.is_empty());
        assert!(!judge(&compared(), &[rule(7e6)], Least::default()).failures.is_empty());
    }
}

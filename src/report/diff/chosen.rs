//! The choice of a comparison's lines, functions and columns for a report, and the text of a difference.
//!
//! Invariants: pure; a figure inside the noise always stands in parentheses. Neighbours:
//! `compare::diff` compares; `table`, `html` and `markdown` render what [`Selected`] chooses.

use crate::profile::compare::diff::{Change, Diff, FunctionChange, LineChange};
use crate::report::table::command;
use crate::units;

/// Options of a comparison's report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiffOptions {
    /// Length of the lists of lines and of functions.
    pub top: usize,
    /// Leave out differences below this share (in per cent) of every total.
    pub min_percent: f64,
    /// Show every line of either profile.
    pub all_lines: bool,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self { top: 20, min_percent: 1.0, all_lines: false }
    }
}

/// The lines and functions of a comparison that a report shows.
pub(super) struct Selected<'d> {
    /// Lines that changed by more than chance and by [`Least`] or more, largest difference first.
    pub(super) lines: Vec<&'d LineChange>,
    /// Functions by the same rule.
    pub(super) functions: Vec<&'d FunctionChange>,
    /// Sentence about the other lines.
    pub(super) rest: Vec<String>,
}

impl<'d> Selected<'d> {
    pub(super) fn of(diff: &'d Diff, options: &DiffOptions) -> Self {
        let least = Least::of(diff, options.min_percent);
        let mut lines: Vec<&LineChange> = Vec::new();
        let (mut chance, mut small, mut same) = (0_u64, 0_u64, 0_u64);
        for line in &diff.lines {
            let figures = figures(line);
            let moved = |change: &&Change| change.delta.is_some_and(|delta| delta != 0.0);
            if options.all_lines || least.is_passed(&figures) {
                lines.push(line);
            } else if !figures.iter().any(moved) {
                same += 1;
            } else if figures.iter().filter(|change| moved(change)).all(|change| change.noise) {
                chance += 1;
            } else {
                small += 1;
            }
        }
        let cut = lines.len().saturating_sub(options.top);
        if !options.all_lines {
            lines.truncate(options.top);
        }
        let functions = diff.functions.iter().filter(|function| {
            options.all_lines
                || least.cpu(&function.cumulative_cpu_s)
                || least.cpu(&function.cpu_s)
                || least.wait(&function.wait_s)
                || least.bytes(&function.cumulative_alloc_bytes)
        });
        let functions = functions.take(if options.all_lines { usize::MAX } else { options.top }).collect();
        let count = |n: u64, one: &str, many: &str| match n {
            0 => None,
            1 => Some(format!("1 line {one}")),
            n => Some(format!("{} lines {many}", units::count(n))),
        };
        let shown_too = if options.all_lines { 0 } else { cut as u64 };
        let little = format!("changed by less than {}%", options.min_percent);
        let rest = [
            count(shown_too, "more changed", "more changed"),
            count(chance, "differs by no more than chance", "differ by no more than chance"),
            count(small, &little, &little),
            count(same, "is the same", "are the same"),
        ];
        Self { lines, functions, rest: rest.into_iter().flatten().collect() }
    }
}

/// The figures of a line.
pub(super) fn figures(line: &LineChange) -> [&Change; 5] {
    let changes = &line.changes;
    [&changes.cpu_s, &changes.wait_s, &changes.alloc_bytes, &changes.live_bytes, &changes.peak_bytes]
}

/// The smallest differences that a report shows.
pub(super) struct Least {
    cpu_s: f64,
    wait_s: f64,
    bytes: f64,
}

impl Least {
    pub(super) fn of(diff: &Diff, percent: f64) -> Self {
        let larger = |change: &Change| change.before.unwrap_or(0.0).max(change.after.unwrap_or(0.0)) * percent / 100.0;
        Self {
            cpu_s: larger(&diff.totals.cpu_s),
            wait_s: larger(&diff.elapsed_s),
            bytes: larger(&diff.peak_rss_bytes).max(1.0),
        }
    }

    fn is_passed(&self, [cpu, wait, alloc, live, peak]: &[&Change; 5]) -> bool {
        self.cpu(cpu) || self.wait(wait) || [alloc, live, peak].into_iter().any(|change| self.bytes(change))
    }

    fn cpu(&self, change: &Change) -> bool {
        beyond(change, self.cpu_s)
    }

    fn wait(&self, change: &Change) -> bool {
        beyond(change, self.wait_s)
    }

    fn bytes(&self, change: &Change) -> bool {
        beyond(change, self.bytes)
    }
}

/// Whether a change is more than chance, and `least` or more.
pub(super) fn beyond(change: &Change, least: f64) -> bool {
    !change.noise && change.delta.is_some_and(|delta| delta != 0.0 && delta.abs() >= least)
}

/// Unit of the figure of a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Bytes,
}

impl Unit {
    /// A figure for people, for example `1.5 s`; blank if unknown.
    pub(super) fn plain(self, value: Option<f64>) -> String {
        match (value, self) {
            (None, _) => String::new(),
            (Some(value), Self::Seconds) => units::seconds(value),
            (Some(value), Self::Bytes) => units::signed_bytes(value.round() as i64),
        }
    }

    /// A difference with its sign.
    pub(super) fn signed(self, delta: f64) -> String {
        let text = self.plain(Some(delta));
        if delta > 0.0 { format!("+{text}") } else { text }
    }

    /// The difference: blank if unknown or 0, in parentheses if it may be chance.
    pub(super) fn delta(self, change: &Change) -> String {
        match change.delta {
            None | Some(0.0) => String::new(),
            Some(delta) if change.noise => format!("({})", self.signed(delta)),
            Some(delta) => self.signed(delta),
        }
    }
}

/// The difference as a share of the earlier figure.
pub(super) fn percent(change: &Change) -> String {
    match (change.before, change.delta) {
        (Some(before), Some(delta)) if before > 0.0 && delta != 0.0 => {
            format!("{}{}", if delta > 0.0 { "+" } else { "" }, units::percent(delta / before))
        }
        (Some(_), Some(delta)) if delta > 0.0 => "new".to_owned(),
        _ => String::new(),
    }
}

/// Whether a difference is noise, a rise or a fall, in a word.
pub(super) fn verdict(change: &Change) -> &'static str {
    match (change.delta, change.se) {
        (None, _) => "not measured in both",
        (Some(0.0), _) => "no change",
        (Some(_), None) => "",
        (Some(_), Some(_)) if change.noise => "within the noise",
        (Some(_), Some(_)) => "beyond the noise",
    }
}

/// Figures of the whole runs that at least one side knows.
pub(super) fn totals(diff: &Diff) -> Vec<(&'static str, Unit, Change)> {
    let totals = &diff.totals;
    let all = [
        ("elapsed", Unit::Seconds, diff.elapsed_s),
        ("CPU", Unit::Seconds, totals.cpu_s),
        ("wait", Unit::Seconds, totals.wait_s),
        ("allocated", Unit::Bytes, totals.alloc_bytes),
        ("live at the end", Unit::Bytes, totals.live_bytes),
        ("peak RSS", Unit::Bytes, diff.peak_rss_bytes),
    ];
    all.into_iter().filter(|(_, _, change)| change.before.or(change.after).is_some()).collect()
}

/// Place of a line in the later run, and its earlier place if the line moved.
pub(super) fn place(diff: &Diff, path: &str, before: Option<u32>, after: Option<u32>) -> String {
    let path = short(diff, path);
    match (before, after) {
        (Some(before), Some(after)) if before != after => format!("{path}:{after} (was {before})"),
        (_, Some(after)) if before.is_none() => format!("{path}:{after} (new)"),
        (Some(before), None) => format!("{path}:{before} (gone)"),
        (_, after) => format!("{path}:{}", after.unwrap_or(0)),
    }
}

/// `path` relative to the working directory of the later run.
pub(super) fn short<'p>(diff: &Diff, path: &'p str) -> &'p str {
    let cwd = diff.after.cwd.trim_end_matches('/');
    let inside = path.strip_prefix(cwd).filter(|_| !cwd.is_empty()).and_then(|rest| rest.strip_prefix('/'));
    inside.filter(|rest| !rest.is_empty()).unwrap_or(path)
}

/// A function's name, and its earlier name if the function was renamed.
pub(super) fn function_name(function: &FunctionChange) -> String {
    match &function.before_qualname {
        Some(before) => format!("{} (was {before})", function.qualname),
        None => function.qualname.clone(),
    }
}

/// Names of both runs.
pub(super) fn name(diff: &Diff) -> String {
    let (before, after) = (command(&diff.before.command), command(&diff.after.command));
    if before == after { after } else { format!("{before} -> {after}") }
}

/// A column of differences: its title, its unit, and the figure of a line or a function.
pub(super) type Column<T> = (&'static str, Unit, fn(&T) -> &Change);

/// The columns of functions.
pub(super) const FUNCTION_COLUMNS: [Column<FunctionChange>; 4] = [
    ("Total change", Unit::Seconds, |function| &function.cumulative_cpu_s),
    ("Self change", Unit::Seconds, |function| &function.cpu_s),
    ("Wait change", Unit::Seconds, |function| &function.wait_s),
    ("Alloc change", Unit::Bytes, |function| &function.cumulative_alloc_bytes),
];

/// The columns in which at least one line has a figure.
pub(super) fn columns(lines: &[&LineChange]) -> Vec<Column<LineChange>> {
    let all: [Column<LineChange>; 5] = [
        ("CPU change", Unit::Seconds, |line| &line.changes.cpu_s),
        ("Wait change", Unit::Seconds, |line| &line.changes.wait_s),
        ("Alloc change", Unit::Bytes, |line| &line.changes.alloc_bytes),
        ("Peak change", Unit::Bytes, |line| &line.changes.peak_bytes),
        ("Live change", Unit::Bytes, |line| &line.changes.live_bytes),
    ];
    let any = |of: fn(&LineChange) -> &Change| lines.iter().any(|line| of(line).delta.is_some_and(|d| d != 0.0));
    all.into_iter().filter(|(_, _, of)| any(*of)).collect()
}

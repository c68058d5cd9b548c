//! What a report shows of a comparison: which lines and functions, in which columns, and how a difference is spelled.
//!
//! Invariants: pure; a figure inside the noise is always marked so (in parentheses), wherever it stands. Neighbours:
//! `compare::diff` compares; `table`, `html` and `markdown` render what [`Selected`] chooses.

use crate::profile::compare::diff::{Change, Diff, FunctionChange, LineChange};
use crate::report::table::command;
use crate::units;

/// What to show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiffOptions {
    /// Length of the lists of lines and of functions.
    pub top: usize,
    /// Differences below this share (in per cent) of every total are left out.
    pub min_percent: f64,
    /// Show every line of either profile.
    pub all_lines: bool,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self { top: 20, min_percent: 1.0, all_lines: false }
    }
}

/// What a report shows of a comparison.
pub(super) struct Selected<'d> {
    /// Lines that changed by more than chance and enough to matter, largest difference first.
    pub(super) lines: Vec<&'d LineChange>,
    /// Functions likewise.
    pub(super) functions: Vec<&'d FunctionChange>,
    /// What became of the other lines, in words.
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

/// Differences that matter.
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

/// More than chance, and no less than `least`.
pub(super) fn beyond(change: &Change, least: f64) -> bool {
    !change.noise && change.delta.is_some_and(|delta| delta != 0.0 && delta.abs() >= least)
}

/// What kind of figure a [`Change`] is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Bytes,
}

impl Unit {
    /// A figure as people read it; blank where it is not known.
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

    /// The difference: blank where it is not known or nothing changed, in parentheses where it may be chance.
    pub(super) fn delta(self, change: &Change) -> String {
        match change.delta {
            None | Some(0.0) => String::new(),
            Some(delta) if change.noise => format!("({})", self.signed(delta)),
            Some(delta) => self.signed(delta),
        }
    }
}

/// How much of the earlier figure the difference is.
pub(super) fn percent(change: &Change) -> String {
    match (change.before, change.delta) {
        (Some(before), Some(delta)) if before > 0.0 && delta != 0.0 => {
            format!("{}{}", if delta > 0.0 { "+" } else { "" }, units::percent(delta / before))
        }
        (Some(_), Some(delta)) if delta > 0.0 => "new".to_owned(),
        _ => String::new(),
    }
}

/// What the noise says of a difference.
pub(super) fn verdict(change: &Change) -> &'static str {
    match (change.delta, change.se) {
        (None, _) => "not measured in both",
        (Some(0.0), _) => "no change",
        (Some(_), None) => "",
        (Some(_), Some(_)) if change.noise => "within the noise",
        (Some(_), Some(_)) => "beyond the noise",
    }
}

/// The figures of the whole runs that are known on either side.
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

/// Where a line stands now, and where it stood if that is elsewhere.
pub(super) fn place(diff: &Diff, path: &str, before: Option<u32>, after: Option<u32>) -> String {
    let path = short(diff, path);
    match (before, after) {
        (Some(before), Some(after)) if before != after => format!("{path}:{after} (was {before})"),
        (_, Some(after)) if before.is_none() => format!("{path}:{after} (new)"),
        (Some(before), None) => format!("{path}:{before} (gone)"),
        (_, after) => format!("{path}:{}", after.unwrap_or(0)),
    }
}

/// `path` from the working directory of the later run on.
pub(super) fn short<'p>(diff: &Diff, path: &'p str) -> &'p str {
    let cwd = diff.after.cwd.trim_end_matches('/');
    let inside = path.strip_prefix(cwd).filter(|_| !cwd.is_empty()).and_then(|rest| rest.strip_prefix('/'));
    inside.filter(|rest| !rest.is_empty()).unwrap_or(path)
}

/// A function's name, with the one that it had if that was another.
pub(super) fn function_name(function: &FunctionChange) -> String {
    match &function.before_qualname {
        Some(before) => format!("{} (was {before})", function.qualname),
        None => function.qualname.clone(),
    }
}

/// What was run, on both sides.
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

/// The columns of lines that have anything in them.
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

//! The report for a terminal: summary, hottest lines, annotated source, functions, threads and processes.
//!
//! Job: print the most important part last, because the end stays in view when the report has scrolled. Invariants: no
//! line is wider than the style's width; every text of the profile is made harmless before printing; an unknown figure
//! is blank. Neighbours: `view` chooses, `cells` writes figures, `comfy-table` lays out the short lists. Annotated
//! source is written row by row, because comfy-table took 1.0 to 1.5 s for 100,000 rows of eleven cells.

mod annotated;
mod cells;
mod closing;
mod facts;
mod functions;
mod hottest;
mod labels;
mod leaks;
pub(super) mod list;
mod modules;
mod per_process;
mod spread;
pub(super) mod sql;
mod summary;
mod tasks;
mod tree;

use super::style::Style;
use super::view::{Detail, Options, View};
use crate::profile::model::Profile;

pub(crate) use cells::short_path;
pub(super) use closing::sentences;
pub use leaks::render_leaks;
pub use summary::summary_line;
pub(super) use summary::{command, elapsed_text, resident as peak_made_of};

/// Hottest lines that the short report keeps even on the smallest screen.
const LEAST_LINES: usize = 3;
/// Most SQL statements in the short report, and in the full report.
const FEW_STATEMENTS: usize = 8;
const MOST_STATEMENTS: usize = 100;
/// Most routes, and most other labels, in the short report, and in the full report.
const FEW_LABELS: usize = 5;
const MOST_LABELS: usize = 40;

/// Renders the profile for a terminal of this style. `source` returns the text of a file if it can be read. The report
/// shows this text around the lines with figures.
#[must_use]
pub fn render_table(
    profile: &Profile,
    options: &Options,
    style: &Style,
    source: &dyn Fn(&str) -> Option<String>,
) -> String {
    let mut view = View::new(profile, options);
    match options.detail {
        Detail::Short => short(&mut view, options, style, usize::MAX),
        Detail::Full => full(&view, options, style, source),
        Detail::Fitting { rows } => {
            let whole = full(&view, options, style, source);
            if whole.lines().count() < rows { whole } else { short(&mut view, options, style, rows) }
        }
    }
}

/// The run at a glance, the hottest lines and the answer. To stay below `rows` rows, drops hottest lines down to
/// [`LEAST_LINES`], then statements, then labels.
fn short(view: &mut View<'_>, options: &Options, style: &Style, rows: usize) -> String {
    let mut head = String::new();
    summary::render_short(&mut head, view, style);
    let mut requested = String::new();
    on_request(&mut requested, view, options, style);
    let (mut labels, mut statements) = (FEW_LABELS, FEW_STATEMENTS);
    loop {
        let mut out = head.clone();
        if labels > 0 {
            labels::render(&mut out, view.profile, labels, style);
            spread::render(&mut out, view.profile, 1, labels, style);
        }
        if statements > 0 {
            sql::render(&mut out, view.profile, statements, style);
        }
        out.push_str(&requested);
        hottest::render(&mut out, view, options, style);
        closing::render(&mut out, view.profile, style);
        if out.lines().count() < rows {
            return out;
        }
        if view.lines.len() > LEAST_LINES {
            view.lines.pop();
        } else if statements > 0 {
            statements -= 1;
        } else if labels > 0 {
            labels -= 1;
        } else {
            return out;
        }
    }
}

/// All sections, the answer last.
fn full(view: &View<'_>, options: &Options, style: &Style, source: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    summary::render(&mut out, view, style);
    annotated::render(&mut out, view, options, style, source);
    functions::render(&mut out, view, style);
    modules::render(&mut out, view, options, style);
    tasks::render(&mut out, view.profile, style);
    labels::render(&mut out, view.profile, MOST_LABELS, style);
    spread::render(&mut out, view.profile, usize::MAX, MOST_LABELS, style);
    sql::render(&mut out, view.profile, MOST_STATEMENTS, style);
    on_request(&mut out, view, options, style);
    hottest::render(&mut out, view, options, style);
    closing::render(&mut out, view.profile, style);
    out
}

/// Appends the sections that only an option shows.
fn on_request(out: &mut String, view: &View<'_>, options: &Options, style: &Style) {
    if options.tree {
        tree::render(out, view.profile, options, style);
    }
    if options.per_process {
        per_process::render(out, view.profile, options, style);
    }
}

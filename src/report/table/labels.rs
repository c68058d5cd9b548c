//! Requests by route, and other work by label.
//!
//! Job: list the cost of each route and the duration of its requests. Invariants: the label with the most CPU time
//! first; rows that do not fit are counted. Neighbours: `profile::write` sorts, the page has the same rows.

use super::list::{List, title};
use crate::profile::model::{Label, Profile};
use crate::report::style::{Role, Style};
use crate::report::text;
use crate::units;

/// Cells of the columns other than the name.
const CALLS: usize = 7;
const FIGURE: usize = 9;
const SHARE: usize = 6;
/// Least cells of the name.
const LEAST_NAME: usize = 12;

/// Renders both lists, each with at most `rows` rows.
pub(super) fn render(out: &mut String, profile: &Profile, rows: usize, style: &Style) {
    let (routes, others): (Vec<_>, Vec<_>) = profile.labels.iter().partition(|label| label.route().is_some());
    list(out, profile, ["Routes", "Route"], &routes, rows, style);
    list(out, profile, ["Labels", "Label"], &others, rows, style);
}

fn list(out: &mut String, profile: &Profile, names: [&str; 2], labels: &[&Label], rows: usize, style: &Style) {
    let [name, column] = names;
    if labels.is_empty() {
        return;
    }
    title(out, name, &format!("{} in all", units::count(labels.len() as u64)), style);
    let width = style.width.saturating_sub(CALLS + 1 + SHARE + 1 + 5 * (FIGURE + 1) + 1).max(LEAST_NAME);
    let columns = [
        (column, width, false),
        ("Count", CALLS, true),
        ("Median", FIGURE, true),
        ("95 %", FIGURE, true),
        ("CPU", FIGURE, true),
        ("CPU %", SHARE, true),
        ("Allocated", FIGURE, true),
        ("Kept", FIGURE, true),
    ];
    let known = if profile.totals.memory.alloc_bytes.is_some() { columns.len() } else { columns.len() - 2 };
    // If not all columns fit, the last ones are left out.
    let shown = (0..=known).rev().find(|shown| {
        columns[..*shown].iter().map(|(_, width, _)| width + 1).sum::<usize>() <= style.width.max(LEAST_NAME + 1)
    });
    let shown = shown.unwrap_or(1).max(1);
    let mut list = List::new(&columns[..shown], style);
    let all = profile.totals.cpu_clock_s.filter(|all| *all > 0.0);
    for label in labels.iter().take(rows) {
        let seconds = |s: Option<f64>| s.map_or(String::new(), units::seconds);
        let bytes = |bytes: Option<u64>| bytes.map_or(String::new(), units::bytes);
        let mut cells = vec![
            text::fit(&label.name(), width, style),
            units::count(label.count),
            seconds(label.median_s),
            seconds(label.p95_s),
            seconds(label.cpu_s),
            label.cpu_s.zip(all).map_or(String::new(), |(s, all)| units::percent(s / all)),
            bytes(label.alloc_bytes),
            bytes(label.kept_bytes),
        ];
        cells.truncate(shown);
        list.push(cells);
    }
    list.render(out);
    if labels.len() > rows {
        style.paint(out, Role::Faint, &format!("and {} more", units::count((labels.len() - rows) as u64)));
        out.push('\n');
    }
}

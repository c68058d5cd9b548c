//! How much lines differ between ranks, machines, processes or labels, in merged profiles.
//!
//! Invariant: rows that are not listed are counted. Neighbours: `report::spread` chooses and formats the rows; the page
//! has the same rows.

use super::cells::list_path;
use super::list::{List, title};
use crate::profile::model::Profile;
use crate::report::spread::{self, SpreadTable};
use crate::report::style::{Role, Style};
use crate::report::text;
use crate::units;

/// Cells of a figure, and least cells of the names.
const FIGURE: usize = 9;
const LEAST_NAME: usize = 12;

/// Renders the tables of at most `tables` figures, each with at most `rows` lines.
pub(super) fn render(out: &mut String, profile: &Profile, tables: usize, rows: usize, style: &Style) {
    let Some(merge) = profile.merge.as_deref() else { return };
    let found = spread::tables(profile);
    if found.is_empty() {
        return;
    }
    title(out, &format!("Spread by {}", merge.spread.by), &spread::remark(merge), style);
    for table in found.iter().take(tables) {
        list(out, profile, table, rows, style);
    }
}

fn list(out: &mut String, profile: &Profile, table: &SpreadTable<'_>, rows: usize, style: &Style) {
    let names = style.width.saturating_sub(4 * (FIGURE + 1) + 1);
    let place = (names * 3 / 5).max(LEAST_NAME);
    let columns = [
        (table.name, place, false),
        ("Max", FIGURE, true),
        ("x", FIGURE, true),
        ("Median", FIGURE, true),
        ("Min", FIGURE, true),
        ("Largest", names.saturating_sub(place + 2).max(LEAST_NAME), false),
    ];
    // If not all columns fit, the last ones are left out.
    let fits = |shown: &usize| columns[..*shown].iter().map(|(_, width, _)| width + 1).sum::<usize>() <= style.width;
    let shown = (1..=columns.len()).rev().find(fits).unwrap_or(1);
    let mut list = List::new(&columns[..shown], style);
    for row in table.rows.iter().take(rows) {
        let path = profile.files.get(row.file).map_or("?", |file| list_path(profile, &file.path));
        let [min, median, max] = row.range.clone();
        let mut cells = vec![
            style.painted(Role::Strong, &text::fit_end(&format!("{path}:{}", row.line), place, style)),
            max,
            row.imbalance.clone(),
            median,
            min,
            text::fit(row.highest, columns[5].1, style),
        ];
        cells.truncate(shown);
        list.push(cells);
    }
    list.render(out);
    if table.rows.len() > rows {
        let more = format!("and {} more", units::count((table.rows.len() - rows) as u64));
        style.paint(out, Role::Faint, &more);
        out.push('\n');
    }
}

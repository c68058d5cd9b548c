//! Modules and packages: which of the user's files and which libraries take the time.
//!
//! Job: one row for each file in scope and for each package of a library, with own and total time. Invariant: rows
//! below the share of `--min-percent` are left out. Neighbours: `report::modules` computes the sums, `functions` lists
//! functions.

use super::cells::list_path;
use super::list::{List, title};
use crate::report::modules::modules;
use crate::report::style::{Role, Style};
use crate::report::text;
use crate::report::view::{Options, View, share};
use crate::units;

pub(super) fn render(out: &mut String, view: &View<'_>, options: &Options, style: &Style) {
    let profile = view.profile;
    let rows = modules(profile);
    let whole = view.base.cpu_s;
    let part = |s: f64| share(Some(s), whole).unwrap_or(0.0);
    let mut rows: Vec<_> = rows.into_iter().filter(|row| 100.0 * part(row.total_s) >= options.min_percent).collect();
    rows.truncate(options.top);
    if rows.len() < 2 {
        return;
    }
    title(out, "Modules and packages", "own: its own lines; total: with everything called", style);
    let decimals = units::column_decimals(whole);
    let seconds = |s: f64| units::seconds_in_column(s, decimals);
    let width = seconds(whole).len().max(7);
    // The most important column first; a column is shown only if it fits beside the names.
    let mut offers = vec![("Own", width), ("Total", width), ("Own %", 6), ("Total %", 7)];
    offers.extend(view.present.has("alloc_bytes").then_some(("Allocated", 9)));
    let mut left = style.width.saturating_sub(17);
    offers.retain(|(_, width)| {
        let fits = *width < left;
        left -= if fits { width + 1 } else { 0 };
        fits
    });
    let order = ["Own %", "Own", "Total %", "Total", "Allocated"];
    offers.sort_by_key(|(name, _)| order.iter().position(|other| other == name));
    let name_width = (left + 16).min(60);
    let mut heads = vec![("Module", name_width, false)];
    heads.extend(offers.iter().map(|(name, width)| (*name, *width, true)));
    let mut list = List::new(&heads, style);
    for row in &rows {
        let name = if row.library { row.name.as_str() } else { list_path(profile, &row.name) };
        let role = if row.library { Role::Plain } else { Role::Strong };
        let mut cells = vec![style.painted(role, &text::fit_end(name, name_width, style))];
        cells.extend(offers.iter().map(|(column, _)| match *column {
            "Own %" => units::percent(part(row.own_s)),
            "Own" => seconds(row.own_s),
            "Total %" => units::percent(part(row.total_s)),
            "Total" => seconds(row.total_s),
            _ => units::bytes(row.alloc_bytes),
        }));
        list.push(cells);
    }
    list.render(out);
}

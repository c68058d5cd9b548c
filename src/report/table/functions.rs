//! The functions with the most time: own time, and time with all callees.
//!
//! Job: lead from a hot line up to the function that causes the work. Invariant: rows are in the order of the view.
//! Neighbour: `hottest` lists lines.

use super::cells::list_path;
use super::list::{List, title};
use crate::profile::model::Function;
use crate::report::bars::{CPU_KINDS, cpu_parts, stacked};
use crate::report::style::{Role, Style};
use crate::report::text;
use crate::report::view::{View, cpu_s, share};
use crate::units;

pub(super) fn render(out: &mut String, view: &View<'_>, style: &Style) {
    if view.functions.is_empty() {
        return;
    }
    title(out, "Functions", "own: its own lines; total: with everything called", style);
    let all = || view.functions.iter().map(|place| place.function);
    let largest =
        all().flat_map(|function| [cpu_s(&function.own), function.cumulative.wall_s, function.cumulative.cpu_s]);
    let largest = largest.flatten().fold(0.0, f64::max);
    let decimals = units::column_decimals(largest);
    let seconds = |s: Option<f64>| s.map_or(String::new(), |s| units::seconds_in_column(s, decimals));
    let seconds_width = units::seconds_in_column(largest, decimals).len().max(7);
    let longest_own = all().map(|function| own(function).iter().sum()).fold(0.0, f64::max);

    // The most important column first; a column is shown only if it fits beside the names.
    let bar = (style.width / 10).clamp(6, 16);
    let offers: [(&str, usize, bool, bool); 6] = [
        ("Own", seconds_width, true, all().any(|function| cpu_s(&function.own).is_some())),
        ("Own %", 6, true, all().any(|function| cpu_s(&function.own).is_some())),
        ("Total", seconds_width, true, all().any(|function| function.cumulative.cpu_s.is_some())),
        ("Allocated", 9, true, all().any(|function| function.cumulative.alloc_bytes.is_some_and(|b| b > 0))),
        ("Wall", seconds_width, true, all().any(|function| function.cumulative.wall_s.is_some())),
        ("Time", bar, false, longest_own > 0.0),
    ];
    let mut left = style.width.saturating_sub(style.width / 2);
    let mut chosen: Vec<(&str, usize, bool)> = Vec::new();
    for (name, width, right, known) in offers {
        if known && width < left {
            left -= width + 1;
            chosen.push((name, width, right));
        }
    }
    let order = ["Time", "Own %", "Own", "Total", "Wall", "Allocated"];
    chosen.sort_by_key(|(name, ..)| order.iter().position(|other| other == name));
    let names: Vec<String> =
        view.functions.iter().map(|place| text::visible(&place.function.qualname, style)).collect();
    let width_left = style.width.saturating_sub(chosen.iter().map(|(_, width, _)| width + 1).sum::<usize>() + 1);
    let name_width = names.iter().map(|name| text::width(name)).max().unwrap_or(0).clamp(8, width_left * 3 / 5);
    let place_width = width_left - name_width;

    let mut heads = vec![("Function", name_width, false)];
    heads.append(&mut chosen);
    heads.push(("Defined at", place_width, false));
    let mut list = List::new(&heads, style);
    for (place, name) in view.functions.iter().zip(&names) {
        let function = place.function;
        let mut row = vec![style.painted(Role::Strong, &text::fit(name, name_width, style))];
        for (head, width, _) in &heads[1..heads.len() - 1] {
            row.push(match *head {
                "Time" => {
                    let mut out = String::new();
                    stacked(&mut out, own(function), longest_own, *width, style);
                    out
                }
                "Own" => seconds(cpu_s(&function.own)),
                "Own %" => share(cpu_s(&function.own), view.base.cpu_s).map_or(String::new(), units::percent),
                "Total" => seconds(function.cumulative.cpu_s),
                "Wall" => seconds(function.cumulative.wall_s),
                _ => function.cumulative.alloc_bytes.map_or(String::new(), units::bytes),
            });
        }
        let at = format!("{}:{}", list_path(view.profile, &place.file.path), function.first_line);
        row.push(style.painted(Role::Faint, &text::fit_end(&at, place_width, style)));
        list.push(row);
    }
    list.render(out);
}

fn own(function: &Function) -> [f64; CPU_KINDS] {
    cpu_parts(&function.own)
}

//! A comparison for a terminal.
//!
//! Job: totals, lines and functions as three lists. Invariant: no line is wider than the style's width; nothing from
//! the profiles reaches the terminal unchecked. Neighbours: `mod` chooses and spells, `report::table` lays out.

use super::chosen::{
    DiffOptions, FUNCTION_COLUMNS, Selected, Unit, columns, function_name, name, percent, place, totals, verdict,
};
use crate::profile::compare::diff::{Change, Diff, LineChange};
use crate::report::style::{Role, Style};
use crate::report::table::list::{List, title};
use crate::report::text;

/// The widest figure is `(-1023 MiB)`.
const FIGURE: usize = 12;

/// Renders the comparison for a terminal of this style.
#[must_use]
pub fn render_table(diff: &Diff, options: &DiffOptions, style: &Style) -> String {
    let mut out = String::new();
    let selected = Selected::of(diff, options);
    let (from, to) = (&diff.before.started_at, &diff.after.started_at);
    let when = if from.is_empty() { String::new() } else { format!("{from} -> {to}") };
    title(&mut out, &name(diff), &when, style);
    push_totals(&mut out, diff, style);
    push_lines(&mut out, diff, &selected, style);
    push_functions(&mut out, diff, &selected, style);
    out
}

fn push_totals(out: &mut String, diff: &Diff, style: &Style) {
    let heads = [
        ("", 15, false),
        ("before", 11, true),
        ("after", 11, true),
        ("change", FIGURE, true),
        ("", 8, true),
        ("", 20, false),
    ];
    // Leave out whole columns that do not fit, from the right.
    let mut width_left = style.width;
    let heads: Vec<_> = heads
        .into_iter()
        .take_while(|(_, width, _)| {
            let fits = *width < width_left;
            width_left = width_left.saturating_sub(width + 1);
            fits
        })
        .collect();
    let mut list = List::new(&heads, style);
    for (name, unit, change) in totals(diff) {
        let row = vec![
            style.painted(Role::Faint, name),
            unit.plain(change.before),
            unit.plain(change.after),
            painted(unit, &change, style),
            percent(&change),
            style.painted(Role::Faint, verdict(&change)),
        ];
        list.push(row.into_iter().take(heads.len()).collect());
    }
    list.render(out);
}

fn painted(unit: Unit, change: &Change, style: &Style) -> String {
    let role = if change.noise { Role::Faint } else { Role::Strong };
    style.painted(role, &unit.delta(change))
}

fn push_lines(out: &mut String, diff: &Diff, selected: &Selected<'_>, style: &Style) {
    title(out, "Lines", "in parentheses: within the noise", style);
    if selected.lines.is_empty() {
        out.push_str("no line changed by more than chance\n");
    } else {
        let places: Vec<String> = selected
            .lines
            .iter()
            .map(|line| text::visible(&place(diff, &line.path, line.before_line, line.after_line), style))
            .collect();
        let longest = places.iter().map(|place| text::width(place)).max().unwrap_or(0);
        let place_width = longest.clamp(8, (style.width / 3).max(14));
        let mut width_left = style.width.saturating_sub(place_width + 1 + 12);
        let mut heads = vec![("Line", place_width, false)];
        let mut chosen = Vec::new();
        let before_after = [("CPU before", true), ("CPU after", false)];
        for (name, is_before) in before_after.into_iter().filter(|_| style.width >= 100) {
            heads.push((name, 10, true));
            width_left = width_left.saturating_sub(11);
            chosen.push(Cell::Cpu(is_before));
        }
        for (name, unit, of) in columns(&selected.lines) {
            if width_left > FIGURE {
                width_left -= FIGURE + 1;
                heads.push((name, FIGURE, true));
                chosen.push(Cell::Delta(unit, of));
            }
        }
        let source_width = width_left + 12;
        heads.push(("Source", source_width, false));
        let mut list = List::new(&heads, style);
        for (line, place) in selected.lines.iter().zip(&places) {
            let mut row = vec![text::fit_end(place, place_width, style)];
            row.extend(chosen.iter().map(|cell| match cell {
                Cell::Cpu(true) => Unit::Seconds.plain(line.changes.cpu_s.before),
                Cell::Cpu(false) => Unit::Seconds.plain(line.changes.cpu_s.after),
                Cell::Delta(unit, of) => painted(*unit, of(line), style),
            }));
            row.push(text::fit(line.source.as_deref().unwrap_or("").trim(), source_width, style));
            list.push(row);
        }
        list.render(out);
    }
    if !selected.rest.is_empty() {
        let mut rest = String::new();
        text::fit_onto(&mut rest, &selected.rest.join(", "), style.width, Role::Faint, style);
        out.push_str(&rest);
        out.push('\n');
    }
}

enum Cell {
    /// CPU seconds before, or after.
    Cpu(bool),
    Delta(Unit, fn(&LineChange) -> &Change),
}

fn push_functions(out: &mut String, diff: &Diff, selected: &Selected<'_>, style: &Style) {
    if selected.functions.is_empty() {
        return;
    }
    title(out, "Functions", "self: own lines; total: with all that it calls", style);
    let mut width_left = style.width.saturating_sub(30);
    let chosen: Vec<_> = FUNCTION_COLUMNS
        .into_iter()
        .filter(|(_, _, of)| selected.functions.iter().any(|function| of(function).delta.is_some_and(|d| d != 0.0)))
        .filter(|_| {
            let fits = width_left > FIGURE;
            width_left = width_left.saturating_sub(FIGURE + 1);
            fits
        })
        .collect();
    let left = style.width.saturating_sub(chosen.len() * (FIGURE + 1) + 2);
    let (name_width, place_width) = (left / 2, left - left / 2);
    let mut heads = vec![("Function", name_width, false)];
    heads.extend(chosen.iter().map(|(name, _, _)| (*name, FIGURE, true)));
    heads.push(("Defined at", place_width, false));
    let mut list = List::new(&heads, style);
    for function in &selected.functions {
        let mut row = vec![text::fit(&function_name(function), name_width, style)];
        row.extend(chosen.iter().map(|(_, unit, of)| painted(*unit, of(function), style)));
        let at = place(diff, &function.path, function.before_line, function.after_line);
        row.push(style.painted(Role::Faint, &text::fit_end(&at, place_width, style)));
        list.push(row);
    }
    list.render(out);
}

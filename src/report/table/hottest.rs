//! The hottest lines: where to look first.
//!
//! Job: one row for each line, with its place, figures and source; below it a row with the native functions in which
//! the line spent its native time. Invariant: rows are in the order of the view. Neighbours: `cells` fills the columns,
//! `annotated` shows the lines in their files.

use super::cells::{Cells, Column, Figure, list_path};
use super::list::{List, title};
use crate::profile::model::Line;
use crate::report::style::{Role, Style};
use crate::report::text;
use crate::report::view::{Options, Place, SortKey, View, cpu_s};
use crate::units;

/// Figures to show of a line, the most important first.
const WISH: [Figure; 20] = [
    Figure::Cpu,
    Figure::Share,
    Figure::Queries,
    Figure::SqlTime,
    Figure::Mark,
    Figure::Bar,
    Figure::PEAK,
    Figure::Rows,
    Figure::Build,
    Figure::Wait,
    Figure::Kind(0),
    Figure::Kind(1),
    Figure::Kind(2),
    Figure::Kind(3),
    Figure::Collector,
    Figure::ALLOC,
    Figure::LIVE,
    Figure::INCREMENT,
    Figure::COPY,
    Figure::MEM_USAGE,
];

/// A native function is named if it has at least this share of its line's CPU seconds.
const NATIVE_SHARE: f64 = 0.2;

pub(super) fn render(out: &mut String, view: &View<'_>, options: &Options, style: &Style) {
    if view.lines.is_empty() {
        return;
    }
    let mut remark = format!("by {}", options.sort.name());
    if style.width >= 100 {
        remark.push_str("; per cent of the CPU time of the run");
    }
    title(out, "Hottest lines", &remark, style);
    rows(out, view, options, style);
}

/// The list without its title.
pub(super) fn rows(out: &mut String, view: &View<'_>, options: &Options, style: &Style) {
    if view.lines.is_empty() {
        return;
    }
    let places: Vec<String> = view.lines.iter().map(|place| place_name(view, place)).collect();
    let longest = |names: &[String]| names.iter().map(|name| text::width(name)).max().unwrap_or(0);
    let most_place_width = (style.width / 4).max(14);
    let place_width = longest(&places).clamp(4, most_place_width);
    let functions: Vec<String> = view.lines.iter().map(|place| text::visible(&place.line.function, style)).collect();
    // The source text usually shows the name of the function already, so only a wide terminal gets this column.
    let function_width = if style.width >= 140 { longest(&functions).clamp(8, style.width / 8) } else { 0 };

    let mut cells = Cells::new(view, *style);
    let least_source = least_source_width(style.width);
    let function_cells = if function_width > 0 { function_width + 1 } else { 0 };
    // Columns do not depend on the names, so that the tables of two programs can be compared side by side.
    let most_function_width = if function_width > 0 { style.width / 8 + 1 } else { 0 };
    let reserved = (style.width / 4).max(12) + 1 + most_function_width + least_source;
    let columns = cells.columns(&WISH, options.sort, style.width.saturating_sub(reserved));
    let taken = place_width + 1 + function_cells;
    let figures: usize = columns.iter().map(|column| column.width + 1).sum();
    let source_width = style.width.saturating_sub(taken + figures);

    let mut heads = vec![("Line", place_width, false)];
    let names: Vec<String> = columns.iter().map(|column| cells.head(column)).collect();
    heads.extend(columns.iter().zip(&names).map(|(column, name)| (name.as_str(), column.width, false)));
    if function_width > 0 {
        heads.push(("Function", function_width, false));
    }
    heads.push(("Source", source_width, false));
    let mut list = List::new(&heads, style);
    for ((place, name), function) in view.lines.iter().zip(&places).zip(&functions) {
        let mut row = vec![style.painted(Role::Strong, &text::fit_end(name, place_width, style))];
        row.extend(columns.iter().map(|column| cell(&mut cells, column, place.line)));
        if function_width > 0 {
            row.push(text::fit(function, function_width, style));
        }
        row.push(source(place.line, source_width, style));
        let length = row.len();
        list.push(row);
        if let Some(native) = native(place.line, source_width, options.sort, style) {
            let mut row = vec![String::new(); length - 1];
            row.push(native);
            list.push(row);
        }
    }
    list.render(out);
}

/// Least cells for the source text, so that a reader recognises the line.
pub(super) fn least_source_width(width: usize) -> usize {
    match width {
        0..60 => 12,
        60..100 => 20,
        100..120 => 28,
        120..160 => 36,
        _ => 56,
    }
}

fn place_name(view: &View<'_>, place: &Place<'_>) -> String {
    format!("{}:{}", list_path(view.profile, &place.file.path), place.line.line)
}

fn cell(cells: &mut Cells<'_>, column: &Column, line: &Line) -> String {
    let mut out = String::new();
    cells.push(&mut out, column, line);
    out
}

fn source(line: &Line, source_width: usize, style: &Style) -> String {
    let mut out = String::new();
    text::fit_onto(&mut out, line.source.as_deref().unwrap_or("").trim(), source_width, Role::Plain, style);
    out
}

/// The collector, and the libraries and functions with most of the line's time.
fn native(line: &Line, source_width: usize, sort: SortKey, style: &Style) -> Option<String> {
    let whole = if sort == SortKey::Native { line.time.native_s } else { cpu_s(&line.time) }?;
    let places = line.native.iter().filter(|place| place.s >= NATIVE_SHARE * whole && place.s > 0.0);
    let collector = line.time.gc_s.filter(|s| *s >= NATIVE_SHARE * whole && *s > 0.0);
    let collector = collector.map(|s| format!("{} in the garbage collector", units::seconds(s)));
    let places = places.take(3).map(|place| match &place.symbol {
        // The function stands first, so that a narrow terminal cuts the library's name.
        Some(symbol) => format!("{} {symbol} ({})", units::seconds(place.s), text::library_name(&place.object)),
        None => format!("{} {}", units::seconds(place.s), text::library_name(&place.object)),
    });
    let names: Vec<String> = collector.into_iter().chain(places).collect();
    if names.is_empty() {
        return None;
    }
    let mut out = String::new();
    let text = format!("{} {}", style.glyph("\u{2570}", "`"), names.join(", "));
    text::fit_onto(&mut out, &text, source_width, Role::Native, style);
    Some(out)
}

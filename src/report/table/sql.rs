//! Queries of databases: by line and statement, and advice for lines that repeat their queries.
//!
//! Job: list the statements in descending order of time, and below them a sentence for each mark. Invariants: the
//! report counts the rows left out; no line is wider than the style. Neighbours: `profile::write` sorts, the page has
//! the same rows.

use super::cells::list_path;
use super::list::{List, title};
use crate::profile::model::{Profile, Sql, SqlStatement};
use crate::report::style::{Role, Style};
use crate::report::text;
use crate::units;

/// Cells of the columns other than place and statement.
const COUNT: usize = 7;
const FIGURE: usize = 8;
const MARK: usize = 9;
/// Most cells of the place.
const PLACE: usize = 26;

/// Renders at most `rows` statements, and at most as many marks.
pub(super) fn render(out: &mut String, profile: &Profile, rows: usize, style: &Style) {
    let Some(sql) = &profile.sql else { return };
    title(out, "SQL", &summary(sql), style);
    if sql.statements.is_empty() {
        return;
    }
    let places: Vec<String> = sql.statements.iter().map(|row| place(profile, row)).collect();
    let longest = places.iter().take(rows).map(|name| text::width(name)).max().unwrap_or(4);
    let place_width = longest.clamp(4, PLACE.min(style.width / 4).max(4));
    let marked = sql.statements.iter().any(|row| row.mark.is_some());
    let mut columns = vec![("Line", place_width, false), ("Count", COUNT, true), ("SQL", FIGURE, true)];
    let mut left = style.width.saturating_sub(place_width + COUNT + FIGURE + 3);
    for (name, width, wanted) in [("Longest", FIGURE, true), ("Rows", FIGURE, true), ("Mark", MARK, marked)] {
        if wanted && left > width + 21 {
            left -= width + 1;
            columns.push((name, width, name != "Mark"));
        }
    }
    let names: Vec<&str> = columns.iter().map(|(name, ..)| *name).collect();
    columns.push(("Statement", left, false));
    let mut list = List::new(&columns, style);
    for (row, place) in sql.statements.iter().zip(&places).take(rows) {
        let mut cells = vec![style.painted(Role::Strong, &text::fit_end(place, place_width, style))];
        for name in names.iter().skip(1) {
            cells.push(match *name {
                "Count" => units::count(row.count),
                "SQL" => units::seconds(row.time_s),
                "Longest" => units::seconds(row.longest_s),
                "Rows" => row.rows.map_or(String::new(), units::count),
                _ => row.mark.clone().unwrap_or_default(),
            });
        }
        cells.push(text::fit(&row.statement, left, style));
        list.push(cells);
    }
    list.render(out);
    if sql.statements.len() > rows {
        let more = format!("and {} more", units::count((sql.statements.len() - rows) as u64));
        style.paint(out, Role::Faint, &more);
        out.push('\n');
    }
    for row in sql.statements.iter().filter(|row| row.mark.is_some()).take(rows) {
        text::fit_onto(out, &finding(profile, row), style.width, Role::Plain, style);
        out.push('\n');
    }
}

/// e.g. `36 queries, 1.20 ms, 210 rows`.
pub(in crate::report) fn summary(sql: &Sql) -> String {
    let rows = sql.rows.map_or(String::new(), |rows| format!(", {} rows", units::count(rows)));
    let queries = if sql.count == 1 { "query" } else { "queries" };
    format!("{} {queries}, {}{rows}", units::count(sql.count), units::seconds(sql.time_s))
}

/// The line that executed the statement.
pub(in crate::report) fn place(profile: &Profile, row: &SqlStatement) -> String {
    match (row.file.and_then(|file| profile.files.get(file)), row.line) {
        (Some(file), Some(line)) => format!("{}:{line}", list_path(profile, &file.path)),
        _ => "(no line)".to_owned(),
    }
}

/// The meaning of a mark, and the advice.
pub(in crate::report) fn finding(profile: &Profile, row: &SqlStatement) -> String {
    let mark = row.mark.as_deref().unwrap_or_default();
    let cause = row.cause.as_ref().and_then(|cause| {
        let file = profile.files.get(cause.file)?;
        let path = list_path(profile, &file.path);
        Some(format!(", for each of the {} rows of {path}:{}", units::count(cause.rows), cause.line))
    });
    format!(
        "{mark}: {} asked {} times{}: {}",
        place(profile, row),
        units::count(row.count),
        cause.unwrap_or_default(),
        row.advice.as_deref().unwrap_or_default()
    )
}

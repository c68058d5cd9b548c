//! Queries of databases: the view, and its rows for the page's script.
//!
//! Job: list statements by line with their figures, and give advice for lines that repeat their queries. Invariant: the
//! view is left out if queries were not counted. Neighbours: `table::sql` has the same rows, `assets/tables.js` makes
//! them sortable.

use serde_json::{Value, json};

use crate::profile::model::{Profile, Sql};
use crate::report::table::sql as text;
use crate::units;

use super::digits::rounded;
use super::escape;
use super::page::Page;
use super::parts::{END, head};

const ROWS: usize = 100;

/// Appends the view, if queries were counted.
pub(super) fn push(out: &mut String, page: &Page<'_>) {
    let Some(sql) = &page.profile.sql else { return };
    out.push_str("<section id=\"sql\" class=\"view\" aria-labelledby=\"sql-h\"><h2 id=\"sql-h\">SQL</h2>");
    out.push_str(&format!("<p>{}</p>", escape::text(&text::summary(sql))));
    push_findings(out, page, sql);
    out.push_str("<div id=\"sql-rows\">");
    head(out, "Queries", &["Line", "#Count", "#SQL", "#Longest", "#Rows", "#Failed", "Mark", "Statement"]);
    for row in sql.statements.iter().take(ROWS) {
        let place = match (row.file, row.line) {
            (Some(file), Some(line)) => page.names[file].link(line),
            _ => "(no line)".to_owned(),
        };
        let figures = [
            units::count(row.count),
            units::seconds(row.time_s),
            units::seconds(row.longest_s),
            row.rows.map_or("\u{2013}".to_owned(), units::count),
            if row.errors > 0 { units::count(row.errors) } else { String::new() },
        ];
        let figures: String = figures.iter().map(|figure| format!("<td class=\"n\">{figure}</td>")).collect();
        out.push_str(&format!(
            "<tr><th scope=\"row\">{place}</th>{figures}<td>{}</td><td class=\"src\"><code>{}</code></td></tr>",
            escape::text(row.mark.as_deref().unwrap_or_default()),
            escape::text(&row.statement)
        ));
    }
    out.push_str(END);
    out.push_str("</div></section>");
}

fn push_findings(out: &mut String, page: &Page<'_>, sql: &Sql) {
    let marked: Vec<_> = sql.statements.iter().filter(|row| row.mark.is_some()).take(ROWS).collect();
    if marked.is_empty() {
        return;
    }
    out.push_str("<ul aria-label=\"Asked again and again\">");
    for row in marked {
        let link = match (row.file, row.line) {
            (Some(file), Some(line)) => page.names[file].link(line),
            _ => String::new(),
        };
        out.push_str(&format!("<li>{link} {}</li>", escape::text(&text::finding(page.profile, row))));
    }
    out.push_str("</ul>");
}

/// The rows for the script: file, line, count, total and longest time in microseconds, rows, failed, mark, statement.
pub(super) fn rows(profile: &Profile) -> Vec<Value> {
    let us = |seconds: f64| (seconds * 1e9).round() / 1e3;
    let rows = profile.sql.iter().flat_map(|sql| &sql.statements);
    rows.map(|row| {
        let count = |count: u64| rounded(count as f64);
        json!([
            row.file,
            row.line,
            count(row.count),
            us(row.time_s),
            us(row.longest_s),
            row.rows.map(count),
            count(row.errors),
            row.mark,
            row.statement
        ])
    })
    .collect()
}

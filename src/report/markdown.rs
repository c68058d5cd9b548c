//! The report as Markdown: for viewers without HTML, and to paste into an issue or a chat.
//!
//! Job: the run in a line and the hottest lines as a table of GitHub's flavour. Invariant: text from the profile is
//! escaped, or stands in a code span, where Markdown has no effect; the text cannot end its cell. Neighbour:
//! `html::fragment`.

use super::bars::{KINDS, cpu_parts};
use super::style::Style;
use super::table::{elapsed_text, sql};
use super::text;
use super::view::{Options, View, cpu_s, share, waiting_s};
use crate::profile::model::{Profile, Time};
use crate::units;

/// Renders the hottest lines according to `options`.
#[must_use]
pub fn render_markdown(profile: &Profile, options: &Options) -> String {
    let mut view = View::new(profile, options);
    if view.lines.is_empty() {
        view = View::new(profile, &Options { min_percent: 0.0, ..*options });
    }
    let totals = &profile.totals;
    let mut facts = vec![elapsed_text(&profile.clock)];
    facts.extend(cpu_s(&totals.time).map(|cpu| format!("{} CPU", units::seconds(cpu))));
    facts.extend(totals.peak().map(|peak| format!("{} peak RSS", units::bytes(peak))));
    if totals.lost_records > 0 {
        facts.push(format!("**{} records lost**", units::count(totals.lost_records)));
    }
    let command = profile.target.command.join(" ");
    let command = if command.is_empty() { String::new() } else { format!("{}: ", code(&command)) };
    let mut out = format!("{command}{}\n", facts.join(", "));
    for notice in &profile.notices {
        out.push_str(&format!("\n> {}\n", plain(&notice.to_string())));
    }
    if view.lines.is_empty() {
        return out;
    }
    let present = &view.present;
    let mut heads = vec!["Line", "CPU", "CPU %", "Mostly"];
    heads.extend(present.wait.then_some("Wait"));
    heads.extend(present.has("alloc_bytes").then_some("Allocated"));
    heads.extend(present.has("peak_bytes").then_some("At peak"));
    heads.extend(present.sql.then_some("SQL"));
    heads.extend(present.sql.then_some("SQL ms"));
    let numbers = "---:|".repeat(heads.len() - 1);
    out.push_str(&format!("\n| {} | Source |\n|:---|{numbers}:---|\n", heads.join(" | ")));
    let bytes = |b: Option<u64>| b.map_or(String::new(), units::bytes);
    for place in &view.lines {
        let line = place.line;
        let path = super::table::short_path(profile, &place.file.path);
        let mut cells = vec![
            code(&format!("{path}:{}", line.line)),
            cpu_s(&line.time).map_or(String::new(), units::seconds),
            share(cpu_s(&line.time), view.base.cpu_s).map_or(String::new(), units::percent),
            mostly(&line.time).to_owned(),
        ];
        cells.extend(present.wait.then(|| waiting_s(&line.time).map_or(String::new(), units::seconds)));
        cells.extend(present.has("alloc_bytes").then(|| bytes(line.memory.alloc_bytes)));
        cells.extend(present.has("peak_bytes").then(|| bytes(line.memory.peak_bytes)));
        cells.extend(present.sql.then(|| line.sql_count.map_or(String::new(), units::count)));
        cells.extend(present.sql.then(|| line.sql_s.map_or(String::new(), |s| format!("{:.3}", s * 1e3))));
        cells.push(code(line.source.as_deref().unwrap_or("").trim()));
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    push_sql(&mut out, profile);
    out
}

/// Most SQL statements in the list.
const STATEMENTS: usize = 10;

/// Appends the queries of databases by line, and advice for lines that repeat their queries.
fn push_sql(out: &mut String, profile: &Profile) {
    let Some(sql) = profile.sql.as_ref().filter(|sql| !sql.statements.is_empty()) else { return };
    out.push_str(&format!(
        "\n{}\n\n| Line | Count | SQL ms | Longest ms | Rows | Mark | Statement |\n",
        sql::summary(sql)
    ));
    out.push_str("|:---|---:|---:|---:|---:|:---|:---|\n");
    for row in sql.statements.iter().take(STATEMENTS) {
        let cells = [
            code(&sql::place(profile, row)),
            units::count(row.count),
            format!("{:.3}", row.time_s * 1e3),
            format!("{:.3}", row.longest_s * 1e3),
            row.rows.map_or(String::new(), units::count),
            plain(row.mark.as_deref().unwrap_or_default()),
            code(&row.statement),
        ];
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    for row in sql.statements.iter().filter(|row| row.mark.is_some()).take(STATEMENTS) {
        out.push_str(&format!("\n- {}\n", plain(&sql::finding(profile, row))));
    }
}

/// The name of the largest kind of time.
fn mostly(time: &Time) -> &'static str {
    let largest = cpu_parts(time).into_iter().zip(&KINDS).max_by(|a, b| a.0.total_cmp(&b.0));
    largest.filter(|(part, _)| *part > 0.0).map_or("", |(_, kind)| kind.name)
}

/// `text` as a code span for a cell of a table; empty if `text` is blank.
pub(super) fn code(text: &str) -> String {
    let text = escape_pipes(&text::visible(text, &Style::PLAIN));
    if text.trim().is_empty() {
        return String::new();
    }
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    let gap = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{gap}{text}{gap}{fence}")
}

/// Puts a backslash before each `|`. If a backslash stands before the `|` already, adds one more, so that the two do
/// not pair up. (Markdown cuts a table into cells before it looks for code spans.)
fn escape_pipes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_open = false;
    for c in text.chars() {
        if c == '|' {
            out.push_str(if is_open { "\\\\" } else { "\\" });
        }
        is_open = c == '\\' && !is_open;
        out.push(c);
    }
    out
}

/// Escapes all characters of `text` with a meaning in Markdown or HTML.
fn plain(text: &str) -> String {
    let text = text::visible(text, &Style::PLAIN);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() && !".,:;()'%/-".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::{File, Line};

    #[test]
    fn a_code_span_cannot_be_ended_from_within_nor_its_cell() {
        assert_eq!(code("a | b"), "`a \\| b`");
        assert_eq!(code(r"a \| b \\| c"), r"`a \\\| b \\\| c`");
        assert_eq!(code("x = `y`"), "`` x = `y` ``");
        assert_eq!(code("x\n| z"), "`x\u{240a}\\| z`");
        assert_eq!(code("  "), "");
    }

    #[test]
    fn markup_outside_code_is_escaped() {
        assert_eq!(plain("<b> [x](y) *z*"), "\\<b\\> \\[x\\](y) \\*z\\*");
    }

    #[test]
    fn the_hottest_line_is_named_however_cold_it_is() {
        let line = |line| Line { line, time: Time { python_s: Some(1e-3), ..Time::default() }, ..Line::default() };
        let mut profile = Profile::default();
        profile.totals.time.python_s = Some(1.0);
        profile.files.push(File { path: "x.py".into(), lines: (1..=1000).map(line).collect(), ..File::default() });
        let text = render_markdown(&profile, &Options::default());
        assert_eq!(text.matches("`x.py:").count(), 10, "{text}");
    }

    #[test]
    fn every_row_has_as_many_cells_as_the_head() {
        let time = Time { python_s: Some(1.0), wait_s: Some(2.0), ..Time::default() };
        let line = Line { line: 3, source: Some("a | b".into()), time, ..Line::default() };
        let mut profile = Profile::default();
        profile.files.push(File { path: "x.py".into(), lines: vec![line], ..File::default() });
        let text = render_markdown(&profile, &Options::default());
        let rows: Vec<&str> = text.lines().filter(|row| row.starts_with('|')).collect();
        assert_eq!(rows.len(), 3, "{text}");
        assert!(rows.iter().all(|row| row.replace("\\|", "").matches('|').count() == 7), "{text}");
        assert!(rows[2].contains("`x.py:3`") && rows[2].contains("| python | 2.00 s |"), "{text}");
    }
}

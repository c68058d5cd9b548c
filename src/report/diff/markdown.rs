//! A comparison as Markdown.
//!
//! Job: totals and the lines that changed, as tables of GitHub's flavour. Invariant: as `report::markdown`'s.

use super::chosen::{DiffOptions, Selected, Unit, columns, name, percent, place, totals, verdict};
use crate::profile::compare::diff::Diff;
use crate::report::markdown::code;

/// The comparison as Markdown.
#[must_use]
pub fn render_markdown(diff: &Diff, options: &DiffOptions) -> String {
    let selected = Selected::of(diff, options);
    let mut out =
        format!("{}\n\n| | before | after | change | | |\n|:---|---:|---:|---:|---:|:---|\n", code(&name(diff)));
    for (name, unit, change) in totals(diff) {
        out.push_str(&format!(
            "| {name} | {} | {} | {} | {} | {} |\n",
            unit.plain(change.before),
            unit.plain(change.after),
            unit.delta(&change),
            percent(&change),
            verdict(&change)
        ));
    }
    if !selected.lines.is_empty() {
        let columns = columns(&selected.lines);
        let mut heads = vec!["Line", "CPU before"];
        heads.extend(columns.iter().map(|(name, _, _)| *name));
        let numbers = "---:|".repeat(heads.len() - 1);
        out.push_str(&format!("\n| {} | Source |\n|:---|{numbers}:---|\n", heads.join(" | ")));
        for line in &selected.lines {
            let mut cells = vec![
                code(&place(diff, &line.path, line.before_line, line.after_line)),
                Unit::Seconds.plain(line.changes.cpu_s.before),
            ];
            cells.extend(columns.iter().map(|(_, unit, of)| unit.delta(of(line))));
            cells.push(code(line.source.as_deref().unwrap_or("").trim()));
            out.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
    }
    if !selected.rest.is_empty() {
        out.push_str(&format!("\n{} (figures in parentheses are within the noise)\n", selected.rest.join(", ")));
    }
    out
}

//! A comparison as HTML: a page without script, and a fragment for notebooks.
//!
//! Job: totals, lines and functions as tables. Invariants, as in the page of a profile: no text of the profiles becomes
//! markup; a content security policy allows the style alone. Neighbour: `report::html` has the parts.

use super::chosen::{
    DiffOptions, FUNCTION_COLUMNS, Selected, Unit, columns, function_name, name, percent, place, totals, verdict,
};
use crate::profile::compare::diff::{Change, Diff};
use crate::report::html::{escape_text, fragment_around, page_around};

/// The whole page, with every line whose figures differ.
#[must_use]
pub fn render_page(diff: &Diff) -> String {
    let options = DiffOptions { top: usize::MAX, min_percent: 0.0, all_lines: false };
    page_around(&format!("{} \u{b7} difference", name(diff)), &body(diff, &options))
}

/// A fragment for notebooks.
#[must_use]
pub fn render_fragment(diff: &Diff, options: &DiffOptions) -> String {
    fragment_around(&body(diff, options))
}

fn body(diff: &Diff, options: &DiffOptions) -> String {
    let selected = Selected::of(diff, options);
    let when = [&diff.before.started_at, &diff.after.started_at].map(|at| escape_text(at));
    let when = match when.iter().any(|at| at.is_empty()) {
        true => String::new(),
        false => format!("started {} \u{2192} {} \u{b7} ", when[0], when[1]),
    };
    let mut out = format!(
        "<p class=\"head\"><b>{}</b></p><p class=\"rest\">{when}figures in parentheses are within the noise</p>",
        escape_text(&name(diff))
    );
    head(&mut out, "Totals", &["Figure", "Before", "After", "Change", "Share", "Verdict"]);
    for (name, unit, change) in totals(diff) {
        out.push_str(&format!(
            "<tr><th scope=\"row\">{name}</th><td class=\"n\">{}</td><td class=\"n\">{}</td>{}<td class=\"n\">{}</td><td>{}</td></tr>",
            unit.plain(change.before),
            unit.plain(change.after),
            delta(unit, &change),
            percent(&change),
            verdict(&change)
        ));
    }
    out.push_str(END);
    push_lines(&mut out, diff, &selected);
    push_functions(&mut out, diff, &selected);
    out
}

fn push_lines(out: &mut String, diff: &Diff, selected: &Selected<'_>) {
    if selected.lines.is_empty() {
        out.push_str("<p class=\"note\">No line changed by more than chance.</p>");
    } else {
        let columns = columns(&selected.lines);
        let mut heads = vec!["Line", "CPU before", "CPU after"];
        heads.extend(columns.iter().map(|(name, _, _)| *name));
        heads.push("Source");
        head(out, "Lines", &heads);
        for line in &selected.lines {
            let cpu = &line.changes.cpu_s;
            out.push_str(&format!(
                "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td>",
                escape_text(&place(diff, &line.path, line.before_line, line.after_line)),
                Unit::Seconds.plain(cpu.before),
                Unit::Seconds.plain(cpu.after)
            ));
            columns.iter().for_each(|(_, unit, of)| out.push_str(&delta(*unit, of(line))));
            let source = line.source.as_deref().unwrap_or("").trim();
            out.push_str(&format!("<td class=\"src\"><code>{}</code></td></tr>", escape_text(source)));
        }
        out.push_str(END);
    }
    if !selected.rest.is_empty() {
        out.push_str(&format!("<p class=\"rest\">{}</p>", selected.rest.join(", ")));
    }
}

fn push_functions(out: &mut String, diff: &Diff, selected: &Selected<'_>) {
    if selected.functions.is_empty() {
        return;
    }
    let mut heads = vec!["Function"];
    heads.extend(FUNCTION_COLUMNS.iter().map(|(name, _, _)| *name));
    heads.push("Defined at");
    head(out, "Functions", &heads);
    for function in &selected.functions {
        out.push_str(&format!("<tr><th scope=\"row\"><code>{}</code></th>", escape_text(&function_name(function))));
        FUNCTION_COLUMNS.iter().for_each(|(_, unit, of)| out.push_str(&delta(*unit, of(function))));
        let at = place(diff, &function.path, function.before_line, function.after_line);
        out.push_str(&format!("<td class=\"src\">{}</td></tr>", escape_text(&at)));
    }
    out.push_str(END);
}

/// A cell; worse and better differ by sign and weight before they do by colour.
fn delta(unit: Unit, change: &Change) -> String {
    let class = match change.delta {
        Some(delta) if !change.noise && delta > 0.0 => "n worse",
        Some(delta) if !change.noise && delta < 0.0 => "n better",
        _ => "n",
    };
    format!("<td class=\"{class}\">{}</td>", unit.delta(change))
}

fn head(out: &mut String, caption: &str, columns: &[&str]) {
    out.push_str(&format!("<table><caption>{caption}</caption><thead><tr>"));
    for column in columns {
        let text = ["Figure", "Line", "Source", "Function", "Defined at", "Verdict"].contains(column);
        let class = if text { "" } else { " class=\"n\"" };
        out.push_str(&format!("<th scope=\"col\"{class}>{column}</th>"));
    }
    out.push_str("</tr></thead><tbody>");
}

const END: &str = "</tbody></table>";

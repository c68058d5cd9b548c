//! Parts that several views of the page use: bars, heads of tables, rows of lines.
//!
//! Invariant: every text of the profile is escaped. Neighbours: `overview`, `tables`, `source`, `fragment`.

use crate::profile::model::{Line, Memory, Time};
use crate::report::view::waiting_s;
use crate::units;

use super::escape;
use super::findings::{kinds, plus_minus, time_error};
use super::page::{Page, total_s};

/// A stacked bar of time. A full bar is `scale_s` seconds.
pub(super) fn bar(time: &Time, scale_s: f64) -> String {
    let mut out = String::from("<span class=\"bar\" aria-hidden=\"true\">");
    // Each kind ends at the rounded sum of all kinds so far, so that rounding does not change the length of the bar.
    let (mut so_far, mut drawn) = (0.0, 0);
    for (_, class, _, seconds) in kinds(time) {
        let seconds = seconds.unwrap_or(0.0);
        so_far += seconds;
        let width = percent(so_far, scale_s).saturating_sub(drawn);
        if seconds > 0.0 && width > 0 {
            out.push_str(&format!("<i class=\"{class} w{width}\"></i>"));
            drawn += width;
        }
    }
    out.push_str("</span>");
    out
}

/// `part` in whole per cent of `whole`, at least 1 if `part` is above 0.
pub(super) fn percent(part: f64, whole: f64) -> u32 {
    if part > 0.0 && whole > 0.0 { ((part / whole * 100.0).round() as u32).clamp(1, 100) } else { 0 }
}

/// The bars of allocated, live and peak bytes. A full bar is `scale` bytes.
pub(super) fn memory_bar(memory: &Memory, scale: f64) -> String {
    let mut out = String::from("<span class=\"mbar\" aria-hidden=\"true\">");
    for (class, bytes) in [("al", memory.alloc_bytes), ("li", memory.live_bytes), ("pk", memory.peak_bytes)] {
        out.push_str(&format!("<i class=\"{class} w{}\"></i>", percent(bytes.unwrap_or(0) as f64, scale)));
    }
    out.push_str("</span>");
    out
}

/// Letter and share of the largest kind of time, for readers who cannot tell the colours apart.
pub(super) fn dominant(time: &Time) -> String {
    let all = total_s(time);
    let largest = kinds(time).max_by(|a, b| a.3.unwrap_or(0.0).total_cmp(&b.3.unwrap_or(0.0)));
    match largest {
        Some((letter, class, name, Some(part))) if all > 0.0 => {
            format!("<abbr class=\"kind {class}\" title=\"{name}\">{letter}</abbr> {:.0}", part / all * 100.0)
        }
        _ => String::new(),
    }
}

/// Opens a table. A `#` before a column's name marks a column of numbers.
pub(super) fn head(out: &mut String, caption: &str, columns: &[&str]) {
    out.push_str(&format!(
        "<div class=\"scroll\"><table class=\"t\"><caption class=\"sr\">{caption}</caption><thead><tr>"
    ));
    for column in columns {
        // Numbers are aligned to the right.
        out.push_str(&match column.strip_prefix('#') {
            Some(name) => format!("<th scope=\"col\" class=\"n\">{name}</th>"),
            None => format!("<th scope=\"col\">{column}</th>"),
        });
    }
    out.push_str("</tr></thead><tbody>");
}

/// Closes a table.
pub(super) const END: &str = "</tbody></table></div>";

pub(super) fn bytes(value: Option<u64>) -> String {
    value.map_or("\u{2013}".to_owned(), units::bytes)
}

pub(super) fn seconds(value: Option<f64>) -> String {
    value.map_or("\u{2013}".to_owned(), units::seconds)
}

pub(super) fn has_memory(page: &Page<'_>) -> bool {
    page.profile.totals.memory.alloc_bytes.is_some()
}

/// Appends a table of lines with all their figures.
pub(super) fn push_lines(out: &mut String, page: &Page<'_>, lines: &[(usize, &Line)], caption: &str) {
    let memory = has_memory(page);
    let mut columns = vec!["Line", "Source", "Time", "#CPU", "#Kind %", "#Wait"];
    if memory {
        columns.extend(["Memory", "#Allocated", "#At peak", "#Increment", "#Copied"]);
    }
    head(out, caption, &columns);
    let scale = lines.iter().map(|(_, line)| total_s(&line.time)).fold(0.0, f64::max);
    let scale_bytes = lines.iter().filter_map(|(_, line)| line.memory.alloc_bytes).max().unwrap_or(0) as f64;
    for (file, line) in lines {
        let source = page.texts[*file].get(line.line).map(str::trim).unwrap_or_default();
        out.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td class=\"src\"><code>{}</code></td><td>{}</td><td class=\"n\">{}{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>",
            page.names[*file].link(line.line),
            escape::text(source),
            bar(&line.time, scale),
            units::seconds(total_s(&line.time)),
            time_error(line),
            dominant(&line.time),
            seconds(waiting_s(&line.time))
        ));
        if memory {
            let m = &line.memory;
            out.push_str(&format!(
                "<td>{}</td><td class=\"n\">{}{}</td><td class=\"n\">{}{}</td><td class=\"n\">{}</td><td class=\"n\">{}{}</td>",
                memory_bar(m, scale_bytes),
                bytes(m.alloc_bytes),
                plus_minus(m.alloc_bytes, m.alloc_bytes_se),
                bytes(m.peak_bytes),
                plus_minus(m.peak_bytes, m.peak_bytes_se),
                m.increment_bytes.map_or("\u{2013}".to_owned(), units::signed_bytes),
                bytes(m.copy_bytes),
                plus_minus(m.copy_bytes, m.copy_bytes_se)
            ));
        }
        out.push_str("</tr>");
    }
    out.push_str(END);
}

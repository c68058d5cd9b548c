//! How much lines differ between ranks, machines, processes or labels, and the list of merged runs.
//!
//! Invariant: readable without script. Neighbours: `report::spread` chooses and formats, `table::spread` has the same
//! rows.

use super::escape;
use super::page::Page;
use super::parts::{END, bytes, head, seconds};
use crate::report::spread::{self, SpreadTable};
use crate::units;

const ROWS: usize = 100;

/// Appends the tables of a merged profile.
pub(super) fn push(out: &mut String, page: &Page<'_>) {
    let Some(merge) = page.profile.merge.as_deref() else { return };
    let tables = spread::tables(page.profile);
    if !tables.is_empty() {
        let remark = escape::text(&spread::remark(merge));
        out.push_str(&format!("<h3>Spread by {}</h3><p>{remark}.</p>", escape::text(&merge.spread.by)));
    }
    tables.iter().for_each(|table| push_table(out, page, table));
    out.push_str("<h3>Merged runs</h3>");
    head(out, "Merged runs", &["Run", "Host", "#pid", "Started", "#Wall", "#CPU", "#Allocated", "#Peak"]);
    for member in merge.members.iter().take(ROWS) {
        out.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"n\">{}</td><td>{}</td>",
            escape::text(&member.name()),
            escape::text(member.host.as_deref().unwrap_or("\u{2013}")),
            member.pid,
            escape::text(&member.started_at)
        ));
        for figure in [
            units::seconds(member.elapsed_s),
            seconds(member.cpu_s),
            bytes(member.alloc_bytes),
            bytes(member.footprint_peak_bytes),
        ] {
            out.push_str(&format!("<td class=\"n\">{figure}</td>"));
        }
        out.push_str("</tr>");
    }
    out.push_str(END);
    push_more(out, merge.members.len(), "runs");
}

fn push_table(out: &mut String, page: &Page<'_>, table: &SpreadTable<'_>) {
    let title = format!("{} by line and group", table.name);
    head(out, &title, &["Line", "#Min", "#Median", "#Max", "#Max by mean", "Largest"]);
    for row in table.rows.iter().take(ROWS) {
        let place = page.names.get(row.file).map(|name| name.link(row.line)).unwrap_or_default();
        out.push_str(&format!("<tr><th scope=\"row\">{place}</th>"));
        for figure in row.range.iter().chain([&row.imbalance]) {
            out.push_str(&format!("<td class=\"n\">{figure}</td>"));
        }
        out.push_str(&format!("<td>{}</td></tr>", escape::text(row.highest)));
    }
    out.push_str(END);
    push_more(out, table.rows.len(), "lines");
}

fn push_more(out: &mut String, count: usize, what: &str) {
    if count > ROWS {
        out.push_str(&format!("<p class=\"none\">{} more {what} are in the JSON alone.</p>", count - ROWS));
    }
}

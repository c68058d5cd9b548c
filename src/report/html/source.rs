//! Annotated source of the hottest regions as plain HTML, for readers without JavaScript and for printing.
//!
//! Job: choose the regions and write them. Invariant: at most `static_lines` lines, whatever the size of the profile.
//! Neighbours: `assets/source.js` hides this part and shows every file.

use std::collections::{BTreeMap, BTreeSet};

use crate::profile::model::Line;
use crate::report::view::time_inside;
use crate::units;

use super::escape;
use super::findings::lines;
use super::highlight::{Kind, Run};
use super::page::{HtmlOptions, Page, total_s};
use super::parts::{bar, dominant, memory_bar};

/// Lines shown before and after a hot line.
const AROUND: u32 = 3;
/// Most bytes of a line to show; the rest is cut off.
const LONGEST: usize = 400;

/// Appends the section.
pub(super) fn push(out: &mut String, page: &Page<'_>, options: &HtmlOptions) {
    out.push_str("<section id=\"source\" class=\"view\" aria-labelledby=\"source-h\"><h2 id=\"source-h\">Source</h2><div id=\"viewer\"></div><div class=\"static\">");
    if !options.source {
        out.push_str("<p class=\"none\">This report was made without source text.</p>");
    }
    let chosen = choose(page, options.static_lines);
    if chosen.is_empty() {
        out.push_str("<p class=\"none\">No line in scope has a figure.</p>");
    }
    for (file, numbers) in chosen {
        push_file(out, page, file, &numbers);
    }
    out.push_str("</div></section>");
}

/// The lines to show of each file: the costliest regions first, until `budget` lines are chosen. The file of the
/// costliest line stands first.
pub(super) fn choose(page: &Page<'_>, budget: usize) -> Vec<(usize, BTreeSet<u32>)> {
    let p = page.profile;
    let all_s = total_s(&time_inside(&p.totals)).max(f64::MIN_POSITIVE);
    let all_bytes = (p.totals.memory.alloc_bytes.unwrap_or(0) as f64).max(1.0);
    let heat = |line: &Line| total_s(&line.time) / all_s + line.memory.alloc_bytes.unwrap_or(0) as f64 / all_bytes;
    let mut ranked: Vec<(f64, usize, u32)> = lines(page).map(|(file, line)| (heat(line), file, line.line)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut chosen: Vec<(usize, BTreeSet<u32>)> = Vec::new();
    let mut place: BTreeMap<usize, usize> = BTreeMap::new();
    let mut count = 0;
    for (_, file, line) in ranked {
        if count >= budget {
            break;
        }
        let at = *place.entry(file).or_insert_with(|| {
            chosen.push((file, BTreeSet::new()));
            chosen.len() - 1
        });
        let numbers = &mut chosen[at].1;
        for near in line.saturating_sub(AROUND).max(1)..=line.saturating_add(AROUND) {
            let shown = near == line || page.texts[file].get(near).is_some();
            count += usize::from(shown && numbers.insert(near));
        }
    }
    chosen
}

fn push_file(out: &mut String, page: &Page<'_>, file: usize, numbers: &BTreeSet<u32>) {
    let (name, text) = (&page.names[file], &page.texts[file]);
    let measured: BTreeMap<u32, &Line> = page.profile.files[file].lines.iter().map(|line| (line.line, line)).collect();
    let memory = page.profile.totals.memory.alloc_bytes.is_some();
    let highlighted = text.highlighted();
    let scale = measured.values().map(|line| total_s(&line.time)).fold(0.0, f64::max);
    let scale_bytes = measured.values().filter_map(|line| line.memory.alloc_bytes).max().unwrap_or(0) as f64;
    out.push_str(&format!(
        "<h3 class=\"path\">{0}</h3><div class=\"scroll\"><table class=\"code\"><caption class=\"sr\">{0}</caption><thead><tr><th scope=\"col\">Time</th><th scope=\"col\" class=\"n\">CPU</th><th scope=\"col\" class=\"n\">Kind %</th>",
        escape::text(&name.shown)
    ));
    if memory {
        out.push_str("<th scope=\"col\">Memory</th><th scope=\"col\" class=\"n\">Allocated</th><th scope=\"col\" class=\"n\">Increment</th><th scope=\"col\" class=\"n\">Copied</th>");
    }
    let sql = measured.values().any(|line| line.sql_count.is_some());
    if sql {
        out.push_str("<th scope=\"col\" class=\"n\">SQL</th><th scope=\"col\" class=\"n\">SQL ms</th><th scope=\"col\" class=\"n\">Rows</th><th scope=\"col\">Mark</th>");
    }
    out.push_str("<th scope=\"col\">Line</th><th scope=\"col\">Source</th></tr></thead><tbody>");
    let columns = 5 + if memory { 4 } else { 0 } + if sql { 4 } else { 0 };
    let mut before = None;
    for &number in numbers {
        if before.is_some_and(|before| before + 1 != number) {
            out.push_str(&format!("<tr class=\"gap\"><td colspan=\"{columns}\">\u{22ef}</td></tr>"));
        }
        before = Some(number);
        let heat = measured.get(&number).map_or(0.0, |line| total_s(&line.time) / scale.max(f64::MIN_POSITIVE));
        out.push_str(&format!(
            "<tr id=\"{}:{number}\" class=\"h{}\">",
            name.fragment,
            (heat * 5.0).ceil().min(5.0) as u32
        ));
        match measured.get(&number) {
            Some(line) => {
                push_figures(out, line, scale, scale_bytes, memory);
                if sql {
                    push_queries(out, line);
                }
            }
            None => out.push_str(&"<td></td>".repeat(columns - 2)),
        }
        out.push_str(&format!(
            "<th scope=\"row\" class=\"ln\"><a href=\"#{0}:{number}\">{number}</a></th><td class=\"src\"><code>",
            name.fragment
        ));
        push_source(out, text, &highlighted, number);
        out.push_str("</code></td></tr>");
    }
    out.push_str("</tbody></table></div>");
}

fn push_figures(out: &mut String, line: &Line, scale: f64, scale_bytes: f64, memory: bool) {
    let seconds = total_s(&line.time);
    let shown = if seconds > 0.0 { units::seconds(seconds) } else { String::new() };
    out.push_str(&format!(
        "<td>{}</td><td class=\"n\">{shown}</td><td class=\"n\">{}</td>",
        bar(&line.time, scale),
        dominant(&line.time)
    ));
    if memory {
        let m = &line.memory;
        let bytes = |value: Option<u64>| value.filter(|v| *v > 0).map_or(String::new(), units::bytes);
        out.push_str(&format!(
            "<td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>",
            memory_bar(m, scale_bytes),
            bytes(m.alloc_bytes),
            m.increment_bytes.filter(|v| *v != 0).map_or(String::new(), units::signed_bytes),
            bytes(m.copy_bytes)
        ));
    }
}

fn push_queries(out: &mut String, line: &Line) {
    let figures = [
        line.sql_count.map_or(String::new(), units::count),
        line.sql_s.map_or(String::new(), |s| format!("{:.3}", s * 1e3)),
        line.sql_rows.map_or(String::new(), units::count),
    ];
    for figure in figures {
        out.push_str(&format!("<td class=\"n\">{figure}</td>"));
    }
    out.push_str(&format!("<td>{}</td>", escape::text(line.sql_mark.as_deref().unwrap_or_default())));
}

/// Appends a line of source in colours. `highlighted` holds the runs of `text`.
pub(super) fn push_source(
    out: &mut String,
    text: &super::text_of_files::FileText,
    highlighted: &[Vec<Vec<Run>>],
    number: u32,
) {
    let Some(line) = text.get(number) else { return };
    let range = text.ranges.partition_point(|(start, _)| *start <= number) - 1;
    let runs = &highlighted[range][(number - text.ranges[range].0) as usize];
    let mut at = 0;
    for run in runs {
        let end = (at + run.len).min(cut(line));
        if end <= at {
            out.push('\u{2026}');
            break;
        }
        if run.kind == Kind::Plain {
            escape::push_source(out, &line[at..end]);
        } else {
            out.push_str(&format!("<span class=\"t-{}\">", run.kind.letter()));
            escape::push_source(out, &line[at..end]);
            out.push_str("</span>");
        }
        at += run.len;
    }
}

/// The length of a line's shown part: up to the last complete character within the limit.
fn cut(line: &str) -> usize {
    if line.len() <= LONGEST {
        return line.len();
    }
    (0..=LONGEST).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0)
}

//! The report as a fragment for another page: the output that a notebook shows below a cell.
//!
//! Job: the run in a line, the hottest lines, and, folded, the annotated source and the functions. Invariants: no
//! script, no frame, no URL; without its style sheet (some viewers remove it) the tables can still be read; text and
//! background colours come from the page around it, so it fits light and dark pages. Neighbours: `mod` builds the whole
//! page from the same parts, `report::markdown` is for viewers without HTML.

use std::collections::{BTreeMap, BTreeSet};

use crate::profile::model::{Line, Profile, Time};
use crate::report::table::{elapsed_text, sentences};
use crate::report::view::{Options, SortKey, View, cpu_s, share, waiting_s};
use crate::units;

use super::escape;
use super::findings::{kinds, plus_minus};
use super::inline::inline;
use super::page::{Page, hash, program, total_s};
use super::parts::{bar, dominant};
use super::source::{choose, push_source};

const STYLE: &str = include_str!("assets/fragment.css");

/// Most lines of annotated source.
const SOURCE_LINES: usize = 200;

/// Options of the fragment.
#[derive(Clone, Copy, Debug)]
pub struct FragmentOptions {
    /// Length of the lists of lines and of functions.
    pub top: usize,
    /// Order of both lists.
    pub sort: SortKey,
}

impl Default for FragmentOptions {
    fn default() -> Self {
        Self { top: 10, sort: SortKey::Cpu }
    }
}

/// Renders the fragment. `read_source` returns the text of a file for its path in the profile.
#[must_use]
pub fn render_fragment(
    profile: &Profile,
    options: &FragmentOptions,
    read_source: &dyn Fn(&str) -> Option<String>,
) -> String {
    let page = Page::new(profile, true, read_source);
    let mut wish = Options { sort: options.sort, top: options.top, ..Options::default() };
    let mut view = View::new(profile, &wish);
    if view.lines.is_empty() {
        // All lines are cold: show the hottest of them anyway.
        wish.min_percent = 0.0;
        view = View::new(profile, &wish);
    }
    let mut body = String::new();
    push_answer(&mut body, profile);
    push_head(&mut body, profile);
    push_lines(&mut body, &page, &view);
    push_sources(&mut body, &page);
    push_functions(&mut body, &page, &view);
    wrap(&body)
}

/// An element with `body` and the style that `body` needs.
pub(crate) fn wrap(body: &str) -> String {
    let style = style_of(body);
    format!("<div class=\"rscalene\"><style>{style}</style>{}</div>\n", inline(body))
}

/// A complete page around `body`, without script.
pub(crate) fn page_around(title: &str, body: &str) -> String {
    let (style, title) = (format!("{PAGE_STYLE}{}", style_of(body)), escape::text(title));
    let policy = format!("default-src 'none'; style-src {}; base-uri 'none'; form-action 'none'", hash(&style));
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title} \u{b7} rscalene</title>\
         <style>{style}</style></head><body><main class=\"rscalene\">{body}</main></body></html>\n",
        escape::text(&policy)
    )
}

const PAGE_STYLE: &str = ":root{color-scheme:light dark}body{margin:24px auto;max-width:1280px;padding:0 24px;\
    font:14px/1.5 system-ui,sans-serif;background:light-dark(#fff,#101216);color:light-dark(#1a1d23,#e6e8ec)}\
    main.rscalene.rscalene{font-size:13.5px}main.rscalene.rscalene table{margin:14px 0 22px;font-size:13px}\
    main.rscalene.rscalene caption{font-size:15px;padding:4px 0}main.rscalene.rscalene th,main.rscalene.rscalene td\
    {padding:4px 18px 4px 0}main.rscalene .head{font-size:15px}";

fn style_of(body: &str) -> String {
    let mut style = STYLE.to_owned();
    for percent in 0..=100 {
        if body.contains(&format!(" w{percent}\"")) {
            style.push_str(&format!(".rscalene .w{percent}{{width:{percent}%}}"));
        }
    }
    style
}

/// Opens a table.
fn head(out: &mut String, caption: &str, columns: &[&str]) {
    out.push_str(&format!("<table><caption>{caption}</caption><thead><tr>"));
    for column in columns {
        let class = match (TEXT_COLUMNS.contains(column), SPARED.contains(column)) {
            (true, _) => "",
            (false, false) => " class=\"n\"",
            (false, true) => " class=\"n opt\"",
        };
        out.push_str(&format!("<th scope=\"col\"{class}>{column}</th>"));
    }
    out.push_str("</tr></thead><tbody>");
}

/// Columns that do not hold numbers.
const TEXT_COLUMNS: [&str; 5] = ["Line", "Source", "Time", "Function", "Defined at"];

/// Columns that a narrow cell hides to keep the source in sight.
const SPARED: [&str; 3] = ["Kind %", "Increment", "Copied"];

/// Closes a table.
const END: &str = "</tbody></table>";

/// Appends the answer, which stands first because a reader of a notebook begins at the top.
fn push_answer(out: &mut String, profile: &Profile) {
    for (label, sentence) in sentences(profile) {
        out.push_str(&format!("<p class=\"head\"><b>{label}</b> {}</p>", escape::text(&sentence)));
    }
}

fn push_head(out: &mut String, profile: &Profile) {
    let totals = &profile.totals;
    let mut facts = vec![format!("<b>{}</b>", escape::text(&program(profile)))];
    facts.push(elapsed_text(&profile.clock));
    facts.extend(cpu_s(&totals.time).map(|cpu| format!("{} CPU", units::seconds(cpu))));
    facts.extend(totals.peak().map(|peak| format!("{} peak RSS", units::bytes(peak))));
    facts.extend(totals.memory.alloc_bytes.map(|bytes| format!("{} allocated", units::bytes(bytes))));
    facts.push(format!("{} CPU samples", units::count(totals.cpu_samples)));
    if totals.lost_records > 0 {
        facts.push(format!("<b>{} records lost</b>: the figures are low", units::count(totals.lost_records)));
    }
    out.push_str(&format!("<p class=\"head\">{}</p>", facts.join(" \u{b7} ")));
    for notice in &profile.notices {
        out.push_str(&format!("<p class=\"note\">{}</p>", escape::text(&notice.to_string())));
    }
    let time = in_scope(profile);
    let all = total_s(&time);
    if all <= 0.0 {
        return;
    }
    out.push_str(&bar(&time, all).replace("class=\"bar\"", "class=\"bar big\""));
    let legend = kinds(&time).filter_map(|(letter, class, name, seconds)| {
        let seconds = seconds?;
        let (spelt, part) = (units::seconds(seconds), units::percent_in_prose(seconds / all));
        Some(format!("<span><i class=\"sw {class}\"></i> <b>{letter}</b> {name} {spelt} ({part})</span>"))
    });
    out.push_str(&format!("<p class=\"legend\">{}</p>", legend.collect::<Vec<_>>().join(" ")));
}

/// Sum of the time of all lines. Waits of threads outside of the lines would not help a reader here.
fn in_scope(profile: &Profile) -> Time {
    let mut sum = Time::default();
    for line in profile.files.iter().flat_map(|file| &file.lines) {
        let add = |sum: &mut Option<f64>, part: Option<f64>| *sum = part.map(|part| sum.unwrap_or(0.0) + part).or(*sum);
        add(&mut sum.python_s, line.time.python_s);
        add(&mut sum.native_s, line.time.native_s);
        add(&mut sum.helpers_s, line.time.helpers_s);
        add(&mut sum.system_s, line.time.system_s);
        add(&mut sum.wait_s, line.time.wait_s);
    }
    sum
}

/// Columns of memory that have any figure. Live bytes at the end are left to the page, because a cell is narrow.
fn memory_columns(view: &View<'_>) -> Vec<&'static str> {
    let present = &view.present;
    let all = [
        ("Allocated", present.has("alloc_bytes")),
        ("At peak", present.has("peak_bytes")),
        ("Increment", present.has("increment_bytes")),
        ("Copied", present.has("copy_bytes")),
        ("Mem usage", present.has("mem_usage_bytes") && !present.has("alloc_bytes")),
    ];
    all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}

fn push_memory(out: &mut String, columns: &[&str], line: &Line) {
    let memory = &line.memory;
    let bytes = |value: Option<u64>| value.filter(|bytes| *bytes > 0).map_or(String::new(), units::bytes);
    for column in columns {
        let text = match *column {
            "Allocated" => {
                format!("{}{}", bytes(memory.alloc_bytes), plus_minus(memory.alloc_bytes, memory.alloc_bytes_se))
            }
            "At peak" => format!("{}{}", bytes(memory.peak_bytes), plus_minus(memory.peak_bytes, memory.peak_bytes_se)),
            "Increment" => memory.increment_bytes.filter(|b| *b != 0).map_or(String::new(), units::signed_bytes),
            "Copied" => format!("{}{}", bytes(memory.copy_bytes), plus_minus(memory.copy_bytes, memory.copy_bytes_se)),
            _ => bytes(memory.mem_usage_bytes),
        };
        let class = if SPARED.contains(column) { "n opt" } else { "n" };
        out.push_str(&format!("<td class=\"{class}\">{text}</td>"));
    }
}

fn push_lines(out: &mut String, page: &Page<'_>, view: &View<'_>) {
    if view.lines.is_empty() {
        out.push_str("<p class=\"note\">No line in scope was seen using time or memory.</p>");
        return;
    }
    let memory = memory_columns(view);
    let mut columns = vec!["Line", "Time", "CPU", "Kind %", "CPU %", "Wait"];
    columns.extend(&memory);
    columns.push("Source");
    head(out, "Hottest lines", &columns);
    let scale = view.lines.iter().map(|place| total_s(&place.line.time)).fold(0.0, f64::max);
    for place in &view.lines {
        let file = page.index(place.file);
        let source = page.texts[file].get(place.line.line).map(str::trim).unwrap_or_default();
        let wait = waiting_s(&place.line.time).filter(|s| *s > 0.0).map_or(String::new(), units::seconds);
        let cpu = share(cpu_s(&place.line.time), view.base.cpu_s).map_or(String::new(), units::percent);
        out.push_str(&format!(
            "<tr><th scope=\"row\" title=\"{0}:{1}\">{2}</th><td>{3}</td><td class=\"n\">{4}</td>\
             <td class=\"n opt\">{5}</td><td class=\"n\">{cpu}</td><td class=\"n\">{wait}</td>",
            escape::text(&page.names[file].shown),
            place.line.line,
            escape::text(&page.names[file].place(place.line.line)),
            bar(&place.line.time, scale),
            units::seconds(total_s(&place.line.time)),
            dominant(&place.line.time),
        ));
        push_memory(out, &memory, place.line);
        out.push_str(&format!("<td class=\"src\"><code>{}</code></td></tr>", escape::text(source)));
    }
    out.push_str(END);
}

fn push_sources(out: &mut String, page: &Page<'_>) {
    for (file, numbers) in choose(page, SOURCE_LINES) {
        out.push_str(&format!(
            "<details><summary>Annotated source: <code>{}</code></summary>",
            escape::text(&page.names[file].shown)
        ));
        push_file(out, page, file, &numbers);
        out.push_str("</details>");
    }
}

fn push_file(out: &mut String, page: &Page<'_>, file: usize, numbers: &BTreeSet<u32>) {
    let text = &page.texts[file];
    let measured: BTreeMap<u32, &Line> = page.profile.files[file].lines.iter().map(|line| (line.line, line)).collect();
    let scale = measured.values().map(|line| total_s(&line.time)).fold(0.0, f64::max);
    let memory = measured.values().any(|line| line.memory.alloc_bytes.is_some_and(|bytes| bytes > 0));
    let mut columns = vec!["Time", "CPU", "Kind %"];
    columns.extend(if memory { &["Allocated", "Increment"][..] } else { &[] });
    columns.extend(["Line #", "Source"]);
    head(out, "", &columns);
    let highlighted = text.highlighted();
    let mut before = None;
    for &number in numbers {
        if before.is_some_and(|before| before + 1 != number) {
            out.push_str(&format!("<tr class=\"gap\"><td colspan=\"{}\">\u{22ef}</td></tr>", columns.len()));
        }
        before = Some(number);
        out.push_str("<tr>");
        match measured.get(&number) {
            Some(line) => {
                let seconds = total_s(&line.time);
                out.push_str(&format!(
                    "<td>{}</td><td class=\"n\">{}</td><td class=\"n opt\">{}</td>",
                    bar(&line.time, scale),
                    if seconds > 0.0 { units::seconds(seconds) } else { String::new() },
                    dominant(&line.time)
                ));
                if memory {
                    push_memory(out, &["Allocated", "Increment"], line);
                }
            }
            None => {
                for column in &columns[..columns.len() - 2] {
                    out.push_str(if SPARED.contains(column) { "<td class=\"opt\"></td>" } else { "<td></td>" });
                }
            }
        }
        out.push_str(&format!("<th scope=\"row\" class=\"n\">{number}</th><td class=\"src\"><code>"));
        push_source(out, text, &highlighted, number);
        out.push_str("</code></td></tr>");
    }
    out.push_str(END);
}

fn push_functions(out: &mut String, page: &Page<'_>, view: &View<'_>) {
    if view.functions.is_empty() {
        return;
    }
    let memory = view.functions.iter().any(|place| place.function.cumulative.alloc_bytes.is_some_and(|b| b > 0));
    out.push_str("<details><summary>Functions</summary>");
    let mut columns = vec!["Function", "Time", "Own", "Kind %", "Total"];
    columns.extend(if memory { &["Allocated with callees"][..] } else { &[] });
    columns.push("Defined at");
    head(out, "", &columns);
    let scale = view.functions.iter().map(|place| total_s(&place.function.own)).fold(0.0, f64::max);
    for place in &view.functions {
        let function = place.function;
        let name = &page.names[page.index(place.file)];
        let whole = function.cumulative.cpu_s;
        out.push_str(&format!(
            "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td><td class=\"n\">{}</td>\
             <td class=\"n opt\">{}</td><td class=\"n\">{}</td>",
            escape::text(&function.qualname),
            bar(&function.own, scale),
            units::seconds(total_s(&function.own)),
            dominant(&function.own),
            whole.map_or(String::new(), units::seconds),
        ));
        if memory {
            let bytes = function.cumulative.alloc_bytes.map_or(String::new(), units::bytes);
            out.push_str(&format!("<td class=\"n\">{bytes}</td>"));
        }
        out.push_str(&format!("<td class=\"src\">{}</td></tr>", escape::text(&name.place(function.first_line))));
    }
    out.push_str(END);
    out.push_str("</details>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::{File, Function, Notice};

    fn hostile() -> Profile {
        let evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&";
        let time = Time { python_s: Some(1.0), native_s: Some(0.5), system_s: Some(0.0), ..Time::default() };
        let line = Line { line: 2, function: evil.into(), source: Some(evil.into()), time, ..Line::default() };
        let function = Function { name: evil.into(), qualname: evil.into(), own: time, ..Function::default() };
        let mut profile = Profile::default();
        profile.totals.time = time;
        profile.target.command = vec![evil.into()];
        profile.notices = vec![Notice::of_run("other", evil)];
        let file = File { path: evil.into(), lines: vec![line], functions: vec![function], ..File::default() };
        profile.files.push(file);
        profile
    }

    #[test]
    fn nothing_in_a_profile_becomes_markup() {
        let html = render_fragment(&hostile(), &FragmentOptions::default(), &|_| None);
        for active in ["<script", "<img", "<iframe", "<link", "href=", "src=\"", "http"] {
            assert!(!html.contains(active), "{active} in {html}");
        }
        assert!(html.contains("&lt;script&gt;alert(1)"));
        assert_eq!(html.matches("<style>").count(), 1);
    }

    #[test]
    fn a_profile_without_figures_shows_a_sentence() {
        let html = render_fragment(&Profile::default(), &FragmentOptions::default(), &|_| None);
        assert!(html.contains("No line in scope"), "{html}");
    }

    #[test]
    fn every_width_that_is_used_has_its_rule() {
        let html = render_fragment(&hostile(), &FragmentOptions::default(), &|_| None);
        for percent in 0..=100 {
            let used = html.contains(&format!(" w{percent}\""));
            assert_eq!(used, html.contains(&format!(".w{percent}{{")), "{percent}");
        }
    }
}

//! The HTML report: one file that needs no server and no network.
//!
//! Job: turn a profile into a page. Without JavaScript the page is readable text (summary, tables, source of the
//! hottest regions); with JavaScript it shows every line, a search and the flame graph. Invariants: a pure function; no
//! text of the profile can become markup or script (`escape`); a content security policy with the hashes of the two
//! assets forbids everything else. Neighbours: `profile::model` is the input, `commands` writes the file.

mod columns;
mod courses;
mod cumulative;
mod digits;
mod escape;
mod findings;
mod fragment;
mod highlight;
mod inline;
mod moments;
mod names;
mod overview;
mod page;
mod parts;
mod payload;
mod source;
mod spread;
mod sql;
mod stacks;
mod tables;
mod text_of_files;
mod timeline;

use std::panic::resume_unwind;

use self::page::{Page, hash, program};
use crate::profile::model::Profile;

pub(crate) use escape::text as escape_text;
pub use fragment::{FragmentOptions, render_fragment};
pub(crate) use fragment::{page_around, wrap as fragment_around};
pub use page::HtmlOptions;

/// The style sheet of every page.
pub(crate) const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = concat!(
    "'use strict';(async()=>{\n",
    include_str!("assets/data.js"),
    include_str!("assets/dom.js"),
    include_str!("assets/tables.js"),
    include_str!("assets/timeline.js"),
    include_str!("assets/source.js"),
    include_str!("assets/search.js"),
    include_str!("assets/flame.js"),
    include_str!("assets/main.js"),
    "})();"
);

/// Renders the page. `read_source` returns the text of a file for its path in the profile.
pub fn render_html(profile: &Profile, options: &HtmlOptions, read_source: &dyn Fn(&str) -> Option<String>) -> String {
    let page = Page::new(profile, options.source, read_source);
    let data = || payload::payload(profile, &page.names, &page.texts);
    // The page and the data for its script take about equally long, so a second thread makes the data. If the thread
    // cannot be started, this thread makes both.
    let (mut out, data) = std::thread::scope(|scope| {
        let other = std::thread::Builder::new().spawn_scoped(scope, data);
        let out = without_data(&page, options);
        let data = other.map_or_else(|_| data(), |other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        (out, data)
    });
    out.push_str("<script type=\"application/json\" id=\"profile-data\">");
    escape::push_script_json(&mut out, &data);
    out.push_str("</script><script>");
    out.push_str(SCRIPT);
    out.push_str("</script></body></html>\n");
    out
}

/// The page up to its scripts.
fn without_data(page: &Page<'_>, options: &HtmlOptions) -> String {
    let style = style();
    let mut out = String::with_capacity(1 << 20);
    push_head(&mut out, page.profile, &style);
    overview::push(&mut out, page);
    source::push(&mut out, page, options);
    out.push_str(
        "<section id=\"flame\" class=\"view\" aria-labelledby=\"flame-h\"><h2 id=\"flame-h\">Flame graph</h2>\
         <noscript><p>The flame graph needs JavaScript; the tables and the source do not.</p></noscript></section>",
    );
    tables::push_functions(&mut out, page);
    tables::push_files(&mut out, page);
    sql::push(&mut out, page);
    tables::push_run(&mut out, page);
    out.push_str("</main><div id=\"live\" role=\"status\" aria-live=\"polite\"></div>");
    out
}

/// `style.css` and a class for each per cent of a bar, because the policy forbids style attributes.
fn style() -> String {
    let mut style = STYLE.to_owned();
    for percent in 0..=100 {
        style.push_str(&format!(".w{percent}{{width:{percent}%}}"));
    }
    style
}

fn push_head(out: &mut String, profile: &Profile, style: &str) {
    let name = program(profile);
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        hash(SCRIPT),
        hash(style)
    );
    out.push_str("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" content=\"");
    escape::push_text(out, &policy);
    out.push_str(
        "\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <meta name=\"referrer\" content=\"no-referrer\"><title>",
    );
    escape::push_text(out, &name);
    out.push_str(" \u{b7} rscalene</title><style>");
    out.push_str(style);
    out.push_str("</style></head><body><a class=\"skip\" href=\"#overview\">Skip to the summary</a><header class=\"top\"><span class=\"brand\">rscalene</span><h1 title=\"");
    escape::push_text(out, &profile.target.command.join(" "));
    out.push_str("\">");
    escape::push_text(out, &name);
    out.push_str("</h1><nav aria-label=\"Views\">");
    for (id, label) in [
        ("overview", "Overview"),
        ("source", "Source"),
        ("flame", "Flame graph"),
        ("functions", "Functions"),
        ("files", "Files"),
        ("sql", "SQL"),
        ("run", "Run"),
    ] {
        if id == "sql" && profile.sql.is_none() {
            continue;
        }
        out.push_str(&format!("<a href=\"#{id}\">{label}</a>"));
    }
    out.push_str("</nav><div id=\"tools\"></div></header><main><p id=\"only\" class=\"only\" hidden></p>");
}

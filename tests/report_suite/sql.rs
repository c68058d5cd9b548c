//! Queries of databases in the reports.

use rscalene::report::html::{HtmlOptions, render_html};
use rscalene::report::view::Detail;
use rscalene::report::{Options, Style, render_markdown, render_table};

use crate::profiles::{asking, realistic};

fn table(width: usize, detail: Detail) -> String {
    let style = Style { width, ..Style::PLAIN };
    render_table(&asking(), &Options { detail, ..Options::default() }, &style, &|_| None)
}

#[test]
fn the_report_lists_statements_a_hint_and_the_line_with_most_queries() {
    let text = table(120, Detail::Short);
    assert!(text.contains("121 queries, 25.0 ms, 480 rows"), "{text}");
    assert!(text.contains("asked 120 times, for each of the 120 rows of"), "{text}");
    assert!(text.contains("ask once: a JOIN, or WHERE ... IN (...)"), "{text}");
    let last = text.trim_end().lines().last().expect("there are lines");
    assert!(last.starts_with("most queries: ") && last.contains("made 120 of 121 queries (N+1)"), "{text}");
    let full = table(140, Detail::Full);
    assert!(full.contains("SQL ms") && full.contains("12.500"), "{full}");
}

#[test]
fn no_row_is_wider_than_the_style_whatever_the_width() {
    for width in [40, 60, 80, 100, 140, 200] {
        for detail in [Detail::Short, Detail::Full] {
            for line in table(width, detail).lines() {
                assert!(line.trim_end().chars().count() <= width, "{width}: {line}");
            }
        }
    }
}

#[test]
fn without_a_count_no_report_speaks_of_queries() {
    let style = Style { width: 140, ..Style::PLAIN };
    let options = Options { detail: Detail::Full, ..Options::default() };
    let table = render_table(&realistic(), &options, &style, &|_| None);
    let page = render_html(&realistic(), &HtmlOptions::default(), &|_| None);
    assert!(!table.contains("SQL") && !table.contains("queries"), "{table}");
    assert!(!page.contains("id=\"sql\""));
    assert!(!render_markdown(&realistic(), &Options::default()).contains("SQL"));
}

#[test]
fn page_and_markdown_have_the_statements_escaped() {
    let page = render_html(&asking(), &HtmlOptions::default(), &|_| None);
    let view = page.split("<section id=\"sql\"").nth(1).expect("the view is there");
    let view = view.split("</section>").next().expect("it ends");
    assert!(view.contains("select id from &lt;book&gt;") && view.contains("N+1: "), "{view}");
    assert!(page.contains("<a href=\"#sql\">SQL</a>"));
    let text = render_markdown(&asking(), &Options::default());
    let rows: Vec<&str> = text.lines().filter(|row| row.contains("select name")).collect();
    assert_eq!(rows.len(), 1, "{text}");
    assert_eq!(rows[0].replace("\\|", "").matches('|').count(), 8, "{text}");
    assert!(text.contains("- N\\+1: "), "{text}");
}

//! Laws of the reports of a comparison.

use rscalene::profile::compare::diff::{Diff, diff};
use rscalene::profile::model::Profile;
use rscalene::report::Style;
use rscalene::report::diff::{DiffOptions, render_fragment, render_json, render_markdown, render_page, render_table};
use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use crate::profiles::{adversarial_of, cpu_only, realistic};

/// Of every kind: nothing changed, everything is new, everything is gone, everything is hostile.
fn diffs() -> Vec<Diff> {
    let mut slower = realistic();
    for line in slower.files.iter_mut().flat_map(|file| &mut file.lines) {
        line.time.python_s = line.time.python_s.map(|s| s * 3.0);
        line.line += 1;
    }
    let mut none = realistic();
    none.files.clear();
    let empty = Profile::default();
    let pairs = [
        (realistic(), realistic()),
        (realistic(), slower),
        (none.clone(), realistic()),
        (realistic(), none),
        (cpu_only(), realistic()),
        (adversarial_of(2, 20), empty),
        (adversarial_of(2, 20), adversarial_of(3, 30)),
    ];
    pairs.iter().map(|(before, after)| diff(before, after)).collect()
}

fn options() -> [DiffOptions; 2] {
    [DiffOptions::default(), DiffOptions { all_lines: true, min_percent: 0.0, ..DiffOptions::default() }]
}

#[test]
fn no_row_is_wider_than_the_terminal_and_nothing_acts_on_it() {
    for diff in diffs() {
        for width in [40, 60, 80, 120, 200] {
            for unicode in [true, false] {
                let style = Style { width, color: false, unicode };
                for options in options() {
                    for row in render_table(&diff, &options, &style).lines() {
                        let cells: usize = row.graphemes(true).map(|cluster| cluster.width()).sum();
                        assert!(cells <= width, "{cells} cells of {width}: {row}");
                        assert!(!row.chars().any(char::is_control), "{row:?}");
                        assert!(unicode || row.is_ascii(), "{row}");
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_in_the_profiles_becomes_markup() {
    for diff in diffs() {
        for html in [render_page(&diff), render_fragment(&diff, &options()[1])] {
            for active in ["<script", "<img", "<iframe", "<svg", "href=", "onerror=\"", "url("] {
                assert!(!html.contains(active), "{active}");
            }
            assert_eq!(html.matches("<table>").count(), html.matches("</table>").count());
            assert_eq!(html.matches("<style>").count(), 1);
        }
    }
}

/// Pipes of a row that no backslash escapes.
fn borders(row: &str) -> usize {
    let mut letters = row.chars();
    let mut count = 0;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '|' => count += 1,
            _ => {}
        }
    }
    count
}

#[test]
fn every_row_of_the_markdown_has_as_many_cells_as_its_head() {
    for diff in diffs() {
        let text = render_markdown(&diff, &options()[1]);
        let mut head = None;
        for row in text.lines() {
            let cells = row.starts_with('|').then(|| borders(row));
            assert!(head.is_none() || cells.is_none() || head == cells, "{row}");
            head = cells;
        }
    }
}

#[test]
fn the_json_has_every_line_and_its_format_version() {
    for diff in diffs() {
        let json: serde_json::Value = serde_json::from_str(&render_json(&diff)).expect("valid JSON");
        assert_eq!(json["format"]["name"], "rscalene-diff");
        assert_eq!(json["lines"].as_array().map(Vec::len), Some(diff.lines.len()));
    }
}

#[test]
fn unchanged_lines_are_not_listed_and_changed_lines_come_first() {
    let all = diffs();
    let text = |diff: &Diff| render_table(diff, &DiffOptions::default(), &Style::PLAIN);
    assert!(text(&all[0]).contains("no line changed by more than chance"));
    let slower = text(&all[1]);
    assert!(slower.contains("(was ") && slower.contains("differ by no more than chance"), "{slower}");
    assert!(text(&all[2]).contains("(new)") && text(&all[3]).contains("(gone)"));
}

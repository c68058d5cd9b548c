//! The verdict of `rscalene diff --fail`, for people and for GitHub.
//!
//! Job: name each limit that a change passed, with its line. Invariant: at most [`ANNOTATIONS`] annotations, because
//! GitHub shows no more; the summary has all. Neighbour: `profile::compare::gate` judges.

use std::fmt::Write as _;

use super::chosen::Unit;
use crate::profile::compare::diff::Change;
use crate::profile::compare::gate::{Passed, Verdict};
use crate::report::markdown::code;

/// Most annotations that GitHub shows for a step.
pub const ANNOTATIONS: usize = 10;

/// Lines of text: failures, then rules without a verdict.
#[must_use]
pub fn render_gate(verdict: &Verdict, cwd: &str) -> String {
    let mut out = String::new();
    for passed in &verdict.failures {
        let _ = writeln!(out, "failed: {}", said(passed, cwd));
    }
    for passed in &verdict.unclear {
        let _ = writeln!(out, "not judged, the change is within the error: {}", said(passed, cwd));
    }
    if verdict.failures.is_empty() {
        out.push_str("no limit is passed\n");
    }
    out
}

/// The same as a list in Markdown.
#[must_use]
pub fn render_gate_markdown(verdict: &Verdict, cwd: &str) -> String {
    let mut out = String::from("\n### Limits\n\n");
    for line in render_gate(verdict, cwd).lines() {
        let _ = writeln!(out, "- {}", code(line));
    }
    out
}

/// GitHub's workflow commands, at most [`ANNOTATIONS`].
#[must_use]
pub fn render_annotations(verdict: &Verdict, cwd: &str) -> String {
    let mut out = String::new();
    for passed in verdict.failures.iter().take(ANNOTATIONS) {
        let title = format!("rscalene: {} {}", passed.figure.name(), amount(&passed.change, unit(passed)));
        let place = match &passed.place {
            Some((path, line)) => format!("file={},line={line},", escaped(relative(path, cwd), true)),
            None => String::new(),
        };
        let text = passed.source.as_deref().map_or("the whole run", str::trim);
        let _ = writeln!(out, "::error {place}title={}::{}", escaped(&title, true), escaped(text, false));
    }
    out
}

fn unit(passed: &Passed) -> Unit {
    if passed.figure.is_time() { Unit::Seconds } else { Unit::Bytes }
}

fn amount(change: &Change, unit: Unit) -> String {
    let share = match (change.before, change.delta) {
        (Some(before), Some(delta)) if before > 0.0 => format!(" ({:+.1} %)", 100.0 * delta / before),
        _ => " (new)".to_owned(),
    };
    format!("{}{share}", unit.delta(change))
}

fn said(passed: &Passed, cwd: &str) -> String {
    let place = match &passed.place {
        Some((path, line)) => format!("{}:{line}", relative(path, cwd)),
        None => "the whole run".to_owned(),
    };
    let text = passed.source.as_deref().map_or(String::new(), |text| format!("  {}", text.trim()));
    format!("{} {}  {place}{text}", passed.figure.name(), amount(&passed.change, unit(passed)))
}

fn relative<'a>(path: &'a str, cwd: &str) -> &'a str {
    path.strip_prefix(cwd).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path)
}

/// Escapes a text by the rules of GitHub's own toolkit.
fn escaped(text: &str, property: bool) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    if property { text.replace(':', "%3A").replace(',', "%2C") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::compare::gate::Figure;

    fn verdict(failures: usize) -> Verdict {
        let change = Change { before: Some(1e6), after: Some(3e6), delta: Some(2e6), se: None, noise: false };
        let passed = |line| Passed {
            figure: Figure::Mem,
            place: Some(("/w/a,b.py".to_owned(), line)),
            function: "f".to_owned(),
            source: Some("    x = '50%'".to_owned()),
            change,
        };
        Verdict { failures: (1..=failures as u32).map(passed).collect(), unclear: Vec::new() }
    }

    #[test]
    fn annotations_lie_on_the_line_and_are_ten_at_most() {
        let text = render_annotations(&verdict(12), "/w");
        assert_eq!(text.lines().count(), ANNOTATIONS);
        let first = text.lines().next().expect("there are ten");
        assert!(first.starts_with("::error file=a%2Cb.py,line=1,title=rscalene%3A mem +"), "{first}");
        assert!(first.ends_with("::x = '50%25'"), "{first}");
    }

    #[test]
    fn all_failures_are_in_the_text() {
        assert_eq!(render_gate(&verdict(12), "/w").lines().count(), 12);
        assert_eq!(render_gate(&verdict(0), "/w"), "no limit is passed\n");
    }
}

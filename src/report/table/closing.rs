//! The last lines of the report: the slowest line, the line that held most memory, and the line with the most queries.
//!
//! Job: put the answer at the end of the report, because the end stays in view when the report has scrolled.
//! Invariants: two lines, three if queries were counted, each of at most the style's width; details are dropped from
//! the right before a place or a figure is cut. Neighbours: `report::answer` chooses the lines, `hottest` lists more.

use super::cells::{error_text, list_path, relative_error};
use crate::profile::model::Profile;
use crate::report::answer::{self, memory_was_profiled, mostly};
use crate::report::hidden;
use crate::report::style::{Role, Style};
use crate::report::text;
use crate::report::view::Place;
use crate::units;

/// Appends a blank line and the sentences.
pub(super) fn render(out: &mut String, profile: &Profile, style: &Style) {
    out.push('\n');
    sentence(out, "slowest:", &slowest(profile, style), style);
    sentence(out, "most memory:", &most_memory(profile, style), style);
    if let Some(answer) = most_queries(profile, style) {
        sentence(out, "most queries:", &answer, style);
    }
}

/// The first two sentences as plain text, for a report that does not go to a terminal.
pub(in crate::report) fn sentences(profile: &Profile) -> [(&'static str, String); 2] {
    let style = Style { width: WIDE, ..Style::PLAIN };
    [("slowest:", slowest(profile, &style)), ("most memory:", most_memory(profile, &style))].map(|(label, answer)| {
        let mut out = String::new();
        sentence(&mut out, label, &answer, &style);
        (label, out.trim_start_matches(label).trim().to_owned())
    })
}

/// Width in cells of a sentence in a report that does not go to a terminal.
const WIDE: usize = 140;

/// Source text is left out if fewer cells than this remain.
const LEAST_SOURCE: usize = 16;

/// Content of a sentence: a place, details that may be dropped from the right, and the source text.
struct Answer {
    place: String,
    details: Vec<String>,
    source: String,
}

/// Appends `label`, the place (cut if necessary), as many details as fit, and as much of the source as fits.
fn sentence(out: &mut String, label: &str, answer: &Answer, style: &Style) {
    style.paint(out, Role::Strong, label);
    out.push(' ');
    let mut left = style.width.saturating_sub(text::width(label) + 1);
    left -= text::fit_onto(out, &answer.place, left, Role::Strong, style);
    let fitting = answer.details.iter().take_while(|detail| {
        let fits = text::width(detail) <= left;
        left -= if fits { text::width(detail) } else { 0 };
        fits
    });
    let fitting: Vec<&String> = fitting.collect();
    fitting.iter().for_each(|detail| out.push_str(detail));
    if fitting.len() == answer.details.len() && !answer.source.is_empty() && left >= LEAST_SOURCE {
        out.push_str(": ");
        text::fit_onto(out, &answer.source, left - 2, Role::Plain, style);
    }
    out.push('\n');
}

fn slowest(profile: &Profile, style: &Style) -> Answer {
    let Some(answer) = answer::slowest(profile) else {
        return match hidden::sentence(profile) {
            Some(said) => Answer::none(&format!("no line in scope; {said}")),
            None => Answer::none("no line in scope was seen on the CPU"),
        };
    };
    let mut details = vec![format!(" took {}", units::seconds(answer.cpu_s))];
    details.extend(answer.share.map(|share| format!(", {} of the CPU time", units::percent_in_prose(share))));
    if answer.unsure {
        details.push(", too few samples to be sure".to_owned());
    } else {
        details.extend(mostly(&answer.place.line.time).map(|kind| format!(", {kind}")));
    }
    Answer::of(profile, &answer.place, details, style)
}

fn most_memory(profile: &Profile, style: &Style) -> Answer {
    let Some(answer) = answer::peak_owner(profile) else {
        let why = if memory_was_profiled(profile) { "no line in scope held any at the peak" } else { "not measured" };
        return Answer::none(why);
    };
    let memory = &answer.place.line.memory;
    let error = relative_error(memory.peak_bytes_se, memory.peak_bytes);
    let error = error.map(|share| format!(" {}", error_text(share, style))).unwrap_or_default();
    let mut details = vec![format!(" held {}{error}", units::bytes(answer.bytes))];
    details.extend(profile.totals.peak().map(|peak| format!(" at the peak of {}", units::bytes(peak))));
    Answer::of(profile, &answer.place, details, style)
}

/// The line with the most queries; `None` if queries were not counted.
fn most_queries(profile: &Profile, style: &Style) -> Option<Answer> {
    let sql = profile.sql.as_ref()?;
    let Some(place) = answer::asks_most(profile) else {
        let none = if sql.count == 0 { "the program asked no database" } else { "no line in scope asked" };
        return Some(Answer::none(none));
    };
    let count = place.line.sql_count.unwrap_or(0);
    let mut details = vec![format!(" made {} of {} queries", units::count(count), units::count(sql.count))];
    details.extend(place.line.sql_mark.as_ref().map(|mark| format!(" ({mark})")));
    details.extend(place.line.sql_s.map(|s| format!(", {} in the driver", units::seconds(s))));
    Some(Answer::of(profile, &place, details, style))
}

impl Answer {
    fn none(why: &str) -> Self {
        Self { place: why.to_owned(), details: Vec::new(), source: String::new() }
    }

    fn of(profile: &Profile, place: &Place<'_>, details: Vec<String>, style: &Style) -> Self {
        let path = text::visible(list_path(profile, &place.file.path), style);
        let source = place.line.source.as_deref().unwrap_or("").trim().to_owned();
        Self { place: format!("{path}:{}", place.line.line), details, source }
    }
}

//! The last two lines of the report: which line is slowest, and which held the memory.
//!
//! Job: the answer where a reader looks first, at the end of what scrolled by. Invariants: always two lines, each of at
//! most the style's width; details are dropped from the right before a place or a figure is cut. Neighbours:
//! `report::answer` chooses the lines, `hottest` lists more.

use super::cells::{error_text, list_path, relative_error};
use crate::profile::model::Profile;
use crate::report::answer::{self, memory_was_profiled, mostly};
use crate::report::style::{Role, Style};
use crate::report::text;
use crate::report::view::Place;
use crate::units;

/// Appends a blank line and the two sentences.
pub(super) fn render(out: &mut String, profile: &Profile, style: &Style) {
    out.push('\n');
    sentence(out, "slowest:", &slowest(profile, style), style);
    sentence(out, "most memory:", &most_memory(profile, style), style);
}

/// Appends `label` and as many of the parts as fit, the first cut if it must be.
fn sentence(out: &mut String, label: &str, parts: &[String], style: &Style) {
    style.paint(out, Role::Strong, label);
    out.push(' ');
    let mut left = style.width.saturating_sub(text::width(label) + 1);
    for (at, part) in parts.iter().enumerate() {
        if at == 0 {
            left -= text::fit_onto(out, part, left, Role::Strong, style);
        } else if text::width(part) <= left {
            out.push_str(part);
            left -= text::width(part);
        } else {
            break;
        }
    }
    out.push('\n');
}

fn slowest(profile: &Profile, style: &Style) -> Vec<String> {
    let Some(answer) = answer::slowest(profile) else {
        return vec!["no line in scope was seen on the CPU".to_owned()];
    };
    let mut parts = vec![place(profile, &answer.place, style), format!(" took {}", units::seconds(answer.cpu_s))];
    parts.extend(answer.share.map(|share| format!(", {} of the CPU time", units::percent_in_prose(share))));
    if answer.unsure {
        parts.push(", too few samples to be sure".to_owned());
    } else {
        parts.extend(mostly(&answer.place.line.time).map(|kind| format!(", {kind}")));
    }
    parts.extend(source(&answer.place, style));
    parts
}

fn most_memory(profile: &Profile, style: &Style) -> Vec<String> {
    let Some(answer) = answer::peak_owner(profile) else {
        let why = if memory_was_profiled(profile) { "no line in scope held any at the peak" } else { "not measured" };
        return vec![why.to_owned()];
    };
    let memory = &answer.place.line.memory;
    let error = relative_error(memory.peak_bytes_se, memory.peak_bytes);
    let error = error.map(|share| format!(" {}", error_text(share, style))).unwrap_or_default();
    let mut parts = vec![place(profile, &answer.place, style), format!(" held {}{error}", units::bytes(answer.bytes))];
    parts.extend(profile.totals.peak_rss_bytes.map(|peak| format!(" at the peak of {}", units::bytes(peak))));
    parts.extend(source(&answer.place, style));
    parts
}

fn place(profile: &Profile, place: &Place<'_>, style: &Style) -> String {
    format!("{}:{}", text::visible(list_path(profile, &place.file.path), style), place.line.line)
}

fn source(place: &Place<'_>, style: &Style) -> Option<String> {
    let source = place.line.source.as_deref().map(str::trim).filter(|source| !source.is_empty())?;
    Some(format!(": {}", text::fit(source, 48, style)))
}

//! The list of lines whose live memory grows.
//!
//! Job: name the leaking lines with their rate, their live bytes at the end, and the confidence. If no line leaks, the
//! list says so and explains the rule. Invariant: the text is never empty. Neighbours: `profile::leaks` decides,
//! `summary` points to this list.

use super::cells::list_path;
use super::list::{List, title};
use crate::profile::model::{Leak, Profile};
use crate::report::style::{Role, Style};
use crate::report::text;
use crate::units;

/// Source text is left out if fewer cells than this remain.
const LEAST_SOURCE: usize = 12;

/// Renders the list of leaking lines.
#[must_use]
pub fn render_leaks(profile: &Profile, style: &Style) -> String {
    let mut out = String::new();
    let leaks = profile.leaks.as_deref().unwrap_or_default();
    let remark = if leaks.is_empty() { "" } else { "live memory that grew until the end" };
    title(&mut out, "Leaks", remark, style);
    if profile.leaks.is_none() {
        say(&mut out, "unknown: memory was not profiled", style);
    } else if leaks.is_empty() {
        let judged = "none found: no line's live memory grew in step with time until the end \
                      (judged where 64 KiB are live, listed from 95% sure; a few snapshots are needed, 5 ms apart)";
        say(&mut out, judged, style);
    } else {
        list(&mut out, profile, leaks, style);
    }
    out
}

/// Appends `text`, wrapped at the width.
fn say(out: &mut String, text: &str, style: &Style) {
    let mut used = 0;
    for word in text.split(' ') {
        let word = text::fit(word, style.width, style);
        let cells = text::width(&word);
        if used > 0 && used + 1 + cells > style.width {
            out.push('\n');
            used = 0;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(&word);
        used += cells;
    }
    out.push('\n');
}

fn list(out: &mut String, profile: &Profile, leaks: &[Leak], style: &Style) {
    let place = |leak: &Leak| {
        let path = profile.files.get(leak.file).map_or("?", |file| list_path(profile, &file.path));
        format!("{path}:{}", leak.line)
    };
    let places: Vec<String> = leaks.iter().map(place).collect();
    let longest = places.iter().map(|name| text::width(name)).max().unwrap_or(0);
    let place_width = longest.clamp(4, (style.width / 4).max(10));
    let figures = [("Grows", 10, true), ("Live", 8, true), ("Sure", 6, true)];
    let taken = place_width + 1 + figures.iter().map(|(_, width, _)| width + 1).sum::<usize>();
    let source_width = style.width.saturating_sub(taken);
    let mut heads = vec![("Line", place_width, false)];
    heads.extend(figures);
    let with_source = source_width >= LEAST_SOURCE;
    if with_source {
        heads.push(("Source", source_width, false));
    }
    let mut list = List::new(&heads, style);
    for (leak, name) in leaks.iter().zip(&places) {
        let lines = profile.files.get(leak.file).map(|file| &file.lines);
        let line = lines.and_then(|lines| lines.iter().find(|line| line.line == leak.line));
        let mut source = String::new();
        let contents = line.and_then(|line| line.source.as_deref()).unwrap_or("");
        text::fit_onto(&mut source, contents.trim(), source_width, Role::Plain, style);
        let mut row = vec![
            style.painted(Role::Strong, &text::fit_end(name, place_width, style)),
            style.painted(Role::Warning, &units::bytes_per_second(leak.bytes_per_s)),
            units::bytes(leak.live_bytes),
            sure(leak.confidence),
        ];
        if with_source {
            row.push(source);
        }
        list.push(row);
    }
    list.render(out);
}

/// A confidence in per cent, never shown as 100 %.
pub(super) fn sure(confidence: f64) -> String {
    if confidence > 0.999 { ">99.9%".to_owned() } else { format!("{:.1}%", confidence * 100.0) }
}

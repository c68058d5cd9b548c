//! Memory facts besides the peak's owners: parts of the peak, leaks, and the owners when memory nearly ran out.
//!
//! Job: write each list if the profile has data for it. Invariants: readable without script; the same facts as the
//! table's summary. Neighbour: `overview` places the lists.

use crate::profile::model::{Leak, NearLimit};
use crate::units;

use super::escape;
use super::page::Page;
use super::parts::{END, head};

/// Most lines to name for a moment.
const NAMED: usize = 5;
/// Most rows of a list.
const ROWS: usize = 50;

/// Appends the parts of the resident memory at its peak, below the timeline.
pub(super) fn push_made_of(out: &mut String, page: &Page<'_>) {
    let parts: Vec<String> = crate::report::table::peak_made_of(page.profile).collect();
    if !parts.is_empty() {
        out.push_str("<p class=\"none\">Resident at the peak: ");
        escape::push_text(out, &parts.join(", "));
        out.push_str(".</p>");
    }
}

/// Notices that name the owners of the memory when it nearly ran out.
pub(super) fn limits(page: &Page<'_>) -> Vec<String> {
    let latest = |limit: &&NearLimit| {
        let later = page.profile.near_limits.iter().rev().find(|other| other.limit == limit.limit);
        later.is_some_and(|other| std::ptr::eq(other, *limit))
    };
    let notices = page.profile.near_limits.iter().filter(latest).map(|limit| {
        let holders: Vec<String> = limit
            .lines
            .iter()
            .take(NAMED)
            .filter_map(|held| {
                let name = page.names.get(held.file)?;
                Some(format!("{} held {}", name.link(held.line), units::bytes(held.live_bytes)))
            })
            .collect();
        format!(
            "Memory nearly ran out ({}): {} of {} were used at {}{}{}",
            escape::text(&limit.limit),
            units::bytes(limit.used_bytes),
            units::bytes(limit.limit_bytes),
            units::seconds(limit.at_s),
            if holders.is_empty() { "" } else { "; " },
            holders.join(", ")
        )
    });
    notices.collect()
}

/// Appends a list of all leaking lines, if there are more than the card names.
pub(super) fn push_leaks(out: &mut String, page: &Page<'_>) {
    let leaks: &[Leak] = page.profile.leaks.as_deref().unwrap_or_default();
    if leaks.len() < 2 {
        return;
    }
    out.push_str("<div class=\"panel\" id=\"leaks\"><h3>Lines whose live memory grows</h3>");
    head(out, "Lines whose live memory grows", &["Line", "Source", "#Live at the end", "#Growth", "#Confidence"]);
    for leak in leaks.iter().take(ROWS) {
        let Some(name) = page.names.get(leak.file) else { continue };
        out.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td class=\"src\"><code>{}</code></td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            name.link(leak.line),
            escape::text(page.texts[leak.file].get(leak.line).map(str::trim).unwrap_or_default()),
            units::bytes(leak.live_bytes),
            units::bytes_per_second(leak.bytes_per_s),
            units::percent_in_prose(leak.confidence)
        ));
    }
    out.push_str(END);
    out.push_str("</div>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::{File, HeldBytes, Line, Profile};

    fn shown(push: impl Fn(&mut String, &Page<'_>), profile: &Profile) -> String {
        let mut out = String::new();
        push(&mut out, &Page::new(profile, true, &|_| None));
        out
    }

    fn profile() -> Profile {
        let line = |line| Line { line, source: Some("x = <b>".into()), ..Line::default() };
        let file = File { path: "a.py".into(), lines: vec![line(3), line(4)], ..File::default() };
        Profile { files: vec![file], ..Profile::default() }
    }

    #[test]
    fn every_leak_is_listed_when_there_are_several() {
        let mut profile = profile();
        let leak = |line| Leak { file: 0, line, live_bytes: 1 << 20, bytes_per_s: 2048.0, confidence: 0.99 };
        profile.leaks = Some(vec![leak(3)]);
        assert_eq!(shown(push_leaks, &profile), "");
        profile.leaks = Some(vec![leak(3), leak(4)]);
        let out = shown(push_leaks, &profile);
        assert!(out.contains("a.py:3") && out.contains("a.py:4") && out.contains("2.00 KiB/s"), "{out}");
        assert!(!out.contains("<b>"));
    }

    #[test]
    fn the_latest_moment_of_each_limit_is_shown_with_its_lines() {
        let mut profile = profile();
        let held = HeldBytes { file: 0, line: 3, live_bytes: 5 << 20 };
        let limit = |at_s, lines| NearLimit { limit: "cgroup".into(), at_s, lines, ..NearLimit::default() };
        profile.near_limits = vec![limit(1.0, vec![]), limit(2.0, vec![held])];
        let notices = limits(&Page::new(&profile, true, &|_| None));
        assert_eq!(notices.len(), 1);
        assert!(notices[0].contains("2.00 s") && notices[0].contains("held 5.00 MiB"), "{}", notices[0]);
    }
}

//! The findings at the top of the page, one card each.
//!
//! Job: name the hottest line by CPU, its kind of time, the longest wait, the owner of the peak and the line that grew
//! until the end. Invariant: if a figure was not measured, its card says so. Neighbour: `overview` shows the cards
//! first.

use crate::profile::model::{Line, Time};
use crate::report::answer::{self, PeakOwner, Slowest};
use crate::report::hidden;
use crate::report::view::{Place, cpu_error_share, time_inside, too_few, waiting_s};
use crate::units;

use super::escape;
use super::page::{Page, total_s};

/// A kind of time: letter, class, name, seconds.
pub(super) type Kind = (char, &'static str, &'static str, Option<f64>);

/// The kinds of CPU time. Helper threads are included only if the figure exists.
pub(super) fn kinds(time: &Time) -> impl Iterator<Item = Kind> {
    let helpers = time.helpers_s.map(|s| ('H', "he", "helper threads", Some(s)));
    let [python, native, system] = [
        ('P', "py", "Python", time.python_s),
        ('N', "na", "native", time.native_s),
        ('S', "sy", "system", time.system_s),
    ];
    [Some(python), Some(native), helpers, Some(system)].into_iter().flatten()
}

/// The lines of all files, each with the index of its file.
pub(super) fn lines<'a>(page: &Page<'a>) -> impl Iterator<Item = (usize, &'a Line)> {
    page.profile.files.iter().enumerate().flat_map(|(at, file)| file.lines.iter().map(move |line| (at, line)))
}

/// The line with the largest figure, if the figure is above 0.
fn leader<'a>(page: &Page<'a>, figure: impl Fn(&Line) -> f64) -> Option<(usize, &'a Line, f64)> {
    let scored = lines(page).map(|(file, line)| (file, line, figure(line)));
    scored.filter(|(_, _, score)| *score > 0.0).max_by(|a, b| a.2.total_cmp(&b.2))
}

/// `±` and the standard error as a share of its figure; empty if the share is below 0.5 %.
pub(super) fn plus_minus(value: Option<u64>, error: Option<f64>) -> String {
    let (Some(value), Some(error)) = (value.filter(|value| *value > 0), error) else { return String::new() };
    let share = error / value as f64;
    if share < 0.005 {
        return String::new();
    }
    format!(" <span class=\"se\" title=\"one standard error\">\u{b1}{:.0}%</span>", share * 100.0)
}

/// As [`plus_minus`], for a line's CPU time.
pub(super) fn time_error(line: &Line) -> String {
    let share = cpu_error_share(line).unwrap_or(f64::NAN);
    if !share.is_finite() || share < 0.005 {
        return String::new();
    }
    format!(" <span class=\"se\" title=\"one standard error\">\u{b1}{:.0}%</span>", share * 100.0)
}

/// Appends the cards.
pub(super) fn push(out: &mut String, page: &Page<'_>) {
    out.push_str("<ul class=\"cards\" aria-label=\"Findings\">");
    push_hottest(out, page);
    push_kind(out, page);
    push_wait(out, page);
    push_peak(out, page);
    push_leak(out, page);
    out.push_str("</ul>");
}

fn push_card(out: &mut String, class: &str, label: &str, figure: &str, body: &str) {
    out.push_str(&format!(
        "<li class=\"card {class}\"><h3>{label}</h3><p class=\"figure\">{figure}</p><div class=\"say\">{body}</div></li>"
    ));
}

fn place(page: &Page<'_>, file: usize, line: &Line) -> String {
    let source = page.texts[file].get(line.line).map(str::trim).unwrap_or_default();
    let code = if source.is_empty() { String::new() } else { format!("<code>{}</code>", escape::text(source)) };
    format!("{}{code}", page.names[file].link(line.line))
}

fn push_hottest(out: &mut String, page: &Page<'_>) {
    let Some(Slowest { place: Place { file, line }, cpu_s: seconds, .. }) = answer::slowest(page.profile) else {
        let said = hidden::sentence(page.profile).map_or_else(
            || "No line in scope was seen on the CPU.".to_owned(),
            |said| format!("<span>No line in scope: {}</span>", escape::text(&said)),
        );
        push_card(out, "hottest", "Hottest line", "none", &said);
        return;
    };
    let all = total_s(&time_inside(&page.profile.totals));
    let kind = kinds(&line.time).max_by(|a, b| a.3.unwrap_or(0.0).total_cmp(&b.3.unwrap_or(0.0)));
    let mostly = kind.map_or(String::new(), |(_, class, name, part)| {
        let share = units::percent_in_prose(part.unwrap_or(0.0) / seconds);
        if too_few(page.profile) {
            return "<span>too few samples to tell: run longer, or <code>--interval 250us</code></span>".to_owned();
        }
        format!("<span class=\"tag {class}\">{share} {name}</span>")
    });
    let figure = match all > 0.0 {
        true => format!("{} <small>{}</small>", units::seconds(seconds), units::percent_in_prose(seconds / all)),
        false => units::seconds(seconds),
    };
    push_card(out, "hottest", "Hottest line", &figure, &format!("{}{mostly}", place(page, page.index(file), line)));
}

fn push_kind(out: &mut String, page: &Page<'_>) {
    let time = &time_inside(&page.profile.totals);
    let all = total_s(time);
    let largest = kinds(time).max_by(|a, b| a.3.unwrap_or(0.0).total_cmp(&b.3.unwrap_or(0.0)));
    if time.user_s.is_some_and(|user| user > all / 2.0) {
        push_card(out, "kind", "Where the CPU time went", "unknown", "Python is not told from native code here.");
        return;
    }
    if too_few(page.profile) && all > 0.0 {
        let samples = units::count(page.profile.totals.cpu_samples);
        let say = format!("{samples} CPU samples tell too little: run longer, or <code>--interval 250us</code>.");
        push_card(out, "kind", "Where the CPU time went", "unknown", &say);
        return;
    }
    let Some((_, class, name, Some(part))) = largest.filter(|_| all > 0.0) else {
        push_card(out, "kind", "Where the CPU time went", "unknown", "Time was not profiled.");
        return;
    };
    let advice = match class {
        "py" => "The interpreter runs bytecode: fewer or cheaper Python operations help.",
        "na" => "C code called from Python: look at the libraries behind the lines.",
        "he" => "Native libraries work in threads of their own, on behalf of the lines that call them.",
        _ => "The kernel works for the program: I/O, page faults, system calls.",
    };
    let figure = format!("{} <small>{name}</small>", units::percent_in_prose(part / all));
    push_card(out, class, "Where the CPU time went", &figure, &format!("<span>{advice}</span>"));
}

/// Appends the card of the line that waits longest. Idle time is not part of the wait and is shown beside it.
fn push_wait(out: &mut String, page: &Page<'_>) {
    let totals = &page.profile.totals.time;
    let idle = totals.idle_s.filter(|s| *s > 0.0);
    let idle =
        idle.map(|s| format!("<span>idle, waiting for work or for a thread to end: {}</span>", units::seconds(s)));
    let idle = idle.unwrap_or_default();
    if totals.wait_s.is_none() {
        push_card(out, "wa", "Longest wait", "not measured", "What threads wait for was not seen.");
        return;
    }
    let Some((file, line, seconds)) = leader(page, |line| waiting_s(&line.time).unwrap_or(0.0)) else {
        push_card(
            out,
            "wa",
            "Longest wait",
            "none",
            &format!("<span>No line in scope waits for an answer.</span>{idle}"),
        );
        return;
    };
    let elapsed = page.profile.clock.elapsed_s;
    let of = match elapsed > 0.0 && seconds <= elapsed {
        true => format!(" <small>{} of wall</small>", units::percent_in_prose(seconds / elapsed)),
        false => String::new(),
    };
    let figure = format!("{}{of}", units::seconds(seconds));
    push_card(out, "wa", "Longest wait", &figure, &format!("{}{idle}", place(page, file, line)));
}

fn push_peak(out: &mut String, page: &Page<'_>) {
    let Some(PeakOwner { place: Place { file, line }, bytes }) = answer::peak_owner(page.profile) else {
        let (figure, say) = match page.profile.settings.memory.mode.as_str() {
            "off" | "" => ("not measured", "Memory was not profiled."),
            _ => ("none", "No line in scope held memory at the peak."),
        };
        push_card(out, "peak", "Owner of the memory peak", figure, say);
        return;
    };
    let held = page.profile.totals.tracked_peak_bytes;
    let of = held.map_or(String::new(), |held| format!(" <small>of {} live</small>", units::bytes(held)));
    let figure =
        format!("{}{}{of}", units::bytes(bytes), plus_minus(line.memory.peak_bytes, line.memory.peak_bytes_se));
    push_card(out, "peak", "Owner of the memory peak", &figure, &place(page, page.index(file), line));
}

fn push_leak(out: &mut String, page: &Page<'_>) {
    let leak = page.profile.leaks.as_ref().map(|leaks| leaks.first());
    let card = match leak {
        None => ("not measured".to_owned(), "Growth of memory was not profiled.".to_owned()),
        Some(None) => ("none found".to_owned(), "No line's live memory grows steadily.".to_owned()),
        Some(Some(leak)) => {
            let Some(name) = page.names.get(leak.file) else { return };
            let source = page.texts[leak.file].get(leak.line).map(str::trim).unwrap_or_default();
            let more = page.profile.leaks.as_ref().map_or(0, Vec::len) - 1;
            let others = if more > 0 { format!(", and {more} more") } else { String::new() };
            (
                format!("{} <small>growing</small>", units::bytes_per_second(leak.bytes_per_s)),
                format!(
                    "{}<code>{}</code><span>{} live at the end, {} sure{others}</span>",
                    name.link(leak.line),
                    escape::text(source),
                    units::bytes(leak.live_bytes),
                    units::percent_in_prose(leak.confidence)
                ),
            )
        }
    };
    push_card(out, "leak", "Grew until the end", &card.0, &card.1);
}

//! The summary: the run at a glance, and all facts that make its figures less certain.
//!
//! Job: a block of facts, the time by kind, the memory over time and the lines that held its peak; and the same in one
//! line. Invariants: lost records are always shown; an unknown fact is left out, never guessed. Neighbours: `bars`
//! draws, `hottest` follows.

use super::cells::{error_text, list_path, relative_error};
use super::facts::{Facts, LABEL};
use super::leaks::sure;
use super::list::title;
use crate::profile::model::{Clock, Exit, NearLimit, Profile};
use crate::report::bars::{CPU_KINDS, KINDS, cpu_parts, parts, sparkline, stacked};
use crate::report::hidden;
use crate::report::spread::peak_owner;
use crate::report::style::{Role, Style};
use crate::report::text;
use crate::report::view::{Place, SortKey, View, cpu_s, largest, peak_moment, share, time_inside, too_few};
use crate::report::view::{wait_outside, waiting_s};
use crate::units;

/// Most lines named by the summary for the peak, for waits and for leaks.
const NAMED: usize = 3;
/// Most sections named by the summary.
const SECTIONS: usize = 8;
/// Amounts up to this are not mentioned.
const LITTLE_BYTES: u64 = 4 << 20;
/// Waits are named if they take at least this share of the wall time.
const WAIT_SHARE: f64 = 0.1;

/// The run in one line, for output that does not go to a terminal.
#[must_use]
pub fn summary_line(profile: &Profile) -> String {
    let style = Style { color: false, unicode: false, ..Style::PLAIN };
    let mut facts = vec![elapsed_text(&profile.clock)];
    let time = &profile.totals.time;
    if let Some(cpu) = cpu_s(time) {
        let kinds = parts(time).into_iter().take(CPU_KINDS).zip(&KINDS).filter_map(|(part, kind)| {
            let part = share(part, cpu)?;
            Some(format!("{} {}", kind.name, units::percent_in_prose(part)))
        });
        let kinds: Vec<String> = kinds.collect();
        let kinds =
            if kinds.is_empty() || too_few(profile) { String::new() } else { format!(" ({})", kinds.join(", ")) };
        facts.push(format!("{} CPU{kinds}", units::seconds(cpu)));
    }
    facts.extend(waiting_s(&time_inside(&profile.totals)).map(|wait| format!("{} wait", units::seconds(wait))));
    facts.extend(profile.totals.peak().map(|peak| format!("peak RSS {}{}", units::bytes(peak), peak_of(profile))));
    let hottest = largest(profile, SortKey::Cpu, 1);
    if let Some(((place, s), cpu)) = hottest.first().zip(cpu_s(time).filter(|cpu| *cpu > 0.0)) {
        facts.push(format!("hottest line {} {}", name(profile, place, &style), units::percent_in_prose(s / cpu)));
    }
    if profile.totals.lost_records > 0 {
        facts.push(format!("{} records lost", units::count(profile.totals.lost_records)));
    }
    let command = text::fit(&profile.target.command.join(" "), 60, &style);
    let command = if command.is_empty() { command } else { format!("{command}: ") };
    format!("rscalene: {command}{}", facts.join(", "))
}

/// The head of the short report: the run at a glance, and all facts that make its figures less certain.
pub(super) fn render_short(out: &mut String, view: &View<'_>, style: &Style) {
    heading(out, view.profile, style);
    let mut facts = Facts { out, style };
    time(&mut facts, view, false);
    memory_over_time(&mut facts, view.profile);
    facts.push("leaks", &leaks(view.profile, style));
    sections(&mut facts, view);
    limits(&mut facts, view);
    warnings(&mut facts, view);
}

/// The head of the full report.
pub(super) fn render(out: &mut String, view: &View<'_>, style: &Style) {
    heading(out, view.profile, style);
    let mut facts = Facts { out, style };
    time(&mut facts, view, true);
    memory(&mut facts, view);
    sections(&mut facts, view);
    limits(&mut facts, view);
    samples(&mut facts, view);
    warnings(&mut facts, view);
}

/// Appends the command, the interpreter and the exit of the program.
fn heading(out: &mut String, profile: &Profile, style: &Style) {
    let mut remark = vec![];
    remark.extend(profile.target.python.as_ref().map(|version| {
        let threaded = if profile.target.free_threaded { "t" } else { "" };
        format!("Python {version}{threaded}")
    }));
    let mut head = command(&profile.target.command);
    if let Some(how) = &profile.target.attached {
        head = format!("attached to {}: {head}", profile.target.pid);
        remark.push(format!("for {}, {how}", units::seconds(profile.clock.elapsed_s)));
    }
    remark.extend(exit(&profile.target.exit));
    title(out, &head, &remark.join(", "), style);
}

/// The length of the run, or of its profiled part.
pub(crate) fn elapsed_text(clock: &Clock) -> String {
    let elapsed = units::seconds(clock.elapsed_s);
    match clock.program_s {
        Some(all) => format!("profiled the first {elapsed} of {}", units::seconds(all)),
        None => format!("{elapsed} elapsed"),
    }
}

/// The command line, with the file name of the interpreter only. A single argument may be a statement, so it stays
/// unchanged.
pub(in crate::report) fn command(command_line: &[String]) -> String {
    match command_line {
        [first, rest @ ..] if !rest.is_empty() => {
            let name = first.rsplit('/').next().unwrap_or(first);
            std::iter::once(name).chain(rest.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
        }
        command_line => command_line.concat(),
    }
}

fn exit(exit: &Exit) -> Option<String> {
    match (exit.code, exit.signal) {
        (_, Some(signal)) => Some(format!("ended by {}", units::signal(signal))),
        (Some(code), None) => Some(format!("exit {code}")),
        (None, None) => None,
    }
}

fn time(facts: &mut Facts<'_>, view: &View<'_>, waits: bool) {
    let (profile, style) = (view.profile, facts.style);
    let (elapsed, time) = (profile.clock.elapsed_s, &profile.totals.time);
    let cpu = cpu_s(time);
    let mut items = vec![(Role::Strong, elapsed_text(&profile.clock))];
    if let Some(cpu) = cpu {
        let of_wall = share(Some(cpu), elapsed).map(|part| format!(" ({} of wall)", units::percent_in_prose(part)));
        items.push((Role::Strong, format!("{} CPU{}", units::seconds(cpu), of_wall.unwrap_or_default())));
    }
    items.extend(
        profile
            .totals
            .peak()
            .map(|peak| (Role::Strong, format!("{} peak RSS{}", units::bytes(peak), peak_of(profile)))),
    );
    facts.push("total", &items);

    let time = &time_inside(&profile.totals);
    let known = cpu_parts(time);
    let sum: f64 = known.iter().sum::<f64>() + time.user_s.unwrap_or(0.0);
    let few = too_few(profile) && sum > 0.0;
    if few {
        let samples = units::count(profile.totals.cpu_samples);
        let text = format!(
            "{samples} CPU samples are too few to tell kinds and lines apart: run longer, or `--interval 250us`"
        );
        facts.push("time", &[(Role::Warning, text)]);
    } else if sum > 0.0 {
        let mut bar = String::new();
        stacked(&mut bar, known, sum, style.width.saturating_sub(LABEL).min(72), style);
        facts.drawn("time", &bar);
        let legend = parts(time).into_iter().take(CPU_KINDS).zip(&KINDS).filter_map(|(part, kind)| {
            let s = part?;
            let part = share(Some(s), cpu.unwrap_or(0.0)).map(|part| format!(" {}", units::percent_in_prose(part)));
            let text =
                format!("{} {} {}{}", kind.texture(style), kind.name, units::seconds(s), part.unwrap_or_default());
            Some((kind.role, text))
        });
        let mut legend: Vec<_> = legend.collect();
        legend.extend(time.user_s.map(|s| {
            let part = share(Some(s), cpu.unwrap_or(0.0)).map(|part| format!(" {}", units::percent_in_prose(part)));
            let part = part.unwrap_or_default();
            (Role::Plain, format!("kind unknown {}{part}", units::seconds(s)))
        }));
        facts.push("", &legend);
    }
    let waited = waiting_s(time);
    let waiting = waits && share(waited, elapsed).is_some_and(|part| part >= WAIT_SHARE);
    let whole = waited.map(|s| match share(Some(s), elapsed) {
        // Several threads waited at the same time, so the sum exceeds the length of the run.
        Some(_) if s > elapsed => {
            format!("{} in {} threads", units::seconds(s), units::count(profile.threads.len() as u64))
        }
        Some(part) => format!("{} {} of wall", units::seconds(s), units::percent_in_prose(part)),
        None => units::seconds(s),
    });
    let mut items: Vec<_> = whole.into_iter().map(|text| (Role::Plain, text)).collect();
    if waiting {
        let named = largest(profile, SortKey::Wait, NAMED)
            .into_iter()
            .filter(|(_, s)| *s >= 0.01 * elapsed)
            .map(|(place, s)| (Role::Plain, format!("{} {}", name(profile, &place, style), units::seconds(s))));
        items.extend(named);
        if let Some(gil) = time.gil_wait_s.filter(|gil| *gil >= 0.01 * elapsed) {
            items.push((Role::Plain, format!("for the GIL {}", units::seconds(gil))));
        }
    }
    let idle = profile.totals.time.idle_s.filter(|s| *s >= 0.01 * elapsed);
    items.extend(
        idle.map(|s| (Role::Faint, format!("idle, waiting for work or for a thread to end {}", units::seconds(s)))),
    );
    facts.push("waits", &items);
    cores(facts, profile);
}

/// Appends the time for which the program waited for a free core. A change of the program's code cannot shorten this
/// wait.
fn cores(facts: &mut Facts<'_>, profile: &Profile) {
    let elapsed = profile.clock.elapsed_s;
    let mut items = Vec::new();
    if let Some(s) = profile.totals.time.core_wait_s.filter(|s| *s >= 0.05 * elapsed) {
        let part = share(Some(s), elapsed).map(|part| format!(", {} of wall", units::percent_in_prose(part)));
        let text = format!("no core was free for {}{}", units::seconds(s), part.unwrap_or_default());
        items.push((Role::Warning, text));
    }
    facts.push("cores", &items);
}

/// Appends the footprint over time as a row of characters, with a mark below its peak.
fn memory_over_time(facts: &mut Facts<'_>, profile: &Profile) {
    let style = facts.style;
    let series = &profile.timeline.rss;
    if series.len() > 1 {
        let cells = style.width.saturating_sub(LABEL).min(72);
        let end = series.iter().map(|(at, _)| *at).fold(profile.clock.elapsed_s, f64::max);
        let top = peak_moment(profile).unwrap_or_default();
        let (row, _) = sparkline(series, end, cells, style);
        let peak = ((top.0 / end * cells as f64) as usize).min(cells.saturating_sub(1));
        facts.drawn("memory", &style.painted(Role::Memory, &row));
        let mark = style.glyph("\u{25b2}", "^");
        let text = format!("peak {} at {}", units::bytes(top.1), units::seconds(top.0));
        // The text stands to the right of the mark, unless it only fits on the left.
        let line = if peak + 2 + text.len() <= cells || peak < text.len() + 1 {
            format!("{}{mark} {text}", " ".repeat(peak.min(cells.saturating_sub(2 + text.len()))))
        } else {
            format!("{}{text} {mark}", " ".repeat(peak - text.len() - 1))
        };
        facts.drawn("", &style.painted(Role::Memory, &line));
    }
}

fn memory(facts: &mut Facts<'_>, view: &View<'_>) {
    let (profile, style) = (view.profile, facts.style);
    memory_over_time(facts, profile);
    let owners = largest(profile, SortKey::PEAK, NAMED).into_iter().filter(|(_, b)| *b >= 0.01 * view.base.peak_bytes);
    let owners = owners.map(|(place, b)| {
        let memory = &place.line.memory;
        let error = relative_error(memory.peak_bytes_se, memory.peak_bytes);
        let error = error.map(|share| format!(" {}", error_text(share, style))).unwrap_or_default();
        (Role::Plain, format!("{} {}{error}", name(profile, &place, style), units::bytes(b as u64)))
    });
    let mut owners: Vec<_> = owners.collect();
    owners.extend(rest_of_peak(profile).map(|text| (Role::Faint, text)));
    facts.push("at peak", &owners);
    facts.push("resident", &resident(profile).map(|text| (Role::Plain, text)).collect::<Vec<_>>());

    let totals = &profile.totals.memory;
    let mut sums = Vec::new();
    if let Some(b) = totals.alloc_bytes {
        let blocks = totals.alloc_count.map(|n| format!(" in {} blocks", units::count(n))).unwrap_or_default();
        sums.push((Role::Plain, format!("{} allocated{blocks}", units::bytes(b))));
    }
    sums.extend(most_allocated(profile).map(|text| (Role::Plain, text)));
    sums.extend(totals.live_bytes.map(|b| (Role::Plain, format!("{} live at the end", units::bytes(b)))));
    sums.extend(
        profile
            .target
            .allocator
            .as_ref()
            .map(|name| (Role::Plain, format!("allocator {}", text::visible(name, style)))),
    );
    sums.extend(totals.copy_bytes.filter(|b| *b > 0).map(|b| (Role::Plain, format!("{} copied", units::bytes(b)))));
    facts.push("heap", &sums);
    facts.push("leaks", &leaks(profile, style));
}

/// Names the member with the peak, in a merged profile.
fn peak_of(profile: &Profile) -> String {
    let owner = profile.merge.as_deref().and_then(peak_owner);
    owner.map(|owner| format!(" of {owner}")).unwrap_or_default()
}

/// The most bytes allocated at any moment, if clearly more than at the peak of the footprint.
fn most_allocated(profile: &Profile) -> Option<String> {
    let totals = &profile.totals;
    let at_peak = totals.tracked_peak_bytes?.saturating_add(totals.untouched_peak_bytes.unwrap_or(0));
    let most = totals.most_allocated_bytes?;
    let more = most as f64 > 1.05 * at_peak as f64 && most.saturating_sub(at_peak) > LITTLE_BYTES;
    more.then(|| format!("most allocated at any moment {}", units::bytes(most)))
}

/// One line: the leak with the highest confidence, the number of other leaks, and the option for listing them.
fn leaks(profile: &Profile, style: &Style) -> Vec<(Role, String)> {
    let leaks = profile.leaks.as_deref().unwrap_or_default();
    let Some((leak, file)) = leaks.first().and_then(|leak| Some((leak, profile.files.get(leak.file)?))) else {
        return Vec::new();
    };
    let path = text::visible(list_path(profile, &file.path), style);
    let rate = units::bytes_per_second(leak.bytes_per_s);
    let mut items = vec![(
        Role::Warning,
        format!("{path}:{} grew until the end, {rate}, {} sure", leak.line, sure(leak.confidence)),
    )];
    if leaks.len() > 1 {
        let more = units::count(leaks.len() as u64 - 1);
        items.push((Role::Plain, format!("{more} more: --leaks")));
    }
    items
}

/// Appends the sections of the run.
fn sections(facts: &mut Facts<'_>, view: &View<'_>) {
    let rows = &view.profile.sections;
    let described = rows.iter().take(SECTIONS).map(|row| {
        let mut text = format!("{} {}", text::visible(&row.name, facts.style), units::seconds(row.elapsed_s));
        text.extend((row.count > 1).then(|| format!(" in {} calls", units::count(row.count))));
        text.extend(row.cpu_s.map(|s| format!(", {} CPU", units::seconds(s))));
        text.extend(row.alloc_bytes.map(|b| format!(", {} allocated", units::bytes(b))));
        (Role::Plain, text)
    });
    let mut items: Vec<_> = described.collect();
    if rows.len() > SECTIONS {
        items.push((Role::Faint, format!("{} more", rows.len() - SECTIONS)));
    }
    facts.push("sections", &items);
}

/// Parts of the resident memory at its peak. They explain the difference between the footprint and the memory requested
/// by lines: the footprint includes pages of files, the interpreter and the allocator's spare memory, and lacks memory
/// never touched.
pub(crate) fn resident(profile: &Profile) -> impl Iterator<Item = String> {
    let totals = &profile.totals;
    // The figure for pages of files covers a single process.
    let known = totals.peak().zip(totals.resident_files_peak_bytes).zip(totals.tracked_peak_bytes);
    let parts = known.filter(|_| profile.processes.len() <= 1).map(|((rss, shared), tracked)| {
        let own = rss.saturating_sub(shared);
        let blocks = if tracked > own {
            let (own, tracked, rest) = (units::bytes(own), units::bytes(tracked), units::bytes(tracked - own));
            [format!("{own} of {tracked} asked for"), format!("{rest} untouched")]
        } else {
            let rest = units::bytes(own - tracked);
            [format!("{} asked for", units::bytes(tracked)), format!("{rest} interpreter and spare")]
        };
        let [blocks, rest] = blocks;
        [format!("{} files and libraries", units::bytes(shared)), blocks, rest]
    });
    let untouched = totals.untouched_peak_bytes.filter(|bytes| *bytes > LITTLE_BYTES);
    let untouched = untouched.map(|bytes| format!("and {} asked for and never touched", units::bytes(bytes)));
    parts.into_iter().flatten().chain(untouched)
}

/// Memory at the peak without a line in scope: code out of scope and mapped files. Profiles without the resident pages
/// of files also get the untracked part of the resident memory.
fn rest_of_peak(profile: &Profile) -> impl Iterator<Item = String> {
    let totals = &profile.totals;
    let outside = totals.outside_scope_memory.peak_bytes;
    let mapped = totals.mapped_files_peak_bytes;
    let alone = profile.processes.len() <= 1;
    let untracked = totals
        .peak_rss_bytes
        .zip(totals.tracked_peak_bytes)
        .filter(|_| alone && totals.resident_files_peak_bytes.is_none())
        .and_then(|(rss, tracked)| rss.checked_sub(tracked.saturating_add(mapped.unwrap_or(0))));
    let least = totals.peak().unwrap_or(0) / 100;
    let parts = [("outside scope", outside), ("mapped files", mapped), ("untracked", untracked)];
    let parts = parts.into_iter().filter_map(move |(name, bytes)| Some((name, bytes.filter(|b| *b > least)?)));
    parts.map(|(name, bytes)| format!("{name} {}", units::bytes(bytes)))
}

/// Appends the owners of the memory when it nearly ran out: the latest moment of each limit.
fn limits(facts: &mut Facts<'_>, view: &View<'_>) {
    let profile = view.profile;
    let mut latest: Vec<&NearLimit> = Vec::new();
    for limit in profile.near_limits.iter().rev() {
        if !latest.iter().any(|known| known.limit == limit.limit) {
            latest.push(limit);
        }
    }
    for limit in latest.iter().rev() {
        let (used, most) = (units::bytes(limit.used_bytes), units::bytes(limit.limit_bytes));
        let name = text::visible(&limit.limit, facts.style);
        let mut items = vec![(Role::Warning, format!("{used} of {most} ({name}) at {}", units::seconds(limit.at_s)))];
        items.extend(limit.lines.iter().take(NAMED).filter_map(|held| {
            let path = list_path(profile, &profile.files.get(held.file)?.path);
            let name = format!("{}:{}", text::visible(path, facts.style), held.line);
            Some((Role::Plain, format!("{name} held {}", units::bytes(held.live_bytes))))
        }));
        facts.push("limit", &items);
    }
}

/// Appends the number of samples behind the figures.
fn samples(facts: &mut Facts<'_>, view: &View<'_>) {
    let profile = view.profile;
    let (totals, settings) = (&profile.totals, &profile.settings);
    let mut items = Vec::new();
    if totals.cpu_samples > 0 {
        let source = text::visible(&settings.cpu.source, facts.style);
        let interval = Some(settings.cpu.interval_s).filter(|s| *s > 0.0);
        let every = interval.map(|s| format!(" every {} ({source})", units::seconds(s))).unwrap_or_default();
        items.push((Role::Plain, format!("{} CPU samples{every}", units::count(totals.cpu_samples))));
    }
    if let Some(clock) = totals.cpu_clock_s {
        let sampled = totals.sampled_cpu_s.map(|s| format!("sampled {} of ", units::seconds(s))).unwrap_or_default();
        items.push((Role::Plain, format!("{sampled}{} CPU", units::seconds(clock))));
    }
    if totals.cpu_samples > 0 {
        // A share p of n samples has a standard error of sqrt(p (1 - p) / n), which is largest for p = 1/2.
        let points = 50.0 / (totals.cpu_samples as f64).sqrt();
        let sign = facts.style.glyph("\u{b1}", "+-");
        items.push((Role::Plain, format!("shares {sign}{points:.1} points")));
    }
    if totals.alloc_samples > 0 {
        let interval =
            settings.memory.interval_bytes.map(|b| format!(" every {}", units::bytes(b))).unwrap_or_default();
        let mode = if settings.memory.mode == "exact" { " (exact)".to_owned() } else { interval };
        items.push((Role::Plain, format!("{} allocation samples{mode}", units::count(totals.alloc_samples))));
    }
    facts.push("samples", &items);
}

/// Appends the gaps in the figures, and the notices of the run.
fn warnings(facts: &mut Facts<'_>, view: &View<'_>) {
    let profile = view.profile;
    let totals = &profile.totals;
    if totals.lost_records > 0 {
        let text = format!(
            "{} records or frames were lost: figures are too low by what they held",
            units::count(totals.lost_records)
        );
        facts.push("lost", &[(Role::Warning, text)]);
    }
    let outside = cpu_s(&totals.outside_scope).and_then(|s| Some((s, share(Some(s), view.base.cpu_s)?)));
    let cpu = outside.filter(|(_, part)| *part >= 0.01);
    let cpu = cpu.map(|(s, part)| format!("{} CPU ({})", units::seconds(s), units::percent_in_prose(part)));
    let wait = wait_outside(profile).map(|s| format!("{} of waiting threads", units::seconds(s)));
    let outside: Vec<String> = cpu.into_iter().chain(wait).collect();
    if !outside.is_empty() {
        facts.push(
            "scope",
            &[(Role::Plain, format!("{} in files that are not reported (libraries)", outside.join(" and ")))],
        );
    }
    if let Some(said) = hidden::sentence(profile) {
        let parts: Vec<_> =
            said.split_whitespace().map(|word| (Role::Plain, text::visible(word, facts.style))).collect();
        facts.sentence("hidden", &parts);
    }
    for notice in &profile.notices {
        let parts: Vec<_> = notice
            .to_string()
            .split_whitespace()
            .map(|word| (Role::Warning, text::visible(word, facts.style)))
            .collect();
        facts.sentence("note", &parts);
    }
}

fn name(profile: &Profile, place: &Place<'_>, style: &Style) -> String {
    format!("{}:{}", text::visible(list_path(profile, &place.file.path), style), place.line.line)
}

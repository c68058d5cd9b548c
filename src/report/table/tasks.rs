//! Threads and processes, where there are several.
//!
//! Job: who did the work. Invariant: the busiest first; what is not listed is counted. Neighbour: `summary` gives the
//! sums.

use super::{List, title};
use crate::profile::model::{Exit, Profile, Thread};
use crate::report::bars::{parts, stacked};
use crate::report::style::{Role, Style};
use crate::report::text;
use crate::report::view::cpu_s;
use crate::units;

/// Rows of either list.
const ROWS: usize = 10;

pub(super) fn render(out: &mut String, profile: &Profile, style: &Style) {
    if profile.threads.len() > 1 {
        threads(out, profile, style);
    }
    if profile.processes.len() > 1 {
        processes(out, profile, style);
    }
}

fn clock_s(thread: &Thread) -> f64 {
    thread.cpu_clock_s.or(cpu_s(&thread.time)).unwrap_or(0.0)
}

fn threads(out: &mut String, profile: &Profile, style: &Style) {
    title(out, "Threads", &format!("{} in all", units::count(profile.threads.len() as u64)), style);
    let mut threads: Vec<&Thread> = profile.threads.iter().collect();
    threads.sort_by(|a, b| {
        clock_s(b).total_cmp(&clock_s(a)).then_with(|| {
            b.time
                .wait_s
                .unwrap_or(0.0)
                .total_cmp(&a.time.wait_s.unwrap_or(0.0))
                .then((a.pid, a.tid).cmp(&(b.pid, b.tid)))
        })
    });
    let sum = |thread: &Thread| parts(&thread.time).into_iter().flatten().sum::<f64>();
    let longest = threads.iter().map(|thread| sum(thread)).fold(0.0, f64::max);
    let decimals = units::column_decimals(longest);
    let width = units::seconds_in_column(longest, decimals).len().max(7);
    let bar = (style.width / 10).clamp(6, 16);
    let name_width = style.width.saturating_sub(bar + 2 * width + 8 + 4 + 2).min(40);
    let heads = [
        ("Thread", name_width, false),
        ("Id", 8, true),
        ("Time", bar, false),
        ("CPU s", width, true),
        ("Wait s", width, true),
    ];
    let mut list = List::new(&heads, style);
    for thread in threads.iter().take(ROWS) {
        let mut picture = String::new();
        stacked(&mut picture, parts(&thread.time).map(Option::unwrap_or_default), longest, bar, style);
        let seconds = |s: Option<f64>| s.map_or(String::new(), |s| units::seconds_in_column(s, decimals));
        list.push(vec![
            text::fit(&thread.name, name_width, style),
            thread.tid.to_string(),
            picture,
            seconds(thread.cpu_clock_s.or(cpu_s(&thread.time))),
            seconds(thread.time.wait_s),
        ]);
    }
    list.render(out);
    rest(out, threads.len(), style);
}

fn processes(out: &mut String, profile: &Profile, style: &Style) {
    title(out, "Processes", &format!("{} in all", units::count(profile.processes.len() as u64)), style);
    let seconds = |pid: u32| profile.threads.iter().filter(|thread| thread.pid == pid).map(clock_s).sum::<f64>();
    let mut processes: Vec<_> = profile.processes.iter().map(|process| (seconds(process.pid), process)).collect();
    processes.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.pid.cmp(&b.1.pid)));
    let largest = processes.iter().map(|(seconds, _)| *seconds).fold(0.0, f64::max);
    let decimals = units::column_decimals(largest);
    let width = units::seconds_in_column(largest, decimals).len().max(7);
    let command_width = style.width.saturating_sub(8 + width + 9 + 10 + 5);
    let heads = [
        ("Process", 8, true),
        ("CPU s", width, true),
        ("Peak RSS", 9, true),
        ("Exit", 10, false),
        ("Command", command_width, false),
    ];
    let mut list = List::new(&heads, style);
    for (seconds, process) in processes.iter().take(ROWS) {
        let exit = exit(&process.exit);
        list.push(vec![
            process.pid.to_string(),
            units::seconds_in_column(*seconds, decimals),
            process.peak_rss_bytes.map_or(String::new(), units::bytes),
            text::fit(&exit, 10, style),
            text::fit(&process.command.join(" "), command_width, style),
        ]);
    }
    list.render(out);
    rest(out, processes.len(), style);
}

/// How a process ended; empty where that is not known.
pub(super) fn exit(exit: &Exit) -> String {
    match (exit.code, exit.signal) {
        (_, Some(signal)) => format!("signal {signal}"),
        (Some(code), None) => code.to_string(),
        (None, None) => String::new(),
    }
}

fn rest(out: &mut String, rows: usize, style: &Style) {
    if rows > ROWS {
        style.paint(out, Role::Faint, &format!("and {} more", units::count((rows - ROWS) as u64)));
        out.push('\n');
    }
}

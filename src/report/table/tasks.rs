//! Threads and processes, if the program has several.
//!
//! Job: show which thread and which process did the work. Invariants: the busiest first; the report counts the rows
//! left out. Neighbour: `summary` gives the sums.

use super::list::{List, title};
use crate::profile::model::{Exit, Profile, Thread};
use crate::report::bars::{cpu_parts, stacked};
use crate::report::style::{Role, Style};
use crate::report::text;
use crate::report::view::{cpu_s, waiting_s};
use crate::units;

/// Most rows of either list.
const ROWS: usize = 10;
/// The column of waits for a core is shown if a thread or process waited longer than this, in seconds.
const LITTLE_S: f64 = 0.01;

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
            waiting_s(&b.time)
                .unwrap_or(0.0)
                .total_cmp(&waiting_s(&a.time).unwrap_or(0.0))
                .then((a.pid, a.tid).cmp(&(b.pid, b.tid)))
        })
    });
    let longest = threads.iter().filter_map(|thread| cpu_s(&thread.time)).fold(0.0, f64::max);
    let waited = threads.iter().filter_map(|thread| thread.time.wait_s).fold(longest, f64::max);
    let decimals = units::column_decimals(waited);
    let width = units::seconds_in_column(waited, decimals).len().max(7);
    let idle = threads.iter().any(|thread| thread.time.idle_s.is_some());
    let queued = threads.iter().any(|thread| thread.time.core_wait_s.is_some_and(|s| s >= LITTLE_S));
    let columns = 2 + usize::from(idle) + usize::from(queued);
    let bar = (style.width / 10).clamp(6, 16);
    let name_width = style.width.saturating_sub(bar + columns * (width + 1) + 8 + 4).min(40);
    let mut heads = vec![
        ("Thread", name_width, false),
        ("Id", 8, true),
        ("Time", bar, false),
        ("CPU", width, true),
        ("Wait", width, true),
    ];
    heads.extend(idle.then_some(("Idle", width, true)));
    heads.extend(queued.then_some(("No core", width, true)));
    let mut list = List::new(&heads, style);
    for thread in threads.iter().take(ROWS) {
        let mut picture = String::new();
        stacked(&mut picture, cpu_parts(&thread.time), longest, bar, style);
        let seconds = |s: Option<f64>| s.map_or(String::new(), |s| units::seconds_in_column(s, decimals));
        let mut row = vec![
            text::fit(&thread.name, name_width, style),
            thread.tid.to_string(),
            picture,
            seconds(thread.cpu_clock_s.or(cpu_s(&thread.time))),
            seconds(waiting_s(&thread.time)),
        ];
        row.extend(idle.then(|| seconds(thread.time.idle_s)));
        row.extend(queued.then(|| seconds(thread.time.core_wait_s)));
        list.push(row);
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
        ("CPU", width, true),
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

/// How a process ended; empty if unknown.
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

//! The hottest lines of each process, for programs with several processes.
//!
//! Job: the list of `hottest` for each process, from the figures of lines by process. Invariants: the busiest process
//! first; the report counts the processes left out; shares are of the totals of their own process. Neighbours:
//! `hottest` draws the rows, `tasks` lists all processes.

use super::list::title;
use super::{hottest, tasks};
use crate::profile::model::{File, Line, Process, Profile, Totals};
use crate::report::style::{Role, Style};
use crate::report::view::{Options, View, cpu_s};
use crate::units;

/// Most processes in the list.
const SHOWN: usize = 20;

pub(super) fn render(out: &mut String, profile: &Profile, options: &Options, style: &Style) {
    if profile.processes.len() < 2 {
        return;
    }
    let mut order: Vec<(usize, &Process)> = profile.processes.iter().enumerate().collect();
    order.sort_by(|(at, a), (bt, b)| {
        cpu_s(&b.time).unwrap_or(0.0).total_cmp(&cpu_s(&a.time).unwrap_or(0.0)).then(at.cmp(bt))
    });
    for (index, process) in order.iter().take(SHOWN) {
        let part = part(profile, *index, process);
        title(out, &format!("Process {}", process.pid), &facts(process), style);
        style.paint(out, Role::Faint, &crate::report::text::fit(&process.command.join(" "), style.width, style));
        out.push('\n');
        hottest::rows(out, &View::new(&part, options), options, style);
    }
    if order.len() > SHOWN {
        style.paint(out, Role::Faint, &format!("and {} more", units::count((order.len() - SHOWN) as u64)));
        out.push('\n');
    }
}

fn facts(process: &Process) -> String {
    let mut facts = Vec::new();
    facts.extend(cpu_s(&process.time).map(|s| format!("{} CPU", units::seconds(s))));
    facts.extend(process.time.wait_s.map(|s| format!("{} wait", units::seconds(s))));
    facts.extend(process.peak_rss_bytes.map(|bytes| format!("{} peak RSS", units::bytes(bytes))));
    facts.extend(Some(tasks::exit(&process.exit)).filter(|exit| !exit.is_empty()).map(|exit| format!("exit {exit}")));
    facts.join(", ")
}

/// A profile of one process, with the data needed by lists of lines.
fn part(profile: &Profile, index: usize, process: &Process) -> Profile {
    let line = |line: &Line| {
        let share = line.by_process.iter().find(|share| share.process == index)?;
        let (time, memory) = (share.time, share.memory);
        let native = Vec::new();
        Some(Line { time, memory, native, by_process: Vec::new(), by_thread: Vec::new(), ..line.clone() })
    };
    let files = profile.files.iter().filter_map(|file| {
        let lines: Vec<Line> = file.lines.iter().filter_map(line).collect();
        (!lines.is_empty()).then(|| File { path: file.path.clone(), lines, ..File::default() })
    });
    Profile {
        target: profile.target.clone(),
        clock: profile.clock.clone(),
        settings: profile.settings.clone(),
        totals: Totals {
            time: process.time,
            memory: process.memory,
            peak_rss_bytes: process.peak_rss_bytes,
            ..Totals::default()
        },
        files: files.collect(),
        ..Profile::default()
    }
}

//! The merged runs, and the head of the merged profile.
//!
//! Job: identify runs, put them in order, and number their processes. Invariant: all results depend on the set of the
//! runs, never on their order. Neighbours: `mod` adds the profiles.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::exact::{cpu_micros, micros, seconds};
use super::moment;
use crate::profile::model::{
    Exit, HeldBytes, Member, MemorySettings, NearLimit, Process, Profile, Settings, Target, Thread,
};

/// The identity of a run, and the order of runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity(bool, Option<u32>, Option<String>, String, u32, String);

pub(super) fn identity(member: &Member) -> Identity {
    let Member { rank, host, started_at, pid, digest, .. } = member;
    Identity(rank.is_none(), *rank, host.clone(), started_at.clone(), *pid, digest.clone())
}

/// The identity and the name of each run of a profile.
pub(super) fn identities(profile: &Profile) -> Vec<(Identity, String)> {
    let named = |member: &Member| (identity(member), member.name());
    match &profile.merge {
        Some(merge) => merge.members.iter().map(named).collect(),
        None => vec![named(&member(profile))],
    }
}

/// The height of a run's peak; of equal peaks, the peak of the first run counts.
pub(super) type Peak = (Option<u64>, Option<u64>, Reverse<Identity>);

pub(super) fn peak(member: &Member) -> Peak {
    (member.footprint_peak_bytes, member.tracked_peak_bytes, Reverse(identity(member)))
}

/// A run, with its own rows.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) member: Member,
    /// The number of its first process while profiles are added.
    pub(super) first: u32,
    pub(super) processes: Vec<Process>,
    pub(super) threads: Vec<Thread>,
    pub(super) near_limits: Vec<NearMoment>,
}

/// A moment near a limit: microseconds since 1970, and lines by number of the file while profiles are added.
#[derive(Clone, Debug)]
pub(super) struct NearMoment(pub(super) i64, pub(super) NearLimit);

/// The runs of a profile, each with its rows; `first` is the number of the first process.
pub(super) fn of(profile: &mut Profile, first: u32, files: &[usize]) -> Vec<Run> {
    let start = span(profile).0;
    if profile.processes.is_empty() {
        profile.processes.push(whole(profile));
    }
    let members = match &profile.merge {
        Some(merge) => merge.members.clone(),
        None => vec![member(profile)],
    };
    let mut processes = std::mem::take(&mut profile.processes).into_iter();
    let mut threads = std::mem::take(&mut profile.threads).into_iter();
    let near_limits = std::mem::take(&mut profile.near_limits);
    let mut runs = Vec::with_capacity(members.len());
    let (mut unit, mut row) = (first, 0);
    for member in members {
        let of_it = |limit: &&NearLimit| (row..row + member.processes).contains(&limit.process);
        let near_limits = near_limits.iter().filter(of_it).map(|limit| {
            let held = |line: &HeldBytes| HeldBytes { file: files[line.file], ..*line };
            let at = start.saturating_add(micros(limit.at_s) as i64);
            let (process, lines) = (limit.process - row, limit.lines.iter().map(held).collect());
            NearMoment(at, NearLimit { process, lines, ..limit.clone() })
        });
        let (host, rank) = (&member.host, member.rank);
        let placed = |process: Process| Process { host: host.clone(), rank, ..process };
        let run = Run {
            first: unit,
            near_limits: near_limits.collect(),
            processes: processes.by_ref().take(member.processes).map(placed).collect(),
            threads: threads.by_ref().take(member.threads).collect(),
            member,
        };
        unit = unit.saturating_add(run.member.processes as u32);
        row += run.member.processes;
        runs.push(run);
    }
    runs
}

/// The run of an ordinary profile.
fn member(profile: &Profile) -> Member {
    let Target { command, cwd, pid, exit, host, rank, .. } = &profile.target;
    let totals = &profile.totals;
    let head = serde_json::to_vec(&(&profile.target, &profile.clock, totals)).unwrap_or_default();
    let digest = Sha256::digest(&head).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Member {
        rank: *rank,
        host: host.clone(),
        started_at: profile.clock.started_at.clone(),
        pid: *pid,
        digest,
        command: command.clone(),
        cwd: cwd.clone(),
        exit: *exit,
        elapsed_s: seconds(micros(profile.clock.elapsed_s)),
        cpu_s: cpu_micros(&totals.time).map(seconds),
        wait_s: totals.time.wait_s.map(|s| seconds(micros(s))),
        alloc_bytes: totals.memory.alloc_bytes,
        peak_rss_bytes: totals.peak_rss_bytes,
        footprint_peak_bytes: totals.peak(),
        tracked_peak_bytes: totals.tracked_peak_bytes,
        processes: profile.processes.len().max(1),
        threads: profile.threads.len(),
    }
}

/// The only process of a profile without rows of processes.
fn whole(profile: &Profile) -> Process {
    let (Target { pid, command, exit, .. }, totals) = (&profile.target, &profile.totals);
    Process {
        pid: *pid,
        command: command.clone(),
        exit: *exit,
        peak_rss_bytes: totals.peak_rss_bytes,
        time: totals.time,
        memory: totals.memory,
        ..Process::default()
    }
}

/// The start of the runs of a profile, and the end of the last: microseconds since 1970.
pub(super) fn span(profile: &Profile) -> (i64, i64) {
    if let Some(merge) = &profile.merge {
        return (moment::within(merge.span_us.0), moment::within(merge.span_us.1));
    }
    let start = moment::parse(&profile.clock.started_at);
    (start, moment::within(start.saturating_add(micros(profile.clock.elapsed_s) as i64)))
}

/// A value that all runs share; `several` if they differ.
fn common<'a, T: PartialEq + Clone + 'a>(mut values: impl Iterator<Item = &'a T>, several: T) -> T {
    let Some(first) = values.next() else { return several };
    if values.all(|value| value == first) { first.clone() } else { several }
}

/// The target of all runs. The rest of the target comes from [`Values`].
pub(super) fn target(members: &[Member]) -> Target {
    let commands = members.iter().map(|member| &member.command);
    let worst = members.iter().map(|member| member.exit).max_by_key(|exit| (exit.signal, exit.code));
    Target {
        command: common(commands, vec!["(several commands)".to_owned()]),
        cwd: cwd(members),
        pid: common(members.iter().map(|member| &member.pid), 0),
        exit: worst.unwrap_or(Exit::default()),
        host: common(members.iter().map(|member| &member.host), None),
        rank: common(members.iter().map(|member| &member.rank), None),
        ..Target::default()
    }
}

/// The working directory of all runs; empty if they differ.
pub(super) fn cwd(members: &[Member]) -> String {
    common(members.iter().map(|member| &member.cwd), String::new())
}

/// A set of strings of all runs: versions, platforms.
#[derive(Debug, Default)]
pub(super) struct Values(BTreeSet<String>);

impl Values {
    /// Adds the strings of a text, which may be a list written by [`Values::text`].
    pub(super) fn add(&mut self, text: Option<&str>) {
        let values = text.unwrap_or_default().split(", ").filter(|word| !word.is_empty());
        self.0.extend(values.map(str::to_owned));
    }

    /// All strings, separated by commas; `None` if there is none.
    pub(super) fn text(self) -> Option<String> {
        let values: Vec<String> = self.0.into_iter().collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

/// Combines the settings of runs.
pub(super) fn add_settings(all: &mut Settings, more: &Settings) {
    let (source, other) = (&mut all.cpu.source, &more.cpu.source);
    if matches!(source.as_str(), "" | "off") {
        if source.is_empty() || !other.is_empty() {
            source.clone_from(other);
        }
    } else if !matches!(other.as_str(), "" | "off") && source != other {
        "mixed".clone_into(source);
    }
    all.cpu.interval_s = all.cpu.interval_s.max(more.cpu.interval_s);
    let rank = |memory: &MemorySettings| {
        let known = ["", "off", "exact", "sampled"].iter().position(|mode| *mode == memory.mode);
        (known, memory.mode.clone())
    };
    if rank(&more.memory) > rank(&all.memory) {
        all.memory.mode.clone_from(&more.memory.mode);
    }
    all.memory.interval_bytes = all.memory.interval_bytes.max(more.memory.interval_bytes);
    for (globs, more) in [(&mut all.scope.include, &more.scope.include), (&mut all.scope.exclude, &more.scope.exclude)]
    {
        globs.extend(more.iter().cloned());
        globs.sort();
        globs.dedup();
    }
    all.scope.all |= more.scope.all;
}

//! Merges many profiles: of the ranks of a job, of machines, of tasks.
//!
//! Job: take profiles singly, in any order, and write the profile of all. Invariants: the result depends only on the
//! set of the runs, byte for byte, and a merged profile may be merged again. Sums are sums of integers. Peaks belong to
//! the run with the highest peak, and peaks are never added up. Neighbours: `model` before and after; `commands::merge`
//! and `bindings::merge` bring the profiles.
//!
//! ```text
//! Profile -> runs, lines, stacks, tables: sums by identity -> finish: canonical order -> spread -> Profile
//! ```

mod exact;
mod lines;
mod moment;
mod places;
mod runs;
mod spread;
mod sql;
mod stacks;
mod tables;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

pub use self::spread::By;

use self::exact::{AtPeak, MemorySum, TimeSum, add, add_known, add_micros, at_peak, micros, seconds};
use self::lines::{FileSum, Files, MOST_SHARES, Parts, Units};
use self::places::FileKey;
use self::runs::{Identity, NearMoment, Peak, Run, Values};
use self::sql::Queries;
use self::stacks::Tree;
use self::tables::Tables;
use crate::profile::model::{
    File, HeldBytes, LineParts, Member, Merge, NearLimit, Notice, Profile, Settings, Thread, Time, Timeline, Tool,
    Totals, codes,
};

/// Most threads in a merged profile; more threads share a single row.
const MOST_THREADS: u64 = 4096;

/// The reason why a profile was not added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAdded {
    /// All its runs are already merged: no data is lost.
    Twice,
    /// Some of its runs are already merged, and their figures cannot be subtracted from the profile.
    Overlaps(String),
}

impl NotAdded {
    /// The message for the profile called `name`.
    #[must_use]
    pub fn why(&self, name: &str) -> String {
        match self {
            Self::Twice => format!("`{name}` is merged already, and counts once"),
            Self::Overlaps(run) => {
                format!("cannot merge `{name}`: it holds {run}, which another of the files holds, too")
            }
        }
    }
}

/// An unfinished merge.
#[derive(Debug, Default)]
pub struct Merging {
    runs: Vec<Run>,
    known: BTreeSet<Identity>,
    units: u32,
    threads: (u64, TimeSum, Option<u64>),
    peak: Option<Peak>,
    peaks: Peaks,
    span: Option<(i64, i64)>,
    files: Files,
    tree: Tree,
    tables: Tables,
    queries: Queries,
    totals: TotalsSum,
    settings: Settings,
    target_facts: [Values; 5],
    free_threaded: bool,
}

/// Facts about the run with the highest peak.
#[derive(Debug, Default)]
struct Peaks {
    totals: Totals,
    all: AtPeak,
    outside: AtPeak,
    at: Option<i64>,
    rss: Vec<(i64, u64)>,
    live: Vec<(i64, u64)>,
}

#[derive(Debug, Default)]
struct TotalsSum {
    time: TimeSum,
    outside: TimeSum,
    memory: MemorySum,
    outside_memory: MemorySum,
    samples: [u64; 3],
    clocks: [Option<u64>; 3],
}

impl Merging {
    /// A merge without profiles.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of runs.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Notes that a file could not be merged.
    pub fn skip(&mut self, text: String) {
        self.tables.notice(codes::NOT_MERGED.to_owned(), text, 1);
    }

    /// Adds a profile, merged or not. Its indices must be valid, as in every profile that the reader accepts.
    ///
    /// # Errors
    /// A run of the profile is already merged. The profile is then not added.
    pub fn add(&mut self, mut profile: Profile) -> Result<(), NotAdded> {
        let cwd = profile.target.cwd.clone();
        let (start, end) = runs::span(&profile);
        let merge = profile.merge.clone();
        let members = runs::identities(&profile);
        let twice: Vec<&(Identity, String)> = members.iter().filter(|(run, _)| self.known.contains(run)).collect();
        if let Some((_, first)) = twice.first() {
            let all = twice.len() == members.len();
            return Err(if all { NotAdded::Twice } else { NotAdded::Overlaps(first.clone()) });
        }
        let files: Vec<usize> = profile.files.iter().map(|file| self.files.id(FileKey::of(file, &cwd))).collect();
        self.span = Some(self.span.map_or((start, end), |span| (span.0.min(start), span.1.max(end))));
        self.add_head(&profile);
        self.tables.add(&profile, &files, start);
        if let Some(sql) = &profile.sql {
            self.queries.add(sql, &files, &|id| self.files.files[id].0.clone());
        }
        self.totals.add(&profile.totals, merge.as_deref());
        let threads = merge.as_ref().map_or(profile.threads.len() as u64, |merge| merge.threads);
        self.add_threads(threads, &profile.threads);
        let runs = runs::of(&mut profile, self.units, &files);
        let highest = self.note_peak(&profile, &runs, merge.as_deref(), start);
        let count: usize = runs.iter().map(|run| run.member.processes).sum();
        let shared = self.units as usize + count <= MOST_SHARES as usize;
        if !shared {
            self.files.forget_shares();
        }
        let units = Units { first: self.units, count: u32::try_from(count).unwrap_or(u32::MAX), shared };
        let mut parts: Vec<Parts<'_>> = vec![Parts::default(); files.len()];
        for line in merge.iter().flat_map(|merge| &merge.parts) {
            parts[line.file].lines.insert(line.line, line);
        }
        for &(file, function, variance) in merge.iter().flat_map(|merge| &merge.functions) {
            parts[file].functions.insert(function, variance);
        }
        self.tree.add(&profile.stacks, &files, highest);
        for ((id, file), parts) in files.iter().zip(profile.files).zip(&parts) {
            self.files.add(*id, file, parts, units, highest);
        }
        self.units = self.units.saturating_add(units.count);
        self.known.extend(runs.iter().map(|run| runs::identity(&run.member)));
        self.runs.extend(runs);
        Ok(())
    }

    fn add_head(&mut self, profile: &Profile) {
        let target = &profile.target;
        let values = [
            Some(&profile.tool.version),
            target.python.as_ref(),
            Some(&target.platform),
            target.allocator.as_ref(),
            target.attached.as_ref(),
        ];
        for (fact, value) in self.target_facts.iter_mut().zip(values) {
            fact.add(value.map(String::as_str));
        }
        self.free_threaded |= target.free_threaded;
        runs::add_settings(&mut self.settings, &profile.settings);
    }

    fn add_threads(&mut self, count: u64, rows: &[Thread]) {
        add(&mut self.threads.0, count);
        for row in rows {
            self.threads.1.add(&row.time);
            add_known(&mut self.threads.2, row.cpu_clock_s.map(micros), add_micros);
        }
    }

    /// Keeps the profile's figures at its peak, if the peak is the highest so far; returns true in this case.
    fn note_peak(&mut self, profile: &Profile, runs: &[Run], merge: Option<&Merge>, start: i64) -> bool {
        let run = runs.get(merge.map_or(0, |merge| merge.peak_member));
        let Some(peak) = run.map(|run| runs::peak(&run.member)) else { return false };
        if self.peak.as_ref().is_some_and(|highest| *highest >= peak) {
            return false;
        }
        self.files.forget_peak();
        self.tree.forget_peak();
        self.peak = Some(peak);
        let points = |series: &[(f64, u64)]| {
            series.iter().map(|(at, bytes)| (start.saturating_add(micros(*at) as i64), *bytes)).collect()
        };
        self.peaks = Peaks {
            all: at_peak(&profile.totals.memory),
            outside: at_peak(&profile.totals.outside_scope_memory),
            at: profile.totals.footprint_peak_at_s.map(|at| start.saturating_add(micros(at) as i64)),
            rss: points(&profile.timeline.rss),
            live: points(&profile.timeline.live),
            totals: profile.totals.clone(),
        };
        true
    }

    /// The profile of all runs, whose lines are compared by `by`; `None`: by rank, else by machine, else by process.
    #[must_use]
    pub fn finish(self, by: Option<By>) -> Profile {
        let Self { mut runs, files: Files { mut files, .. }, peak, peaks, tables, totals, target_facts, .. } = self;
        let (start, end) = self.span.unwrap_or_default();
        runs.sort_by_cached_key(|run| runs::identity(&run.member));
        let numbers = numbers(&runs, self.units);
        let many_threads = self.threads.0 > MOST_THREADS;
        let (mut members, mut rows) = (Vec::with_capacity(runs.len()), Rows::default());
        for run in runs {
            members.push(rows.take(run, many_threads));
        }
        let folder = runs::cwd(&members);
        let keys: Vec<FileKey> = files.iter().map(|(key, _)| key.clone()).collect();
        let (order, places) = order(places::shown(&keys, &folder), &keys);
        let known = peaks.all.is_some();
        let mut profile = Profile { target: runs::target(&members), settings: self.settings, ..Profile::default() };
        let (mut parts, mut functions) = (Vec::new(), Vec::new());
        for (number, (path, id)) in order.into_iter().enumerate() {
            let (key, mut sum) = std::mem::replace(&mut files[id], (keys[id].clone(), FileSum::default()));
            let mut file = File { path, text_sha256: key.text().cloned(), ..File::default() };
            for (at, (function, variance)) in sum.functions().into_iter().enumerate() {
                functions.extend(variance.map(|variance| (number, at, variance)));
                file.functions.push(function);
            }
            for (line, sum) in sum.lines {
                let (row, own) = sum.finish(line, &numbers, known);
                file.lines.push(row);
                parts.push(LineParts { file: number, ..own });
            }
            profile.files.push(file);
        }
        let (total_variances, outside_variances) = (totals.memory.variances(), totals.outside_memory.variances());
        profile.totals = totals.finish(&peaks, start);
        profile.sql = self.queries.finish(&places, &keys);
        profile.stacks = self.tree.finish(&places, keys.len());
        profile.near_limits = rows.near_limits(&places, start);
        profile.processes = rows.processes;
        profile.threads = if many_threads { vec![all_threads(self.threads)] } else { rows.threads };
        profile.clock.started_at = moment::rfc3339(start);
        profile.clock.elapsed_s = seconds(end.saturating_sub(start).max(0) as u64);
        let points = |series: Vec<(i64, u64)>| {
            series.into_iter().map(|(at, bytes)| (seconds(at.saturating_sub(start).max(0) as u64), bytes)).collect()
        };
        profile.timeline = Timeline { rss: points(peaks.rss), live: points(peaks.live), lines: Vec::new() };
        let [tool, python, platform, allocator, attached] = target_facts.map(Values::text);
        profile.tool = Tool { version: tool.unwrap_or_default() };
        let target = &mut profile.target;
        (target.python, target.platform, target.free_threaded) =
            (python, platform.unwrap_or_default(), self.free_threaded);
        (target.allocator, target.attached) = (allocator, attached);
        // The largest kernel mark of a single process, in any run.
        profile.totals.peak_rss_bytes = members.iter().filter_map(|member| member.peak_rss_bytes).max();
        let notices = tables.finish(&mut profile, &places, start, members.len() as u64);
        profile.notices.extend(partly_known(&members));
        let spread = spread::spread(by, &members, &profile.processes, &profile.labels, &parts);
        let peak = peak.map(|(_, _, Reverse(identity))| identity);
        let peak_member = members.iter().position(|member| Some(runs::identity(member)) == peak).unwrap_or(0);
        profile.merge = Some(Arc::new(Merge {
            peak_member,
            span_us: (start, end),
            threads: self.threads.0,
            spread,
            parts,
            functions,
            totals: total_variances,
            outside_scope: outside_variances,
            notices,
            members,
        }));
        profile
    }
}

/// The final number of each process, by its number so far.
fn numbers(runs: &[Run], count: u32) -> Vec<u32> {
    let mut numbers = vec![0; count as usize];
    let mut next = 0;
    for run in runs {
        for unit in 0..run.member.processes as u32 {
            numbers[(run.first + unit) as usize] = next;
            next += 1;
        }
    }
    numbers
}

/// Paths in order, each with the number of its file so far; and the final number of each file.
fn order(shown: Vec<String>, keys: &[FileKey]) -> (Vec<(String, usize)>, Vec<usize>) {
    let mut order: Vec<(String, usize)> = shown.into_iter().zip(0..).collect();
    order.sort_by(|(left, l), (right, r)| left.cmp(right).then_with(|| keys[*l].cmp(&keys[*r])));
    let mut places = vec![0; order.len()];
    for (number, (_, id)) in order.iter().enumerate() {
        places[*id] = number;
    }
    (order, places)
}

/// Rows of all runs, in their order.
#[derive(Default)]
struct Rows {
    processes: Vec<crate::profile::model::Process>,
    threads: Vec<Thread>,
    near_rows: Vec<(usize, NearMoment)>,
}

impl Rows {
    /// Appends the rows of a run, and returns the run.
    fn take(&mut self, run: Run, many_threads: bool) -> Member {
        let Run { mut member, processes, threads, near_limits, .. } = run;
        let first = self.processes.len();
        self.near_rows.extend(near_limits.into_iter().map(|limit| (first, limit)));
        self.processes.extend(processes);
        if many_threads {
            member.threads = 0;
        } else {
            self.threads.extend(threads);
        }
        member
    }

    fn near_limits(&mut self, places: &[usize], start: i64) -> Vec<NearLimit> {
        let row = |(first, NearMoment(at, limit)): (usize, NearMoment)| NearLimit {
            at_s: seconds(at.saturating_sub(start).max(0) as u64),
            process: first + limit.process,
            lines: limit.lines.iter().map(|held| HeldBytes { file: places[held.file], ..*held }).collect(),
            ..limit
        };
        let mut rows: Vec<NearLimit> = std::mem::take(&mut self.near_rows).into_iter().map(row).collect();
        rows.sort_by(|left, right| left.at_s.total_cmp(&right.at_s).then(left.process.cmp(&right.process)));
        rows
    }
}

fn all_threads((count, time, clock): (u64, TimeSum, Option<u64>)) -> Thread {
    let name = format!("all {count} threads");
    Thread { name, time: Time { ..time.time() }, cpu_clock_s: clock.map(seconds), ..Thread::default() }
}

/// Reports the figures that are known for only a part of the runs.
fn partly_known(members: &[Member]) -> Vec<Notice> {
    let all = members.len();
    let count = |known: fn(&Member) -> bool| members.iter().filter(|member| known(member)).count();
    [
        ("CPU time is", count(|member| member.cpu_s.is_some())),
        ("waiting is", count(|member| member.wait_s.is_some())),
        ("memory is", count(|member| member.alloc_bytes.is_some())),
    ]
    .into_iter()
    .filter(|(_, known)| (1..all).contains(known))
    .map(|(what, known)| Notice::of_run(codes::PARTLY_KNOWN, format!("{what} known of {known} of {all} runs alone")))
    .collect()
}

impl TotalsSum {
    fn add(&mut self, totals: &Totals, merge: Option<&Merge>) {
        self.time.add(&totals.time);
        self.outside.add(&totals.outside_scope);
        self.memory.add(&totals.memory, merge.map(|merge| merge.totals));
        self.outside_memory.add(&totals.outside_scope_memory, merge.map(|merge| merge.outside_scope));
        let samples = [totals.cpu_samples, totals.alloc_samples, totals.lost_records];
        self.samples.iter_mut().zip(samples).for_each(|(sum, more)| add(sum, more));
        let clocks = [totals.cpu_clock_s, totals.sampled_cpu_s, totals.unsampled_s];
        self.clocks.iter_mut().zip(clocks).for_each(|(sum, more)| add_known(sum, more.map(micros), add_micros));
    }

    fn finish(self, peaks: &Peaks, start: i64) -> Totals {
        let known = peaks.all.is_some();
        let [cpu_samples, alloc_samples, lost_records] = self.samples;
        let [cpu_clock_s, sampled_cpu_s, unsampled_s] = self.clocks.map(|clock| clock.map(seconds));
        let peak = &peaks.totals;
        Totals {
            time: self.time.time(),
            memory: self.memory.memory(peaks.all, known),
            peak_rss_bytes: peak.peak_rss_bytes,
            footprint_peak_bytes: peak.footprint_peak_bytes,
            footprint_peak_at_s: peaks.at.map(|at| seconds(at.saturating_sub(start).max(0) as u64)),
            cpu_samples,
            alloc_samples,
            lost_records,
            cpu_clock_s,
            sampled_cpu_s,
            unsampled_s,
            outside_scope: self.outside.time(),
            outside_scope_memory: self.outside_memory.memory(peaks.outside, known),
            tracked_peak_bytes: peak.tracked_peak_bytes,
            untouched_peak_bytes: peak.untouched_peak_bytes,
            mapped_files_peak_bytes: peak.mapped_files_peak_bytes,
            resident_files_peak_bytes: peak.resident_files_peak_bytes,
            most_allocated_bytes: peak.most_allocated_bytes,
            arenas_peak_bytes: peak.arenas_peak_bytes,
        }
    }
}

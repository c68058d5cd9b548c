//! The changes between two profiles, line by line and function by function.
//!
//! Job: pair the lines and functions of two profiles, and subtract their figures. The question of a reader: *what got
//! slower or bigger, and is the change more than chance?* Invariant: pure; every line and function of either profile is
//! in the answer once. Neighbours: `pairing` finds the pairs, `report` renders the answer.
//!
//! **Noise.** Lines and functions carry the standard errors of their CPU time and their bytes. Profiles older than
//! format 1.3 carry none: there, `s` CPU seconds from samples of weight `w` seconds have an assumed error of `sqrt(s
//! w)` (Poisson). A line without samples may still have used as much as a sample's weight. The same work does not take
//! the same CPU time twice (caches, the clock rate, other load). Three terms are added for this difference:
//! [`RUN_TO_RUN`] of the time; up to [`NO_FREE_CORE`] more where the run's threads waited for a core; and the share by
//! which all other lines together have changed. A difference below [`SIGMAS`] of all errors together may be chance.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use super::pairing::{self, Pair};
use crate::profile::book::sums::sum;
use crate::profile::model::{Exit, File, Function, Line, Profile};

/// A difference counts as real from this number of standard errors on.
pub const SIGMAS: f64 = 2.0;
/// Standard deviation of the CPU time of the same work from run to run, as a share of the time. The number is an
/// assumption for machines without other users. A change of the machine for a run as a whole shows in the other lines,
/// and is added to it.
pub const RUN_TO_RUN: f64 = 0.02;
/// The other lines need at least this share of a run's CPU time, before their change says how the machine has changed.
const LEAST_REST: f64 = 0.1;
/// Added to [`RUN_TO_RUN`] where threads waited for a core: times the share of their ready time that they waited.
/// Twelve runs of the same program waited for 64 % of it beside compilers; their CPU times had a deviation of 8.6 %.
pub const NO_FREE_CORE: f64 = 0.1;

/// A figure in both profiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The figure before; `None`: not measured.
    pub before: Option<f64>,
    /// The figure after; `None`: not measured.
    pub after: Option<f64>,
    /// After minus before; `None` unless both were measured.
    pub delta: Option<f64>,
    /// Standard error of `delta`; `None`: unknown.
    pub se: Option<f64>,
    /// True if the difference may be chance.
    pub noise: bool,
}

/// The figures of a line, a function or a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// CPU seconds of all kinds (of a function: its own).
    pub cpu_s: Change,
    /// Seconds off the CPU.
    pub wait_s: Change,
    /// Bytes allocated.
    pub alloc_bytes: Change,
    /// Bytes live at the end.
    pub live_bytes: Change,
    /// Bytes live at the peak.
    pub peak_bytes: Change,
}

/// A line in both profiles, or in either.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LineChange {
    /// Path of its file; the path of the later profile, if the line is in both.
    pub path: String,
    /// Its number before.
    pub before_line: Option<u32>,
    /// Its number after.
    pub after_line: Option<u32>,
    /// Its function.
    pub function: String,
    /// Its text.
    pub source: Option<String>,
    /// Its figures.
    #[serde(flatten)]
    pub changes: Changes,
}

/// A function in both profiles, or in either.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FunctionChange {
    /// Path of its file; the path of the later profile, if the function is in both.
    pub path: String,
    /// Its qualified name.
    pub qualname: String,
    /// Its qualified name before, if the name has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_qualname: Option<String>,
    /// Its first line before.
    pub before_line: Option<u32>,
    /// Its first line after.
    pub after_line: Option<u32>,
    /// Own CPU seconds.
    pub cpu_s: Change,
    /// Own seconds off the CPU.
    pub wait_s: Change,
    /// CPU seconds with callees.
    pub cumulative_cpu_s: Change,
    /// Bytes allocated with callees.
    pub cumulative_alloc_bytes: Change,
}

/// Head of a profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Command line.
    pub command: Vec<String>,
    /// Working directory.
    #[serde(default)]
    pub cwd: String,
    /// Start, RFC 3339.
    pub started_at: String,
    /// How the program ended.
    pub exit: Exit,
}

/// The comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// The earlier profile.
    pub before: Side,
    /// The later profile.
    pub after: Side,
    /// Wall seconds.
    pub elapsed_s: Change,
    /// Peak RSS in bytes.
    pub peak_rss_bytes: Change,
    /// Sums over the runs; of the seconds off the CPU, only the share of lines in scope.
    pub totals: Changes,
    /// Lines, largest difference first.
    pub lines: Vec<LineChange>,
    /// Functions, largest difference first.
    pub functions: Vec<FunctionChange>,
}

/// Compares two profiles.
#[must_use]
pub fn diff(before: &Profile, after: &Profile) -> Diff {
    let sides = Sides { before: Figures::of(before), after: Figures::of(after) };
    let mut lines = Vec::new();
    let mut functions = Vec::new();
    let mut pairs = Vec::new();
    let none = File::default();
    for (old, new) in pairing::files(&before.files, &after.files) {
        let path = new.or(old).map(|file| file.path.as_str()).unwrap_or_default();
        let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
        let same = pairing::lines(&old.lines, &new.lines);
        for (old, new) in &same {
            lines.push(sides.line(path, *old, *new));
        }
        let functions = renamed(pairs_of_functions(&old.functions, &new.functions), &same);
        pairs.extend(functions.into_iter().map(|(old, new)| (path, old, new)));
    }
    for (path, old, new) in rejoined(pairs) {
        functions.push(sides.function(path, old, new));
    }
    // Threads that idle outside of the program's lines (pools, a notebook's kernel) would drown the waits of the lines.
    let wait = |profile: &Profile| {
        let totals = &profile.totals;
        totals.time.wait_s.map(|all| (all - totals.outside_scope.wait_s.unwrap_or(0.0)).max(0.0))
    };
    let totals = |profile: &Profile, figures: Figures| Row {
        cpu_s: cpu(&profile.totals.time),
        wait_s: wait(profile),
        memory: Some(profile.totals.memory),
        cpu_s_se: None,
        run_to_run: figures.run_to_run,
        weight_s: figures.weight_s,
    };
    let (old, new) = (totals(before, sides.before), totals(after, sides.after));
    let size = |change: &Change| change.delta.unwrap_or(0.0).abs();
    lines.sort_by(|left, right| {
        let key = |line: &LineChange| (size(&line.changes.cpu_s), size(&line.changes.alloc_bytes));
        let (left, right) = (key(left), key(right));
        right.0.total_cmp(&left.0).then(right.1.total_cmp(&left.1))
    });
    functions.sort_by(|left, right| size(&right.cumulative_cpu_s).total_cmp(&size(&left.cumulative_cpu_s)));
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    Diff {
        before: side(before),
        after: side(after),
        elapsed_s: change(Some(before.clock.elapsed_s), Some(after.clock.elapsed_s), None),
        peak_rss_bytes: change(bytes(before.totals.peak_rss_bytes), bytes(after.totals.peak_rss_bytes), None),
        totals: changes(&old, &new),
        lines,
        functions,
    }
}

/// Facts about a profile's samples.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// CPU seconds that a sample stands for; `None` without samples.
    weight_s: Option<f64>,
    /// Bytes that a sample of all allocations stands for; `None`: their error is unknown; 0: they have none.
    weight_bytes: Option<f64>,
    /// Deviation of CPU times from run to run, as a share of them.
    run_to_run: f64,
    /// CPU seconds of the run; the flags below: CPU, waits and memory were measured.
    cpu_s: Option<f64>,
    cpu: bool,
    wait: bool,
    memory: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sides {
    before: Figures,
    after: Figures,
}

/// The figures of a line or a run in a single profile.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    cpu_s: Option<f64>,
    wait_s: Option<f64>,
    memory: Option<crate::profile::model::Memory>,
    /// Standard error of `cpu_s`, if the profile has it.
    cpu_s_se: Option<f64>,
    /// Deviation of `cpu_s` from run to run, as a share of `cpu_s`.
    run_to_run: f64,
    weight_s: Option<f64>,
}

impl Figures {
    fn of(profile: &Profile) -> Self {
        let totals = &profile.totals;
        let samples = totals.cpu_samples as f64;
        Self {
            weight_s: totals.sampled_cpu_s.or(cpu(&totals.time)).filter(|_| samples > 0.0).map(|cpu_s| cpu_s / samples),
            // Assumes that all samples are alike, because functions carry no errors of bytes.
            weight_bytes: totals
                .memory
                .alloc_bytes
                .zip(totals.memory.alloc_bytes_se)
                .map(|(bytes, error)| error * error / (bytes as f64).max(1.0)),
            cpu_s: cpu(&totals.time),
            run_to_run: run_to_run(profile),
            cpu: cpu(&totals.time).is_some(),
            wait: totals.time.wait_s.is_some(),
            memory: totals.memory.alloc_bytes.is_some(),
        }
    }

    /// A line of this profile. A line that the profile does not have cost 0, if costs were measured.
    fn row(self, line: Option<&Line>) -> Row {
        let zero = |known: bool| known.then_some(0.0);
        match line {
            Some(line) => Row {
                cpu_s: cpu(&line.time),
                wait_s: line.time.wait_s,
                memory: Some(line.memory),
                cpu_s_se: line.cpu_s_se,
                run_to_run: self.run_to_run,
                weight_s: self.weight_s,
            },
            None => Row {
                cpu_s: zero(self.cpu),
                wait_s: zero(self.wait),
                memory: self.memory.then(|| crate::profile::model::Memory {
                    alloc_bytes: Some(0),
                    live_bytes: Some(0),
                    peak_bytes: Some(0),
                    ..Default::default()
                }),
                cpu_s_se: None,
                run_to_run: self.run_to_run,
                weight_s: self.weight_s,
            },
        }
    }
}

impl Sides {
    /// By which share the other lines of the run have changed: a shared machine may charge the same work 15 % more CPU
    /// time from run to run. 0 if the other lines have too little CPU time to say.
    fn drift(&self, old: Option<f64>, new: Option<f64>) -> f64 {
        let rest = |figures: &Figures, own: Option<f64>| {
            figures.cpu_s.map(|all| (all - own.unwrap_or(0.0), all)).filter(|(rest, all)| *rest > LEAST_REST * all)
        };
        match (rest(&self.before, old), rest(&self.after, new)) {
            (Some((before, _)), Some((after, _))) => (after / before - 1.0).abs(),
            _ => 0.0,
        }
    }

    fn line(&self, path: &str, old: Option<&Line>, new: Option<&Line>) -> LineChange {
        let shown = new.or(old);
        let cpu_of = |line: Option<&Line>| line.and_then(|line| cpu(&line.time));
        let drift = self.drift(cpu_of(old), cpu_of(new));
        LineChange {
            path: path.to_owned(),
            before_line: old.map(|line| line.line),
            after_line: new.map(|line| line.line),
            function: shown.map(|line| line.function.clone()).unwrap_or_default(),
            source: shown.and_then(|line| line.source.clone()),
            changes: changes(&self.before.row(old).drifting(drift), &self.after.row(new).drifting(drift)),
        }
    }

    fn function(&self, path: &str, old: Option<&Function>, new: Option<&Function>) -> FunctionChange {
        let pair = |of: &dyn Fn(&Function) -> Option<f64>, known: fn(&Figures) -> bool| {
            let side = |function: Option<&Function>, figures: &Figures| match function {
                Some(function) => of(function),
                None => known(figures).then_some(0.0),
            };
            (side(old, &self.before), side(new, &self.after))
        };
        let sampled = |(old, new): (Option<f64>, Option<f64>), weights: (Option<f64>, Option<f64>)| {
            change(old, new, sampled_error(old, weights.0).zip(sampled_error(new, weights.1)).map(together))
        };
        let seconds = |pair: (Option<f64>, Option<f64>), errors: [Option<f64>; 2]| {
            let drift = self.drift(pair.0, pair.1) / std::f64::consts::SQRT_2;
            let error =
                |figure, se, side: &Figures| time_error(figure, se, side.weight_s, side.run_to_run.hypot(drift));
            let errors = error(pair.0, errors[0], &self.before).zip(error(pair.1, errors[1], &self.after));
            change(pair.0, pair.1, errors.map(together))
        };
        let own = [old, new].map(|function| function.and_then(|function| function.cpu_s_se));
        let byte_weights = (self.before.weight_bytes, self.after.weight_bytes);
        let plain = |(old, new)| change(old, new, None);
        FunctionChange {
            path: path.to_owned(),
            qualname: new.or(old).map(|function| function.qualname.clone()).unwrap_or_default(),
            before_qualname: old
                .zip(new)
                .filter(|(old, new)| old.qualname != new.qualname)
                .map(|(old, _)| old.qualname.clone()),
            before_line: old.map(|function| function.first_line),
            after_line: new.map(|function| function.first_line),
            cpu_s: seconds(pair(&|function| cpu(&function.own), |figures| figures.cpu), own),
            wait_s: plain(pair(&|function| function.own.wait_s, |figures| figures.wait)),
            cumulative_cpu_s: seconds(pair(&|function| function.cumulative.cpu_s, |figures| figures.cpu), [None, None]),
            cumulative_alloc_bytes: sampled(
                pair(&|function| function.cumulative.alloc_bytes.map(|bytes| bytes as f64), |figures| figures.memory),
                byte_weights,
            ),
        }
    }
}

fn changes(old: &Row, new: &Row) -> Changes {
    let cpu_error = old.cpu_error().zip(new.cpu_error()).map(together);
    let (old_memory, new_memory) = (old.memory.unwrap_or_default(), new.memory.unwrap_or_default());
    let bytes = |old: (Option<u64>, Option<f64>), new: (Option<u64>, Option<f64>)| {
        let error = match (old.1, new.1) {
            (None, None) => None,
            (old, new) => Some(together((old.unwrap_or(0.0), new.unwrap_or(0.0)))),
        };
        change(old.0.map(|bytes| bytes as f64), new.0.map(|bytes| bytes as f64), error)
    };
    Changes {
        cpu_s: change(old.cpu_s, new.cpu_s, cpu_error),
        wait_s: change(old.wait_s, new.wait_s, None),
        alloc_bytes: bytes(
            (old_memory.alloc_bytes, old_memory.alloc_bytes_se),
            (new_memory.alloc_bytes, new_memory.alloc_bytes_se),
        ),
        live_bytes: bytes(
            (old_memory.live_bytes, old_memory.live_bytes_se),
            (new_memory.live_bytes, new_memory.live_bytes_se),
        ),
        peak_bytes: bytes(
            (old_memory.peak_bytes, old_memory.peak_bytes_se),
            (new_memory.peak_bytes, new_memory.peak_bytes_se),
        ),
    }
}

fn change(before: Option<f64>, after: Option<f64>, se: Option<f64>) -> Change {
    let delta = before.zip(after).map(|(before, after)| after - before);
    let noise = delta.is_some_and(|delta| delta == 0.0 || se.is_some_and(|se| delta.abs() <= SIGMAS * se));
    Change { before, after, delta, se: se.filter(|_| delta.is_some()), noise }
}

impl Row {
    /// The same row, in a run whose other lines have changed by `drift`: half of the variance belongs to each run.
    fn drifting(self, drift: f64) -> Self {
        Self { run_to_run: self.run_to_run.hypot(drift / std::f64::consts::SQRT_2), ..self }
    }

    /// Standard error of the CPU time: from the samples, and from the deviation of runs.
    fn cpu_error(&self) -> Option<f64> {
        time_error(self.cpu_s, self.cpu_s_se, self.weight_s, self.run_to_run)
    }
}

/// Standard error of `figure` CPU seconds as the work of a run among many: `se` if the profile has it, otherwise from
/// the number of samples of `weight` seconds each; and the deviation from run to run.
fn time_error(figure: Option<f64>, se: Option<f64>, weight: Option<f64>, run_to_run: f64) -> Option<f64> {
    Some(se.or_else(|| sampled_error(figure, weight))?.hypot(run_to_run * figure?))
}

/// Deviation of CPU times from run to run, as a share of the times, on the machine of this profile.
fn run_to_run(profile: &Profile) -> f64 {
    let (waited, ran) = (profile.totals.time.core_wait_s.unwrap_or(0.0), cpu(&profile.totals.time).unwrap_or(0.0));
    let share = if waited + ran > 0.0 { waited / (waited + ran) } else { 0.0 };
    RUN_TO_RUN + NO_FREE_CORE * share
}

fn sampled_error(figure: Option<f64>, weight: Option<f64>) -> Option<f64> {
    let weight = weight?;
    Some((figure?.max(weight) * weight).sqrt())
}

fn together((one, other): (f64, f64)) -> f64 {
    one.hypot(other)
}

fn cpu(time: &crate::profile::model::Time) -> Option<f64> {
    let split = time.python_s.zip(time.native_s).map(|(python, native)| python + native);
    Some(sum(split, time.user_s)? + time.system_s?)
}

fn side(profile: &Profile) -> Side {
    Side {
        command: profile.target.command.clone(),
        cwd: profile.target.cwd.clone(),
        started_at: profile.clock.started_at.clone(),
        exit: profile.target.exit,
    }
}

/// A pair of functions and the path that names the pair.
type PlacedPair<'a> = (&'a str, Option<&'a Function>, Option<&'a Function>);

/// Pairs functions that moved to another file, if their qualified name occurs once on each side.
fn rejoined(pairs: Vec<PlacedPair<'_>>) -> Vec<PlacedPair<'_>> {
    let mut alone: BTreeMap<&str, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (at, (_, old, new)) in pairs.iter().enumerate() {
        match (old, new) {
            (Some(old), None) => alone.entry(&old.qualname).or_default().0.push(at),
            (None, Some(new)) => alone.entry(&new.qualname).or_default().1.push(at),
            _ => {}
        }
    }
    let mut joined = pairs.clone();
    let mut dropped = BTreeSet::new();
    for (name, (olds, news)) in alone {
        // `<module>` and a bare `<lambda>` identify no function.
        if let ([old_at], [new_at], false) = (olds.as_slice(), news.as_slice(), name.starts_with('<')) {
            joined[*new_at].1 = pairs[*old_at].1;
            dropped.insert(*old_at);
        }
    }
    joined.into_iter().enumerate().filter(|(at, _)| !dropped.contains(at)).map(|(_, pair)| pair).collect()
}

/// Joins functions of a file that have no partner and whose lines are mostly the same.
fn renamed<'a>(pairs: Vec<Pair<'a, Function>>, lines: &[Pair<'a, Line>]) -> Vec<Pair<'a, Function>> {
    let name = |function: Option<&'a Function>| function.map(|function| function.qualname.as_str());
    let alone = |side: Option<&'a Function>, other: Option<&'a Function>| name(side).filter(|_| other.is_none());
    let old: HashSet<&str> = pairs.iter().filter_map(|(old, new)| alone(*old, *new)).collect();
    let new: HashSet<&str> = pairs.iter().filter_map(|(old, new)| alone(*new, *old)).collect();
    let mut joined = pairs;
    for (before, after) in pairing::renamed(lines, &old, &new) {
        let at_old = joined.iter().position(|(old, new)| new.is_none() && name(*old) == Some(before));
        let at_new = joined.iter().position(|(old, new)| old.is_none() && name(*new) == Some(after));
        if let (Some(at_old), Some(at_new)) = (at_old, at_new) {
            joined[at_new].0 = joined[at_old].0;
            joined.remove(at_old);
        }
    }
    joined
}

/// Pairs functions of the same qualified name; several of the same name pair in the order of the file.
fn pairs_of_functions<'a>(old: &'a [Function], new: &'a [Function]) -> Vec<Pair<'a, Function>> {
    let mut waiting: BTreeMap<&str, std::collections::VecDeque<&Function>> = BTreeMap::new();
    for function in old {
        waiting.entry(&function.qualname).or_default().push_back(function);
    }
    let mut pairs: Vec<_> = new
        .iter()
        .map(|function| {
            (waiting.get_mut(function.qualname.as_str()).and_then(|queue| queue.pop_front()), Some(function))
        })
        .collect();
    pairs.extend(waiting.into_values().flatten().map(|function| (Some(function), None)));
    pairs
}

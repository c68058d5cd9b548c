//! A view of a profile: which lines, files and functions to show, in which order, and which figures exist.
//!
//! Job: decide once what table, HTML and summary show. Invariants: an unknown figure sorts last and is never treated
//! as 0; equal figures keep a fixed order, so that the same profile always gives the same view. Neighbours:
//! `profile::model` is the input, `report::table` renders the view.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::order::{Descending, descending, keep_first};
use crate::profile::model::figures::{self, FIGURES, Whole};
use crate::profile::model::{File, Function, Line, Memory, Profile, Time, Totals, codes};

/// The key by which lines, files and functions are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortKey {
    /// CPU seconds: python, native and system.
    #[default]
    Cpu,
    /// CPU seconds executing bytecode.
    Python,
    /// CPU seconds in C code.
    Native,
    /// CPU seconds in the kernel.
    System,
    /// Seconds off the CPU.
    Wait,
    /// A figure of memory, by its number in [`FIGURES`].
    Memory(usize),
    /// Path and line.
    Line,
    /// Name of the function.
    Name,
}

impl SortKey {
    /// Bytes allocated.
    pub const ALLOC: Self = Self::memory("alloc_bytes");
    /// Bytes live at the peak.
    pub const PEAK: Self = Self::memory("peak_bytes");

    /// The key of the figure of memory that JSON calls `key`.
    #[must_use]
    pub const fn memory(key: &str) -> Self {
        Self::Memory(figures::at(key))
    }

    /// All keys, in the order in which help texts list them.
    pub fn all() -> impl Iterator<Item = Self> {
        let memory = (0..FIGURES.len()).filter(|at| FIGURES[*at].row.sort.is_some()).map(Self::Memory);
        [Self::Cpu, Self::Python, Self::Native, Self::System, Self::Wait]
            .into_iter()
            .chain(memory)
            .chain([Self::Line, Self::Name])
    }

    /// Name of the key on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Python => "python",
            Self::Native => "native",
            Self::System => "system",
            Self::Wait => "wait",
            Self::Memory(at) => FIGURES[at].row.sort.unwrap_or(FIGURES[at].key),
            Self::Line => "line",
            Self::Name => "name",
        }
    }

    /// The key called `name` on the command line.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|key| key.name() == name)
    }

    /// The figure by which this key sorts; `None` if it is unknown, or if the key sorts by text.
    #[must_use]
    pub fn figure(self, time: &Time, memory: &Memory) -> Option<f64> {
        match self {
            Self::Cpu => cpu_s(time),
            Self::Python => time.python_s,
            Self::Native => time.native_s,
            Self::System => time.system_s,
            Self::Wait => waiting_s(time),
            Self::Memory(at) => (FIGURES[at].value)(memory),
            Self::Line | Self::Name => None,
        }
    }
}

/// The selection and order of a report's content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Order of lines, files and functions.
    pub sort: SortKey,
    /// Length of the lists of lines and of functions.
    pub top: usize,
    /// Lines below this share (in per cent) of every total are cold.
    pub min_percent: f64,
    /// Unfold cold lines in annotated source, and show files that have nothing but cold lines.
    pub all_lines: bool,
    /// Show the hottest lines of each process too.
    pub per_process: bool,
    /// Show the tree of calls.
    pub tree: bool,
    /// How much of the report to show.
    pub detail: Detail,
}

/// How much of a report to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Summary, hottest lines and the answer.
    Short,
    /// Annotated source, functions, modules, threads and processes too.
    #[default]
    Full,
    /// The full report if it has fewer rows than the terminal, else the short report.
    Fitting {
        /// Rows of the terminal.
        rows: usize,
    },
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sort: SortKey::Cpu,
            top: 10,
            min_percent: 1.0,
            all_lines: false,
            per_process: false,
            tree: false,
            detail: Detail::Full,
        }
    }
}

/// With fewer CPU samples than this, reports show no kinds of time. At 20 samples the standard error of a share is at
/// most 11 points.
const FEWEST_SAMPLES: u64 = 20;

/// Whether the profile has too few CPU samples to split CPU time into kinds.
pub(crate) fn too_few(profile: &Profile) -> bool {
    let sampled = !matches!(profile.settings.cpu.source.as_str(), "off" | "");
    sampled && !is_foreign(profile) && profile.totals.cpu_samples < FEWEST_SAMPLES
}

/// Whether the profile was read from another profiler's file, which tells no number of samples.
pub(crate) fn is_foreign(profile: &Profile) -> bool {
    profile.notices.iter().any(|notice| notice.code == codes::FOREIGN)
}

/// Sum of the known kinds of CPU time, in seconds; `None` if no kind is known.
#[must_use]
pub fn cpu_s(time: &Time) -> Option<f64> {
    [time.python_s, time.native_s, time.helpers_s, time.system_s, time.user_s]
        .into_iter()
        .flatten()
        .reduce(|sum, s| sum + s)
}

/// Standard error of a line's CPU time, as a share of that time. Profiles older than format 1.3 hold no standard
/// errors: for them, one over the root of the line's samples.
#[must_use]
pub fn cpu_error_share(line: &Line) -> Option<f64> {
    let by_count = || (line.cpu_samples > 0).then(|| (line.cpu_samples as f64).sqrt().recip());
    let cpu_s = cpu_s(&line.time).filter(|s| *s > 0.0)?;
    line.cpu_s_se.map(|se| se / cpu_s).or_else(by_count)
}

/// Seconds off the CPU without idle time. A thread idles while it waits for work or for another thread to end.
#[must_use]
pub fn waiting_s(time: &Time) -> Option<f64> {
    time.wait_s.map(|wait| (wait - time.idle_s.unwrap_or(0.0)).max(0.0))
}

/// Time of the run, less the waits of threads outside of the lines in scope. Otherwise the waits of idle pools and
/// servers, or of a notebook's kernel, would hide the waits of the lines.
#[must_use]
pub fn time_inside(totals: &Totals) -> Time {
    // If all waits are outside, both sums should be equal, but sums of floats differ by rounding: up to 1 ns counts as
    // 0.
    let less = |all: Option<f64>, outside: Option<f64>| {
        all.map(|all| all - outside.unwrap_or(0.0)).map(|rest| if rest < 1e-9 { 0.0 } else { rest })
    };
    let (time, outside) = (&totals.time, &totals.outside_scope);
    Time {
        wait_s: less(time.wait_s, outside.wait_s),
        gil_wait_s: less(time.gil_wait_s, outside.gil_wait_s),
        idle_s: less(time.idle_s, outside.idle_s),
        ..*time
    }
}

/// Seconds that threads waited outside of the lines in scope; `None` if less than 1 % of the run.
#[must_use]
pub fn wait_outside(profile: &Profile) -> Option<f64> {
    waiting_s(&profile.totals.outside_scope).filter(|s| *s >= 0.01 * profile.clock.elapsed_s && *s > 0.0)
}

/// Time and size of the highest footprint of all processes.
pub(crate) fn peak_moment(profile: &Profile) -> Option<(f64, u64)> {
    let totals = &profile.totals;
    // Profiles before format 1.3 hold no such moment: take the largest reading of the timeline.
    let seen = || profile.timeline.rss.iter().copied().max_by_key(|(_, value)| *value);
    totals.footprint_peak_at_s.zip(totals.footprint_peak_bytes).or_else(seen)
}

/// The totals for computing shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Base {
    /// CPU seconds of the whole run.
    pub cpu_s: f64,
    /// Wall seconds of the whole run.
    pub elapsed_s: f64,
    /// Bytes allocated in the whole run.
    pub alloc_bytes: f64,
    /// Footprint at the peak; live bytes at the peak if the footprint is unknown.
    pub peak_bytes: f64,
    /// Figures of memory of the whole run, in the order of [`FIGURES`].
    pub of_run: [f64; FIGURES.len()],
    /// Queries of the whole run.
    pub queries: f64,
    /// Seconds of these queries in drivers.
    pub sql_s: f64,
}

impl Base {
    fn of(profile: &Profile) -> Self {
        let totals = &profile.totals;
        let lines = || profile.files.iter().flat_map(|file| &file.lines);
        let of_lines = |of: fn(&Memory) -> Option<f64>| lines().filter_map(|line| of(&line.memory)).sum();
        let of_run = FIGURES.map(|figure| (figure.value)(&totals.memory).unwrap_or_else(|| of_lines(figure.value)));
        let peak = || of_lines(FIGURES[figures::at("peak_bytes")].value);
        Self {
            cpu_s: cpu_s(&totals.time).unwrap_or_else(|| lines().filter_map(|line| cpu_s(&line.time)).sum()),
            elapsed_s: profile.clock.elapsed_s,
            alloc_bytes: of_run[figures::at("alloc_bytes")],
            peak_bytes: totals.peak().map_or_else(peak, |bytes| bytes as f64),
            of_run,
            queries: profile.sql.as_ref().map_or(0.0, |sql| sql.count as f64),
            sql_s: profile.sql.as_ref().map_or(0.0, |sql| sql.time_s),
        }
    }

    /// The total for shares of the figure of memory `at`; infinite for a figure without shares.
    #[must_use]
    pub fn whole(&self, at: usize) -> f64 {
        match FIGURES[at].row.whole {
            Whole::None => f64::INFINITY,
            Whole::Run => self.of_run[at],
            Whole::Peak => self.peak_bytes,
        }
    }

    /// The line's largest share of any total, queries included.
    #[must_use]
    pub fn largest_share_of(&self, line: &Line) -> f64 {
        let queries = share(line.sql_count.map(|count| count as f64), self.queries);
        let seconds = share(line.sql_s, self.sql_s);
        let sql = [queries, seconds].into_iter().flatten().fold(0.0, f64::max);
        self.largest_share(&line.time, &line.memory).max(sql)
    }

    /// The largest share of these figures in any total of time or memory.
    #[must_use]
    pub fn largest_share(&self, time: &Time, memory: &Memory) -> f64 {
        let seconds = [share(cpu_s(time), self.cpu_s), share(waiting_s(time), self.elapsed_s)];
        let bytes = FIGURES.iter().enumerate().map(|(at, figure)| share((figure.value)(memory), self.whole(at)));
        seconds.into_iter().chain(bytes).flatten().fold(0.0, f64::max)
    }
}

/// `part / whole`; `None` if `part` is unknown or `whole` is 0.
#[must_use]
pub fn share(part: Option<f64>, whole: f64) -> Option<f64> {
    part.filter(|_| whole > 0.0).map(|part| part / whole)
}

/// The figures that at least one line has: known there, and not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// CPU seconds.
    pub cpu: bool,
    /// Python and native seconds.
    pub kinds: bool,
    /// System seconds.
    pub system: bool,
    /// Seconds of helper threads.
    pub helpers: bool,
    /// Off-CPU seconds.
    pub wait: bool,
    /// Time in the garbage collector, if it is large enough for a column.
    pub collector: bool,
    /// Figures of memory, in the order of [`FIGURES`].
    pub memory: [bool; FIGURES.len()],
    /// Queries of databases.
    pub sql: bool,
    /// Rows that queries returned.
    pub sql_rows: bool,
    /// Marks of N+1 and duplicate queries.
    pub sql_mark: bool,
    /// Time in ORMs.
    pub sql_build: bool,
}

/// Least share of the collector on a line in the run's CPU time for which tables have a column.
const COLLECTOR_SHARE: f64 = 0.01;

impl Present {
    /// At least one line has the figure of memory that JSON calls `key`.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.memory[figures::at(key)]
    }

    fn of(profile: &Profile) -> Self {
        let mut present = Self::default();
        for line in profile.files.iter().flat_map(|file| &file.lines) {
            let (time, memory) = (&line.time, &line.memory);
            present.cpu |= cpu_s(time).is_some_and(|s| s > 0.0);
            present.kinds |= [time.python_s, time.native_s].into_iter().flatten().any(|s| s > 0.0);
            present.system |= time.system_s.is_some_and(|s| s > 0.0);
            present.helpers |= time.helpers_s.is_some_and(|s| s > 0.0);
            present.wait |= waiting_s(time).is_some_and(|s| s > 0.0);
            present.collector |=
                time.gc_s.is_some_and(|s| s >= COLLECTOR_SHARE * cpu_s(&profile.totals.time).unwrap_or(f64::INFINITY));
            for (present, figure) in present.memory.iter_mut().zip(FIGURES) {
                *present |= (figure.value)(memory).is_some_and(|value| value != 0.0);
            }
            present.sql |= line.sql_count.is_some();
            present.sql_rows |= line.sql_rows.is_some();
            present.sql_mark |= line.sql_mark.is_some();
            present.sql_build |= line.sql_build_s.is_some();
        }
        present
    }
}

/// A line and its file.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    /// The file.
    pub file: &'p File,
    /// The line.
    pub line: &'p Line,
}

/// A function and its file.
#[derive(Clone, Copy, Debug)]
pub struct FunctionPlace<'p> {
    /// The file.
    pub file: &'p File,
    /// The function.
    pub function: &'p Function,
}

/// A file with its lines in order.
#[derive(Clone, Debug)]
pub struct FileView<'p> {
    /// The file.
    pub file: &'p File,
    /// Its lines by number; `true`: hot.
    pub lines: Vec<(&'p Line, bool)>,
    /// CPU seconds of its lines.
    pub cpu_s: f64,
}

/// The content of a report.
#[derive(Clone, Debug)]
pub struct View<'p> {
    /// The profile.
    pub profile: &'p Profile,
    /// Totals of which shares are computed.
    pub base: Base,
    /// Figures that at least one line has.
    pub present: Present,
    /// The first lines in the order of `options.sort`, without cold lines.
    pub lines: Vec<Place<'p>>,
    /// Files with a hot line (with `all_lines`, every file with lines), in the order of `options.sort`.
    pub files: Vec<FileView<'p>>,
    /// Number of files left out, and the CPU seconds in them.
    pub files_left_out: (usize, f64),
    /// The first functions in the order of `options.sort`, without cold functions.
    pub functions: Vec<FunctionPlace<'p>>,
}

impl<'p> View<'p> {
    /// The view of `profile` according to `options`.
    #[must_use]
    pub fn new(profile: &'p Profile, options: &Options) -> Self {
        let base = Base::of(profile);
        let leaking: HashSet<(usize, u32)> =
            profile.leaks.iter().flatten().map(|leak| (leak.file, leak.line)).collect();
        let least = options.min_percent / 100.0;
        let mut lines = Vec::new();
        let mut files = Vec::new();
        let mut files_left_out = (0, 0.0);
        // A file may have functions but no lines, if its code only called code out of scope.
        let with_lines = profile.files.iter().enumerate().filter(|(_, file)| !file.lines.is_empty());
        for (index, file) in with_lines {
            let marked = file.lines.iter().map(|line| {
                let hot = base.largest_share_of(line) >= least;
                (line, hot || leaking.contains(&(index, line.line)))
            });
            let mut marked: Vec<_> = marked.collect();
            lines.extend(marked.iter().filter(|(_, hot)| *hot).map(|(line, _)| Place { file, line }));
            let cpu_s = file.lines.iter().filter_map(|line| cpu_s(&line.time)).sum();
            if options.all_lines || marked.iter().any(|(_, hot)| *hot) {
                marked.sort_by_key(|(line, _)| line.line);
                files.push(FileView { file, lines: marked, cpu_s });
            } else {
                files_left_out = (files_left_out.0 + 1, files_left_out.1 + cpu_s);
            }
        }
        keep_first(&mut lines, options.top, |a, b| compare_lines(options.sort, a, b));
        sort_files(options.sort, &mut files);
        let functions = functions(profile, &base, options);
        Self { profile, base, present: Present::of(profile), lines, files, files_left_out, functions }
    }
}

/// The `count` lines with the largest figures above 0, the largest first. Cold lines count too.
pub(crate) fn largest(profile: &Profile, key: SortKey, count: usize) -> Vec<(Place<'_>, f64)> {
    let places = profile.files.iter().flat_map(|file| file.lines.iter().map(move |line| Place { file, line }));
    let figure = |place: &Place<'_>| key.figure(&place.line.time, &place.line.memory).filter(|figure| *figure > 0.0);
    let mut lines: Vec<_> = places.filter_map(|place| Some((place, figure(&place)?))).collect();
    keep_first(&mut lines, count, |a, b| compare_lines(key, &a.0, &b.0));
    lines
}

fn compare_lines(key: SortKey, a: &Place<'_>, b: &Place<'_>) -> Ordering {
    let by =
        |key: SortKey| descending(key.figure(&a.line.time, &a.line.memory), key.figure(&b.line.time, &b.line.memory));
    let by_place = || a.file.path.cmp(&b.file.path).then(a.line.line.cmp(&b.line.line));
    match key {
        SortKey::Line => by_place(),
        SortKey::Name => a.line.function.cmp(&b.line.function).then_with(by_place),
        key => by(key)
            .then_with(|| by(SortKey::Cpu))
            .then_with(|| by(SortKey::Wait))
            .then_with(|| by(SortKey::ALLOC))
            .then_with(by_place),
    }
}

fn sort_files(key: SortKey, files: &mut [FileView<'_>]) {
    let sum = |view: &FileView<'_>| {
        let figures = view.lines.iter().filter_map(|(line, _)| key.figure(&line.time, &line.memory));
        figures.reduce(|sum, figure| sum + figure)
    };
    files.sort_by(|a, b| a.file.path.cmp(&b.file.path));
    if !matches!(key, SortKey::Line | SortKey::Name) {
        files.sort_by_cached_key(|view| Descending(sum(view), view.cpu_s));
    }
}

fn functions<'p>(profile: &'p Profile, base: &Base, options: &Options) -> Vec<FunctionPlace<'p>> {
    let least = options.min_percent / 100.0;
    let own_figure = |place: &FunctionPlace<'_>| match options.sort {
        SortKey::Memory(_) => place.function.cumulative.alloc_bytes.map(|b| b as f64),
        key => key.figure(&place.function.own, &Memory::default()),
    };
    let by_place = |a: &FunctionPlace<'_>, b: &FunctionPlace<'_>| {
        a.file.path.cmp(&b.file.path).then(a.function.first_line.cmp(&b.function.first_line))
    };
    let warm = |place: &FunctionPlace<'_>| {
        let function = place.function;
        let cumulative = share(function.cumulative.cpu_s, base.cpu_s).unwrap_or(0.0);
        let alloc = share(function.cumulative.alloc_bytes.map(|b| b as f64), base.alloc_bytes).unwrap_or(0.0);
        base.largest_share(&function.own, &Memory::default()).max(cumulative).max(alloc) >= least
    };
    let mut functions: Vec<_> = profile
        .files
        .iter()
        .filter(|file| !file.lines.is_empty())
        .flat_map(|file| file.functions.iter().map(move |function| FunctionPlace { file, function }))
        .filter(warm)
        .collect();
    functions.sort_by(|a, b| match options.sort {
        SortKey::Line => by_place(a, b),
        SortKey::Name => a.function.qualname.cmp(&b.function.qualname).then_with(|| by_place(a, b)),
        _ => descending(own_figure(a), own_figure(b))
            .then_with(|| descending(cpu_s(&a.function.own), cpu_s(&b.function.own)))
            .then_with(|| descending(a.function.cumulative.cpu_s, b.function.cumulative.cpu_s))
            .then_with(|| by_place(a, b)),
    });
    functions.truncate(options.top);
    functions
}

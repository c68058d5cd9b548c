//! The profile as every report sees it: format 1 of the profile JSON, field for field.
//!
//! Job: one set of plain types for the builder to fill and for table, JSON, HTML and diff to read. Invariant: keys are
//! stable, units are in the names, what is not known is `None` (JSON `null`), never 0. Neighbours: `build::builder` builds it,
//! `report::json` reads and writes it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::exit::Exit;
use super::figures::Memory;
use super::label::Label;
use super::line::Line;
use super::merge::Merge;
use super::moments::{Leak, NearLimit, Section};
use super::notice::Notice;
use super::sql::Sql;
use super::stacks::Stacks;
use super::time_and_memory::{Cumulative, Time, Totals};

/// Name and version of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// Always `rscalene-profile`.
    pub name: String,
    /// Readers refuse a newer major.
    pub major: u32,
    /// Readers accept a newer minor (unknown keys are ignored).
    pub minor: u32,
}

impl Default for Format {
    fn default() -> Self {
        Self { name: FORMAT_NAME.to_owned(), major: FORMAT_MAJOR, minor: FORMAT_MINOR }
    }
}

/// [`Format::name`].
pub const FORMAT_NAME: &str = "rscalene-profile";
/// [`Format::major`] that this build writes and the newest that it reads.
pub const FORMAT_MAJOR: u32 = 1;
/// [`Format::minor`] that this build writes.
pub const FORMAT_MINOR: u32 = 3;

/// Who wrote the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Version of rscalene.
    pub version: String,
}

/// What was profiled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Command line.
    pub command: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// Version of its Python; `None` where no Python was seen.
    pub python: Option<String>,
    /// Free-threaded build?
    pub free_threaded: bool,
    /// e.g. `linux-x86_64`.
    pub platform: String,
    /// Process id.
    pub pid: u32,
    /// How it ended.
    pub exit: Exit,
    /// Allocator behind `malloc`, e.g. `jemalloc`; `None`: libc's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocator: Option<String>,
    /// It ran already when the profile began: how it was observed, e.g. `outside (perf)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached: Option<String>,
    /// Name of the machine. Since format 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Rank of the process in its job (`RANK`, `SLURM_PROCID` and others). Since format 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
}

/// When and for how long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Wall seconds that were profiled.
    pub elapsed_s: f64,
    /// Wall seconds that the program ran, where the profile was cut off before its end. Since format 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_s: Option<f64>,
}

/// CPU sampling as it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuSettings {
    /// `perf`, `timer`, `mixed`, or `off`.
    pub source: String,
    /// CPU seconds between two samples of a thread: the median of what the samples stand for.
    pub interval_s: f64,
}

/// Memory sampling as it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemorySettings {
    /// `sampled`, `exact` or `off`.
    pub mode: String,
    /// Mean bytes between samples at the end; `None` when off.
    pub interval_bytes: Option<u64>,
}

/// Whose lines are reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScopeSettings {
    /// Globs that were added.
    pub include: Vec<String>,
    /// Globs that were taken out.
    pub exclude: Vec<String>,
    /// Everything is in scope.
    pub all: bool,
}

/// How the profile was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// CPU.
    pub cpu: CpuSettings,
    /// Memory.
    pub memory: MemorySettings,
    /// Scope.
    pub scope: ScopeSettings,
}

/// One function.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Bare name.
    pub name: String,
    /// Qualified name.
    pub qualname: String,
    /// First line.
    pub first_line: u32,
    /// Last line that the function's line table names.
    pub last_line: u32,
    /// Own time.
    #[serde(rename = "self")]
    pub own: Time,
    /// Standard error of the own CPU seconds, at most; `None`: no sample was taken. Since format 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_s_se: Option<f64>,
    /// With callees.
    pub cumulative: Cumulative,
}

/// One source file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// Path as the code object names it, made absolute.
    pub path: String,
    /// SHA-256 of its lines, joined by newlines, as they were profiled; `None` where the text is not kept. Since format 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_sha256: Option<String>,
    /// Lines with any figure, in order.
    pub lines: Vec<Line>,
    /// Functions with any figure, in order of their first line.
    pub functions: Vec<Function>,
}

/// Series over wall seconds since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// Resident bytes, all processes.
    pub rss: Vec<(f64, u64)>,
    /// Tracked live bytes, all processes.
    pub live: Vec<(f64, u64)>,
    /// Live bytes of the lines that held most, all processes; the largest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<LineCourse>,
}

/// Live bytes of a line over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LineCourse {
    /// Index into [`Profile::files`].
    pub file: usize,
    /// The line.
    pub line: u32,
    /// Wall seconds since the start, and the bytes that the line held from then on.
    pub live: Vec<(f64, u64)>,
}

/// One thread.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    /// Process id.
    pub pid: u32,
    /// Kernel thread id.
    pub tid: u32,
    /// Name.
    pub name: String,
    /// Time.
    #[serde(flatten)]
    pub time: Time,
    /// Exact CPU seconds of its clock.
    #[serde(default)]
    pub cpu_clock_s: Option<f64>,
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub parent: u32,
    /// Command line.
    pub command: Vec<String>,
    /// How it ended.
    pub exit: Exit,
    /// Peak RSS.
    pub peak_rss_bytes: Option<u64>,
    /// Machine, in a merged profile. Since format 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Rank, in a merged profile. Since format 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// Time, in and out of scope.
    #[serde(flatten)]
    pub time: Time,
    /// Memory, in and out of scope.
    #[serde(flatten)]
    pub memory: Memory,
}

/// The profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Name and version of the format.
    pub format: Format,
    /// Who wrote it.
    pub tool: Tool,
    /// What was profiled.
    pub target: Target,
    /// When.
    pub clock: Clock,
    /// How.
    pub settings: Settings,
    /// Sums.
    pub totals: Totals,
    /// Files in scope with any figure.
    pub files: Vec<File>,
    /// Series.
    pub timeline: Timeline,
    /// Threads.
    pub threads: Vec<Thread>,
    /// Processes.
    pub processes: Vec<Process>,
    /// Stacks.
    pub stacks: Stacks,
    /// Stretches that the program marked, in order of their beginning.
    #[serde(default)]
    pub sections: Vec<Section>,
    /// Work that bears labels, such as the requests of a route; the most CPU first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// Queries of databases; `None` where nothing counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<Sql>,
    /// Leaks, surest first; `None` where memory was not profiled.
    #[serde(default)]
    pub leaks: Option<Vec<Leak>>,
    /// Moments near the end of memory: the last of each limit and process, in the order of time.
    #[serde(default)]
    pub near_limits: Vec<NearLimit>,
    /// Messages that the report must show (denied perf, refused frames, processes that could not be profiled). Plain
    /// strings before format 1.2.
    #[serde(default)]
    pub notices: Vec<Notice>,
    /// The runs that `rscalene merge` put together. Since format 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Arc<Merge>>,
}

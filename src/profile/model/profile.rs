//! The profile as every report reads it: format 1 of the profile JSON, field for field.
//!
//! Job: plain types for the builder to fill and for table, JSON, HTML and diff to read. Invariant: keys are stable,
//! units are in the names, an unknown figure is `None` (JSON `null`), never 0. Neighbours: `build::builder` builds a
//! profile, `report::json` reads and writes the file.

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

/// The tool that wrote the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Version of rscalene.
    pub version: String,
}

/// The profiled program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Command line.
    pub command: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// Version of its Python; `None`: no Python was seen.
    pub python: Option<String>,
    /// True for a free-threaded build.
    pub free_threaded: bool,
    /// e.g. `linux-x86_64`.
    pub platform: String,
    /// Process id.
    pub pid: u32,
    /// How the program ended.
    pub exit: Exit,
    /// Allocator behind `malloc`, e.g. `jemalloc`; `None`: libc's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocator: Option<String>,
    /// How the observer read a program that already ran when the profile began, e.g. `outside (perf)`; `None`: the
    /// launcher started the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached: Option<String>,
    /// Name of the machine. Since format 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Rank of the process in its job (`RANK`, `SLURM_PROCID` and others). Since format 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
}

/// Start and length of the run.
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

/// CPU sampling, as used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuSettings {
    /// `perf`, `timer`, `mixed`, or `off`.
    pub source: String,
    /// CPU seconds between two samples of a thread: the median weight of the samples.
    pub interval_s: f64,
}

/// Memory sampling, as used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemorySettings {
    /// `sampled`, `exact` or `off`.
    pub mode: String,
    /// Mean bytes between samples at the end; `None` when off.
    pub interval_bytes: Option<u64>,
}

/// Rules for the files whose lines are reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScopeSettings {
    /// Globs that add files.
    pub include: Vec<String>,
    /// Globs that remove files.
    pub exclude: Vec<String>,
    /// True if all files are in scope.
    pub all: bool,
}

/// Settings of the recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// CPU.
    pub cpu: CpuSettings,
    /// Memory.
    pub memory: MemorySettings,
    /// Scope.
    pub scope: ScopeSettings,
}

/// A function.
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
    /// Standard error of the own CPU seconds, at most; `None`: the function has no sample. Since format 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_s_se: Option<f64>,
    /// Time and memory with callees.
    pub cumulative: Cumulative,
}

/// A source file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// Path as the code object names it, made absolute.
    pub path: String,
    /// SHA-256 of its lines, joined by newlines, as they were profiled; `None`: the source was unavailable. Since
    /// format 1.3.
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
    /// Live bytes of the lines with most live bytes, all processes; the largest first.
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

/// A thread.
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
    /// Exact CPU seconds of the thread's clock.
    #[serde(default)]
    pub cpu_clock_s: Option<f64>,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub parent: u32,
    /// Command line.
    pub command: Vec<String>,
    /// How the process ended.
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
    /// The tool that wrote the profile.
    pub tool: Tool,
    /// The profiled program.
    pub target: Target,
    /// Start and length of the run.
    pub clock: Clock,
    /// Settings of the recording.
    pub settings: Settings,
    /// Sums.
    pub totals: Totals,
    /// Files in scope with any figure.
    pub files: Vec<File>,
    /// Series over time.
    pub timeline: Timeline,
    /// Threads.
    pub threads: Vec<Thread>,
    /// Processes.
    pub processes: Vec<Process>,
    /// Stacks.
    pub stacks: Stacks,
    /// Stretches that the program marked, in the order of their beginning.
    #[serde(default)]
    pub sections: Vec<Section>,
    /// Work with labels, such as the requests of a route; most CPU first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// Queries of databases; `None`: no process counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<Sql>,
    /// Leaks, highest confidence first; `None`: memory was not profiled.
    #[serde(default)]
    pub leaks: Option<Vec<Leak>>,
    /// Moments near a limit of memory: the last of each limit and process, in the order of time.
    #[serde(default)]
    pub near_limits: Vec<NearLimit>,
    /// Messages that the report must show (denied perf, refused frames, processes that could not be profiled). Plain
    /// strings before format 1.2.
    #[serde(default)]
    pub notices: Vec<Notice>,
    /// The runs that `rscalene merge` combined. Since format 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Arc<Merge>>,
}

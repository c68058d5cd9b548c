//! The profile as every report sees it: format 1 of the profile JSON, field for field.
//!
//! Job: one set of plain types for the merge to fill and for table, JSON, HTML and diff to read. Invariant: keys are
//! stable, units are in the names, what is not known is `None` (JSON `null`), never 0. Neighbours: `merge` builds it,
//! `report::json` reads and writes it.

use serde::{Deserialize, Serialize};

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
pub const FORMAT_MINOR: u32 = 0;

/// Who wrote the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Version of rscalene.
    pub version: String,
}

/// How a process ended; both `None` while it runs or where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code.
    pub code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
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
}

/// When and for how long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Wall seconds.
    pub elapsed_s: f64,
}

/// CPU sampling as it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuSettings {
    /// `perf`, `timer`, `mixed`, or `off`.
    pub source: String,
    /// CPU seconds between samples of a thread.
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

/// Time of a line, function, thread or process, in seconds. `None`: not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Time {
    /// CPU seconds executing bytecode.
    pub python_s: Option<f64>,
    /// CPU seconds in C code that the line called.
    pub native_s: Option<f64>,
    /// CPU seconds in the kernel.
    pub system_s: Option<f64>,
    /// Seconds off the CPU.
    pub wait_s: Option<f64>,
    /// Part of `wait_s` spent waiting for the GIL.
    #[serde(default)]
    pub gil_wait_s: Option<f64>,
    /// CPU seconds in user code that could not be told apart into `python_s` and `native_s`, which it is no part of:
    /// those of processes whose Python is not supported. `None`: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_s: Option<f64>,
}

/// Memory of a line, function or process. `None`: not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Bytes allocated.
    pub alloc_bytes: Option<u64>,
    /// Standard error of `alloc_bytes`.
    #[serde(default)]
    pub alloc_bytes_se: Option<f64>,
    /// Blocks allocated.
    pub alloc_count: Option<u64>,
    /// Bytes freed while the line ran.
    pub free_bytes: Option<u64>,
    /// `alloc_bytes - free_bytes`.
    #[serde(default)]
    pub increment_bytes: Option<i64>,
    /// Bytes allocated here and live at the end.
    pub live_bytes: Option<u64>,
    /// Standard error of `live_bytes`.
    #[serde(default)]
    pub live_bytes_se: Option<f64>,
    /// Bytes allocated here and live at the process' peak.
    #[serde(default)]
    pub peak_bytes: Option<u64>,
    /// Standard error of `peak_bytes`.
    #[serde(default)]
    pub peak_bytes_se: Option<f64>,
    /// Largest footprint (RSS) of the process while the line ran.
    #[serde(default)]
    pub mem_usage_bytes: Option<u64>,
    /// Part of `alloc_bytes` through Python's object allocators.
    #[serde(default)]
    pub python_alloc_bytes: Option<u64>,
    /// Bytes moved by memcpy and memmove.
    pub copy_bytes: Option<u64>,
}

/// Sums over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Time, in and out of scope.
    #[serde(flatten)]
    pub time: Time,
    /// Memory, in and out of scope.
    #[serde(flatten)]
    pub memory: Memory,
    /// Peak RSS of a process (the largest where there are several).
    pub peak_rss_bytes: Option<u64>,
    /// CPU samples that were taken.
    pub cpu_samples: u64,
    /// Allocation samples that were taken.
    pub alloc_samples: u64,
    /// Records dropped because a ring was full, and frames that could not be read.
    pub lost_records: u64,
    /// Exact CPU seconds of all threads' clocks.
    #[serde(default)]
    pub cpu_clock_s: Option<f64>,
    /// CPU seconds that samples stand for.
    #[serde(default)]
    pub sampled_cpu_s: Option<f64>,
    /// CPU seconds of the clocks that no sample stands for (before sampling began, threads too short to be hit); they
    /// are part of `outside_scope`.
    #[serde(default)]
    pub unsampled_s: Option<f64>,
    /// The part of the time above that no line in scope owns.
    #[serde(default)]
    pub outside_scope: Time,
    /// The part of the memory above that no line in scope owns.
    #[serde(default)]
    pub outside_scope_memory: Memory,
    /// Tracked live bytes at their high-water mark, all processes: what the lines' `peak_bytes` add up to.
    #[serde(default)]
    pub tracked_peak_bytes: Option<u64>,
    /// Bytes of mapped files at that moment, which no line owns.
    #[serde(default)]
    pub mapped_files_peak_bytes: Option<u64>,
    /// The part of `peak_rss_bytes` that was pages of files: libraries and mapped files.
    #[serde(default)]
    pub resident_files_peak_bytes: Option<u64>,
    /// Bytes of the arenas of Python's object allocator at that moment; what is used of them is tracked block by block.
    #[serde(default)]
    pub arenas_peak_bytes: Option<u64>,
}

/// One place in native code behind a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NativeSymbol {
    /// File name of the library or program.
    pub object: String,
    /// Function; `None` where no symbol covers the address.
    pub symbol: Option<String>,
    /// CPU seconds.
    pub s: f64,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "super::beside::LineKeys")]
pub struct Line {
    /// Line number, from 1.
    pub line: u32,
    /// Qualified name of the function that the line's samples ran in.
    pub function: String,
    /// Source text without its newline; `None` where the source is not available.
    pub source: Option<String>,
    /// Time.
    #[serde(flatten)]
    pub time: Time,
    /// CPU samples.
    pub cpu_samples: u64,
    /// Memory.
    #[serde(flatten)]
    pub memory: Memory,
    /// Native places, largest first.
    #[serde(default)]
    pub native: Vec<NativeSymbol>,
    /// Shares of the processes, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_process: Vec<ProcessShare>,
    /// Shares of the threads, where there are several; time of threads too short to be told apart is in none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_thread: Vec<ThreadShare>,
}

/// What one process adds to a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "super::beside::ProcessShareKeys")]
pub struct ProcessShare {
    /// Index into [`Profile::processes`].
    pub process: usize,
    /// Its time.
    #[serde(flatten)]
    pub time: Time,
    /// Its memory.
    #[serde(flatten)]
    pub memory: Memory,
}

/// What one thread adds to a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "super::beside::ThreadShareKeys")]
pub struct ThreadShare {
    /// Index into [`Profile::threads`].
    pub thread: usize,
    /// Its time.
    #[serde(flatten)]
    pub time: Time,
    /// Bytes that it allocated; `None`: not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alloc_bytes: Option<u64>,
}

/// Own and callees' cost of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cumulative {
    /// CPU seconds with the function anywhere on the stack (recursion counted once).
    pub cpu_s: Option<f64>,
    /// `cpu_s` and off-CPU seconds.
    pub wall_s: Option<f64>,
    /// Bytes allocated with the function anywhere on the stack.
    pub alloc_bytes: Option<u64>,
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
    /// With callees.
    pub cumulative: Cumulative,
}

/// One source file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// Path as the code object names it, made absolute.
    pub path: String,
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
    /// Time, in and out of scope.
    #[serde(flatten)]
    pub time: Time,
    /// Memory, in and out of scope.
    #[serde(flatten)]
    pub memory: Memory,
}

/// One distinct frame of the stacks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StackFrame {
    /// Index into [`Profile::files`], or into [`Stacks::other_files`] counted on from there.
    pub file: usize,
    /// Qualified name.
    pub function: String,
    /// Line.
    pub line: u32,
}

/// One node of the tree of stacks: outermost frames have no parent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StackNode {
    /// Index of the caller's node, always smaller than this node's own.
    pub parent: Option<usize>,
    /// Index into [`Stacks::frames`].
    pub frame: usize,
    /// Own CPU seconds.
    pub cpu_s: f64,
    /// Own CPU and off-CPU seconds.
    pub wall_s: f64,
    /// Own bytes allocated.
    pub alloc_bytes: u64,
    /// Own bytes live at the peak.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub peak_bytes: u64,
}

/// What one thread has of a node of the stacks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadStack {
    /// Index into [`Stacks::nodes`].
    pub node: usize,
    /// Index into [`Profile::threads`].
    pub thread: usize,
    /// Own CPU seconds.
    pub cpu_s: f64,
    /// Own CPU and off-CPU seconds.
    pub wall_s: f64,
    /// Own bytes allocated.
    pub alloc_bytes: u64,
}

/// What one process has of a node of the stacks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessStack {
    /// Index into [`Stacks::nodes`].
    pub node: usize,
    /// Index into [`Profile::processes`].
    pub process: usize,
    /// Own CPU seconds.
    pub cpu_s: f64,
    /// Own CPU and off-CPU seconds.
    pub wall_s: f64,
    /// Own bytes allocated.
    pub alloc_bytes: u64,
    /// Own bytes live at the peak.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub peak_bytes: u64,
}

/// Serde takes what it skips by reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

/// All stacks, in scope or not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stacks {
    /// Distinct frames.
    pub frames: Vec<StackFrame>,
    /// Tree.
    pub nodes: Vec<StackNode>,
    /// Paths of files out of scope, whose indices follow those of [`Profile::files`].
    #[serde(default)]
    pub other_files: Vec<String>,
    /// Shares of the threads in the nodes' own figures, where there are several and not too many shares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_thread: Vec<ThreadStack>,
    /// Shares of the processes, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_process: Vec<ProcessStack>,
}

/// A line whose live bytes grow with time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Leak {
    /// Index into [`Profile::files`].
    pub file: usize,
    /// Line.
    pub line: u32,
    /// Live bytes at the end.
    pub live_bytes: u64,
    /// Growth in bytes a second.
    pub bytes_per_s: f64,
    /// Probability that this growth is not chance (0 to 1).
    pub confidence: f64,
}

/// All calls of a stretch of the run that the program marked by name, in one process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// Name.
    pub name: String,
    /// Process id.
    pub pid: u32,
    /// Calls.
    pub count: u64,
    /// Wall seconds from the start of the run to the beginning of the first call.
    pub start_s: f64,
    /// Wall seconds from the start of the run to the end of the last call.
    pub end_s: f64,
    /// Wall seconds of all calls.
    pub elapsed_s: f64,
    /// CPU seconds of the process meanwhile, all threads; `None` where a call never ended.
    pub cpu_s: Option<f64>,
    /// Bytes allocated meanwhile by the process.
    pub alloc_bytes: Option<u64>,
    /// Live bytes at the ends less those at the beginnings.
    pub increment_bytes: Option<i64>,
    /// What passed on lines in scope, by file and line.
    pub lines: Vec<SectionLine>,
}

/// A line in a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SectionLine {
    /// Index into [`Profile::files`].
    pub file: usize,
    /// Line.
    pub line: u32,
    /// CPU seconds: the section's clock, divided as its samples fell.
    pub cpu_s: Option<f64>,
    /// Bytes allocated.
    pub alloc_bytes: Option<u64>,
}

/// What a line held at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBytes {
    /// Index into [`Profile::files`].
    pub file: usize,
    /// Line.
    pub line: u32,
    /// Live bytes that it allocated.
    pub live_bytes: u64,
}

/// A moment at which a process had used nearly all the memory that it may have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NearLimit {
    /// `address space`, `cgroup` or `machine`.
    pub limit: String,
    /// Seconds after the start.
    pub at_s: f64,
    /// Index into [`Profile::processes`].
    pub process: usize,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes allowed.
    pub limit_bytes: u64,
    /// The lines that held most, largest first.
    pub lines: Vec<HeldBytes>,
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
    /// Leaks, surest first; `None` where memory was not profiled.
    #[serde(default)]
    pub leaks: Option<Vec<Leak>>,
    /// Moments near the end of memory: the last of each limit and process, in the order of time.
    #[serde(default)]
    pub near_limits: Vec<NearLimit>,
    /// What the report must say of the run, in words (denied perf, refused frames, processes that could not be profiled).
    #[serde(default)]
    pub notices: Vec<String>,
}

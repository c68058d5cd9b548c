//! Stretches and moments of a run: sections, leaks, and moments near a limit of memory.
//!
//! Invariant: an unknown figure is `None`, never 0. Neighbours: `write::tables` and `write::lines` fill the types.

use serde::{Deserialize, Serialize};

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

/// All calls of a section in a single process: a stretch of the run that the program marked by name.
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
    /// CPU seconds of the process meanwhile, all threads; `None`: a call never ended.
    pub cpu_s: Option<f64>,
    /// Bytes allocated meanwhile by the process.
    pub alloc_bytes: Option<u64>,
    /// Live bytes at the ends minus live bytes at the beginnings, summed over the calls.
    pub increment_bytes: Option<i64>,
    /// Figures of the lines in scope meanwhile, by file and line.
    pub lines: Vec<SectionLine>,
}

/// A line in a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SectionLine {
    /// Index into [`Profile::files`].
    pub file: usize,
    /// Line.
    pub line: u32,
    /// CPU seconds: the section's CPU time, divided in proportion to its samples.
    pub cpu_s: Option<f64>,
    /// Bytes allocated.
    pub alloc_bytes: Option<u64>,
}

/// Live bytes of a line at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBytes {
    /// Index into [`Profile::files`].
    pub file: usize,
    /// Line.
    pub line: u32,
    /// Live bytes that the line allocated.
    pub live_bytes: u64,
}

/// A moment at which a process had used nearly all the memory of a limit.
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
    /// The lines with most live bytes, largest first.
    pub lines: Vec<HeldBytes>,
}

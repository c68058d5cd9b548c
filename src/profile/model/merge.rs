//! Facts of a merged profile beside the figures of an ordinary profile.
//!
//! Job: the merged runs, the spread of each line over them, and the data for a further merge. Invariant: amounts are
//! integers (microseconds, bytes), so merging again gives the same sums to the byte. Neighbours: `merge` fills the
//! types, reports show `spread`.

use serde::{Deserialize, Serialize};

use super::exit::Exit;

/// The runs behind a merged profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Merge {
    /// The merged runs, by rank, then host.
    pub members: Vec<Member>,
    /// The run with the highest peak: index into `members`. All figures at a peak, and the timeline, are of this run.
    pub peak_member: usize,
    /// Wall time from the first start to the last end, in microseconds since 1970.
    pub span_us: (i64, i64),
    /// Threads of all runs; above 4,096, `threads` has a single row.
    pub threads: u64,
    /// How the lines differ between the groups.
    pub spread: Spread,
    /// The part of each process in each line, in the order of `files` and their lines.
    pub parts: Vec<LineParts>,
    /// Squares of `cpu_s_se` of functions: index of the file, index of the function in the file, and the square in
    /// units of 256 µs².
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<(usize, usize, u64)>,
    /// Variances of `totals`.
    #[serde(default)]
    pub totals: Variances,
    /// Variances of `totals.outside_scope_memory`.
    #[serde(default)]
    pub outside_scope: Variances,
    /// Messages, and how many runs have each.
    pub notices: Vec<CountedNotice>,
}

/// One merged run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Rank in its job; `None`: no launcher gave a rank.
    pub rank: Option<u32>,
    /// Name of its machine; `None` in profiles before format 1.3.
    pub host: Option<String>,
    /// Start, RFC 3339.
    pub started_at: String,
    /// Process id.
    pub pid: u32,
    /// Digest of the head of its profile, which separates runs that began in the same second and process id.
    pub digest: String,
    /// Command line.
    pub command: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// How the run ended.
    pub exit: Exit,
    /// Wall seconds.
    pub elapsed_s: f64,
    /// CPU seconds; `None`: not measured.
    pub cpu_s: Option<f64>,
    /// Seconds off the CPU; `None`: not measured.
    pub wait_s: Option<f64>,
    /// Bytes allocated; `None`: not measured.
    pub alloc_bytes: Option<u64>,
    /// Peak RSS of its largest process.
    pub peak_rss_bytes: Option<u64>,
    /// Its peak: the footprint of all its processes together.
    pub footprint_peak_bytes: Option<u64>,
    /// Tracked bytes that were live at its peak.
    pub tracked_peak_bytes: Option<u64>,
    /// Number of its rows in `processes`, which are in the order of the members; at least 1.
    pub processes: usize,
    /// Number of its rows in `threads`; 0 if `threads` has a single row for all runs.
    pub threads: usize,
}

impl Member {
    /// A short name: `rank 3`, or host and process id.
    #[must_use]
    pub fn name(&self) -> String {
        match (self.rank, &self.host) {
            (Some(rank), _) => format!("rank {rank}"),
            (None, Some(host)) => format!("{host}:{}", self.pid),
            (None, None) => format!("process {}", self.pid),
        }
    }
}

/// How lines differ between groups of processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// `rank`, `host`, `process` or `label`.
    pub by: String,
    /// Names of the groups.
    pub groups: Vec<String>,
    /// The lines, in the order of `files`.
    pub lines: Vec<LineSpread>,
}

/// How one line differs between the groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LineSpread {
    /// Index into [`Profile::files`].
    pub file: usize,
    /// Line.
    pub line: u32,
    /// CPU seconds of a group; `None`: known for no group, or 0 in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_s: Option<Range<f64>>,
    /// Seconds off the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<Range<f64>>,
    /// Bytes allocated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alloc_bytes: Option<Range<u64>>,
    /// Bytes live at each process' own peak; a group counts its largest process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<Range<u64>>,
}

/// The least, the median and the largest of the groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Range<T> {
    /// The least.
    pub min: T,
    /// The median; for an even number of groups, the mean of the two in the middle.
    pub median: T,
    /// The largest.
    pub max: T,
    /// The largest divided by the mean.
    pub imbalance: f64,
    /// The group with the largest: index into [`Spread::groups`], the first of equals.
    pub highest: usize,
}

/// The part of each process in a line, and the variances of the line's sums.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LineParts {
    /// Index into [`Profile::files`].
    pub file: usize,
    /// Line.
    pub line: u32,
    /// The square of `cpu_s_se` in units of 256 µs² (16 µs squared).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_variance: Option<u64>,
    /// The variances of its memory figures.
    #[serde(flatten)]
    pub variances: Variances,
    /// For each process: its index, CPU microseconds, microseconds off the CPU, bytes allocated, and bytes live at the
    /// process' peak.
    pub parts: Vec<(u32, u64, u64, u64, u64)>,
}

/// Squares of standard errors, in units of 65,536 bytes² (256 bytes squared).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variances {
    /// Of `alloc_bytes`.
    #[serde(default)]
    pub alloc_variance: u64,
    /// Of `live_bytes`.
    #[serde(default)]
    pub live_variance: u64,
    /// Of `copy_bytes`.
    #[serde(default)]
    pub copy_variance: u64,
}

/// A message, and the number of merged runs that have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CountedNotice {
    /// The kind of message.
    pub code: String,
    /// The message.
    pub text: String,
    /// Number of runs.
    pub runs: u64,
}

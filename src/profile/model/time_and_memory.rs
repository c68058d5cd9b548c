//! Figures of a profile: the time and the memory of lines, functions, threads and processes, and their sums.
//!
//! Invariant: seconds and bytes; a figure that was not measured is `None`, never 0. Neighbour: `line` reads the figures
//! beside other keys.

use serde::{Deserialize, Serialize};

use super::figures::Memory;

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
    /// Part of `wait_s` spent idle: a thread waits for work (in a pool, in a server), or for another thread of the
    /// program to end. `None`: no idle time. Since format 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_s: Option<f64>,
    /// CPU seconds of threads without Python code (BLAS, polars, a native pool), charged to the lines that ran or
    /// awaited native code meanwhile. No other figure includes them. `None`: no such time. Since format 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helpers_s: Option<f64>,
    /// Part of the CPU seconds in which the garbage collector ran, with the finalizers that the collector called.
    /// `None`: no sample met the collector. Since format 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gc_s: Option<f64>,
    /// CPU seconds that no sample splits into `python_s`, `native_s` and `system_s`; those three do not include them.
    /// Examples: processes whose Python is not supported (there without kernel time), time before sampling began, and
    /// threads without a sample. `None`: no such time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_s: Option<f64>,
    /// Seconds in which a thread was ready to run and had no core: neither CPU nor wait. Known for threads, processes
    /// and the run. `None`: not measured. Since format 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core_wait_s: Option<f64>,
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
    /// The largest peak RSS of a single process.
    pub peak_rss_bytes: Option<u64>,
    /// The peak: the footprint (resident bytes) of all processes together when it was highest. Since format 1.3.
    #[serde(default)]
    pub footprint_peak_bytes: Option<u64>,
    /// Time of that peak, in seconds since the start. Since format 1.3.
    #[serde(default)]
    pub footprint_peak_at_s: Option<f64>,
    /// Number of CPU samples.
    pub cpu_samples: u64,
    /// Number of allocation samples.
    pub alloc_samples: u64,
    /// Records dropped because a ring was full, and frames that could not be read.
    pub lost_records: u64,
    /// Exact CPU seconds of all threads' clocks.
    #[serde(default)]
    pub cpu_clock_s: Option<f64>,
    /// CPU seconds that samples stand for.
    #[serde(default)]
    pub sampled_cpu_s: Option<f64>,
    /// CPU seconds of the clocks that no sample stands for (before sampling began, threads too short to be sampled); a
    /// part of `outside_scope`.
    #[serde(default)]
    pub unsampled_s: Option<f64>,
    /// The part of the time above that no line in scope owns.
    #[serde(default)]
    pub outside_scope: Time,
    /// The part of the memory above that no line in scope owns.
    #[serde(default)]
    pub outside_scope_memory: Memory,
    /// Tracked bytes that were live and touched at the peak of the footprint, all processes: the sum of the lines'
    /// `peak_bytes`.
    #[serde(default)]
    pub tracked_peak_bytes: Option<u64>,
    /// Bytes that lines had allocated at the peak and never touched, so that no memory is behind them. No line's
    /// `peak_bytes` includes them. Since format 1.3.
    #[serde(default)]
    pub untouched_peak_bytes: Option<u64>,
    /// Most tracked bytes at any moment, all processes. Since format 1.3.
    #[serde(default)]
    pub most_allocated_bytes: Option<u64>,
    /// Bytes of mapped files at the peak of the footprint; no line owns them.
    #[serde(default)]
    pub mapped_files_peak_bytes: Option<u64>,
    /// The part of `peak_rss_bytes` that was pages of files: libraries and mapped files.
    #[serde(default)]
    pub resident_files_peak_bytes: Option<u64>,
    /// Bytes of the arenas of Python's object allocator at the peak of the footprint. The used part of an arena is
    /// tracked block by block.
    #[serde(default)]
    pub arenas_peak_bytes: Option<u64>,
}

impl Totals {
    /// The peak of all processes together; for profiles before format 1.3, the peak of the largest process.
    #[must_use]
    pub fn peak(&self) -> Option<u64> {
        self.footprint_peak_bytes.or(self.peak_rss_bytes)
    }
}

/// Cost of a function with its callees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cumulative {
    /// CPU seconds with the function anywhere on the stack (recursion counted once).
    pub cpu_s: Option<f64>,
    /// `cpu_s` and off-CPU seconds.
    pub wall_s: Option<f64>,
    /// Bytes allocated with the function anywhere on the stack.
    pub alloc_bytes: Option<u64>,
}

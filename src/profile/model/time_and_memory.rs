//! Figures of a profile: the time and the memory of lines, functions, threads and processes, and their sums.
//!
//! Invariant: seconds and bytes; what was not measured is `None`, never 0. Neighbour: `line` reads them beside other keys.

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
    /// Part of `wait_s` spent idle: a thread that waits for work (a pool's, a server's), or for another thread of the
    /// program to end. `None`: there is none. Since format 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_s: Option<f64>,
    /// CPU seconds of threads without Python code (those of BLAS, polars, a native pool), given to the lines that ran or
    /// awaited native code meanwhile; in no other figure. `None`: there are none. Since format 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helpers_s: Option<f64>,
    /// Part of the CPU seconds in which the garbage collector was at work, with the finalizers that it called. `None`:
    /// no sample met it. Since format 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gc_s: Option<f64>,
    /// CPU seconds that no sample tells apart into `python_s`, `native_s` and `system_s`, which they are no part of: of
    /// processes whose Python is not supported (there without the kernel's), before sampling began, and of threads that
    /// no sample met. `None`: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_s: Option<f64>,
    /// Seconds ready to run without a core to run on: neither CPU nor waiting. Told of threads, processes and the run.
    /// `None`: not measured. Since format 1.1.
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
    /// Peak RSS of a process (the largest where there are several).
    pub peak_rss_bytes: Option<u64>,
    /// The peak: the footprint (resident bytes) of all processes together when it was highest. Since format 1.3.
    #[serde(default)]
    pub footprint_peak_bytes: Option<u64>,
    /// When that was, in seconds since the start. Since format 1.3.
    #[serde(default)]
    pub footprint_peak_at_s: Option<f64>,
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
    /// Tracked bytes that were live at the peak of the footprint and touched, all processes: what the lines' `peak_bytes`
    /// add up to.
    #[serde(default)]
    pub tracked_peak_bytes: Option<u64>,
    /// Bytes that lines had asked for at the peak and never touched, so that no memory is behind them; in no line's
    /// `peak_bytes`. Since format 1.3.
    #[serde(default)]
    pub untouched_peak_bytes: Option<u64>,
    /// Most bytes that were tracked at any moment, all processes. Since format 1.3.
    #[serde(default)]
    pub most_allocated_bytes: Option<u64>,
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

impl Totals {
    /// The peak of all processes together; profiles before format 1.3 know the largest process' alone.
    #[must_use]
    pub fn peak(&self) -> Option<u64> {
        self.footprint_peak_bytes.or(self.peak_rss_bytes)
    }
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

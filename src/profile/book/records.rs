//! Rows of the book: processes, threads, sections, and moments near a limit.
//!
//! Invariant: final figures only. Neighbours: [`super::Book`] keeps the rows, `write::tables` turns them into rows of
//! the model.

use rustc_hash::FxHashMap;

use super::intern::FrameId;
use super::sums::{Amount, Sums, ThreadSums};
use crate::profile::model;
use crate::transport::event::NearLimit;

/// A process.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessRecord {
    /// Its row of the profile, except for time and memory.
    pub(crate) row: model::Process,
    /// Its lines; [`FrameId::NONE`] holds the figures outside scope.
    pub(crate) lines: FxHashMap<FrameId, Sums>,
    /// The largest footprint of all readings, and its pages of files in bytes.
    pub(crate) resident: Option<(u64, u64)>,
    /// True if the waits of its threads are unknown.
    pub(crate) hidden_waits: bool,
}

/// A thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct ThreadRecord {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) name: String,
    pub(crate) amount: Amount,
    pub(crate) clock_s: Option<f64>,
    /// Seconds in which the thread was ready to run but had no core.
    pub(crate) core_wait_s: Option<f64>,
    /// True if the thread had too few samples for shares of lines of its own: its CPU time counts for lines, but for no
    /// thread.
    pub(crate) pooled: bool,
    /// True if the waits of the thread are unknown.
    pub(crate) hidden_waits: bool,
    /// Its share of the lines.
    pub(crate) lines: FxHashMap<FrameId, ThreadSums>,
}

/// A place in native code: the number of a file, and an offset in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NativePlace {
    pub(crate) object: u32,
    pub(crate) offset: u64,
}

/// A limit that a process came near, and the owners of its memory at that moment.
#[derive(Clone, Debug)]
pub(crate) struct NearLimitRecord {
    /// Row of the process.
    pub(crate) process: usize,
    pub(crate) what: NearLimit,
    pub(crate) owners: Vec<(FrameId, f64)>,
}

impl ThreadRecord {
    /// A thread without figures.
    pub(crate) fn new(pid: u32, tid: u32, name: &str) -> Self {
        let name = match (name, pid == tid) {
            (_, true) => "MainThread".to_owned(),
            ("", false) => format!("Thread-{tid}"),
            (name, false) => name.to_owned(),
        };
        Self { pid, tid, name, ..Self::default() }
    }
}

/// Samples by line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    /// Nanoseconds of CPU samples, and bytes allocated.
    pub(crate) lines: FxHashMap<FrameId, (f64, f64)>,
    /// Nanoseconds of all CPU samples, in and out of scope.
    pub(crate) sampled_ns: f64,
}

/// All calls of a section in a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct SectionRecord {
    pub(crate) process: usize,
    pub(crate) name: String,
    pub(crate) count: u64,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) elapsed_ns: u64,
    /// `None` if a call never ended, because only the end of a call reads the clock.
    pub(crate) cpu_ns: Option<u64>,
    pub(crate) allocated: f64,
    /// Change of tracked live bytes.
    pub(crate) increment: f64,
    pub(crate) passed: Lines,
}

/// The memory of a process at a moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Footprint {
    /// Live blocks and anonymous mappings: the bytes that lines own.
    pub(crate) tracked: f64,
    /// Mapped files.
    pub(crate) files: f64,
    /// Arenas of Python's object allocator, which hold part of `tracked`.
    pub(crate) arenas: f64,
    /// The part of `tracked` that the program never touched, so that no memory is behind the bytes.
    pub(crate) untouched: f64,
}

impl Footprint {
    /// Adds the footprint of another process.
    pub(crate) fn add(&mut self, other: Self) {
        self.tracked += other.tracked;
        self.files += other.files;
        self.arenas += other.arenas;
        self.untouched += other.untouched;
    }
}

/// The peak of all processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Highest {
    /// The moment of the peak, in nanoseconds of `CLOCK_MONOTONIC`; `None`: no memory was tracked and no footprint was
    /// read.
    pub(crate) time_ns: Option<u64>,
    /// Resident bytes; `None`: no footprint was read.
    pub(crate) bytes: Option<u64>,
    /// The memory at the peak.
    pub(crate) footprint: Footprint,
    /// The largest number of tracked bytes at any moment.
    pub(crate) most_tracked: f64,
}

/// A line whose live bytes grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Growth {
    /// The line.
    pub(crate) owner: FrameId,
    /// Bytes per second over the last half.
    pub(crate) bytes_per_s: f64,
    /// Probability that the growth is not chance.
    pub(crate) confidence: f64,
}

//! Events: all input of the profile, as owned values.
//!
//! Job: the only type that the builder consumes, whether `decode` made an event from a record of the shim (first group
//! of [`Body`]) or the launcher observed the event itself (second group). Invariant: an event owns all its bytes, and
//! events of a process arrive in the order of their recording. Neighbours: `decode` and `capture` make events,
//! `profile` consumes them. Times are `CLOCK_MONOTONIC` nanoseconds throughout.

use rscalene_wire as wire;
use serde::{Deserialize, Serialize};

/// An observation about a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The process of the event.
    pub pid: u32,
    /// The observation.
    pub body: Body,
}

/// Events in their order, as threads pass them on.
pub type Batch = Vec<Event>;

/// An observation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// The recording of a Python process begins.
    ProcessStart(wire::ProcessStart),
    /// First observation of a thread.
    ThreadStart(wire::ThreadStart),
    /// A thread ended, with its exact CPU clock.
    ThreadEnd(wire::ThreadEnd),
    /// A code object, before the first stack with the code object.
    CodeDef(CodeDef),
    /// A stack, before the first record with the stack.
    StackDef(StackDef),
    /// A CPU sample, by perf or by the timer.
    CpuSample {
        /// The sample.
        sample: wire::CpuSample,
        /// Flags of its record.
        flags: wire::CpuFlags,
    },
    /// Verdict of the start-up self-test.
    SelfTest(wire::SelfTest),
    /// The orderly end of a process, with its CPU clock.
    ProcessEnd(wire::ProcessEnd),
    /// A recorded allocation.
    Alloc {
        /// The allocation.
        alloc: wire::Alloc,
        /// Flags of its record.
        flags: wire::AllocFlags,
    },
    /// The end of a recorded allocation.
    Free(wire::Free),
    /// Sampled copy volume.
    Copy(wire::Copy),
    /// A change of the address space, and the kind of memory behind it.
    Map {
        /// The change.
        map: wire::Map,
        /// Flags of its record.
        flags: wire::MapFlags,
    },
    /// The key-value pairs of a label, before the first observation with the label's number.
    Label {
        /// [`wire::Label::label`].
        label: u32,
        /// Keys and values.
        pairs: Vec<(String, String)>,
    },
    /// An ended piece of work.
    Span(wire::Span),
    /// A query of a database begins, ends, or returns rows.
    Query(wire::Query),
    /// A notice for the report.
    Notice(wire::Notice),
    /// A section begins or ends.
    Section {
        /// The mark.
        section: wire::Section,
        /// Its name, at its beginning.
        name: String,
    },
    /// The interpreter begins its teardown.
    Teardown(wire::Teardown),
    /// Path of the library whose `malloc` the hooks call; not sent for libc.
    Allocator(String),

    /// Counters of the process' segment, read by the drain; cumulative, so the last event counts.
    Counters(Box<Counters>),
    /// A thread's exact CPU clock at a moment, read by the launcher; cumulative, so the last event counts.
    ThreadClock(ThreadClock),
    /// Time of a thread off the CPU.
    Wait(Wait),
    /// A process ended (observed from outside, so also after a kill).
    ProcessExit(ProcessExit),
    /// Command line of a process.
    Command(Vec<String>),
    /// Resident memory of a process at a moment.
    Rss {
        /// Time of the reading.
        time_ns: u64,
        /// Resident bytes.
        bytes: u64,
        /// The part of `bytes` in pages of files (libraries, mapped files), at the last reading.
        files: u64,
        /// The kernel's high-water mark of resident bytes; 0: unknown.
        most: u64,
    },
    /// A process has used nearly all the memory of a limit.
    NearLimit(NearLimit),
    /// The executable mappings of a process, complete: they replace earlier mappings at the same addresses.
    Modules(Vec<Module>),
    /// Places where the scheduler's tick met a thread; follows the sample of the same stretch of time.
    Ticks(Ticks),
    /// Time in which a thread was ready to run and had no core; cumulative, so the last event counts.
    CoreWait {
        /// Kernel thread id.
        tid: u32,
        /// Nanoseconds of its life so far.
        delay_ns: u64,
    },
    /// Ranges of private memory without a page behind them, in order: first address and bytes. Sent just before the
    /// footprint of the same moment.
    Untouched {
        /// Time of the look.
        time_ns: u64,
        /// The ranges.
        ranges: Box<[(u64, u64)]>,
    },
    /// Resident bytes that a forked process still shares with its parent. Sent before the footprint of the same moment,
    /// after each change.
    Shared {
        /// Time of the look.
        time_ns: u64,
        /// Number of bytes.
        bytes: u64,
    },
    /// The recording was cut off here, while the program ran on: the builder ignores later records.
    Cut {
        /// Time of the cut.
        time_ns: u64,
    },
}

impl Body {
    /// Time of the event; `None` for definitions, and for sums over time.
    #[must_use]
    pub fn time_ns(&self) -> Option<u64> {
        Some(match self {
            Self::ProcessStart(start) => start.time_ns,
            Self::ThreadStart(start) => start.time_ns,
            Self::ThreadEnd(end) => end.time_ns,
            Self::CpuSample { sample, .. } => sample.time_ns,
            Self::SelfTest(test) => test.time_ns,
            Self::ProcessEnd(end) => end.time_ns,
            Self::Alloc { alloc, .. } => alloc.time_ns,
            Self::Free(free) => free.time_ns,
            Self::Copy(copy) => copy.time_ns,
            Self::Map { map, .. } => map.time_ns,
            Self::Span(span) => span.time_ns,
            Self::Query(query) => query.time_ns,
            Self::Notice(notice) => notice.time_ns,
            Self::Section { section, .. } => section.time_ns,
            Self::Teardown(teardown) => teardown.time_ns,
            Self::ThreadClock(clock) => clock.time_ns,
            Self::Wait(wait) => wait.time_ns,
            Self::ProcessExit(exit) => exit.time_ns,
            Self::Rss { time_ns, .. }
            | Self::Untouched { time_ns, .. }
            | Self::Shared { time_ns, .. }
            | Self::Cut { time_ns } => *time_ns,
            Self::NearLimit(moment) => moment.time_ns,
            Self::Label { .. }
            | Self::CodeDef(_)
            | Self::StackDef(_)
            | Self::Allocator(_)
            | Self::Counters(_)
            | Self::Command(_)
            | Self::Modules(_)
            | Self::CoreWait { .. }
            | Self::Ticks(_) => return None,
        })
    }
}

/// A code object of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeDef {
    /// Fixed part (its byte counts describe the fields below as the shim sent them).
    pub def: wire::CodeDef,
    /// `co_filename` (invalid UTF-8 replaced).
    pub filename: String,
    /// `co_qualname` (invalid UTF-8 replaced).
    pub qualname: String,
    /// `co_linetable`; empty if the table could not be read.
    pub table: Vec<u8>,
}

/// A stack of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackDef {
    /// Fixed part.
    pub def: wire::StackDef,
    /// Frames, leaf first.
    pub entries: Vec<wire::StackEntry>,
}

/// Counts of a segment beside its records; every number is a total since the start of the process' shim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Records lost because the ring was full, by record kind.
    pub lost: [u64; wire::LOST_KINDS],
    /// Frames whose guarded reads failed or whose code object failed the type check.
    pub frames_rejected: u64,
    /// Current mean bytes between two allocation samples.
    pub memory_interval_bytes: u64,
    /// Unreadable records: unknown kind, impossible size, or reserved and never committed.
    pub malformed: u64,
}

/// A reading of a thread's CPU clock by the launcher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadClock {
    /// Time of the reading.
    pub time_ns: u64,
    /// Kernel thread id.
    pub tid: u32,
    /// CPU nanoseconds of the thread's life so far.
    pub cpu_ns: u64,
    /// Name of the thread in the kernel; empty: unknown.
    pub name: String,
}

/// Time off the CPU between two looks of the launcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// The end of the time off the CPU.
    pub time_ns: u64,
    /// Kernel thread id.
    pub tid: u32,
    /// [`wire::StackDef::stack`] of the stack in which the thread waited; 0: unknown. The launcher defines the stacks
    /// and code objects of its own observations by events of its own, with numbers that the shim never uses.
    pub stack: u64,
    /// Nanoseconds off the CPU.
    pub wait_ns: u64,
    /// The part of `wait_ns` spent waiting for the GIL; `None` if the Python version does not show the GIL.
    pub gil_ns: Option<u64>,
    /// [`wire::Label::label`] of the thread; 0: none, or unknown.
    pub label: u32,
}

/// The kernel's counts for a sampled stretch of time: the CPU time between two ticks counts as user or kernel time,
/// depending on where the second tick finds the thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticks {
    /// Kernel thread id.
    pub tid: u32,
    /// The stack of the sample.
    pub stack: u64,
    /// The kind of the sample: [`wire::CpuKind::PYTHON`] or [`wire::CpuKind::NATIVE`].
    pub kind: wire::CpuKind,
    /// Nanoseconds of ticks that met user code.
    pub user_ns: u64,
    /// Nanoseconds of ticks that met the kernel.
    pub kernel_ns: u64,
}

/// The end of a process, as its parent or the kernel reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessExit {
    /// Time of the end.
    pub time_ns: u64,
    /// Exit code; `None` if a signal ended the process, or if the code is unknown.
    pub code: Option<i32>,
    /// Signal that killed the process.
    pub signal: Option<i32>,
    /// Peak RSS in bytes, if known.
    pub peak_rss: Option<u64>,
    /// CPU nanoseconds of the whole process, if known.
    pub cpu_ns: Option<u64>,
}

/// A kind of limit on the memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// The size of its address space (`RLIMIT_AS`).
    AddressSpace,
    /// A cgroup that contains the process.
    Cgroup,
    /// The memory of the machine.
    Machine,
}

/// A limit that a process has nearly reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearLimit {
    /// Time of the look.
    pub time_ns: u64,
    /// Kind of the limit.
    pub limit: Limit,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes allowed.
    pub limit_bytes: u64,
}

/// An executable mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// First address.
    pub start: u64,
    /// Address after the last byte.
    pub end: u64,
    /// Offset of `start` in the file.
    pub offset: u64,
    /// File; empty for anonymous memory.
    pub path: String,
}

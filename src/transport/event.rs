//! Events: everything that reaches the profile, as owned values.
//!
//! Job: the one type that the builder consumes, whether an event was decoded from a record of the shim (first group of
//! [`Body`]) or observed by the launcher itself (second group). Invariant: an event owns all its bytes, and events of
//! one process arrive in the order in which they were recorded. Neighbours: `decode` and `capture` make them, `profile`
//! consumes them. Times are `CLOCK_MONOTONIC` nanoseconds throughout.

use rscalene_wire as wire;
use serde::{Deserialize, Serialize};

/// One observation about one process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The process of the event.
    pub pid: u32,
    /// What was observed.
    pub body: Body,
}

/// Events in their order, as they are handed from thread to thread.
pub type Batch = Vec<Event>;

/// What was observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// A Python process armed itself.
    ProcessStart(wire::ProcessStart),
    /// A thread was seen for the first time.
    ThreadStart(wire::ThreadStart),
    /// A thread ended, with its exact CPU clock.
    ThreadEnd(wire::ThreadEnd),
    /// A code object, before the first stack that names it.
    CodeDef(CodeDef),
    /// A stack, before the first record that names it.
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
    /// A recorded allocation: how it was picked, and from where.
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
    /// The text of a label, before the first observation with the label's number.
    Label {
        /// [`wire::Label::label`].
        label: u32,
        /// Keys and values.
        pairs: Vec<(String, String)>,
    },
    /// A piece of work that has ended.
    Span(wire::Span),
    /// A query of a database begins, ends, or hands out rows.
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
    /// The interpreter begins to tear itself down.
    Teardown(wire::Teardown),
    /// Path of the library whose `malloc` the hooks call, if that library is not libc.
    Allocator(String),

    /// Counters of the process' segment, read by the drain; cumulative, so the last one counts.
    Counters(Box<Counters>),
    /// A thread's exact CPU clock at a moment, read by the launcher; cumulative, so the last one counts.
    ThreadClock(ThreadClock),
    /// Time a thread spent off the CPU.
    Wait(Wait),
    /// A process ended (seen from outside, so also after a kill).
    ProcessExit(ProcessExit),
    /// Command line of a process.
    Command(Vec<String>),
    /// Resident memory of a process at a moment.
    Rss {
        /// When.
        time_ns: u64,
        /// Resident bytes.
        bytes: u64,
        /// The part of `bytes` that is pages of files (libraries, mapped files), as last read.
        files: u64,
        /// The kernel's high-water mark of resident bytes; 0 if it is not known.
        most: u64,
    },
    /// The memory that the process may have is nearly used up.
    NearLimit(NearLimit),
    /// The executable mappings of a process, complete: they replace earlier mappings at the same addresses.
    Modules(Vec<Module>),
    /// Where the scheduler's tick met a thread; follows the sample of the same stretch of time.
    Ticks(Ticks),
    /// How long a thread was ready to run and had no core; cumulative, so the last one counts.
    CoreWait {
        /// Kernel thread id.
        tid: u32,
        /// Nanoseconds of its life so far.
        delay_ns: u64,
    },
    /// Ranges of private memory without a page behind them, in order: first address and bytes. Sent just before the
    /// footprint of the same moment.
    Untouched {
        /// When.
        time_ns: u64,
        /// The ranges.
        ranges: Box<[(u64, u64)]>,
    },
    /// Resident bytes that a forked process still shares with its parent. Sent before the footprint of the same moment
    /// if they have changed.
    Shared {
        /// When.
        time_ns: u64,
        /// How many.
        bytes: u64,
    },
    /// The recording was cut off here, while the program ran on: later records are ignored.
    Cut {
        /// When.
        time_ns: u64,
    },
}

impl Body {
    /// When the event happened; `None` for definitions, and for sums over time.
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
    /// `co_linetable`; empty where it could not be read.
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

/// Counts of a segment beside its records; every number is a total since the process armed itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Records dropped because the ring was full, by record kind.
    pub lost: [u64; wire::LOST_KINDS],
    /// Frames whose guarded reads failed or whose code object failed the type check.
    pub frames_rejected: u64,
    /// Current mean bytes between two allocation samples.
    pub memory_interval_bytes: u64,
    /// Records that the drain could not read: unknown kind, impossible size, or reserved and never committed.
    pub malformed: u64,
}

/// A thread's CPU clock as the launcher read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadClock {
    /// When.
    pub time_ns: u64,
    /// Kernel thread id.
    pub tid: u32,
    /// CPU nanoseconds of the thread's life so far.
    pub cpu_ns: u64,
    /// Name that the kernel has for the thread; empty if unknown.
    pub name: String,
}

/// Time off the CPU between two looks of the launcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// The end of the time off the CPU.
    pub time_ns: u64,
    /// Kernel thread id.
    pub tid: u32,
    /// [`wire::StackDef::stack`] of the stack in which the thread waited; 0: unknown. Stacks and code objects that only
    /// the launcher saw are defined by events of its own, with numbers that the shim never hands out.
    pub stack: u64,
    /// Nanoseconds off the CPU.
    pub wait_ns: u64,
    /// The part of `wait_ns` spent waiting for the GIL; `None` if the Python version does not show it.
    pub gil_ns: Option<u64>,
    /// [`wire::Label::label`] of the thread; 0: none, or unknown.
    pub label: u32,
}

/// The kernel's counts for a sampled stretch of time: the CPU time between two ticks counts as the user's or the
/// kernel's, by where the second tick finds the thread.
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

/// The end of a process as its parent or the kernel reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessExit {
    /// When.
    pub time_ns: u64,
    /// Exit code; `None` if a signal ended the process, or if the code is unknown.
    pub code: Option<i32>,
    /// Signal that ended it.
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

/// A limit that is nearly reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearLimit {
    /// When.
    pub time_ns: u64,
    /// Which.
    pub limit: Limit,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes allowed.
    pub limit_bytes: u64,
}

/// One executable mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// Offset of `start` in the file.
    pub offset: u64,
    /// File; empty for anonymous memory.
    pub path: String,
}

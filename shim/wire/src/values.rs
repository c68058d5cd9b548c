//! The numbers and flags of the wire, and their meanings.
//!
//! Neighbours: `table` (the macros), `records` and `arena` (the fields with these types).

use crate::table::{Bytes, Flags, Plain, ValueRow, ValuesRow, flags, numbers};

numbers! {
    /// Setting: CPU sampling.
    CpuMode: u32 {
        /// No CPU samples.
        OFF = 0,
        /// perf if the system grants perf events, else timers.
        ANY = 1,
        /// perf alone.
        PERF = 2,
        /// Timers alone.
        TIMER = 3,
    }

    /// Setting: memory profiling.
    MemoryMode: u32 {
        /// No memory records.
        OFF = 0,
        /// Allocations are sampled by bytes.
        SAMPLED = 1,
        /// Every allocation is recorded.
        EXACT = 2,
    }

    /// Setting: on or off.
    Switch: u32 {
        /// Off.
        OFF = 0,
        /// On.
        ON = 1,
    }

    /// The source of a thread's samples.
    Source: u32 {
        /// No source.
        NONE = 0,
        /// A perf task clock (user time), with a timer for kernel time.
        PERF_AND_TIMER = 1,
        /// A CPU timer alone.
        TIMER = 2,
        /// A perf task clock alone.
        PERF = 3,
        /// Looks from another thread, with the ticks that the kernel counts.
        LOOKS = 4,
        /// perf task clocks of another process, user and kernel time alike.
        PERF_WHOLE = 5,
    }

    /// Where the time of a CPU sample went.
    CpuKind: u8 {
        /// Executing bytecode, the interpreter's own work included.
        PYTHON = 0,
        /// C code called by the line.
        NATIVE = 1,
        /// The kernel, on behalf of the line.
        SYSTEM = 2,
    }

    /// Verdict of the start-up self-test.
    Verdict: u32 {
        /// Our frames equal the interpreter's.
        PASSED = 1,
        /// The frames differ: only totals can be trusted.
        FAILED = 2,
        /// The test could not run.
        IMPOSSIBLE = 3,
    }

    /// How a process ended.
    EndedBy: u32 {
        /// `exit`, or a return from `main`.
        EXIT = 0,
        /// `_exit`: no teardown.
        UNDERSCORE_EXIT = 1,
        /// exec: the process becomes another program, unless exec fails.
        EXEC = 2,
    }

    /// The end of a block.
    FreeHow: u32 {
        /// Freed.
        FREED = 0,
        /// About to be resized.
        RESIZED = 1,
        /// The allocator refused the thread's last resize: the block stays as before.
        REFUSED = 2,
    }

    /// A change of a range of addresses.
    MapChange: u32 {
        /// Mapped.
        MAPPED = 0,
        /// Unmapped; recorded before the call, because another thread may get the addresses at once.
        UNMAPPED = 1,
        /// Opened for access (mprotect).
        OPENED = 2,
        /// Moved or resized (mremap).
        MOVED = 3,
        /// Still there: the kernel refused what the `UNMAPPED` record of the same range announced.
        REFUSED = 4,
    }

    /// Which end of a section.
    SectionMark: u32 {
        /// The end.
        END = 0,
        /// The beginning.
        BEGIN = 1,
    }

    /// What a record says of a query.
    QueryMark: u32 {
        /// It has ended, or handed out more rows.
        END = 0,
        /// It begins.
        BEGIN = 1,
        /// It has failed.
        FAILED = 2,
        /// No query: the process counts its queries from now on.
        READY = 3,
        /// No query: time of the line in an ORM, which made the queries or read their rows.
        BUILT = 4,
    }

    /// A message for the report. Codes from 32 on come from the launcher.
    NoticeCode: u32 {
        /// This Python version is not supported (detail: `Py_Version`).
        UNSUPPORTED_VERSION = 1,
        /// This debug or free-threaded build is not supported (detail: `Py_Version`).
        UNSUPPORTED_BUILD = 2,
        /// perf events are denied (detail: errno).
        PERF_DENIED = 3,
        /// A thread has no timer (detail: errno).
        NO_TIMER = 4,
        /// The interpreter's allocators could not be hooked.
        HOOKS_REFUSED = 5,
        /// A thread that blocks SIGURG received SIGURG: no samples until the thread takes the signal (detail: thread id).
        SIGURG_BLOCKED = 8,
        /// The program set up a seccomp filter that ends it for system calls of the shim, which makes none from then on
        /// (detail: 1 if the shim records nothing more, either).
        FILTERED = 9,
        /// The launcher may not read the process' memory.
        MEMORY_UNREADABLE = 32,
        /// The launcher does not know this interpreter's layout (detail: `Py_Version`).
        LAYOUT_UNKNOWN = 33,
        /// Launcher: most looks at the process did not come about, because other programs had the processors; detail is
        /// the per cent that did.
        LOOKS_MISSED = 34,
    }
}

flags! {
    /// Flags of a process.
    ProcessFlags: u32 {
        /// A free-threaded build of Python.
        FREE_THREADED = 1,
        /// Forked from an armed process.
        FORKED = 2,
        /// The shim does not read its frames (a notice says why).
        NO_FRAMES = 4,
    }

    /// Flags of a code object.
    CodeFlags: u8 {
        /// The line table is too long for a record: in its place stand its address, its first and its last eight bytes.
        TABLE_APART = 1,
        /// A template engine made the code: behind the line table stands the map of its lines to lines of the template.
        TEMPLATE = 2,
    }

    /// Flags of a CPU sample.
    CpuFlags: u8 {
        /// Taken by the timer; otherwise by perf.
        TIMER = 1,
        /// The garbage collector of the thread's interpreter was at work.
        COLLECTING = 2,
        /// Under an instruction that is no call, but outside the evaluation loop: in a function that the instruction
        /// uses. The kind is then Python; the builder decides whether the function runs long enough to be native.
        OUTSIDE = 4,
    }

    /// Flags of an allocation.
    AllocFlags: u8 {
        /// Certain to be recorded: the sample stands for exactly its size.
        CERTAIN = 1,
        /// Requested through Python's object allocators.
        PYTHON = 2,
    }

    /// Flags of a mapping.
    MapFlags: u8 {
        /// Backed by a file.
        FILE = 1,
        /// An arena of Python's object allocator: its contents are counted block by block.
        ARENA = 4,
        /// Address space only: the program cannot touch the pages yet.
        RESERVED = 8,
        /// Mapped without reserve: only what is touched of it counts.
        LAZY = 16,
        /// With `UNMAPPED` and `REFUSED`: by mremap, whose `MOVED` record follows if the kernel agrees.
        MOVES = 32,
    }
}

impl CpuKind {
    /// Place of the kind in an array of three; an unknown kind counts as [`CpuKind::SYSTEM`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0.min(Self::SYSTEM.0))
    }
}

impl Switch {
    /// `ON` if `on`.
    #[must_use]
    pub const fn from_bool(on: bool) -> Self {
        if on { Self::ON } else { Self::OFF }
    }

    /// Anything but [`Switch::OFF`] is on.
    #[must_use]
    pub const fn is_on(self) -> bool {
        self.0 != Self::OFF.0
    }
}

/// The exit code of a process, if known.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ExitStatus(u32);

impl ExitStatus {
    /// Unknown.
    pub const UNKNOWN: Self = Self(0);
    /// Set if the low byte is an exit code.
    const KNOWN: u32 = 1 << 8;

    /// The exit code `code`; like the kernel, keeps the low byte.
    #[must_use]
    pub const fn exited(code: i32) -> Self {
        Self(Self::KNOWN | code.cast_unsigned() & 0xff)
    }

    /// The exit code, 0 to 255; `None` if unknown.
    #[must_use]
    pub const fn code(self) -> Option<i32> {
        if self.0 & Self::KNOWN == 0 { None } else { Some((self.0 & 0xff).cast_signed()) }
    }
}

impl Plain for ExitStatus {
    const BYTES: usize = u32::BYTES;
    const NAME: &'static str = "ExitStatus";

    fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        bytes.read().map(Self)
    }
}

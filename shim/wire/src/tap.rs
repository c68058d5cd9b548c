//! Allocation samples without a launcher: the functions by which the extension module uses the shim in its own process.
//!
//! The shim exports the function [`TAP_SYMBOL`], which returns a [`TapTable`]. The module makes an arena with a single
//! segment, lends the arena to the shim with `begin`, and reads the segment's ring as a launcher would. Invariant:
//! module and shim share the arena between `begin` and `end`; before and after, only the module uses the arena. When
//! `end` returns, no thread of the process uses the arena, and no thread will enter the arena again. The module may
//! then unmap the arena.

use crate::{ArenaHeader, Query, SectionMark};

/// Name of the shim's function that returns the table: `extern "C" fn() -> *const TapTable`.
pub const TAP_SYMBOL: &core::ffi::CStr = c"rscalene_tap";

/// The [`TapTable::version`] of this build.
pub const TAP_VERSION: u32 = 5;

/// Result of `begin`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapAnswer {
    /// The shim samples allocations from now on.
    Begun = 0,
    /// The shim was preloaded: the launcher already profiles this process' allocations.
    Preloaded = 1,
    /// The shim cannot hook an allocator of this process.
    NoAllocator = 2,
    /// The shim cannot read the interpreter's frames, so no sample could name a line.
    NoFrames = 3,
    /// The system gave no memory.
    NoMemory = 4,
}

impl TapAnswer {
    /// The result for a number; [`TapAnswer::NoAllocator`] for a number unknown to this build.
    #[must_use]
    pub const fn from_u32(number: u32) -> Self {
        match number {
            0 => Self::Begun,
            1 => Self::Preloaded,
            3 => Self::NoFrames,
            4 => Self::NoMemory,
            _ => Self::NoAllocator,
        }
    }
}

/// The shim's functions for the extension module. The caller holds the GIL, and calls from outside of allocators and
/// signal handlers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TapTable {
    /// [`TAP_VERSION`].
    pub version: u32,
    /// Begins to sample allocations into segment 0 of `arena`, according to the arena's settings. The whole arena must
    /// be mapped. `keep_out` is an address in a library that the shim must not hook. Returns a [`TapAnswer`] as a
    /// number.
    pub begin: unsafe extern "C" fn(arena: *mut ArenaHeader, keep_out: usize) -> u32,
    /// Stops sampling, removes the hooks, and waits until the last thread has left the arena. Does nothing without
    /// `begin`.
    pub end: unsafe extern "C" fn(),
    /// Records the beginning or the end of a section with this number, for the launcher. The profiler itself has used
    /// `own_ns` of the process' CPU time. `name` has `bytes` bytes. Returns 1 if there is a launcher, otherwise 0.
    pub section:
        unsafe extern "C" fn(section: u32, mark: SectionMark, own_ns: u64, name: *const u8, bytes: usize) -> u32,
    /// Makes the shim put a label into every record: the number in this context variable, in the context of the thread
    /// that records. Returns 1 if a launcher or a `Profiler` records.
    pub follow: unsafe extern "C" fn(variable: *const LabelVariable) -> u32,
    /// Records the text of a label. `text` has `bytes` bytes, in the form of [`crate::Label`]. Returns 1 if a launcher
    /// or a `Profiler` records.
    pub define_label: unsafe extern "C" fn(label: u32, text: *const u8, bytes: usize) -> u32,
    /// Records the end of a piece of work. `name` is the number of a defined label; the other arguments are those of
    /// [`crate::Span`]. Returns 1 if a launcher or a `Profiler` records.
    pub span: unsafe extern "C" fn(label: u32, name: u32, wall_ns: u64, cpu_ns: u64, count: u32) -> u32,
    /// Records a query. The shim writes the time into `query`, and for the marks `BEGIN` and `BUILT` also the stack and
    /// the label. Returns 1 if the record was written. The caller need not hold the GIL.
    pub query: unsafe extern "C" fn(query: *mut Query) -> u32,
    /// Excludes the calling thread, a thread of the profiler: the shim records none of its allocations from now on.
    pub keep_thread_out: extern "C" fn(),
}

/// The context variable that holds the number of the current label, as an `int` of a single digit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LabelVariable {
    /// Offset of the context in the thread state.
    pub context: u32,
    /// The variable's hash, folded as the interpreter's maps fold hashes.
    pub hash: u32,
    /// Address of the variable.
    pub variable: u64,
    /// Address of the type of the maps' bitmap nodes.
    pub bitmap: u64,
    /// Address of the type of the maps' full nodes.
    pub array: u64,
    /// Address of `int`.
    pub int: u64,
}

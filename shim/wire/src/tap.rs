//! Allocation samples without a launcher: what the extension module and the shim say to each other in one process.
//!
//! The shim exports one function, [`TAP_SYMBOL`], that returns a [`TapTable`]. The module makes an arena of one
//! segment, lends it to the shim with `begin`, and reads the segment's ring as a launcher would. Invariant: between
//! `begin` and `end` the arena belongs to both, before and after to the module alone: when `end` returns, no thread of
//! the process is in the arena any more, and none comes back.

use crate::{ArenaHeader, Query, SectionMark};

/// Name of the function that returns the table: `extern "C" fn() -> *const TapTable`.
pub const TAP_SYMBOL: &core::ffi::CStr = c"rscalene_tap";

/// [`TapTable::version`] that this build speaks.
pub const TAP_VERSION: u32 = 5;

/// What `begin` answers.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapAnswer {
    /// Samples are taken from now on.
    Begun = 0,
    /// The shim was preloaded: this process' allocations belong to the launcher.
    Preloaded = 1,
    /// This process has no allocator that can be hooked.
    NoAllocator = 2,
    /// The interpreter's frames cannot be read, so no line could be named.
    NoFrames = 3,
    /// The system gave no memory.
    NoMemory = 4,
}

impl TapAnswer {
    /// The answer of a number; [`TapAnswer::NoAllocator`] for one that this build does not know.
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

/// What the shim offers. All functions are called with the GIL held, outside of allocators and signal handlers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TapTable {
    /// [`TAP_VERSION`].
    pub version: u32,
    /// Sample allocations into segment 0 of `arena`, of which the whole is mapped, as its settings say; `keep_out` is
    /// an address in a library to leave alone. Answers a [`TapAnswer`] as a number.
    pub begin: unsafe extern "C" fn(arena: *mut ArenaHeader, keep_out: usize) -> u32,
    /// Stop, unhook, and wait for the last thread to leave the arena. Does nothing where nothing was begun.
    pub end: unsafe extern "C" fn(),
    /// Tell the launcher, if there is one, of the beginning or the end of a section with this number; `own_ns` of the
    /// process' CPU time are the profiler's own, and `name` has `bytes` bytes. Answers 1 where there is a launcher.
    pub section:
        unsafe extern "C" fn(section: u32, mark: SectionMark, own_ns: u64, name: *const u8, bytes: usize) -> u32,
    /// Every record bears the number that this context variable has in the recording thread's context. Answers 1 where
    /// something records.
    pub follow: unsafe extern "C" fn(variable: *const LabelVariable) -> u32,
    /// Say what a label means: `text` has `bytes` bytes, as [`crate::Label`] has them. Answers 1 where something
    /// records.
    pub define_label: unsafe extern "C" fn(label: u32, text: *const u8, bytes: usize) -> u32,
    /// A piece of work that `name` says (a label that was defined) has ended; the rest as in [`crate::Span`]. Answers 1
    /// where something records.
    pub span: unsafe extern "C" fn(label: u32, name: u32, wall_ns: u64, cpu_ns: u64, count: u32) -> u32,
    /// Record a query. The shim writes the time, and at a beginning the stack and the label, into `query`. Answers 1 where
    /// something records. May be called without the GIL.
    pub query: unsafe extern "C" fn(query: *mut Query) -> u32,
    /// The calling thread is the profiler's own: nothing that it allocates from now on is recorded.
    pub keep_thread_out: extern "C" fn(),
}

/// Where a label stands: the value of a context variable, an `int` of one digit.
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

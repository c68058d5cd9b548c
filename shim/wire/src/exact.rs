//! Exact counting for each thread: the interface between extension module and shim in the profiled process.
//!
//! The shim exports the function [`EXACT_SYMBOL`], which returns an [`ExactTable`]. The reader's question: *how many
//! bytes did this thread allocate and free, to the byte?* The numbers lie in the thread's own [`ExactCounters`]. Only
//! the owning thread writes them, so plain loads read them.

/// Name of the function that returns the table: `extern "C" fn() -> *const ExactTable`.
pub const EXACT_SYMBOL: &core::ffi::CStr = c"rscalene_exact";

/// [`ExactTable::version`] that this build speaks.
pub const EXACT_VERSION: u32 = 1;

/// Bytes of a thread since the shim first counted the thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ExactCounters {
    /// Bytes requested.
    pub allocated: u64,
    /// Bytes given back, by their requested sizes.
    pub freed: u64,
    /// Highest `allocated - freed` since the reader last set it.
    pub high: i64,
    /// Depth of allocator calls; only the outermost call counts.
    pub inside: u32,
    /// Freed blocks of unknown requested size.
    pub unknown: u32,
    /// While an unknown block is freed: its address.
    pub watched: usize,
    /// Usable bytes of the watched block + 1, as the allocator below answered; 0 if the shim has not asked.
    pub usable: usize,
}

/// The functions of the shim. All functions are called with the GIL held, outside of allocators and signal handlers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExactTable {
    /// [`EXACT_VERSION`].
    pub version: u32,
    /// Make the loaded libraries' allocator calls visible; `keep_out` is an address in a library to leave alone. Again
    /// when more libraries were loaded. Returns false where the process cannot be hooked.
    pub prepare: unsafe extern "C" fn(keep_out: usize) -> bool,
    /// Count from now on, in all threads. Nests.
    pub begin: unsafe extern "C" fn(),
    /// Stop counting, when called as often as `begin`.
    pub end: unsafe extern "C" fn(),
    /// The calling thread's counters; valid as long as the thread.
    pub counters: unsafe extern "C" fn() -> *mut ExactCounters,
}

const _: () = assert!(size_of::<ExactCounters>() == 48);

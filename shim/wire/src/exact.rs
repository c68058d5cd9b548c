//! Exact counting for one thread: what the extension module and the shim say to each other in the profiled process.
//!
//! The shim exports one function, [`EXACT_SYMBOL`], that returns a [`ExactTable`]. The reader's question: *how many bytes
//! did this thread allocate and free, to the byte?* The numbers lie in the thread's own [`ExactCounters`]; only that
//! thread writes them, so they are read with plain loads.

/// Name of the function that returns the table: `extern "C" fn() -> *const ExactTable`.
pub const EXACT_SYMBOL: &core::ffi::CStr = c"rscalene_exact";

/// [`ExactTable::version`] that this build speaks.
pub const EXACT_VERSION: u32 = 1;

/// One thread's bytes since it was first counted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ExactCounters {
    /// Bytes requested.
    pub allocated: u64,
    /// Bytes given back, by their requested sizes.
    pub freed: u64,
    /// Highest `allocated - freed` since the reader last set it.
    pub high: i64,
    /// Depth of allocator calls; the outermost one counts.
    pub inside: u32,
    /// Blocks that were freed and whose requested size was not known.
    pub unknown: u32,
    /// While an unknown block is freed: its address.
    pub watched: usize,
    /// What the allocator below said about the watched block: usable bytes + 1; 0 if it was not asked.
    pub usable: usize,
}

/// What the shim offers. All functions are called with the GIL held, outside of allocators and signal handlers.
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

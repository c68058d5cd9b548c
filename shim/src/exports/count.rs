//! Exact counting: every byte that a thread allocates and frees, by its requested size.
//!
//! Job: serve `@profile`, with and without preload, and let `exports::sample` use the same patching of loaded
//! libraries. The result is the number of bytes that each line allocated, exact to the byte.
//! Invariant: while counting is off, nothing is counted and the hooks only forward calls; in nested allocator calls,
//! only the outermost call counts. Neighbours: `wire::exact` is the contract, `src/lines` reads the counters.
//!
//! ```text
//!  native   the malloc family, reached through the loaded libraries' tables (got)
//!  python   the interpreter's three allocator domains
//!  sizes    address -> requested size, for blocks allocated while counting was on
//!  counters each thread's counters
//! ```
//!
//! A block allocated before counting began has no recorded size: it counts with the size that its allocator reports,
//! which is up to 15 bytes more than was requested.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rscalene_wire::{EXACT_VERSION, ExactCounters, ExactTable};

use crate::count::counters::{self, ACTIVE, counting};
use crate::count::{pymem as python, sizes};
use crate::ground::allocators;
use crate::memory::pymem_install;
use crate::memory::tables::libc as native;

static TABLE: ExactTable = ExactTable { version: EXACT_VERSION, prepare, begin, end, counters: thread_counters };

/// The table of exact counting.
#[unsafe(no_mangle)]
extern "C" fn rscalene_exact() -> *const ExactTable {
    &raw const TABLE
}

unsafe extern "C" fn prepare(keep_out: usize) -> bool {
    PREPARED.store(true, Relaxed);
    reach() && native::patch(keep_out)
}

/// Set once exact counting was prepared: from then on the libraries' tables stay patched.
static PREPARED: AtomicBool = AtomicBool::new(false);

/// Finds the functions to hook; false if this process has none.
pub(crate) fn reach() -> bool {
    native::find() && allocators::find()
}

/// Is this library preloaded, so that the program's calls of the malloc family come here without patching?
pub(crate) fn preloaded() -> bool {
    native::preloaded()
}

/// Redirects the libraries' calls of the malloc family.
pub(crate) fn patch(keep_out: usize) {
    native::patch(keep_out);
}

/// Called when sampling ends: removes the functions that exact counting does not need.
pub(crate) fn give_way() {
    if !counting() {
        python::remove();
    }
    if !PREPARED.load(Relaxed) {
        native::restore();
    }
}

/// Are the counting functions on top of the interpreter's?
pub(crate) fn on_top() -> bool {
    python::on_top()
}

unsafe extern "C" fn begin() {
    if ACTIVE.fetch_add(1, Relaxed) == 0 {
        if !python::in_place() {
            pymem_install::note_kind();
        }
        python::install();
    }
}

unsafe extern "C" fn end() {
    if ACTIVE.load(Relaxed) != 0 && ACTIVE.fetch_sub(1, Relaxed) == 1 {
        python::remove();
        // Sampling's functions may lie above the counting functions, and `settle` removes them; then remove again.
        pymem_install::settle();
        python::remove();
        sizes::forget();
    }
}

unsafe extern "C" fn thread_counters() -> *mut ExactCounters {
    counters::mine()
}

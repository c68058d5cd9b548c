//! The preloaded library: everything of rscalene that runs inside the profiled process.
//!
//! Job: take CPU samples in a signal handler and allocation samples in the allocator's entry points, and write them
//! into the launcher's arena. The reader's question: *what may this line of code meet?* The answer holds everywhere
//! in this crate: it may run in a signal handler or inside `malloc`, so it never allocates, never takes a lock, never
//! panics, keeps `errno`, and uses no `std`. What it cannot do it counts. Neighbours: `wire` (the records),
//! `interp` (what CPython looks like); the launcher is on the other side of the arena.
//!
//! ```text
//!  exports    the tables of functions for the extension module: count (`@profile`), sample (`Profiler`)
//!  count      bytes of each thread, exactly: nothing of it runs unless the extension module asks
//!  life       start (constructor), fork and exit, exec and posix_spawn, pthread_create
//!  memory     sample (the decision, the record), preload/ (the allocator's entry points), tables/ (loaded libraries)
//!  signals    what the program sees of the signals that we use; its own SIGURG, where it blocks that
//!  cpu        threads (a slot each), clock (perf and timers), handler (one CPU sample)
//!  python     stack (frames to ids, sent once), selftest, classify
//!  arena      ring: slots of the segment: reserve, write, commit
//!  ground     system calls, the functions behind ours, the thread's block, loads that survive a fault
//! ```

#![no_std]

mod arena;
mod count;
mod cpu;
mod exports;
mod ground;
mod life;
mod memory;
mod python;
mod signals;

/// A reachable panic is a link-time fact that a test looks for: the symbol below must not be in the library.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn rscalene_shim_must_not_panic() -> !;
    }
    rscalene_shim_must_not_panic()
}

//! The preloaded library: everything of rscalene that runs inside the profiled process.
//!
//! Job: take CPU samples in a signal handler and allocation samples in the allocator's entry points, and write the
//! samples into the launcher's arena. Any line of this crate may run in a signal handler or inside `malloc`. So the
//! crate never allocates, takes no lock, does not panic, preserves `errno`, and uses no `std`. Records that do not fit
//! are counted as lost. Neighbours: `wire` (the records), `interp` (CPython's structures), and the launcher, which
//! reads the arena.
//!
//! ```text
//!  exports    the tables of functions for the extension module: count (`@profile`), sample (`Profiler`)
//!  count      exact bytes of each thread; runs only if the extension module asks
//!  life       start (constructor), fork and exit, exec and posix_spawn, pthread_create
//!  memory     sample (the decision, the record), preload/ (the allocator's entry points), tables/ (loaded libraries)
//!  signals    the program's view of the signals used here; the program's own SIGURG while the program blocks SIGURG
//!  cpu        threads (a slot each), clock (perf and timers), handler (one CPU sample)
//!  python     stack (frames to ids, sent once), selftest, classify
//!  arena      ring: slots of the segment: reserve, write, commit
//!  ground     system calls, the functions behind the interposers, the thread's block, guarded loads
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

/// If the compiler finds a panic reachable, the library refers to the symbol below; a test checks that it does not.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn rscalene_shim_must_not_panic() -> !;
    }
    rscalene_shim_must_not_panic()
}

//! The preloaded library: everything of rscalene that runs inside the profiled process.
//!
//! Job: take CPU samples in a signal handler and allocation samples in the allocator's entry points, and write them
//! into the launcher's arena. The reader's question: *what may this line of code meet?* The answer holds everywhere
//! in this crate: it may run in a signal handler or inside `malloc`, so it never allocates, never takes a lock, never
//! panics, keeps `errno`, and uses no `std`. What it cannot do it counts. Neighbours: `wire` (the records),
//! `interp` (what CPython looks like); the launcher is on the other side of the arena.
//!
//! ```text
//!  start      finds the arena and the interpreter, arms the process      (constructor)
//!  process    fork and exit: one segment a process                       (atfork, interposers)
//!  exec       exec and posix_spawn: the ledger, the mask, the environment
//!  threads    a slot a thread: sampling armed at its start, ledger at its end
//!  pthread    pthread_create: where threads are made
//!  clock      the sources of CPU signals: perf task-clock, CPU timers
//!  handler    one CPU sample: classify, walk, write
//!  stack      frames to ids: code objects and stacks are sent once
//!  ring       slots of the segment: reserve, write, commit
//!  signals    what the program sees of the signals that we use
//!  urgent     its own SIGURG, where it blocks that
//!  guard      loads that survive a fault
//!  hooks      the allocator's entry points
//!  exact      bytes of this thread, for `@profile`: nothing of it runs unless the extension module asks
//!  tap        allocation samples for `Profiler`: the same
//! ```

#![no_std]

mod classify;
mod clock;
mod exact;
mod exec;
mod guard;
mod handler;
mod hooks;
mod pace;
mod process;
mod pthread;
mod real;
mod ring;
mod selftest;
mod signals;
mod stack;
mod start;
mod sys;
mod tap;
mod threads;
mod tls;
mod urgent;

/// A reachable panic is a link-time fact that a test looks for: the symbol below must not be in the library.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn rscalene_shim_must_not_panic() -> !;
    }
    rscalene_shim_must_not_panic()
}

//! What is kept of a thread: its sources, its gaps, and room for its walks.
//!
//! Invariant: a slot is written by its own thread alone, in its signal handler too; where slots lie and when one is free
//! `cpu::threads` knows. Neighbours: `tls` (leads to the slot), `cpu` (fills it), `python::stack` (walks in its room).

use core::cell::{Cell, UnsafeCell};
use core::ffi::c_void;

use rscalene_wire::{Source, StackEntry};

/// Frames that one walk keeps; `Settings::max_depth` may ask for fewer.
pub(crate) const DEPTH: usize = 1024;
/// Bytes for the text of one filename or qualified name.
pub(crate) const TEXT: usize = 4096;

/// Room for one walk.
pub(crate) struct Scratch {
    /// Frames, leaf first.
    pub(crate) entries: [StackEntry; DEPTH],
    /// Text on its way into a record.
    pub(crate) text: [u8; TEXT],
}

/// What is kept of a thread.
pub(crate) struct Slot {
    /// Kernel thread id.
    pub(crate) tid: Cell<u32>,
    /// What samples it.
    pub(crate) source: Cell<Source>,
    /// Number of the descriptor that the perf event had; -1 without one.
    pub(crate) perf_fd: Cell<i32>,
    /// The same of the event before it, of which a last signal may come.
    pub(crate) former_fd: Cell<i32>,
    /// Descriptor of an event that is just being made; -1 at all other times.
    pub(crate) opening: Cell<i32>,
    /// Page that keeps the perf event alive; null without one.
    pub(crate) perf_page: Cell<*mut u8>,
    /// Its timer; negative without one.
    pub(crate) timer: Cell<i32>,
    /// CPU nanoseconds between the timer's signals.
    pub(crate) timer_ns: Cell<u64>,
    /// Nanoseconds from the last tick that the timer was seen at to its signal: of the next one's time they are the first.
    pub(crate) late_ns: Cell<u64>,
    /// Signals of the timer since the last that met the kernel.
    pub(crate) quiet: Cell<u32>,
    /// User and kernel time at the last timer sample.
    pub(crate) last_usage: Cell<(u64, u64, u64)>,
    /// CPU nanoseconds between its samples, on average.
    pub(crate) interval_ns: Cell<u64>,
    /// CPU nanoseconds that the next sample stands for (at least, where the timer takes it).
    pub(crate) gap_ns: Cell<u64>,
    /// CPU nanoseconds of the timer's signals that no sample stands for yet; less than the gap.
    pub(crate) owed_ns: Cell<u64>,
    /// CPU nanoseconds since the perf event was made, as far as its own and the timer's signals tell.
    pub(crate) perf_age_ns: Cell<u64>,
    /// 0; while the cost of a signal is measured, one more than the signals that came.
    pub(crate) trials: Cell<u32>,
    /// Rounds of key destructors that have run at the thread's end.
    pub(crate) ending: Cell<u32>,
    /// What the thread is made for: its function, the argument, and what the program believes of its mask.
    pub(crate) task: Cell<Task>,
    /// One for the signal handler, one for the hooks that it may interrupt.
    scratch: [UnsafeCell<Scratch>; 2],
}

/// First function of a thread.
pub(crate) type Entry = unsafe extern "C" fn(*mut c_void) -> *mut c_void;

/// What a thread is made for.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    /// Its first function.
    pub(crate) entry: Option<Entry>,
    /// What that is given.
    pub(crate) argument: *mut c_void,
    /// The signals of ours that it believes to block.
    pub(crate) masked: u32,
}

impl Slot {
    /// Room for a walk: `handler` says who asks.
    ///
    /// # Safety
    /// Only the slot's own thread, and not twice at a time for the same asker.
    #[expect(clippy::mut_from_ref, reason = "the two rooms are handed out to one asker each, as the caller vouches")]
    pub(crate) unsafe fn scratch(&self, handler: bool) -> &mut Scratch {
        let [in_handler, in_hook] = &self.scratch;
        let cell = if handler { in_handler } else { in_hook };
        // SAFETY: the caller is the only user of this room.
        unsafe { &mut *cell.get() }
    }
}

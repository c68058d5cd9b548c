//! The slot of a thread: its sample sources, its gaps between samples, and buffers for its stack walks.
//!
//! Invariant: only the slot's own thread, or a signal handler in this thread, writes the slot. There are two exceptions
//! in `cpu::threads`: `silence_all` and `resume_all` write all slots while no thread takes a sample, and `forget_all`
//! clears all slots in a forked child. `cpu::threads` allocates slots and marks them as free. Neighbours: `tls` (points
//! to the slot), `cpu` (fills the slot), `python::stack` (uses the buffers).

use core::cell::{Cell, UnsafeCell};
use core::ffi::c_void;

use rscalene_wire::{Source, StackEntry};

/// Most frames that one walk keeps.
pub(crate) const DEPTH: usize = 1024;
/// Bytes for the text of a filename or qualified name.
pub(crate) const TEXT: usize = 4096;

/// Buffers for a stack walk.
pub(crate) struct Scratch {
    /// Frames, leaf first.
    pub(crate) entries: [StackEntry; DEPTH],
    /// Text on its way into a record.
    pub(crate) text: [u8; TEXT],
}

/// The data of a thread that its signal handler and its hooks use.
pub(crate) struct Slot {
    /// Kernel thread id.
    pub(crate) tid: Cell<u32>,
    /// The sources that sample the thread.
    pub(crate) source: Cell<Source>,
    /// Number of the descriptor that the perf event had; -1 without a perf event.
    pub(crate) perf_fd: Cell<i32>,
    /// Descriptor number of the previous perf event, because a last signal of that event may still come.
    pub(crate) former_fd: Cell<i32>,
    /// Descriptor of an event while `clock` opens the event; -1 at all other times.
    pub(crate) opening: Cell<i32>,
    /// Page that keeps the perf event alive; null without a perf event.
    pub(crate) perf_page: Cell<*mut u8>,
    /// Number of the thread's timer; negative without a timer.
    pub(crate) timer: Cell<i32>,
    /// CPU nanoseconds between the timer's signals.
    pub(crate) timer_ns: Cell<u64>,
    /// Nanoseconds from the last tick at which the timer fired to the arrival of the signal. They count as the first
    /// part of the time up to the next tick.
    pub(crate) late_ns: Cell<u64>,
    /// Signals of the timer since the last signal that met the kernel working for this thread.
    pub(crate) quiet: Cell<u32>,
    /// User and kernel time at the last timer sample.
    pub(crate) last_usage: Cell<(u64, u64, u64)>,
    /// Mean CPU nanoseconds between the thread's samples.
    pub(crate) interval_ns: Cell<u64>,
    /// Weight of the next sample in CPU nanoseconds. A sample of the timer may weigh more.
    pub(crate) gap_ns: Cell<u64>,
    /// CPU nanoseconds that the timer has reported and no sample has counted yet; less than the gap.
    pub(crate) owed_ns: Cell<u64>,
    /// CPU nanoseconds since the start of the perf event, counted from the signals of the event and of the timer.
    pub(crate) perf_age_ns: Cell<u64>,
    /// While `budget` measures the cost of a signal: 1 plus the number of signals so far. Otherwise 0.
    pub(crate) trials: Cell<u32>,
    /// Rounds of key destructors that have run at the thread's end.
    pub(crate) ending: Cell<u32>,
    /// The thread's first function, its argument, and the signal mask that the program has set for the thread.
    pub(crate) task: Cell<Task>,
    /// The first is for the signal handler, the second for the hooks, which the handler may interrupt.
    scratch: [UnsafeCell<Scratch>; 2],
}

/// First function of a thread.
pub(crate) type Entry = unsafe extern "C" fn(*mut c_void) -> *mut c_void;

/// The function that a new thread runs, with its argument and its signal mask.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    /// The thread's first function.
    pub(crate) entry: Option<Entry>,
    /// Argument of `entry`.
    pub(crate) argument: *mut c_void,
    /// Bits of [`Tls::masked`](crate::ground::tls::Tls) that the new thread inherits: the program believes SIGURG
    /// blocked.
    pub(crate) masked: u32,
}

impl Slot {
    /// Buffers for a stack walk. `handler`: the caller is the signal handler; otherwise a hook.
    ///
    /// # Safety
    /// The caller must run in the slot's own thread. The handler and a hook may each hold one result at a time.
    #[expect(clippy::mut_from_ref, reason = "each buffer has a single user, as the caller guarantees")]
    pub(crate) unsafe fn scratch(&self, handler: bool) -> &mut Scratch {
        let [in_handler, in_hook] = &self.scratch;
        let cell = if handler { in_handler } else { in_hook };
        // SAFETY: the caller is the only user of this buffer.
        unsafe { &mut *cell.get() }
    }
}

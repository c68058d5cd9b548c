//! How often a thread's timer comes, and which of its signals are samples.
//!
//! Job: look at every tick while kernel time is about, at few where there is none, and give samples at the interval that
//! was asked for. Invariant: what all signals stand for is what all samples stand for, but for less than an interval a
//! thread, which is chance. Neighbours: `handler` asks, `threads` arms, `clock` sets the timer.

use crate::clock;
use crate::threads::Slot;

/// Signals that did not meet the kernel after which the timer beside perf comes less often.
const QUIET: u32 = 64;
/// How much less often, and to what at least (a few of the kernel's ticks).
const LESS_OFTEN: u64 = 4;
const SELDOM_NS: u64 = 16_000_000;

/// The timer fires at least this often while it meets the kernel: a tick of a kernel with 250 a second, and a little less.
/// What a look at several ticks sees of the kernel's time would all be charged to where the last of them hit.
pub(crate) const TICK_NS: u64 = 3_990_000;

impl Slot {
    /// The timer beside perf has fired: `hit` says whether it met the kernel at work for this thread. Where it never does
    /// it costs and tells nothing, so it slows down; how far apart its signals are is decided before the one that counts
    /// for that distance, so no kernel time weighs more or less for it. Called in the thread's own handler.
    pub(crate) fn pace_timer(&self, hit: bool) {
        let interval = self.interval_ns.get().min(TICK_NS);
        self.quiet.set(if hit { 0 } else { self.quiet.get().saturating_add(1) });
        let wanted =
            if self.quiet.get() < QUIET { interval } else { (interval * LESS_OFTEN).max(SELDOM_NS).max(interval) };
        if wanted != self.timer_ns.get() && clock::set_timer(self.timer.get(), wanted, wanted) >= 0 {
            self.timer_ns.set(wanted);
        }
    }

    /// The timer stands for so much CPU time: how much of all that is due makes whole intervals, which a sample stands for
    /// now. Called in the thread's own handler.
    pub(crate) fn due(&self, spent_ns: u64) -> u64 {
        let all = self.owed_ns.get().saturating_add(spent_ns);
        let rest = all % self.interval_ns.get().max(1);
        self.owed_ns.set(rest);
        all - rest
    }
}

//! How far apart a thread's samples are, and how often its timer comes.
//!
//! Job: give samples at the interval that was asked for, on average, at distances drawn at random; look at every tick while
//! kernel time is about, at few where there is none. Invariants: a sample stands for the distance to the one before it;
//! what all signals stand for is what all samples stand for, but for a gap a thread at either end, which is chance. Neighbours: `handler` asks, `threads` arms, `clock` sets the timer.

use crate::threads::{Slot, next_random};
use crate::tls::Tls;
use crate::{clock, threads};

/// CPU time after which a perf event makes room for one of another period, and at least an interval. With periods evenly
/// drawn, the error that a program's cycle can make is on average that of samples at random, however many samples a
/// period is kept for; less often costs less, and leaves other threads' new descriptors their numbers.
const PERF_AGE_NS: u64 = 50_000_000;
/// How many times as old an event that is not heard of becomes.
const UNHEARD: u64 = 4;
/// CPU time that a thread may need until it knows its own event.
const ARMING_NS: u64 = 100_000;

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

    /// Draws the first gap. It began before the thread did, anywhere within it: those that end within one have their share
    /// of samples, too. A gap is met by chance as often as it is long.
    pub(crate) fn begin_gaps(&self, block: &Tls) {
        let interval = self.interval_ns.get();
        let gap = loop {
            let gap = self.draw(block);
            if next_random(block) % (interval + interval / 2).max(1) < gap {
                break gap;
            }
        };
        self.gap_ns.set(gap);
        self.owed_ns.set(next_random(block) % gap.max(1));
        // What is left of it is not the distance to the second sample, too: the first makes room for another event.
        self.perf_age_ns.set(self.age_limit_ns());
    }

    /// CPU nanoseconds that are left of the first gap; enough for the thread's arming.
    pub(crate) fn first_period(&self) -> u64 {
        let left = self.gap_ns.get().saturating_sub(self.owed_ns.get());
        left.max(ARMING_NS.min(self.interval_ns.get() / 2))
    }

    fn age_limit_ns(&self) -> u64 {
        PERF_AGE_NS.max(self.interval_ns.get())
    }

    /// A gap: from half an interval to one and a half, so that no cycle of the program keeps step with its samples.
    fn draw(&self, block: &Tls) -> u64 {
        let interval = self.interval_ns.get();
        interval / 2 + next_random(block) % interval.max(1)
    }

    /// The timer stands for so much CPU time: what a sample stands for now, or zero where none is due. Called in the
    /// thread's own handler.
    pub(crate) fn due(&self, spent_ns: u64, block: &Tls) -> u64 {
        let all = self.owed_ns.get().saturating_add(spent_ns);
        let due = all >= self.gap_ns.get();
        self.owed_ns.set(if due { 0 } else { all });
        if due {
            self.gap_ns.set(self.draw(block));
        }
        if due { all } else { 0 }
    }

    /// So much CPU time has passed, by a signal of the perf event (`fired`) or of the timer beside it: an event that is old
    /// enough makes room for one of another gap. One that only ever fires in the kernel sends nothing; then it is the timer
    /// that tells its age. Called in the thread's own handler.
    pub(crate) fn vary_perf(&self, passed_ns: u64, fired: bool, block: &Tls) {
        if fired {
            // From here on each of its signals stands for its period.
            self.gap_ns.set(self.gap_ns.get().saturating_sub(self.owed_ns.replace(0)));
        }
        let age = self.perf_age_ns.get().saturating_add(passed_ns);
        self.perf_age_ns.set(age);
        let patience = if fired { 1 } else { UNHEARD };
        if age >= self.age_limit_ns().saturating_mul(patience) {
            threads::replace_perf(self, self.draw(block));
        }
    }
}

//! How far apart a thread's samples are, and how often its timer comes.
//!
//! Job: give samples at the interval that was asked for, on average, at distances drawn at random; look at every tick while
//! kernel time is about, at few where there is none. Invariants: a sample stands for the distance to the one before it;
//! what all signals stand for is what all samples stand for, but for a gap a thread at either end, which is chance.
//! Neighbours: `handler` asks, `threads` arms, `clock` sets the timer.

use crate::cpu::clock;
use crate::ground::random::next_random;
use crate::ground::slot::Slot;
use crate::ground::sys;
use crate::ground::tls::Tls;

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

/// The timer fires at least this often while it meets the kernel: at each tick of a kernel with 250 a second. What a look at
/// several ticks sees of the kernel's time would all be charged to where the last of them hit.
const LOOK_NS: u64 = 3_990_000;
/// Where ticks are longer than this each one is looked at.
const SHORT_TICK_NS: u64 = LOOK_NS / 2;
/// Between such ticks the timer fires so often (its signals still come at ticks alone): one that follows close on a late
/// signal is not missed, and the number of times tells how much CPU time has passed. No whole number a tick, so that what
/// is cut off is not always the same.
const A_TICK: f64 = 97.618;

/// How far apart the timer fires while it meets the kernel.
pub(crate) fn often() -> u64 {
    let tick_ns = sys::resolution_ns(libc::CLOCK_MONOTONIC_COARSE);
    if tick_ns > SHORT_TICK_NS { (tick_ns as f64 / A_TICK) as u64 } else { LOOK_NS }
}

/// Nanoseconds since the last tick.
fn since_tick() -> u64 {
    sys::now_ns().saturating_sub(sys::clock_ns(libc::CLOCK_MONOTONIC_COARSE))
}

impl Slot {
    /// The timer beside perf has fired: `hit` says whether it met the kernel at work for this thread. Where it never does
    /// it costs and tells nothing, so it slows down; how far apart its signals are is decided before the one that counts
    /// for that distance, so no kernel time weighs more or less for it. Called in the thread's own handler.
    pub(crate) fn pace_timer(&self, hit: bool) {
        let interval = self.interval_ns.get().min(often());
        self.quiet.set(if hit { 0 } else { self.quiet.get().saturating_add(1) });
        let wanted =
            if self.quiet.get() < QUIET { interval } else { (interval * LESS_OFTEN).max(SELDOM_NS).max(interval) };
        if wanted != self.timer_ns.get() && clock::set_timer(self.timer.get(), wanted, wanted) >= 0 {
            self.timer_ns.set(wanted);
        }
    }

    /// The thread begins between two ticks: the first that it meets stands for a whole one, as those that it does not meet
    /// stand for nothing.
    pub(crate) fn begin_ticks(&self) {
        self.late_ns.set(since_tick());
    }

    /// CPU nanoseconds from the tick before to the one at which the timer fired, so many times. The signal comes when the
    /// thread leaves the kernel, which may be much later: what passed since is the next tick's, whoever that meets. Called
    /// in the thread's own handler.
    pub(crate) fn passed_ns(&self, expirations: u64) -> u64 {
        let all = self.timer_ns.get().saturating_mul(expirations);
        let before = self.late_ns.replace(since_tick());
        if self.timer_ns.get() >= LOOK_NS {
            return all;
        }
        let all = all.saturating_add(before);
        let late = self.late_ns.get().min(all);
        self.late_ns.set(late);
        all - late
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
        let mut left = self.owed_ns.get().saturating_add(spent_ns);
        let mut due = 0;
        while left >= self.gap_ns.get() {
            left -= self.gap_ns.get();
            due += self.gap_ns.replace(self.draw(block));
        }
        self.owed_ns.set(left);
        due
    }

    /// So much CPU time has passed, by a signal of the perf event (`fired`) or of the timer beside it: the period of
    /// another event, if this one is old enough to make room for it. One that only ever fires in the kernel sends nothing;
    /// then it is the timer that tells its age. Called in the thread's own handler.
    pub(crate) fn vary_perf(&self, passed_ns: u64, fired: bool, block: &Tls) -> Option<u64> {
        if fired {
            // From here on each of its signals stands for its period.
            self.gap_ns.set(self.gap_ns.get().saturating_sub(self.owed_ns.replace(0)));
        }
        let age = self.perf_age_ns.get().saturating_add(passed_ns);
        self.perf_age_ns.set(age);
        let patience = if fired { 1 } else { UNHEARD };
        (age >= self.age_limit_ns().saturating_mul(patience)).then(|| self.draw(block))
    }
}

//! The distance between a thread's samples, and the period of its timer.
//!
//! Job: draw random distances between samples whose mean is the requested interval, or what the budget pays for; check
//! for kernel time at every tick while there is kernel time, and at few ticks while there is none. Invariants: the
//! weight of a sample is its distance to the sample before it; the weights of all samples add up to the CPU time of all
//! signals, except for one gap at either end of a thread, whose length is random. Neighbours: `handler` (asks for
//! weights), `threads` (arms), `clock` (sets the timer).

use crate::cpu::{budget, clock};
use crate::ground::random::next_random;
use crate::ground::slot::Slot;
use crate::ground::sys;
use crate::ground::tls::Tls;

/// CPU time after which an event of another period replaces a perf event; at least an interval. With periods drawn
/// evenly, the error due to a program's cycle is on average that of random samples, however many samples each period is
/// kept for. Less frequent replacement costs less, and takes fewer descriptor numbers from other threads.
const PERF_AGE_NS: u64 = 50_000_000;
/// A perf event without signals is replaced at this many times the age limit.
const UNHEARD: u64 = 4;
/// Longest CPU time of a thread until its perf event is armed and noted in its slot.
const ARMING_NS: u64 = 100_000;

/// Number of timer signals without kernel time after which the timer next to perf slows down.
const QUIET: u32 = 64;
/// Factor by which the timer slows down, and its shortest slow period (a few of the kernel's ticks).
const LESS_OFTEN: u64 = 4;
const SELDOM_NS: u64 = 16_000_000;

/// Longest period of the timer while it finds kernel time: each tick of a kernel with 250 ticks a second. A check that
/// covers several ticks would charge all their kernel time to the place of the last tick.
const LOOK_NS: u64 = 3_990_000;
/// If ticks are longer than this, the timer checks each tick.
const SHORT_TICK_NS: u64 = LOOK_NS / 2;
/// Timer expirations between two such ticks (signals still come at ticks only). With a period this short, the timer
/// does not miss a tick that follows close on a late signal, and the number of expirations tells the CPU time that has
/// passed. Not a whole number per tick, so that the part cut off varies.
const A_TICK: f64 = 97.618;

/// Nanoseconds between two of the kernel's ticks.
fn tick_ns() -> u64 {
    sys::resolution_ns(libc::CLOCK_MONOTONIC_COARSE)
}

/// Period of the timer, in nanoseconds, while it finds kernel time.
fn often() -> u64 {
    let tick_ns = tick_ns();
    if tick_ns > SHORT_TICK_NS { (tick_ns as f64 / A_TICK) as u64 } else { LOOK_NS }
}

/// Nanoseconds since the last tick.
fn since_tick() -> u64 {
    sys::now_ns().saturating_sub(sys::clock_ns(libc::CLOCK_MONOTONIC_COARSE))
}

impl Slot {
    /// Period of the timer while it finds kernel time: the distance that the user asked for, at most [`often`].
    pub(crate) fn look_ns(&self) -> u64 {
        if budget::decides() { often() } else { self.interval_ns.get().min(often()) }
    }

    /// Adapts the period of the timer next to perf after a signal. `hit`: the kernel was working for this thread. A
    /// timer that never finds kernel time costs CPU time without any result, so it slows down. Each period is set
    /// before the signal that counts for it, so slowing down changes the weight of no kernel time. Called in the
    /// thread's own handler.
    pub(crate) fn pace_timer(&self, hit: bool) {
        let interval = self.look_ns();
        self.quiet.set(if hit { 0 } else { self.quiet.get().saturating_add(1) });
        let wanted =
            if self.quiet.get() < QUIET { interval } else { (interval * LESS_OFTEN).max(SELDOM_NS).max(interval) };
        if wanted != self.timer_ns.get() && clock::set_timer(self.timer.get(), wanted, wanted) >= 0 {
            self.timer_ns.set(wanted);
        }
    }

    /// Starts the clock of ticks. The thread begins between two ticks: its first tick counts as a whole one, because
    /// ticks at which the thread does not run count as nothing.
    pub(crate) fn begin_ticks(&self) {
        self.late_ns.set(since_tick());
    }

    /// CPU nanoseconds between the tick before and the tick at which the timer fired, from the number of `expirations`.
    /// The signal comes when the thread leaves the kernel, possibly much later than the tick. The time since the tick
    /// belongs to the next tick, for any code that runs at the next tick. Called in the thread's own handler.
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

    /// Draws the first gap, and the random point within the gap at which the thread begins. So threads that end within
    /// one gap have their share of samples, too. A longer gap is more likely to contain the begin of the thread: the
    /// loop accepts a gap with a probability proportional to its length.
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
        // The rest of the first gap must not be the distance to the second sample, too: the age limit makes the first
        // sample replace the event.
        self.perf_age_ns.set(self.age_limit_ns());
    }

    /// CPU nanoseconds left of the first gap, but at least enough for arming the thread.
    pub(crate) fn first_period(&self) -> u64 {
        let left = self.gap_ns.get().saturating_sub(self.owed_ns.get());
        left.max(ARMING_NS.min(self.interval_ns.get() / 2))
    }

    /// As [`Slot::begin_gaps`], for a thread that the timer alone samples. `asked_ns` is the distance that the user
    /// asked for, 0 if none. The timer fires at ticks whatever the distance is, so without a longer distance each of
    /// its signals is a sample.
    pub(crate) fn begin_ticked_gaps(&self, asked_ns: u64, block: &Tls) {
        let tick_ns = tick_ns();
        if asked_ns > tick_ns {
            self.begin_gaps(block);
        } else {
            self.interval_ns.set(tick_ns);
            self.gap_ns.set(0);
            self.owed_ns.set(0);
        }
    }

    fn age_limit_ns(&self) -> u64 {
        PERF_AGE_NS.max(self.interval_ns.get())
    }

    /// Draws a gap between half an interval and one and a half intervals, so that no cycle of the program stays in step
    /// with its samples.
    fn draw(&self, block: &Tls) -> u64 {
        let interval = self.interval_ns.get();
        interval / 2 + next_random(block) % interval.max(1)
    }

    /// Adds `spent_ns` of CPU time, reported by the timer. Returns the weight of a sample that is due now, or zero if
    /// no sample is due. Called in the thread's own handler.
    pub(crate) fn due(&self, spent_ns: u64, block: &Tls) -> u64 {
        if self.gap_ns.get() == 0 {
            return spent_ns;
        }
        let mut left = self.owed_ns.get().saturating_add(spent_ns);
        let mut due = 0;
        while left >= self.gap_ns.get() {
            left -= self.gap_ns.get();
            due += self.gap_ns.replace(self.draw(block));
        }
        self.owed_ns.set(left);
        due
    }

    /// Adds `passed_ns` of CPU time, reported by a signal of the perf event (`fired`) or of the timer next to it.
    /// Returns the period of a new event if the present event is old enough to be replaced. An event that only ever
    /// fires in the kernel sends no signal; the timer then measures its age. Called in the thread's own handler.
    pub(crate) fn vary_perf(&self, passed_ns: u64, fired: bool, block: &Tls) -> Option<u64> {
        if fired {
            // From the first signal on, the weight of each signal is the event's period.
            self.gap_ns.set(self.gap_ns.get().saturating_sub(self.owed_ns.replace(0)));
        }
        let age = self.perf_age_ns.get().saturating_add(passed_ns);
        self.perf_age_ns.set(age);
        let patience = if fired { 1 } else { UNHEARD };
        (age >= self.age_limit_ns().saturating_mul(patience)).then(|| {
            if budget::decides() {
                self.interval_ns.set(budget::distance_ns());
            }
            self.draw(block)
        })
    }
}

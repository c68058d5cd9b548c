//! The arithmetic of waits.
//!
//! Job: from looks at a thread's scheduler clock, compute how long the thread waited and in which place. Time off the
//! CPU is wall time minus CPU time minus time ready to run without a core. The kernel counts all three exactly; only
//! the place is sampled. Invariant: the credits add up to the exact total, whatever the looks saw in between.
//! Neighbour: `process` makes the looks.
//!
//! The clock of a blocked thread is exact. The clock of a running thread is not, because a wait for a core that still
//! lasts is missing. So waits are settled at looks that find the thread blocked. The time between two such looks is
//! divided between their two places by the distances to the neighbouring looks: each look stands for half of the time
//! up to its neighbours, so waits shorter than the distance of two looks are right on average.
//!
//! A hypervisor that takes a core away leaves wall time that is neither CPU time nor a wait for a core. A thread that
//! did not block in between cannot have waited. Over such a stretch of running looks, the host therefore took the time
//! that the clock lacks, and the time is no wait. The least time that the host can have taken is subtracted.

use crate::observe::proc::Clock;

/// The longest scheduler tick of any kernel: the clock of a running thread is at most this old.
const LONGEST_TICK_NS: u64 = 10_000_000;
/// Least time that a running thread's clock has to lack, before a look reads how often the thread has blocked.
const LITTLE_NS: u64 = 2_000_000;

/// The place where a thread was seen blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Hash of its Python stack; 0: no stack.
    pub stack: u64,
    /// True if the thread waits for the GIL; `None` if unknown.
    pub gil: Option<bool>,
}

/// Time of a wait, for the place that caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// The place of the wait.
    pub place: Place,
    /// Length of the wait.
    pub wait_ns: u64,
    /// Time at which a look last found the thread there.
    pub seen_ns: u64,
}

/// The number of times that a thread has blocked, and its clock, read right after the count.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
    /// Number of times that the thread gave up its core by itself, over its life.
    pub count: u64,
    /// Time at which the clock was read.
    pub now_ns: u64,
    /// The clock.
    pub clock: Clock,
}

/// Consecutive looks that found the thread running.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    first: Blocks,
    /// The time up to which the thread is proved not to have blocked, and its clock at that time.
    proved_ns: u64,
    proved: Clock,
    /// True if the thread had the same time slice at all looks since then.
    sure: bool,
}

/// The running account of a thread.
#[derive(Clone, Debug)]
pub struct Balance {
    /// Time and clock up to which all waits have been credited.
    settled_ns: u64,
    settled: Clock,
    /// The place where the thread was blocked at `settled_ns`; `None` if the thread was not blocked.
    place: Option<Place>,
    /// Time from `settled_ns` to the next look; 0: no look has followed yet.
    behind_ns: u64,
    /// The last look of any kind.
    last_ns: u64,
    last: Clock,
    /// Waits that were credited too early, because the kernel had not counted a wait for a core yet. The debt is
    /// subtracted from later waits.
    debt_ns: u64,
    stretch: Option<Stretch>,
    /// Time that the host took since the last settlement, before `stretch` began.
    taken_ns: u64,
}

impl Stretch {
    fn new(first: Blocks) -> Self {
        Self { first, proved_ns: first.now_ns, proved: first.clock, sure: true }
    }

    /// The least time that the host took of this stretch. `later` is a later reading of the clock, with the parts that
    /// a running thread's clock lacks: a wait for a core and a part of a tick.
    fn taken_ns(&self, later: Clock) -> u64 {
        let wait_ns = later.delay_ns.saturating_sub(self.proved.delay_ns);
        let late_ns = later.run_ns.saturating_sub(self.proved.run_ns).min(LONGEST_TICK_NS);
        lacking(self.first.now_ns, self.first.clock, self.proved_ns, self.proved).saturating_sub(wait_ns + late_ns)
    }
}

impl Balance {
    /// Starts the account at the first look at a thread that has existed for about `before_ns`.
    pub fn open(now_ns: u64, clock: Clock, place: Option<Place>, before_ns: u64, credits: &mut Vec<Credit>) -> Self {
        if let Some(place) = place {
            push(credits, place, before_ns, now_ns);
        }
        Self {
            settled_ns: now_ns,
            settled: clock,
            place,
            behind_ns: 0,
            last_ns: now_ns,
            last: clock,
            debt_ns: 0,
            stretch: None,
            taken_ns: 0,
        }
    }

    /// Clock at the last look.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.last
    }

    /// Time of the last look.
    #[must_use]
    pub fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// The place to which the next wait is credited.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// Place of the last look; `None` if the look found the thread running.
    #[must_use]
    pub fn blocked(&self) -> Option<Place> {
        self.place.filter(|_| self.settled_ns == self.last_ns)
    }

    /// Takes in a look. `place` is `None` if the thread was running or ready to run. `blocks` reads how often the
    /// thread has blocked; it is called only for a running thread, and not at each look.
    pub fn look(
        &mut self,
        now_ns: u64,
        clock: Clock,
        place: Option<Place>,
        blocks: impl FnOnce() -> Option<Blocks>,
        credits: &mut Vec<Credit>,
    ) {
        let before_ns = now_ns.saturating_sub(self.last_ns);
        if self.behind_ns == 0 {
            self.behind_ns = before_ns;
        }
        self.last_ns = now_ns;
        let ran = clock.slices != self.last.slices || self.blocked_before(now_ns, before_ns).is_none();
        let former = std::mem::replace(&mut self.last, clock);
        let Some(place) = place else { return self.run_on(now_ns, clock, former, blocks) };
        let former_ns = self.settled_ns;
        let waited = self.settle(now_ns, clock);
        match self.place {
            // The thread stayed in the same place. If the stack of that place was unknown so far, this look's stack
            // counts.
            Some(former) if !ran => {
                push(credits, if former.stack == 0 { place } else { former }, waited, now_ns);
            }
            Some(former) => {
                let all = u128::from((self.behind_ns + before_ns).max(1));
                let share = u128::from(waited) * u128::from(self.behind_ns) / all;
                let share = u64::try_from(share).unwrap_or(waited);
                push(credits, former, share, former_ns);
                push(credits, place, waited - share, now_ns);
            }
            None => push(credits, place, waited, now_ns),
        }
        self.place = Some(place);
        self.behind_ns = 0;
    }

    /// Closes the account of a thread that has ended; `now_ns` is the time at which the reader noticed.
    pub fn close(mut self, now_ns: u64, credits: &mut Vec<Credit>) {
        let unseen_ns = now_ns.saturating_sub(self.last_ns);
        if let Some(place) = self.blocked() {
            push(credits, place, unseen_ns / 2, self.last_ns);
        } else {
            let seen_ns = self.settled_ns;
            let waited = self.settle(self.last_ns, self.last);
            let place = self.place.unwrap_or(Place { stack: 0, gil: None });
            push(credits, place, waited, seen_ns);
        }
    }

    /// Takes in a look that found the thread running.
    fn run_on(&mut self, now_ns: u64, clock: Clock, former: Clock, blocks: impl FnOnce() -> Option<Blocks>) {
        let Some(stretch) = &mut self.stretch else {
            self.stretch = blocks().map(Stretch::new);
            return;
        };
        stretch.sure &= clock.slices == former.slices;
        if !stretch.sure {
            if lacking(stretch.proved_ns, stretch.proved, now_ns, clock) < LITTLE_NS {
                return;
            }
            let asked = blocks();
            if asked.is_none_or(|asked| asked.count != stretch.first.count) {
                self.taken_ns += stretch.taken_ns(clock);
                self.stretch = asked.map(Stretch::new);
                return;
            }
        }
        (stretch.proved_ns, stretch.proved, stretch.sure) = (now_ns, clock, true);
    }

    /// The place in which the previous look found the thread blocked, if it was blocked.
    fn blocked_before(&self, now_ns: u64, before_ns: u64) -> Option<Place> {
        self.place.filter(|_| self.settled_ns == now_ns - before_ns)
    }

    /// The waits since the last settlement; this look is the next settlement.
    fn settle(&mut self, now_ns: u64, clock: Clock) -> u64 {
        let waited = now_ns.saturating_sub(self.settled_ns);
        let ran = clock.run_ns.saturating_sub(self.settled.run_ns);
        let queued = clock.delay_ns.saturating_sub(self.settled.delay_ns);
        let owed = ran + queued + self.debt_ns;
        self.debt_ns = owed.saturating_sub(waited);
        self.settled_ns = now_ns;
        self.settled = clock;
        let taken = self.taken_ns + self.stretch.take().map_or(0, |stretch| stretch.taken_ns(clock));
        self.taken_ns = 0;
        waited.saturating_sub(owed).saturating_sub(taken)
    }
}

/// Time between two readings of a clock that is neither time on a core nor a wait for a core.
fn lacking(from_ns: u64, from: Clock, to_ns: u64, to: Clock) -> u64 {
    let counted = to.run_ns.saturating_sub(from.run_ns) + to.delay_ns.saturating_sub(from.delay_ns);
    to_ns.saturating_sub(from_ns).saturating_sub(counted)
}

fn push(credits: &mut Vec<Credit>, place: Place, wait_ns: u64, seen_ns: u64) {
    if wait_ns > 0 {
        credits.push(Credit { place, wait_ns, seen_ns });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Place = Place { stack: 1, gil: Some(false) };
    const B: Place = Place { stack: 2, gil: Some(true) };

    fn clock(run_ns: u64, delay_ns: u64, slices: u64) -> Clock {
        Clock { run_ns, delay_ns, slices }
    }

    /// For a thread that always runs, no look asks how often the thread has blocked.
    fn never() -> Option<Blocks> {
        None
    }

    fn sum(credits: &[Credit], place: Place) -> u64 {
        credits.iter().filter(|credit| credit.place == place).map(|credit| credit.wait_ns).sum()
    }

    #[test]
    fn a_thread_that_did_not_run_waited_all_the_time_where_it_was() {
        let mut credits = Vec::new();
        let mut balance = Balance::open(1_000, clock(70, 30, 4), Some(A), 0, &mut credits);
        balance.look(1_500, clock(70, 30, 4), Some(A), never, &mut credits);
        balance.look(4_000, clock(70, 30, 4), Some(A), never, &mut credits);
        let credit = |wait_ns, seen_ns| Credit { place: A, wait_ns, seen_ns };
        assert_eq!(credits, [credit(500, 1_500), credit(2_500, 4_000)]);
    }

    #[test]
    fn waiting_for_a_core_is_no_waiting() {
        let mut credits = Vec::new();
        let mut balance = Balance::open(0, clock(0, 0, 1), None, 0, &mut credits);
        balance.look(1_000, clock(300, 500, 9), Some(A), never, &mut credits);
        assert_eq!(credits, [Credit { place: A, wait_ns: 200, seen_ns: 1_000 }]);
    }

    #[test]
    fn a_wait_that_is_credited_later_bears_the_time_of_the_look_that_saw_it() {
        let mut credits = Vec::new();
        let mut balance = Balance::open(0, clock(0, 0, 1), None, 0, &mut credits);
        balance.look(1_000, clock(0, 0, 2), Some(A), never, &mut credits);
        balance.look(1_500, clock(0, 0, 3), None, never, &mut credits);
        balance.look(9_000, clock(7_000, 0, 4), Some(B), never, &mut credits);
        let last = |place| credits.iter().rfind(|credit| credit.place == place).map(|credit| credit.seen_ns);
        assert_eq!((last(A), last(B)), (Some(1_000), Some(9_000)));
    }

    #[test]
    fn the_time_between_two_places_is_halved_between_them() {
        let mut credits = Vec::new();
        let mut balance = Balance::open(0, clock(0, 0, 1), Some(A), 0, &mut credits);
        balance.look(1_000, clock(100, 100, 2), Some(B), never, &mut credits);
        assert_eq!((sum(&credits, A), sum(&credits, B)), (400, 400));
    }

    #[test]
    fn looks_at_a_running_thread_leave_its_waits_to_the_looks_around_them() {
        let mut credits = Vec::new();
        let mut balance = Balance::open(0, clock(0, 0, 1), Some(A), 0, &mut credits);
        balance.look(300, clock(0, 0, 2), None, never, &mut credits);
        balance.look(900, clock(500, 0, 3), None, never, &mut credits);
        assert_eq!(credits, []);
        balance.look(1_000, clock(600, 0, 4), Some(B), never, &mut credits);
        assert_eq!((sum(&credits, A), sum(&credits, B)), (300, 100));
    }

    #[test]
    fn a_delay_that_the_kernel_counts_late_is_paid_back() {
        let mut credits = Vec::new();
        let mut balance = Balance::open(0, clock(0, 0, 1), Some(A), 0, &mut credits);
        balance.look(1_000, clock(0, 0, 1), Some(A), never, &mut credits);
        balance.look(1_100, clock(50, 200, 2), Some(A), never, &mut credits);
        balance.look(2_100, clock(50, 200, 2), Some(A), never, &mut credits);
        assert_eq!(sum(&credits, A), 2_100 - 50 - 200);
    }

    #[test]
    fn the_unseen_ends_of_a_life_count_half_where_it_was_blocked() {
        let mut credits = Vec::new();
        let balance = Balance::open(1_000, clock(5, 0, 1), Some(A), 500, &mut credits);
        balance.close(1_600, &mut credits);
        assert_eq!(sum(&credits, A), 500 + 300);
    }

    const MS: u64 = 1_000_000;

    /// Simulates a thread that computes for a second and then sleeps for 400 ms. The host takes `taken` of every 10 ms
    /// of the second. The kernel counts the run time at each look, and starts a new slice at each look for which
    /// `switches` returns true.
    fn computes_and_sleeps(taken: u64, blocked: u64, switches: impl Fn(u64) -> bool) -> u64 {
        let mut credits = Vec::new();
        let mut balance = Balance::open(0, clock(0, 0, 1), None, 0, &mut credits);
        let mut slices = 1;
        for look in 1..=100 {
            slices += u64::from(switches(look));
            let (now_ns, clock) = (look * 10 * MS, clock(look * (10 - taken) * MS, 0, slices));
            let count = 7 + blocked * look;
            balance.look(now_ns, clock, None, || Some(Blocks { count, now_ns, clock }), &mut credits);
        }
        let end = clock(100 * (10 - taken) * MS, 0, slices);
        balance.look(1_000 * MS, end, Some(A), never, &mut credits);
        balance.look(1_400 * MS, end, Some(A), never, &mut credits);
        sum(&credits, A)
    }

    #[test]
    fn time_that_the_host_steals_from_a_computing_thread_is_no_wait() {
        assert_eq!(computes_and_sleeps(0, 0, |_| false), 400 * MS);
        for switches in [|_| false, |_| true, |look| look % 7 == 0] as [fn(u64) -> bool; 3] {
            let waited = computes_and_sleeps(3, 0, switches);
            // The first look precedes the first count of blocks, and a tick may be missing.
            assert!((400 * MS..=(400 + 3 + 10) * MS).contains(&waited), "{waited}");
        }
    }

    #[test]
    fn a_thread_that_blocked_between_two_looks_may_have_waited_all_its_clock_lacks() {
        assert_eq!(computes_and_sleeps(3, 1, |_| true), 700 * MS);
    }

    #[test]
    fn a_wait_for_a_core_that_lasts_at_a_look_is_not_taken_for_the_hosts() {
        let mut credits = Vec::new();
        let mut balance = Balance::open(0, clock(0, 0, 1), None, 0, &mut credits);
        for (now_ns, clock) in [(10 * MS, clock(10 * MS, 0, 2)), (100 * MS, clock(40 * MS, 0, 2))] {
            balance.look(now_ns, clock, None, || Some(Blocks { count: 7, now_ns, clock }), &mut credits);
        }
        // The thread had been waiting for a core for 60 ms, waits 20 ms more, and blocks for 50 ms.
        balance.look(170 * MS, clock(40 * MS, 80 * MS, 3), Some(A), never, &mut credits);
        assert_eq!(sum(&credits, A), 50 * MS);
    }
}

//! CPU and off-CPU time of threads, from samples to seconds.
//!
//! Job: add up a thread's samples by place while the thread runs; at its end, stretch the samples to its clock
//! (`stretch`) and book the seconds. Invariant: the time booked for a thread is its CPU clock, whatever the samples
//! say; a process holds cells, never samples. Neighbours: `stretch` has the statistics, `book` takes the seconds.
//!
//! Threads with few samples are pooled with other threads of their process that the same engine sampled and that lived
//! about as long (the chance of a sample depends on the length). Their time goes to lines in proportion to the samples
//! of all of them. Pooled time counts for lines, but for no single thread's share of a line. Pools of forked children
//! join the pools of the other children of their program ([`Forks`]), because a child that lives for milliseconds has
//! too few samples of its own. Each child's clock goes to lines in proportion to the samples of all of these children.

use std::collections::BTreeMap;

use rscalene_wire::{CpuFlags, Source};
use rustc_hash::FxHashMap;

use super::operators::Operators;
use super::runs::Runs;
use super::stretch::{Engine, POOL_BELOW, Rest, Sampled, Stretch, stretch, unseen};
use super::ticks::Ticked;
use crate::profile::book::Book;
use crate::profile::book::intern::FrameId;
use crate::profile::book::records::ThreadRecord;
use crate::profile::book::sums::Amount;
use crate::profile::book::sums::{NATIVE, PYTHON, SYSTEM};
use crate::profile::book::tree::Place;

const SECOND: f64 = 1e9;

/// Sums of the samples and waits at one place.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    ns: [f64; 3],
    /// The part of `ns` in which the garbage collector ran.
    gc_ns: f64,
    samples: u32,
    wait_ns: u64,
    gil_ns: u64,
    idle_ns: u64,
    /// The part of its Python time that passed outside the evaluation loop, and the innermost frame of these samples.
    outside_ns: f64,
    leaf: Option<FrameId>,
}

/// A running thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct ThreadAccount {
    /// Kernel thread id.
    pub(crate) tid: u32,
    /// Name; empty if unknown.
    pub(crate) name: String,
    engine: Engine,
    start_ns: u64,
    clock: Option<Reading>,
    /// Sum of the squares of the user samples' weights.
    squares: f64,
    /// The sum of the samples taken after the last reading of the clock.
    since_ns: f64,
    system_ns: Option<u64>,
    /// Time in which the thread was ready to run but had no core.
    delay_ns: Option<u64>,
    seen: Sampled,
    cells: FxHashMap<Place, Cell>,
    /// Consecutive samples on the same line, for the standard error.
    runs: Runs,
    /// Ticks by line, in user mode and in the kernel, for samples of Python code and of native code.
    ticks: FxHashMap<FrameId, [Ticked; 2]>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    time_ns: u64,
    cpu_ns: u64,
}

impl ThreadAccount {
    /// An empty account for a thread.
    pub(crate) fn new(tid: u32) -> Self {
        Self { tid, seen: Sampled { threads: 1, ..Sampled::default() }, ..Self::default() }
    }

    /// Sampling of the thread began.
    pub(crate) fn start(&mut self, source: Source, cpu_ns: u64, interval_ns: u64) {
        self.engine = match source {
            Source::PERF_AND_TIMER => Engine::Perf,
            Source::TIMER => Engine::Timer,
            Source::PERF => Engine::PerfAlone,
            Source::LOOKS => Engine::Looks,
            Source::PERF_WHOLE => Engine::PerfWhole,
            _ => Engine::None,
        };
        self.start_ns = cpu_ns;
        self.seen.interval_ns = interval_ns as f64;
    }

    /// The thread's clock was read.
    pub(crate) fn read_clock(&mut self, time_ns: u64, cpu_ns: u64) {
        if self.clock.is_none_or(|last| cpu_ns >= last.cpu_ns) {
            self.clock = Some(Reading { time_ns, cpu_ns });
            self.since_ns = 0.0;
        }
    }

    /// Takes in the total time in which the thread was ready to run but had no core.
    pub(crate) fn read_delay(&mut self, delay_ns: u64) {
        self.delay_ns = self.delay_ns.max(Some(delay_ns));
    }

    /// The thread ended.
    pub(crate) fn end(&mut self, time_ns: u64, cpu_ns: u64, system_ns: u64) {
        self.read_clock(time_ns, cpu_ns);
        self.system_ns = Some(system_ns);
    }

    /// Takes in a sample of `kind` (0 to 2) at `place`.
    pub(crate) fn sample(&mut self, place: Place, kind: usize, weight_ns: u64, time_ns: u64, flags: CpuFlags) {
        if self.engine == Engine::None {
            self.engine = if flags.has(CpuFlags::TIMER) { Engine::Timer } else { Engine::Perf };
        }
        let ns = weight_ns as f64;
        let cell = self.cells.entry(place).or_default();
        cell.ns[kind] += ns;
        cell.gc_ns += if flags.has(CpuFlags::COLLECTING) { ns } else { 0.0 };
        cell.samples += 1;
        self.runs.sample(place.owner, ns);
        self.seen.ns[kind] += ns;
        self.seen.samples[kind] += 1;
        self.squares += if kind == SYSTEM { 0.0 } else { ns * ns };
        if self.clock.is_some_and(|last| time_ns > last.time_ns) {
            self.since_ns += ns;
        }
    }

    /// Nanoseconds between two user samples, each weighted by its own weight. Samples at mixed distances have the same
    /// error as samples that are all this far apart.
    fn interval_ns(&self) -> f64 {
        let user: f64 = self.seen.ns.iter().take(SYSTEM).sum();
        if user > 0.0 { self.squares / user } else { self.seen.interval_ns }
    }

    /// The sample just taken in at `place` was outside the evaluation loop; `leaf` is its innermost frame.
    pub(crate) fn outside(&mut self, place: Place, leaf: FrameId, weight_ns: u64) {
        let cell = self.cells.entry(place).or_default();
        cell.outside_ns += weight_ns as f64;
        cell.leaf = Some(leaf);
    }

    /// Takes in ticks that met the thread on the line `owner`, in a stretch of time whose sample was of `kind` (0 or
    /// 1).
    pub(crate) fn ticks(&mut self, owner: FrameId, kind: usize, user_ns: u64, kernel_ns: u64) {
        self.ticks.entry(owner).or_default()[kind].add(user_ns, kernel_ns);
    }

    /// Moves the kernel's part of the sampled time to the kernel: the kernel's share of the line's ticks, or of all
    /// ticks if the line has none.
    fn divide(&mut self) {
        let mut all = [Ticked::default(); 2];
        for line in self.ticks.values() {
            for (sum, ticked) in all.iter_mut().zip(line) {
                sum.join(*ticked);
            }
        }
        for (place, cell) in &mut self.cells {
            let line = self.ticks.get(&place.owner).copied().unwrap_or_default();
            for kind in 0..SYSTEM {
                let kernel = line[kind].kernel().or_else(|| all[kind].kernel()).unwrap_or(0.0) * cell.ns[kind];
                for ns in [&mut cell.ns, &mut self.seen.ns] {
                    ns[kind] -= kernel;
                    ns[SYSTEM] += kernel;
                }
            }
        }
    }

    /// Takes in time off the CPU at `place`; `idle`: the thread waits for work, or for another thread to end.
    pub(crate) fn wait(&mut self, place: Place, wait_ns: u64, gil_ns: u64, idle: bool) {
        let cell = self.cells.entry(place).or_default();
        cell.wait_ns = cell.wait_ns.saturating_add(wait_ns);
        cell.gil_ns = cell.gil_ns.saturating_add(gil_ns);
        cell.idle_ns = cell.idle_ns.saturating_add(if idle { wait_ns.saturating_sub(gil_ns) } else { 0 });
    }

    /// The source of its samples.
    pub(crate) fn engine(&self) -> Engine {
        self.engine
    }

    /// CPU nanoseconds of its life so far, from the last clock and later samples; `None` if only its existence is
    /// known.
    pub(crate) fn clock_ns(&self) -> Option<f64> {
        match self.clock {
            Some(reading) => Some(reading.cpu_ns as f64 + self.since_ns),
            None if self.seen.samples != [0; 3] || self.start_ns > 0 => {
                Some(self.start_ns as f64 + self.seen.ns.iter().sum::<f64>())
            }
            None => None,
        }
    }
}

/// Makes the time outside the evaluation loop native on the lines where `operators` says so.
fn move_outside(cells: &mut FxHashMap<Place, Cell>, seen: &mut Sampled, operators: &Operators) {
    for cell in cells.values_mut() {
        let native = cell.leaf.is_some_and(|leaf| operators.are_native(leaf));
        let outside_ns = std::mem::take(&mut cell.outside_ns);
        let moved = if native { outside_ns.min(cell.ns[PYTHON]) } else { 0.0 };
        for ns in [&mut cell.ns, &mut seen.ns] {
            ns[PYTHON] -= moved;
            ns[NATIVE] += moved;
        }
    }
}

/// Threads with few samples, together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pools {
    pools: FxHashMap<(Engine, Life), Pool>,
}

/// CPU time of a thread's life, to a factor of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Life(u32);

impl Life {
    fn of(clock_ns: f64) -> Self {
        Self((clock_ns as u64).max(1).ilog2() / 2)
    }
}

#[derive(Clone, Debug, Default)]
struct Pool {
    seen: Sampled,
    clock_ns: f64,
    system_ns: f64,
    cells: FxHashMap<Place, Cell>,
}

/// Facts about a process that the booking of its threads needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Booking {
    /// Process in the book.
    pub(crate) process: usize,
    /// Process id.
    pub(crate) pid: u32,
    /// True if frames cannot be trusted: all time lies outside scope, and Python time cannot be separated from native
    /// time.
    pub(crate) refused: bool,
    /// True if neither shim nor launcher can observe the waits of the threads.
    pub(crate) hidden_waits: bool,
    /// CPU samples lost for each sample that arrived.
    pub(crate) lost: f64,
}

impl Pools {
    /// Books an ended thread, or pools it. `earlier_ns` of its clock were booked before, by the program before an exec.
    /// Returns the nanoseconds of its clock that are booked or pooled now, and its row if its shares are kept.
    pub(crate) fn retire(
        &mut self,
        mut thread: ThreadAccount,
        earlier_ns: f64,
        booking: Booking,
        operators: &Operators,
        book: &mut Book,
    ) -> (f64, Option<usize>) {
        thread.seen.interval_ns = thread.interval_ns();
        thread.divide();
        let whole_ns = thread.clock_ns();
        let life_ns = (whole_ns.unwrap_or(0.0) - earlier_ns).max(0.0);
        let before_ns = (thread.start_ns as f64 - earlier_ns).clamp(0.0, life_ns);
        let clock_ns = life_ns - before_ns;
        let system_ns = thread.system_ns.map(|ns| ns as f64);
        let samples: u64 = thread.seen.samples.iter().sum();
        let pooled = samples < POOL_BELOW;
        if !pooled {
            move_outside(&mut thread.cells, &mut thread.seen, operators);
        }
        let seen = Sampled { lost: booking.lost, ..thread.seen };
        let pool = (thread.engine, Life::of(clock_ns));
        let own = stretch(thread.engine, &seen, clock_ns, system_ns);

        let mut record = ThreadRecord::new(booking.pid, thread.tid, &thread.name);
        record.clock_s = whole_ns.map(|_| life_ns / SECOND);
        let before = booking.rest(unseen(before_ns, None));
        record.amount = booking.amount([0, 1, 2].map(|kind| own.factor[kind] * seen.ns[kind]));
        record.amount.add(&before);
        record.amount.add(&booking.rest(own.rest));
        record.pooled = pooled;
        record.core_wait_s = thread.delay_ns.map(|ns| ns as f64 / SECOND);
        record.hidden_waits = booking.hidden_waits;
        for cell in thread.cells.values() {
            record.amount.wait_s += cell.wait_ns as f64 / SECOND;
            record.amount.gil_s += cell.gil_ns as f64 / SECOND;
            record.amount.idle_s += cell.idle_ns as f64 / SECOND;
        }
        let index = book.add_thread(record);

        book.add_unseen(booking.process, before);
        if pooled {
            self.pools.entry(pool).or_default().take(&thread, clock_ns);
        } else {
            book.add_unseen(booking.process, booking.rest(own.rest));
        }
        if !pooled && !booking.refused {
            let sampled: f64 = seen.ns.iter().sum();
            let booked: f64 = (0..3).map(|kind| own.factor[kind] * seen.ns[kind]).sum();
            let scale = if sampled > 0.0 { booked / sampled / SECOND } else { 0.0 };
            for (owner, variance) in thread.runs.variances() {
                book.add_variance(booking.process, owner, variance * scale * scale);
            }
        }
        for (place, mut cell) in thread.cells {
            let share = if pooled { Stretch::default() } else { own };
            if pooled {
                self.pools.entry(pool).or_default().add(place, &cell);
                cell.samples = 0;
            }
            if !pooled || cell.wait_ns > 0 {
                book.add(booking.process, index, booking.visible(place), &cell.amount(&share, booking));
            }
        }
        (life_ns, index)
    }

    /// Makes the pooled time outside the evaluation loop native on the lines where `operators` says so.
    pub(crate) fn move_outside(&mut self, operators: &Operators) {
        for pool in self.pools.values_mut() {
            move_outside(&mut pool.cells, &mut pool.seen, operators);
        }
    }

    /// Books the pooled threads.
    pub(crate) fn settle(&mut self, booking: Booking, book: &mut Book) {
        let mut pools: Vec<_> = std::mem::take(&mut self.pools).into_iter().collect();
        pools.sort_by_key(|(key, _)| *key);
        for ((engine, _), pool) in pools {
            let seen = Sampled { lost: booking.lost, ..pool.seen };
            let share = stretch(engine, &seen, pool.clock_ns, Some(pool.system_ns));
            book.add_unseen(booking.process, booking.rest(share.rest));
            for (place, cell) in pool.cells {
                book.add(booking.process, None, booking.visible(place), &cell.pooled(&share, booking));
            }
        }
    }
}

/// Combined pools of the forked children of each program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forks {
    pools: BTreeMap<(u32, Engine, Life), Together>,
}

/// The pools of several processes.
#[derive(Clone, Debug, Default)]
struct Together {
    pool: Pool,
    /// CPU nanoseconds by process in the book.
    clocks: BTreeMap<usize, f64>,
    /// Losses of the process that lost most.
    lost: f64,
}

impl Forks {
    /// Takes the pools of a child. `program` is the ancestor from which all processes of the child's program descend by
    /// forks alone. A child without trustworthy frames keeps its pools.
    pub(crate) fn take(&mut self, program: u32, pools: &mut Pools, booking: Booking) {
        if booking.refused {
            return;
        }
        for ((engine, life), pool) in std::mem::take(&mut pools.pools) {
            let together = self.pools.entry((program, engine, life)).or_default();
            *together.clocks.entry(booking.process).or_default() += pool.clock_ns;
            together.lost = together.lost.max(booking.lost);
            together.pool.join(pool);
        }
    }

    /// Books the pools: each process gets its part of every place, by its clock. The samples of a place and their
    /// variance are booked for the first process.
    pub(crate) fn settle(self, book: &mut Book) {
        for ((_, engine, _), Together { pool, clocks, lost }) in self.pools {
            let seen = Sampled { lost, ..pool.seen };
            let share = stretch(engine, &seen, pool.clock_ns, Some(pool.system_ns));
            let mut places: Vec<_> = pool.cells.into_iter().collect();
            places.sort_by_key(|(place, _)| (place.node, place.owner));
            for (index, (process, clock_ns)) in clocks.into_iter().enumerate() {
                let part = if pool.clock_ns > 0.0 { clock_ns / pool.clock_ns } else { 0.0 };
                let booking = Booking { process, pid: 0, refused: false, hidden_waits: false, lost };
                let rest = Rest { kinds: share.rest.kinds.map(|ns| ns * part), unsplit: share.rest.unsplit * part };
                book.add_unseen(process, booking.rest(rest));
                for (place, cell) in &places {
                    let mut amount = cell.pooled(&share, booking);
                    amount.s = amount.s.map(|s| s * part);
                    if index > 0 {
                        (amount.samples, amount.variance) = (0, 0.0);
                    }
                    book.add(process, None, *place, &amount);
                }
            }
        }
    }
}

impl Pool {
    /// Adds another pool.
    fn join(&mut self, other: Self) {
        for kind in 0..3 {
            self.seen.ns[kind] += other.seen.ns[kind];
            self.seen.samples[kind] += other.seen.samples[kind];
        }
        self.seen.threads += other.seen.threads;
        self.seen.interval_ns = self.seen.interval_ns.max(other.seen.interval_ns);
        self.clock_ns += other.clock_ns;
        self.system_ns += other.system_ns;
        for (place, cell) in other.cells {
            self.add(place, &cell);
        }
    }

    fn take(&mut self, thread: &ThreadAccount, clock_ns: f64) {
        for kind in 0..3 {
            self.seen.ns[kind] += thread.seen.ns[kind];
            self.seen.samples[kind] += thread.seen.samples[kind];
        }
        self.seen.threads += 1;
        self.seen.interval_ns = self.seen.interval_ns.max(thread.seen.interval_ns);
        self.clock_ns += clock_ns;
        self.system_ns += thread.system_ns.unwrap_or(0) as f64;
    }

    fn add(&mut self, place: Place, cell: &Cell) {
        if cell.samples == 0 {
            return;
        }
        let sum = self.cells.entry(place).or_default();
        for kind in 0..3 {
            sum.ns[kind] += cell.ns[kind];
        }
        sum.gc_ns += cell.gc_ns;
        sum.samples += cell.samples;
        sum.outside_ns += cell.outside_ns;
        sum.leaf = cell.leaf.or(sum.leaf);
    }
}

impl Booking {
    /// The place, or [`Place::NOWHERE`] if frames cannot be trusted.
    pub(crate) fn visible(self, place: Place) -> Place {
        if self.refused { Place::NOWHERE } else { place }
    }

    /// The time that no sample stands for, in seconds.
    pub(crate) fn rest(self, rest: Rest) -> Amount {
        let mut amount = self.amount(rest.kinds);
        amount.unsplit_s += rest.unsplit / SECOND;
        amount
    }

    /// Nanoseconds by kind as seconds. Without frames, Python and native time cannot be separated and stay unsplit.
    pub(crate) fn amount(self, ns: [f64; 3]) -> Amount {
        let [python, native, system] = ns.map(|ns| ns / SECOND);
        if self.refused {
            Amount { s: [0.0, 0.0, system], unsplit_s: python + native, ..Amount::default() }
        } else {
            Amount { s: [python, native, system], ..Amount::default() }
        }
    }
}

impl Cell {
    /// Its part of pooled time, with the variance.
    fn pooled(self, stretch: &Stretch, booking: Booking) -> Amount {
        let alone = Self { wait_ns: 0, gil_ns: 0, idle_ns: 0, ..self };
        let mut amount = alone.amount(stretch, booking);
        // Chance decides which of many short threads a sample meets.
        amount.variance = amount.cpu_s().powi(2) / f64::from(self.samples.max(1));
        amount
    }

    fn amount(&self, stretch: &Stretch, booking: Booking) -> Amount {
        let mut ns = self.ns;
        for (ns, factor) in ns.iter_mut().zip(stretch.factor) {
            *ns *= factor;
        }
        let (sampled, booked): (f64, f64) = (self.ns.iter().sum(), ns.iter().sum());
        let gc_ns = if sampled > 0.0 { self.gc_ns * booked / sampled } else { 0.0 };
        Amount {
            gc_s: gc_ns / SECOND,
            samples: u64::from(self.samples),
            wait_s: self.wait_ns as f64 / SECOND,
            gil_s: self.gil_ns as f64 / SECOND,
            idle_s: self.idle_ns as f64 / SECOND,
            ..booking.amount(ns)
        }
    }
}

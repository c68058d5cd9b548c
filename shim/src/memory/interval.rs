//! The distance between allocation samples, and the budget for their cost.
//!
//! Job: draw the distances, and adapt the interval so that sampling stays within its budget. Invariant: a sample
//! carries the interval that its countdown was drawn with, so a change of the interval in between causes no bias. The
//! budget: sampling blocks below 256 KiB may take about 1 % of the process' CPU time (or 0.25 % of wall time in a
//! program that mostly waits), plus savings from before. The interval grows if samples cost more. If they cost less,
//! the interval shrinks, to 16 KiB at least. Callers: `sample` and `pymem`, for each block that ends a countdown.
//! Neighbour: the segment's header, where the launcher reads the interval.

use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};

use rscalene_wire::MemoryMode;

use crate::arena::segment;
use crate::ground::random::next_random;
use crate::ground::tls::{Tls, tls};
use crate::ground::{quiet, sys};
use crate::memory::live;
use crate::python::stack;

/// Bytes that a thread allocates between two checks whether the interpreter has started.
const LOOK: i64 = 2048;
/// Blocks of at least this many intervals are always recorded: Poisson sampling would record 98.2 % of them anyway.
const CERTAIN: u64 = 4;
/// Blocks of at least this many bytes are always recorded, too: the record costs less than the program's work with such
/// a block.
const LARGE: u64 = 256 * 1024;
/// Longest time counted as the cost of a record; [`INTERRUPTED`] sets a second limit. A record that seems to take
/// longer was interrupted, and the time that other threads ran meanwhile is not a cost of sampling.
const RECORD_NS: u64 = 10_000;
/// The same limit if frames are read through the kernel, with system calls.
const KERNEL_RECORD_NS: u64 = 200_000;
const INTERRUPTED: u64 = 4;
/// Factor and addend from the cost of writing a record to the whole cost of a sample. A sample also causes the record
/// of its block's end, and colder caches. If records are quick, these cost as much again (measured: CPU time of whole
/// programs).
const RECORDS: u64 = 2;
const COLDER_NS: u64 = 1_000;
const FLOOR: u64 = 16 * 1024;
/// Largest interval. Here the program makes 16 blocks of almost 256 KiB for each record; making them costs more than
/// the record, so no program needs a larger interval.
const CEILING: u64 = 4 * 1024 * 1024;
/// One over the part of a core that a program is assumed to use at least. A program that mostly waits has few samples,
/// and these delay no work.
const LEAST_USE: u64 = 4;
/// CPU time between two adaptations of the interval.
const WINDOW_NS: u64 = 10_000_000;
/// Budget at the start, before the first adaptation.
const BURST_NS: u64 = 200_000;
/// The same in a forked child, which may live briefly; doubled after each adaptation that finds sampling cheap.
const FIRST_BURST_NS: u64 = 20_000;
/// Largest savings of unspent budget: the budget of a second.
const SAVINGS_NS: i64 = 10_000_000;
/// Budget at the start of sampling by `Profiler`: the profiled stretch may be short, and is all that the user wants to
/// know.
const SAVINGS_BY_HAND_NS: i64 = 20_000_000;
/// Savings are spent, and debts paid back, at the rate that would use them up in this time. A burst thus begins with
/// several times the samples, then gets ever fewer, down to the lasting rate. So each line gets its share, and no line
/// loses samples to the lines before.
const EVEN_NS: f64 = 250_000_000.0;
/// Largest debt: spending beyond the budget is paid back up to here.
const DEBT_NS: i64 = 1_000_000;
/// Share of the time that sampling may take in the long run.
const SHARE: f64 = 0.01;

const WAITING: u32 = 0;
const SAMPLED: u32 = 1;
const EXACT: u32 = 2;
static MODE: AtomicU32 = AtomicU32::new(WAITING);
static INTERVAL: AtomicU64 = AtomicU64::new(64 * 1024);
static ADAPTIVE: AtomicBool = AtomicBool::new(false);
static SAVED_NS: AtomicI64 = AtomicI64::new(SAVINGS_NS);
/// The recent cost of a record.
static TYPICAL_NS: AtomicU64 = AtomicU64::new(500);
static SPENT_NS: AtomicU64 = AtomicU64::new(0);
static MAY_SPEND_NS: AtomicU64 = AtomicU64::new(BURST_NS);
/// The time of the next adaptation; the time, and the process' CPU time, at the last adaptation.
static NEXT_LOOK: AtomicU64 = AtomicU64::new(0);
static WINDOW: AtomicU64 = AtomicU64::new(0);
static WINDOW_CPU: AtomicU64 = AtomicU64::new(0);

/// The countdown of Python's object allocators, which run under the GIL: plain loads and stores.
pub(crate) static PYTHON_LEFT: AtomicI64 = AtomicI64::new(0);
static PYTHON_INTERVAL: AtomicU64 = AtomicU64::new(64 * 1024);

/// Does the launcher want memory profiled?
pub(crate) fn wanted() -> bool {
    segment::settings().memory_mode != MemoryMode::OFF
}

/// Has sampling begun?
#[inline]
pub(crate) fn running() -> bool {
    MODE.load(Relaxed) != WAITING
}

/// Is every block recorded?
#[inline]
pub(crate) fn exact() -> bool {
    MODE.load(Relaxed) == EXACT
}

/// Begins to sample, as the launcher asked.
pub(crate) fn begin() {
    let settings = segment::settings();
    INTERVAL.store(settings.memory_interval_bytes.clamp(1, CEILING), Relaxed);
    ADAPTIVE.store(settings.memory_adaptive.is_on(), Relaxed);
    begin_window();
    SAVED_NS.store(most_savings(), Relaxed);
    publish();
    if settings.memory_mode == MemoryMode::EXACT {
        live::suspect_all();
        stack::forget_addresses();
        MODE.store(EXACT, Relaxed);
    } else {
        MODE.store(SAMPLED, Relaxed);
    }
}

fn begin_window() {
    let now = sys::now_ns();
    NEXT_LOOK.store(now + WINDOW_NS, Relaxed);
    WINDOW.store(now, Relaxed);
    WINDOW_CPU.store(cpu_ns(), Relaxed);
    SPENT_NS.store(0, Relaxed);
}

/// Called in both processes after a fork: divides the savings, so that many children do not multiply them.
pub(crate) fn share_savings() {
    let saved = SAVED_NS.load(Relaxed);
    if saved > 0 {
        SAVED_NS.store(saved / 2, Relaxed);
    }
}

/// Called in a forked child: starts its own clock.
pub(crate) fn begin_child() {
    share_savings();
    begin_window();
    MAY_SPEND_NS.store(FIRST_BURST_NS, Relaxed);
}

/// Stops sampling.
pub(crate) fn stop() {
    if exact() {
        live::forget_all();
    }
    MODE.store(WAITING, Relaxed);
    PYTHON_LEFT.store(i64::MAX / 2, Relaxed);
}

/// CPU nanoseconds of all threads of this process.
fn cpu_ns() -> u64 {
    sys::clock_ns(::libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn most_savings() -> i64 {
    if segment::lent() { SAVINGS_BY_HAND_NS } else { SAVINGS_NS }
}

fn publish() {
    if let Some(segment) = segment::segment() {
        segment.header().memory_interval_bytes.store(if exact() { 0 } else { INTERVAL.load(Relaxed) }, Relaxed);
    }
}

/// Sampling has not begun: check again soon.
pub(crate) fn wait(block: &Tls) {
    block.countdown.set(LOOK);
    block.certain.set(usize::MAX);
}

/// Sampling never begins: do not check again.
pub(crate) fn never(block: &Tls) {
    block.countdown.set(i64::MAX / 2);
    block.certain.set(usize::MAX);
}

/// Decides whether a block of `bytes`, already taken off the thread's countdown, is a sample. Gives the interval, and
/// whether the block was certain to be recorded.
pub(crate) fn choose(block: &Tls, bytes: usize) -> Option<(u64, bool)> {
    if block.interval.get() == 0 {
        // The thread's first block: a sample with the probability of any other.
        draw(block);
        block.countdown.set(block.countdown.get().saturating_sub_unsigned(bytes as u64));
    }
    let interval = block.interval.get();
    if bytes >= block.certain.get() {
        // A stratum of its own: the countdown belongs to the smaller blocks.
        block.countdown.set(block.countdown.get().saturating_add(bytes as i64));
        return Some((interval, true));
    }
    if block.countdown.get() >= 0 {
        return None;
    }
    draw(block);
    Some((interval, false))
}

fn draw(block: &Tls) {
    let interval = INTERVAL.load(Relaxed);
    block.interval.set(interval);
    block.certain.set((interval * CERTAIN).min(LARGE) as usize);
    block.countdown.set(gap(next_random(block), interval));
}

/// The same for Python's object allocators: true if the block that ended the countdown is a sample.
pub(crate) fn choose_python(block: &Tls) -> u64 {
    let interval = PYTHON_INTERVAL.load(Relaxed);
    let next = INTERVAL.load(Relaxed);
    PYTHON_INTERVAL.store(next, Relaxed);
    PYTHON_LEFT.store(gap(next_random(block), next), Relaxed);
    interval
}

/// First gap of Python's object allocators.
pub(crate) fn begin_python(block: &Tls) {
    choose_python(block);
}

/// An exponential gap of mean `interval` bytes.
pub(crate) fn gap(random: u64, interval: u64) -> i64 {
    // 53 random bits, in (0, 1].
    let uniform = ((random >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (-ln(uniform) * interval as f64) as i64
}

/// Natural logarithm of a positive normal number, to some 1e-9.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mantissa = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let q = s * s;
    // 2 atanh(s)
    let series = 1.0 + q * (1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0 + q / 13.0)))));
    exponent as f64 * core::f64::consts::LN_2 + 2.0 * s * series
}

/// `1 - exp(-x)` for `x >= 0`, to some 1e-9.
pub(crate) fn one_minus_exp(x: f64) -> f64 {
    if x > 40.0 {
        return 1.0;
    }
    // exp(-x) = exp(-x / 1024) ^ 1024 by ten squarings; 1 - y is kept instead of y, so that small x loses nothing:
    // 1 - (1 - d)^2 = d (2 - d).
    let small = x / 1024.0;
    let mut d = small * (1.0 - small / 2.0 * (1.0 - small / 3.0 * (1.0 - small / 4.0)));
    for _ in 0..10 {
        d *= 2.0 - d;
    }
    d
}

/// Start time of the record of a block of `bytes`; `None` if the cost of the record is not counted.
///
/// Large blocks are left out: every interval records them, and a wider interval would only blur smaller blocks.
pub(crate) fn costs_begin(bytes: u64) -> Option<u64> {
    (!exact() && ADAPTIVE.load(Relaxed) && bytes < LARGE).then(sys::now_ns)
}

/// Counts the cost of a record with that start time, and adapts the interval at the end of a window.
pub(crate) fn spent(begun_ns: u64) {
    if quiet::is_on() {
        return;
    }
    let now = sys::now_ns();
    let typical = TYPICAL_NS.load(Relaxed);
    let through_kernel = tls().masked.get() & 2 != 0;
    let longest = if through_kernel { KERNEL_RECORD_NS } else { RECORD_NS };
    let took = now.saturating_sub(begun_ns).min(longest).min(INTERRUPTED * typical);
    TYPICAL_NS.store((typical * 15 + took).div_ceil(16), Relaxed);
    let cost = RECORDS * took + COLDER_NS;
    let spent = SPENT_NS.fetch_add(cost, Relaxed) + cost;
    // A burst need not wait for the window's end.
    let look = NEXT_LOOK.load(Relaxed);
    let burst = MAY_SPEND_NS.load(Relaxed);
    if now < look && spent < burst {
        return;
    }
    // A share of CPU time, not of wall time: on a shared core, sampling takes time from this program.
    let cpu = cpu_ns();
    let waited = now.saturating_sub(WINDOW.load(Relaxed)) / LEAST_USE;
    let passed = cpu.saturating_sub(WINDOW_CPU.load(Relaxed)).max(waited);
    let left = if spent < burst { WINDOW_NS.saturating_sub(passed) } else { 0 };
    let next = now + if left == 0 { WINDOW_NS } else { left };
    if NEXT_LOOK.compare_exchange(look, next, Relaxed, Relaxed).is_err() || left > 0 {
        return;
    }
    WINDOW.store(now, Relaxed);
    WINDOW_CPU.store(cpu, Relaxed);
    let passed = passed.max(spent);
    SPENT_NS.store(0, Relaxed);
    let interval = INTERVAL.load(Relaxed);
    let earned = (passed as f64 * SHARE) as i64;
    let saved = (SAVED_NS.load(Relaxed) + earned - spent as i64).clamp(-DEBT_NS, most_savings());
    SAVED_NS.store(saved, Relaxed);
    // The cost of sampling is inversely proportional to the interval.
    let may = (SHARE + saved as f64 / EVEN_NS).max(SHARE / 4.0);
    let times = spent as f64 / (passed as f64 * may);
    if times < 1.0 {
        MAY_SPEND_NS.store((burst * 2).min(BURST_NS), Relaxed);
    }
    // After a rest, or at the start, the interval grows only once a quarter of the savings is spent.
    let times = if saved > most_savings() / 4 * 3 { times.min(1.0) } else { times };
    // The cost of a window's few samples is known to about a third: go half of the way, unless the way is long.
    let times = if times < 0.5 { times.max(0.25) } else { (1.0 + times.min(15.0)) / 2.0 };
    let next = ((interval as f64 * times) as u64).clamp(FLOOR, CEILING);
    if next == interval {
        return;
    }
    INTERVAL.store(next, Relaxed);
    publish();
}

//! The cost of a CPU sample on this machine, and the distance between samples that the budget pays for.
//!
//! Job: measure the cost of a perf event's signal once for all processes of a run, add the recent cost of the handler,
//! and compute the distance. The budget is a share of each thread's CPU time (see [`SHARE`]), and in addition
//! [`BURST_NS`] for the first threads, so a run of a second or two has enough samples. Invariant: `pace` uses a new
//! distance only when drawing a new gap. So the weight of a sample is the gap before the sample, even if the distance
//! has changed since. Callers: `pace` (draws gaps), `handler` (counts costs), `sources` (measures before a thread's
//! first event). Neighbour: the arena's header, which all processes of the run share.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::arena::ring::Segment;
use crate::arena::segment;
use crate::cpu::clock;
use crate::ground::slot::Slot;
use crate::ground::sys;

/// In the long run, samples may take 1 / `SHARE` of the CPU time.
const SHARE: u64 = 100;
/// The divisor while the burst lasts.
const BURST_SHARE: u64 = 50;
/// Cost of all samples of the burst, of all threads and processes of a run: about the CPU time of an interpreter's
/// start. At the burst's share it lasts for 1.5 seconds.
const BURST_NS: u64 = 30_000_000;
/// Bounds of the distance. Closer samples add little information about a line and keep the launcher busy.
const CLOSEST_NS: u64 = 1_000_000;
const FARTHEST_NS: u64 = 20_000_000;
/// The same bounds while the burst lasts.
const CLOSEST_BURST_NS: u64 = 500_000;
const FARTHEST_BURST_NS: u64 = 5_000_000;
/// Cost of a signal if the measurement failed: between a virtual machine (15 to 75 us, measured) and bare metal (5 us).
const ASSUMED_NS: u64 = 20_000;

/// Period of the event for the measurement, long enough for the slowest known machine.
const TRIAL_NS: u64 = 100_000;
/// Number of measured signals; the result is the median of their costs.
const TRIALS: usize = 7;
/// Longest time for the measurement.
const PATIENCE_NS: u64 = 3_000_000;

/// The recent cost of this process' handler, without entering and leaving the handler.
static HANDLER_NS: AtomicU64 = AtomicU64::new(2_000);
/// Longest time counted as a handler's cost, in recent costs: a handler that seems to take longer was interrupted.
const INTERRUPTED: u64 = 4;

/// Does the budget determine the distance? If not, the user has set a distance.
pub(crate) fn decides() -> bool {
    segment::settings().cpu_interval_ns == 0
}

/// Nanoseconds that a sample costs, the handler included.
fn sample_ns(segment: &Segment) -> u64 {
    let signal = match segment.arena().signal_cost_ns.load(Relaxed) {
        0 => ASSUMED_NS,
        known => known,
    };
    signal.saturating_add(HANDLER_NS.load(Relaxed))
}

/// CPU nanoseconds between two samples of a perf event, as the budget allows now.
pub(crate) fn distance_ns() -> u64 {
    let Some(segment) = segment::segment() else { return FARTHEST_NS };
    let cost = sample_ns(&segment);
    if segment.arena().burst_ns.load(Relaxed) < BURST_NS {
        cost.saturating_mul(BURST_SHARE).clamp(CLOSEST_BURST_NS, FARTHEST_BURST_NS)
    } else {
        cost.saturating_mul(SHARE).clamp(CLOSEST_NS, FARTHEST_NS)
    }
}

/// Counts a sample whose handler began at `begun_ns`.
pub(crate) fn spent(segment: &Segment, begun_ns: u64) {
    let typical = HANDLER_NS.load(Relaxed);
    let took = sys::now_ns().saturating_sub(begun_ns).min(INTERRUPTED * typical);
    HANDLER_NS.store((typical * 15 + took).div_ceil(16).max(1), Relaxed);
    let burst = &segment.arena().burst_ns;
    if burst.load(Relaxed) < BURST_NS {
        burst.fetch_add(sample_ns(segment), Relaxed);
    }
}

/// Measures the cost of a perf event's signal on the current thread, which owns `slot`, unless a process of this run
/// has measured the cost already. The thread reads the clock in a loop; the cost of a signal is the gap between two
/// readings. Takes about [`PATIENCE_NS`] at most. Meanwhile, the handler only counts signals.
pub(crate) fn measure(slot: &Slot) {
    let Some(segment) = segment::segment() else { return };
    let known = &segment.arena().signal_cost_ns;
    if known.load(Relaxed) != 0 {
        return;
    }
    let Ok(perf) = clock::start_perf(slot.tid.get(), TRIAL_NS, &slot.opening) else { return };
    slot.perf_fd.set(perf.fd);
    slot.trials.set(1);
    let mut costs = [u64::MAX; TRIALS];
    let mut free = costs.iter_mut();
    let begun = sys::now_ns();
    let (mut seen, mut last, mut gap) = (1, begun, 0);
    loop {
        let trials = slot.trials.get();
        let now = sys::now_ns();
        let before = core::mem::replace(&mut gap, now.saturating_sub(last));
        last = now;
        if trials != seen {
            seen = trials;
            // The signal came since the reading before last.
            let Some(cost) = free.next() else { break };
            *cost = gap.max(before);
        }
        if now.saturating_sub(begun) > PATIENCE_NS {
            break;
        }
    }
    // SAFETY: the page is the event's that this function started.
    unsafe { clock::stop_perf(perf.page) };
    slot.trials.set(0);
    slot.perf_fd.set(-1);
    costs.sort_unstable();
    if let Some(median) = costs.get(TRIALS / 2).filter(|&&cost| cost != u64::MAX) {
        known.store((*median).max(1), Relaxed);
    }
}

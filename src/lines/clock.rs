//! A monotonic clock cheap enough to be read twice a line.
//!
//! Job: raw ticks now, seconds later. Invariant: ticks never run backwards on one thread; they are the cpu's counter
//! only where the cpu says that it is constant and never stops, `CLOCK_MONOTONIC` in nanoseconds elsewhere. Neighbour:
//! `session` subtracts ticks, `report` asks for seconds.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Ticks now.
#[inline(always)]
#[must_use]
pub fn ticks() -> u64 {
    if COUNTER.load(std::sync::atomic::Ordering::Relaxed) { counter() } else { monotonic_ns() }
}

/// Decide which clock [`ticks`] reads and start measuring its rate; every call after the first does nothing.
pub fn prepare() {
    ANCHOR.get_or_init(|| {
        COUNTER.store(counter_is_steady(), std::sync::atomic::Ordering::Relaxed);
        Anchor::now()
    });
}

/// Seconds that `elapsed` ticks last. The rate is measured since [`prepare`], over at least 5 ms.
#[must_use]
pub fn seconds(elapsed: u64) -> f64 {
    prepare();
    if !COUNTER.load(std::sync::atomic::Ordering::Relaxed) {
        return elapsed as f64 * 1e-9;
    }
    elapsed as f64 * seconds_per_tick()
}

/// Ticks that last `seconds`; [`seconds`] the other way round.
#[must_use]
pub fn ticks_of(seconds: f64) -> u64 {
    (seconds / rate()) as u64
}

/// Seconds of a tick: for many figures at once, since [`seconds`] reads the clocks anew each time.
#[must_use]
pub fn rate() -> f64 {
    prepare();
    if COUNTER.load(std::sync::atomic::Ordering::Relaxed) { seconds_per_tick() } else { 1e-9 }
}

/// Written once by [`prepare`], before any thread can read ticks of a session; read by [`ticks`].
static COUNTER: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
static ANCHOR: OnceLock<Anchor> = OnceLock::new();

/// Over a shorter time, the rate would be off by more than a part in 10,000.
const SHORTEST_BASE: Duration = Duration::from_millis(5);

/// A moment on both clocks.
struct Anchor {
    ticks: u64,
    at: Instant,
}

impl Anchor {
    /// The reading with the two halves closest together, of three readings.
    fn now() -> Self {
        let one = || {
            let before = ticks();
            let at = Instant::now();
            let after = ticks();
            (after - before, Self { ticks: before + (after - before) / 2, at })
        };
        let [a, b, c] = [one(), one(), one()];
        let best = if b.0 < a.0 { b } else { a };
        if c.0 < best.0 { c.1 } else { best.1 }
    }
}

fn seconds_per_tick() -> f64 {
    let start = ANCHOR.get_or_init(Anchor::now);
    if start.at.elapsed() < SHORTEST_BASE {
        std::thread::sleep(SHORTEST_BASE);
    }
    let now = Anchor::now();
    now.at.duration_since(start.at).as_secs_f64() / (now.ticks - start.ticks) as f64
}

fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec, and CLOCK_MONOTONIC exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn counter() -> u64 {
    // SAFETY: every x86-64 cpu has `rdtsc`; a kernel that forbids it to user code is refused by `counter_is_steady`.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn counter() -> u64 {
    let now: u64;
    // SAFETY: Linux lets user code read the virtual counter on aarch64.
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) now, options(nomem, nostack)) };
    now
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn counter() -> u64 {
    monotonic_ns()
}

/// Is the cpu's counter a clock? On x86-64 the cpu must call the counter constant and never stopping, and the process
/// must be allowed to read the counter (`PR_TSC_ENABLE`).
fn counter_is_steady() -> bool {
    if cfg!(target_arch = "aarch64") {
        return true;
    }
    if !cfg!(target_arch = "x86_64") {
        return false;
    }
    let mut allowed: libc::c_int = 0;
    // SAFETY: PR_GET_TSC writes one int to the address given.
    let answered = unsafe { libc::prctl(libc::PR_GET_TSC, &raw mut allowed) } == 0;
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let steady = flags.lines().find(|line| line.starts_with("flags")).is_some_and(|line| {
        ["constant_tsc", "nonstop_tsc"].iter().all(|flag| line.split_ascii_whitespace().any(|word| word == *flag))
    });
    answered && allowed == libc::PR_TSC_ENABLE && steady
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_a_pause_read_as_its_length() {
        prepare();
        let started = Instant::now();
        let before = ticks();
        std::thread::sleep(Duration::from_millis(31));
        let measured = seconds(ticks() - before);
        let truth = started.elapsed().as_secs_f64();
        assert!((measured - truth).abs() < 0.002 + truth * 0.01, "{measured} s against {truth} s");
    }

    #[test]
    fn ticks_do_not_run_backwards() {
        prepare();
        let mut last = ticks();
        for _ in 0..10_000 {
            let now = ticks();
            assert!(now >= last);
            last = now;
        }
    }
}

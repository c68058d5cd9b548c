//! Memory that a forked process shares with its parent.
//!
//! Job: say how much of the resident memory of a process stands in its parent's, too, so that the sum over all
//! processes counts it once. Invariant: at most one part in [`SHARE`] of the time, for all processes together. Neighbour:
//! `clocks` asks at its readings.
//!
//! After a fork, both processes have the same pages until one of them writes; the resident memory of both counts them.
//! What the child has alone is in `/proc/PID/smaps_rollup`. Until the first look, all that the child has at its first
//! reading is taken for shared; between two looks, growth is taken for the child's own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::proc;

/// Looks may take one part in so many of the time.
const SHARE: u32 = 100;
/// Nanoseconds between two looks at a process at least.
const PAUSE_NS: u64 = 200_000_000;

/// When the next look at any process may be taken.
static NEXT_NS: AtomicU64 = AtomicU64::new(0);

/// What is known of the shared memory of one process.
#[derive(Debug, Default)]
pub(super) struct Shared {
    begun: bool,
    due_ns: u64,
    bytes: u64,
}

impl Shared {
    /// Looks if it is time; `resident` bytes are in memory. The answer is the number of shared bytes, if it has changed.
    pub(super) fn look(&mut self, pid: u32, now_ns: u64, resident: u64) -> Option<u64> {
        if now_ns < self.due_ns {
            return None;
        }
        let first = !std::mem::replace(&mut self.begun, true);
        if first || now_ns >= NEXT_NS.load(Ordering::Relaxed) {
            let bytes = if !proc::stat(pid).is_ok_and(|stat| stat.is_forked()) {
                None
            } else if first {
                Some(resident)
            } else {
                self.due_ns = now_ns.saturating_add(PAUSE_NS);
                alone(pid, now_ns).map(|alone| resident.saturating_sub(alone))
            };
            if bytes.is_none() {
                // It has a program of its own, or its memory may not be read: it counts as a whole.
                self.due_ns = u64::MAX;
            }
            let bytes = bytes.unwrap_or(0);
            return (std::mem::replace(&mut self.bytes, bytes) != bytes).then_some(bytes);
        }
        None
    }
}

/// The bytes that the process has alone; the look is paid for.
fn alone(pid: u32, now_ns: u64) -> Option<u64> {
    let begin = Instant::now();
    let alone = proc::private_bytes(pid);
    let paid_ns = begin.elapsed().as_nanos() as u64 * u64::from(SHARE);
    NEXT_NS.store(now_ns.saturating_add(paid_ns), Ordering::Relaxed);
    alone
}

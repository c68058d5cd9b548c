//! Memory that a forked process shares with its parent.
//!
//! Job: measure the part of a process' resident memory that is also its parent's, so that the sum over all processes
//! counts the part once. Invariant: looks take at most one part in [`SHARE`] of the time, for all processes together.
//! Neighbour: `clocks` calls [`Shared::look`] at its readings.
//!
//! After a fork, both processes have the same pages until either writes; the resident memory of both counts them.
//! `/proc/PID/smaps_rollup` shows the child's private memory. Until the first look, the resident memory of the child's
//! first reading counts as shared; between two looks, growth counts as the child's own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::proc;

/// Looks may take a part of 1 / `SHARE` of the time.
const SHARE: u32 = 100;
/// Least number of nanoseconds between two looks at a process.
const PAUSE_NS: u64 = 200_000_000;

/// Earliest time of the next look at any process.
static NEXT_NS: AtomicU64 = AtomicU64::new(0);

/// The shared memory of a process.
#[derive(Debug, Default)]
pub(super) struct Shared {
    begun: bool,
    due_ns: u64,
    bytes: u64,
}

impl Shared {
    /// Looks if a look is due; `resident` bytes are in memory. Returns the number of shared bytes if the number has
    /// changed.
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
                // The process has called exec, or its memory may not be read: all of its memory counts.
                self.due_ns = u64::MAX;
            }
            let bytes = bytes.unwrap_or(0);
            return (std::mem::replace(&mut self.bytes, bytes) != bytes).then_some(bytes);
        }
        None
    }
}

/// The private bytes of the process. Delays the next look in proportion to the cost of this look.
fn alone(pid: u32, now_ns: u64) -> Option<u64> {
    let begin = Instant::now();
    let alone = proc::private_bytes(pid);
    let paid_ns = begin.elapsed().as_nanos() as u64 * u64::from(SHARE);
    NEXT_NS.store(now_ns.saturating_add(paid_ns), Ordering::Relaxed);
    alone
}

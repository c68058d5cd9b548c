//! Thread names that only Python knows: up to 3.13, Python does not pass the names of threads to the kernel.
//!
//! Job: read the names when threads have appeared, at a bounded cost. Invariant: reading takes at most a twentieth of
//! the time. Neighbours: `process` asks, `interp` finds the names in memory.

use rscalene_interp::{Layout, running_threads, thread_names};

use super::memory::ProcessMemory;
use crate::observe::proc;

/// Least nanoseconds between two reads.
const PAUSE_NS: u64 = 50_000_000;
/// After a read, the reader pauses for this many times the read's duration.
const SHARE: u64 = 20;

/// Time of the next read of names, and whether there may be new names.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Address of `threading._active`.
    running: Option<u64>,
    wanted: bool,
    due_ns: u64,
}

impl Names {
    /// A thread has appeared that may have a name.
    pub(super) fn wanted(&mut self) {
        self.wanted = true;
    }

    /// The names of the threads for which `is_thread` returns true; empty before the next read is due.
    pub(super) fn look(
        &mut self,
        now_ns: u64,
        memory: &ProcessMemory,
        layout: &Layout,
        interp: u64,
        is_thread: impl Fn(u32) -> bool,
    ) -> Vec<(u32, String)> {
        let mut names = Vec::new();
        if !self.wanted || now_ns < self.due_ns {
            return names;
        }
        self.wanted = false;
        self.running = self.running.or_else(|| running_threads(memory, layout, interp));
        if let Some(running) = self.running {
            thread_names(memory, layout, running, is_thread, |tid, name| {
                names.push((tid, String::from_utf8_lossy(name).into_owned()));
            });
        }
        let spent_ns = proc::monotonic_ns().saturating_sub(now_ns);
        self.due_ns = now_ns + PAUSE_NS.max(spent_ns * SHARE);
        names
    }
}

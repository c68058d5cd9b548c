//! Thread states of kernel threads.
//!
//! Job: pair kernel threads and thread states by reading the interpreters' lists, and remember the pairs. Invariant:
//! every look checks whether a remembered pair still holds; a list, which is expensive, is read at a bounded rate.
//! Neighbours: `process` asks; `interp` reads. A thread that enters a sub-interpreter has a state in each interpreter.
//! 3.13 and later mark the state that the thread runs; before 3.13, the thread's stack pointer decides.

use std::collections::HashMap;

use rscalene_interp::{Layout, Thread, interpreter, is_bound, native_thread_id, running, threads};

use super::memory::ProcessMemory;
use crate::observe::numbers::Numbers;
use crate::observe::proc;

/// Thread states by kernel thread, and their interpreters' GILs.
#[derive(Debug, Default)]
pub(in crate::observe) struct States {
    numbers: Numbers,
    /// States by the thread ids that the process itself uses, in its own PID namespace.
    by_tid: HashMap<u32, (u64, u64)>,
    /// The interpreter that was created first.
    oldest: Option<u64>,
    listed_ns: u64,
    /// True if the last lookup failed because it is too early to read a list again.
    too_soon: bool,
    gils: HashMap<u64, Option<(u64, u64)>>,
}

impl States {
    /// The states of process `pid`; no list is read yet.
    pub(in crate::observe) fn new(pid: u32) -> Self {
        Self { numbers: Numbers::new(pid), ..Self::default() }
    }

    /// The thread with the id `number` within its own process.
    pub(in crate::observe) fn thread(&self, number: u32) -> Option<u32> {
        self.numbers.outer(number)
    }

    /// A new look at a thread begins.
    pub(in crate::observe) fn begin(&mut self) {
        self.too_soon = false;
    }

    /// True if the last lookup failed because it was too early to read a list again.
    pub(in crate::observe) fn too_soon(&self) -> bool {
        self.too_soon
    }

    /// The main interpreter; `None` before a list was read.
    pub(in crate::observe) fn oldest(&self) -> Option<u64> {
        self.oldest
    }

    /// The thread has ended.
    pub(in crate::observe) fn forget(&mut self, tid: u32) {
        self.by_tid.remove(&self.numbers.inner(tid));
        self.numbers.forget(tid);
    }

    /// First and last address of the GIL of an interpreter; calls `read` if they are unknown.
    pub(in crate::observe) fn gil(
        &mut self,
        interp: u64,
        read: impl FnOnce() -> Option<(u64, u64)>,
    ) -> Option<(u64, u64)> {
        *self.gils.entry(interp).or_insert_with(read)
    }

    /// Thread state and interpreter that a kernel thread runs; `sp` is its stack pointer.
    pub(in crate::observe) fn of(
        &mut self,
        tid: u32,
        sp: Option<u64>,
        memory: &ProcessMemory,
        layout: &Layout,
    ) -> Option<(u64, u64)> {
        let number = self.numbers.inner(tid);
        let (tstate, interp) = self.own(number, memory, layout)?;
        let runs = sp.map_or(tstate, |sp| running(memory, layout, tstate, sp, 0));
        Some((runs, if runs == tstate { interp } else { interpreter(memory, layout, runs)? }))
    }

    fn own(&mut self, tid: u32, memory: &ProcessMemory, layout: &Layout) -> Option<(u64, u64)> {
        self.too_soon = false;
        if let Some(&(tstate, interp)) = self.by_tid.get(&tid) {
            // The thread may have ended its Python life or entered another interpreter, and the memory may hold another
            // state by now.
            if native_thread_id(memory, layout, tstate) == Some(u64::from(tid))
                && is_bound(memory, layout, tstate) != Some(false)
            {
                return Some((tstate, interp));
            }
        }
        let now_ns = proc::monotonic_ns();
        // A list costs microseconds per thread, so native threads that begin and end must not cause a list each time.
        if now_ns - self.listed_ns < 2_000_000 + 20_000 * self.by_tid.len() as u64 {
            self.too_soon = true;
            return None;
        }
        self.listed_ns = now_ns;
        self.by_tid.clear();
        // The list ends with the oldest interpreter. If no state of a thread is marked as running, the first state
        // stays.
        threads(memory, layout, |Thread { tstate, interp, native_thread_id }| {
            self.oldest = Some(interp);
            if let Ok(tid) = u32::try_from(native_thread_id)
                && (is_bound(memory, layout, tstate) != Some(false) || !self.by_tid.contains_key(&tid))
            {
                self.by_tid.insert(tid, (tstate, interp));
            }
            true
        });
        self.gils.retain(|interp, range| range.is_some() && self.by_tid.values().any(|(_, known)| known == interp));
        self.by_tid.get(&tid).copied()
    }
}

//! Which of its thread states a thread runs: entering a sub-interpreter changes to another one.
//!
//! Job: find it by reading. From 3.13 on a state says itself whether it is the one of its thread; before, a state may
//! belong to another thread than the one that made it, and what tells is its `_PyCFrame`: that lies on the C stack of the
//! thread that runs it, and the innermost of a stack belongs to the state that runs. Invariant: where nothing can be told,
//! the answer is the state that was asked about. Neighbours: `threads` lists the states, `walk` takes the answer.

use crate::fields::Layout;
use crate::memory::{Memory, at};
use crate::threads::each_state;

/// Thread states of other interpreters that are looked at, at most.
const STATES: u32 = 1024;
/// `PyThreadState._status.bound_gilstate`: the state that `PyGILState_GetThisThreadState` answers in its thread.
const BOUND: u32 = 1 << 3;
/// A `_PyCFrame` that lies this close behind its thread state is a part of it: nothing runs.
const ROOT: u64 = 4096;

/// Whether the thread state is its thread's present one; `None` where the version does not say (before 3.13).
#[must_use]
pub fn is_bound<M: Memory>(mem: &M, layout: &Layout, tstate: u64) -> Option<bool> {
    Some(mem.u32(at(tstate, layout.thread.status?))? & BOUND != 0)
}

/// The interpreter that a thread state belongs to.
#[must_use]
pub fn interpreter<M: Memory>(mem: &M, layout: &Layout, tstate: u64) -> Option<u64> {
    mem.u64(at(tstate, layout.thread.interp))
}

/// The state that a thread runs whose own one is at `tstate`, whose stack pointer is `sp`, and whose stack ends at
/// `top` (0: not known, then only states above which `tstate` runs are found). For versions before 3.13; later ones get
/// `tstate` back.
#[inline]
pub fn running<M: Memory>(mem: &M, layout: &Layout, tstate: u64, sp: u64, top: u64) -> u64 {
    let fields = &layout.runtime_fields;
    if layout.thread.cframe_frame.is_none() {
        return tstate;
    }
    let first = mem.u64(at(layout.runtime, fields.interpreters_head)).filter(|interp| *interp != 0);
    let second = first.and_then(|interp| mem.u64(at(interp, fields.interp_next))).unwrap_or(0);
    if second == 0 { tstate } else { innermost(mem, layout, tstate, sp, top) }
}

fn innermost<M: Memory>(mem: &M, layout: &Layout, tstate: u64, sp: u64, top: u64) -> u64 {
    let cframe = |state: u64| {
        let address = mem.u64(at(state, layout.thread.frame_root))?;
        (address.wrapping_sub(state) >= ROOT).then_some(address)
    };
    let own = cframe(tstate).filter(|own| *own >= sp && (top == 0 || *own < top));
    let mut found = (tstate, own.unwrap_or(top));
    let interp = interpreter(mem, layout, tstate).unwrap_or(0);
    let mut left = STATES;
    each_state(mem, layout, interp, |state, _| {
        if let Some(address) = cframe(state).filter(|address| (sp..found.1).contains(address)) {
            found = (state, address);
        }
        left = left.saturating_sub(1);
        left > 0
    });
    found.0
}

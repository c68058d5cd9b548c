//! The thread state that a thread runs: a thread that enters a sub-interpreter changes to another thread state.
//!
//! Job: find the running state by reading memory. From 3.13 on, a flag in the state says whether its thread runs the
//! state. Before 3.13, a thread may run a state that another thread made. There, the address of the state's `_PyCFrame`
//! decides: the `_PyCFrame` lies on the C stack of the thread that runs the state, and the innermost `_PyCFrame` of a
//! stack belongs to the running state. Invariant: if the reads decide nothing, the answer is the state that the caller
//! passed. Neighbours: `threads` lists the states, `walk` takes the answer.

use crate::fields::Layout;
use crate::memory::{Memory, at};
use crate::threads::each_state;

/// Most thread states of other interpreters that a search looks at.
const STATES: u32 = 1024;
/// `PyThreadState._status.bound_gilstate`: `PyGILState_GetThisThreadState` returns this state in its thread.
const BOUND: u32 = 1 << 3;
/// A `_PyCFrame` less than this many bytes behind its thread state is a part of the state: the state runs nothing.
const ROOT: u64 = 4096;

/// Does the thread run this state of its own at present? `None` before 3.13, because a state has no such flag.
#[must_use]
pub fn is_bound<M: Memory>(mem: &M, layout: &Layout, tstate: u64) -> Option<bool> {
    Some(mem.u32(at(tstate, layout.thread.status?))? & BOUND != 0)
}

/// Address of the interpreter of a thread state.
#[must_use]
pub fn interpreter<M: Memory>(mem: &M, layout: &Layout, tstate: u64) -> Option<u64> {
    mem.u64(at(tstate, layout.thread.interp))
}

/// True while the garbage collector of a thread state's interpreter works. The thread that holds the GIL then runs the
/// collector, or a finalizer for the collector.
#[inline]
#[must_use]
pub fn collects<M: Memory>(mem: &M, layout: &Layout, tstate: u64) -> bool {
    let field = |interp| mem.u32(at(interp, layout.runtime_fields.collecting));
    interpreter(mem, layout, tstate).and_then(field).is_some_and(|collecting| collecting == 1)
}

/// The state that a thread runs. `tstate` is the thread's own state, `sp` its stack pointer, `top` the end of its stack
/// (0: not known; then the search finds only states whose `_PyCFrame` lies below `tstate`'s). For versions before 3.13;
/// later versions get `tstate` back.
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

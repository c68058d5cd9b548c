//! The threads of all interpreters, and each interpreter's GIL.
//!
//! Job: pair thread states with the kernel's thread ids, and give the address range of the GIL, so a caller can
//! recognise the address of the GIL's futex. Invariant: the lists may change during the reading; if a list is broken,
//! the functions stop early and return false. Neighbour: `walk` takes the thread states found here. Callers: `running`,
//! and the launcher's remote reader.

use crate::fields::{GilPlace, Layout};
use crate::memory::{Memory, at};

/// If a list has more interpreters or threads than this, its links form a cycle.
const LIST_LIMIT: u32 = 1 << 16;
/// `sizeof(struct _gil_runtime_state)` on x86-64 (aarch64's mutexes are 8 bytes larger, twice); free-threaded builds
/// put one more word before it.
const GIL_SIZE: u64 = if cfg!(target_arch = "aarch64") { 224 } else { 208 };

/// A thread state of an interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Address of the `PyThreadState`.
    pub tstate: u64,
    /// Address of the state's `PyInterpreterState`.
    pub interp: u64,
    /// The kernel's id of the thread; 0 before the thread has begun. 3.11 and 3.12 never update this number: the thread
    /// state of a sub-interpreter keeps the id of the thread that made the state.
    pub native_thread_id: u64,
}

/// An interpreter's GIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gil {
    /// Address of the structure: its mutexes and condition variables lie inside `start..end`.
    pub start: u64,
    /// First address behind the structure.
    pub end: u64,
    /// Does a thread hold the GIL? Always false in a free-threaded build that runs without the GIL.
    pub locked: bool,
    /// The thread state that holds the GIL, or held the GIL last; 0 if none has held the GIL.
    pub last_holder: u64,
}

/// Calls `visit` with every thread state of every interpreter until `visit` returns false. Returns false if a list
/// could not be read to its end. Younger interpreters come first.
pub fn threads<M: Memory>(mem: &M, layout: &Layout, mut visit: impl FnMut(Thread) -> bool) -> bool {
    let mut whole = true;
    let ended = each_state(mem, layout, 0, |tstate, interp| {
        let Some(native_thread_id) = native_thread_id(mem, layout, tstate) else {
            whole = false;
            return false;
        };
        visit(Thread { tstate, interp, native_thread_id })
    });
    ended && whole
}

/// Calls `visit` with address and interpreter of every thread state until `visit` returns false. Leaves out the states
/// of the interpreter at `except`. Returns false if a list could not be read to its end.
#[inline]
pub(crate) fn each_state<M: Memory>(
    mem: &M,
    layout: &Layout,
    except: u64,
    mut visit: impl FnMut(u64, u64) -> bool,
) -> bool {
    let fields = &layout.runtime_fields;
    let Some(mut interp) = mem.u64(at(layout.runtime, fields.interpreters_head)) else { return false };
    for _ in 0..LIST_LIMIT {
        if interp == 0 {
            return true;
        }
        let head = if interp == except { Some(0) } else { mem.u64(at(interp, fields.threads_head)) };
        let Some(mut tstate) = head else { return false };
        let mut left = LIST_LIMIT;
        while tstate != 0 && left > 0 {
            left = left.saturating_sub(1);
            if !visit(tstate, interp) {
                return true;
            }
            let Some(next) = mem.u64(at(tstate, layout.thread.next)) else { return false };
            tstate = next;
        }
        if tstate != 0 {
            return false;
        }
        let Some(next) = mem.u64(at(interp, fields.interp_next)) else { return false };
        interp = next;
    }
    false
}

/// The kernel's id in the thread state at `tstate`: see [`Thread::native_thread_id`].
#[inline]
pub fn native_thread_id<M: Memory>(mem: &M, layout: &Layout, tstate: u64) -> Option<u64> {
    mem.u64(at(tstate, layout.thread.native_thread_id))
}

/// The GIL of the `PyInterpreterState` at `interp`; `None` if the interpreter has no GIL yet.
pub fn gil<M: Memory>(mem: &M, layout: &Layout, interp: u64) -> Option<Gil> {
    let fields = &layout.runtime_fields;
    let start = match fields.gil {
        GilPlace::Runtime(offset) => at(layout.runtime, offset),
        GilPlace::Pointer(offset) => mem.u64(at(interp, offset)).filter(|gil| *gil != 0)?,
    };
    let extra = u64::from(layout.free_threaded).wrapping_mul(8);
    Some(Gil {
        start,
        end: start.wrapping_add(GIL_SIZE).wrapping_add(extra),
        // -1 before the interpreter has made the GIL, 0 free, 1 taken.
        locked: mem.u32(at(start, fields.gil_locked))? == 1,
        last_holder: mem.u64(at(start, fields.gil_last_holder))?,
    })
}

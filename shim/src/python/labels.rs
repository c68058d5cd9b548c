//! Labels: the request or task that a thread works for.
//!
//! Job: read the number that a thread's records carry, from the value of a context variable. Each task, thread and
//! greenlet has its own value without further calls. Invariant: this file only loads memory, from any place, and each
//! load may fail safely; the label is 0 if the context has no number. Neighbours: `exports::sample` (names the
//! variable, and sends the meaning of a number), `cpu::handler` and `memory` (write the number into their records),
//! `interp::contexts` (reads).

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};

use rscalene_interp::{ContextVariable, Memory};
use rscalene_wire::LabelVariable;

use crate::ground::guard::Guarded;
use crate::python::interpreter;

/// Offset of an object's type, and of the first digit of an `int`, in 3.11 to 3.15.
const OB_TYPE: u64 = 8;
const DIGIT: u64 = 24;

struct Once(UnsafeCell<(ContextVariable, u64)>);

// SAFETY: `follow` writes it under the GIL before `FOLLOWED` is raised; it is only read afterwards.
unsafe impl Sync for Once {}

static VARIABLE: Once =
    Once(UnsafeCell::new((ContextVariable { context: 0, hash: 0, variable: 0, bitmap: 0, array: 0 }, 0)));
static FOLLOWED: AtomicBool = AtomicBool::new(false);

/// Makes all later records carry the number in this variable. Only the first call has an effect.
///
/// # Safety
/// The GIL is held.
pub(crate) unsafe fn follow(of: LabelVariable) {
    if FOLLOWED.load(Acquire) {
        return;
    }
    let LabelVariable { context, hash, variable, bitmap, array, int } = of;
    // SAFETY: no thread reads the variable before `FOLLOWED` is raised, and the GIL prevents a second writer.
    unsafe { VARIABLE.0.get().write((ContextVariable { context, hash, variable, bitmap, array }, int)) };
    FOLLOWED.store(true, Release);
}

/// The label of this thread; 0: none.
#[inline]
pub(crate) fn current() -> u32 {
    if FOLLOWED.load(Acquire) { read_current() } else { 0 }
}

#[cold]
#[inline(never)]
fn read_current() -> u32 {
    let python = interpreter::python();
    let Some(layout) = python.layout().filter(|_| python.thread_state() != 0) else { return 0 };
    let memory = Guarded::here();
    // The address of any local variable serves as the stack pointer.
    of(&memory, python.running_state(layout, &memory, (&raw const memory) as u64))
}

/// The label of the thread with this state; 0: none.
#[inline]
pub(crate) fn of(memory: &Guarded, tstate: u64) -> u32 {
    if FOLLOWED.load(Acquire) { read(memory, tstate).unwrap_or(0) } else { 0 }
}

fn read(memory: &Guarded, tstate: u64) -> Option<u32> {
    // SAFETY: `FOLLOWED` is raised, so `follow` does not write it again.
    let (variable, int) = unsafe { &*VARIABLE.0.get() };
    let value = variable.value(memory, tstate)?;
    // A word read while the context changes may be any value: accept only an `int`.
    let kind = memory.u64(value.wrapping_add(OB_TYPE))?;
    if kind == *int { memory.u32(value.wrapping_add(DIGIT)) } else { None }
}

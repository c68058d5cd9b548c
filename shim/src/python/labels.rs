//! Labels: which request or task a thread works for.
//!
//! Job: the number that the records of this thread bear: the value of a context variable, so tasks, threads and
//! greenlets bear their own without a word. Invariant: loads alone, anywhere, and only such as may fail; 0 where the
//! context has no number. Neighbours: `exports::sample` (the variable, and what a number means), `cpu::handler` and
//! `memory` (write the number into their records), `interp::contexts` (reads).

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};

use rscalene_interp::{ContextVariable, Memory};
use rscalene_wire::LabelVariable;

use crate::ground::guard::Guarded;
use crate::python::interpreter;

/// An object's type, and the first digit of an `int`, in 3.11 to 3.15.
const OB_TYPE: u64 = 8;
const DIGIT: u64 = 24;

struct Once(UnsafeCell<(ContextVariable, u64)>);

// SAFETY: written under the GIL before `FOLLOWED` is raised, read only afterwards.
unsafe impl Sync for Once {}

static VARIABLE: Once =
    Once(UnsafeCell::new((ContextVariable { context: 0, hash: 0, variable: 0, bitmap: 0, array: 0 }, 0)));
static FOLLOWED: AtomicBool = AtomicBool::new(false);

/// Records bear the number of this variable from now on; of two variables the first.
///
/// # Safety
/// The GIL is held.
pub(crate) unsafe fn follow(of: LabelVariable) {
    if FOLLOWED.load(Acquire) {
        return;
    }
    let LabelVariable { context, hash, variable, bitmap, array, int } = of;
    // SAFETY: nothing reads it before `FOLLOWED` is raised, and the GIL keeps others from writing.
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
    // Anything on this very stack will do for its pointer.
    of(&memory, python.running_state(layout, &memory, (&raw const memory) as u64))
}

/// The label of the thread with this state; 0: none.
#[inline]
pub(crate) fn of(memory: &Guarded, tstate: u64) -> u32 {
    if FOLLOWED.load(Acquire) { read(memory, tstate).unwrap_or(0) } else { 0 }
}

fn read(memory: &Guarded, tstate: u64) -> Option<u32> {
    // SAFETY: `FOLLOWED` is raised, so nothing writes it any more.
    let (variable, int) = unsafe { &*VARIABLE.0.get() };
    let value = variable.value(memory, tstate)?;
    // A word that is read while the context changes may be anything: an `int` it must be.
    let kind = memory.u64(value.wrapping_add(OB_TYPE))?;
    if kind == *int { memory.u32(value.wrapping_add(DIGIT)) } else { None }
}

//! The start-up self-test: does the frame walk of this library find the frames that the interpreter itself reports?
//!
//! Job: walk the frames and compare each code object and offset with `PyEval_GetFrame` and related functions. The test
//! runs once the interpreter is up, at a moment that the interpreter chooses (a pending call, with the GIL held), or
//! when the extension module begins to sample. On a mismatch, no code of this process reads frames, and the report says
//! so; totals remain. Invariant: no other code of this library calls the interpreter for frames; this code does so
//! once, and leaves no reference and no exception behind. Neighbours: `memory::sample` (asks for the test), `handler`
//! (stops reading frames after a failure).

use core::ffi::{c_int, c_void};
use core::sync::atomic::Ordering::Relaxed;

use rscalene_interp::walk;
use rscalene_wire as wire;
use wire::Verdict;

use crate::arena::segment;
use crate::ground::guard::Guarded;
use crate::ground::sys;
use crate::python::interpreter::{self, ASKED, DECIDED, NOT_ASKED, STATE};

/// Frames compared at most.
const DEPTH: u32 = 32;

/// Asks the interpreter, if it is up, to run the test and then `then`, which needs the GIL, too. Called from ordinary
/// code only.
pub(crate) fn ask(then: fn()) {
    let python = interpreter::python();
    if !python.initialized() || STATE.compare_exchange(NOT_ASKED, ASKED, Relaxed, Relaxed).is_err() {
        return;
    }
    let add = python.calls.add_pending_call;
    if add == 0 || python.calls.incomplete() {
        decide(Verdict::IMPOSSIBLE);
        return;
    }
    // SAFETY: the address is that of Py_AddPendingCall, whose type this is.
    let add: unsafe extern "C" fn(unsafe extern "C" fn(*mut c_void) -> c_int, *mut c_void) -> c_int =
        unsafe { core::mem::transmute(add) };
    // SAFETY: `run` is a function of this library, which is never unloaded.
    if unsafe { add(run, then as *mut c_void) } != 0 {
        STATE.store(NOT_ASKED, Relaxed);
    }
}

/// Runs the test now, unless this process has a verdict already. Returns true if the verdict is "passed". Python code
/// runs on this thread, which holds the GIL.
pub(crate) fn passes_now() -> bool {
    if STATE.load(Relaxed) < DECIDED {
        compare();
    }
    STATE.load(Relaxed) == DECIDED + Verdict::PASSED.number()
}

fn decide(verdict: Verdict) {
    STATE.store(DECIDED + verdict.number(), Relaxed);
    if let Some(segment) = segment::segment() {
        let record = wire::SelfTest { time_ns: sys::now_ns(), verdict, reserved: 0 };
        segment.emit(&record);
    }
}

/// In a forked child: repeats the parent's verdict, because the child has the interpreter that the parent tested.
pub(crate) fn repeat_verdict() {
    let state = STATE.load(Relaxed);
    if state >= DECIDED {
        decide(Verdict::of(state - DECIDED));
    } else {
        STATE.store(NOT_ASKED, Relaxed);
    }
}

type Object = *mut c_void;

macro_rules! python_call {
    ($address:expr, fn($($type:ty),*) -> $ret:ty, ($($argument:expr),*)) => {{
        // SAFETY: the address was looked up under this function's name; the signature is the documented one.
        let function: unsafe extern "C" fn($($type),*) -> $ret = unsafe { core::mem::transmute($address) };
        // SAFETY: runs in a pending call, with the GIL held; the arguments are live objects.
        unsafe { function($($argument),*) }
    }};
}

/// The pending call: runs the test, then `then`.
unsafe extern "C" fn run(then: *mut c_void) -> c_int {
    let _errno = sys::KeepErrno::new();
    compare();
    if !interpreter::pending() {
        // SAFETY: `ask` passed a function of this type.
        let then: fn() = unsafe { core::mem::transmute(then) };
        then();
    }
    0
}

fn compare() {
    let python = interpreter::python();
    let Some(layout) = python.layout() else {
        decide(Verdict::IMPOSSIBLE);
        return;
    };
    let calls = &python.calls;
    let mut ours = [(0u64, 0u32); DEPTH as usize];
    let mut count = 0usize;
    walk(&Guarded::here(), layout, python.thread_state(), DEPTH, |frame| {
        if let Some(place) = ours.get_mut(count) {
            *place = (frame.code, frame.offset_bytes);
            count += 1;
        }
        true
    });
    // A borrowed reference; null if no Python code runs.
    let mut frame = python_call!(calls.get_frame, fn() -> Object, ());
    let mut owned = false;
    let mut compared = 0u32;
    let mut differs = None;
    for (code, offset) in ours.iter().take(count) {
        if frame.is_null() {
            differs = Some(compared);
            break;
        }
        let their_code = python_call!(calls.frame_code, fn(Object) -> Object, (frame));
        let their_offset = python_call!(calls.frame_offset, fn(Object) -> c_int, (frame));
        let same = their_code as u64 == *code && their_offset as u32 == *offset;
        python_call!(calls.release, fn(Object) -> (), (their_code));
        if !same {
            differs = Some(compared);
            break;
        }
        compared += 1;
        let back = python_call!(calls.frame_back, fn(Object) -> Object, (frame));
        if owned {
            python_call!(calls.release, fn(Object) -> (), (frame));
        }
        (frame, owned) = (back, true);
    }
    if differs.is_none() && count < DEPTH as usize && !frame.is_null() {
        differs = Some(compared);
    }
    if owned && !frame.is_null() {
        python_call!(calls.release, fn(Object) -> (), (frame));
    }
    match differs {
        Some(_) => decide(Verdict::FAILED),
        // There was no frame to compare: ask again later.
        None if compared == 0 => STATE.store(NOT_ASKED, Relaxed),
        None => decide(Verdict::PASSED),
    }
}

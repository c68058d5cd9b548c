//! Events from the interpreter's profile and trace functions, on 3.11.
//!
//! Job: be the profile function of every thread (and the trace function, if lines are recorded) while a request is
//! open. Invariants: a function that another tool installed before gets every event first, and is restored afterwards.
//! `threading.setprofile` installs the functions in new threads. Neighbours: `engines` calls this file, `events` does
//! the same for 3.12 and later.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyCFunction;

use super::api;
use super::context::with_book;
use super::counts::{FUNCTIONS, LINES};
use super::functions::{self, Kind};
use super::ledger::Leaves;
use super::memory::{apart, reading};
use crate::bindings::symbols::TraceFunction;
use crate::lines::clock;

/// Offsets in `PyThreadState` of 3.11, whose layout is final.
const PROFILE_FUNCTION: usize = 64;
const TRACE_FUNCTION: usize = 72;
const PROFILE_OBJECT: usize = 80;
const TRACE_OBJECT: usize = 88;

/// One of a thread's two functions: profile or trace.
#[derive(Clone, Copy)]
struct Which {
    function: usize,
    object: usize,
    ours: TraceFunction,
    install:
        fn(
            &api::Legacy,
        )
            -> unsafe extern "C" fn(*mut ffi::PyThreadState, Option<TraceFunction>, *mut ffi::PyObject) -> libc::c_int,
}

const PROFILE: Which = Which {
    function: PROFILE_FUNCTION,
    object: PROFILE_OBJECT,
    ours: on_profile,
    install: |legacy| legacy.set_profile,
};
const TRACE: Which =
    Which { function: TRACE_FUNCTION, object: TRACE_OBJECT, ours: on_trace, install: |legacy| legacy.set_trace };

impl Which {
    /// A thread's present function, and its object.
    ///
    /// # Safety
    /// The GIL is held, the interpreter is 3.11 and the thread state lives.
    unsafe fn of(self, state: *mut ffi::PyThreadState) -> (Option<TraceFunction>, *mut ffi::PyObject) {
        // SAFETY: see above.
        unsafe {
            let at = state.cast::<u8>();
            (
                at.add(self.function).cast::<Option<TraceFunction>>().read(),
                at.add(self.object).cast::<*mut ffi::PyObject>().read(),
            )
        }
    }

    fn is_ours(self, function: Option<TraceFunction>) -> bool {
        function.is_some_and(|function| std::ptr::fn_addr_eq(function, self.ours))
    }

    /// Installs rscalene's function: in this thread in front of an existing function, in other threads only if there is
    /// none.
    fn install_everywhere(self) {
        let Some(legacy) = api::legacy() else { return };
        // SAFETY: the GIL is held, and the loop walks the list of threads as the interpreter does.
        unsafe {
            let mut state = (legacy.first_thread)(ffi::PyInterpreterState_Get());
            while !state.is_null() {
                let (there, object) = self.of(state);
                if there.is_none() {
                    (self.install)(legacy)(state, Some(self.ours), object);
                } else if !self.is_ours(there) && state == ffi::PyThreadState_Get() {
                    CHAINED.with(|chained| {
                        let mut both = chained.get();
                        let slot = if self.function == PROFILE_FUNCTION { &mut both.0 } else { &mut both.1 };
                        *slot = there;
                        chained.set(both);
                    });
                    // Keep the other tool's object, so that `sys.getprofile()` still returns it.
                    (self.install)(legacy)(state, Some(self.ours), object);
                }
                state = (legacy.next_thread)(state);
            }
        }
    }

    /// Restores the former function of every thread.
    fn remove_everywhere(self) {
        let Some(legacy) = api::legacy() else { return };
        // SAFETY: as above.
        unsafe {
            let mut state = (legacy.first_thread)(ffi::PyInterpreterState_Get());
            while !state.is_null() {
                let (there, object) = self.of(state);
                if self.is_ours(there) && object.is_null() {
                    (self.install)(legacy)(state, None, std::ptr::null_mut());
                }
                state = (legacy.next_thread)(state);
            }
            self.remove_here();
        }
    }

    /// Restores the former function of this thread.
    ///
    /// # Safety
    /// The GIL is held.
    unsafe fn remove_here(self) {
        let Some(legacy) = api::legacy() else { return };
        // SAFETY: see above.
        unsafe {
            let state = ffi::PyThreadState_Get();
            let (there, object) = self.of(state);
            if self.is_ours(there) {
                (self.install)(legacy)(state, self.previous(), object);
            }
        }
        CHAINED.with(|chained| {
            let mut both = chained.get();
            let slot = if self.function == PROFILE_FUNCTION { &mut both.0 } else { &mut both.1 };
            *slot = None;
            chained.set(both);
        });
    }

    fn previous(self) -> Option<TraceFunction> {
        let both = CHAINED.with(Cell::get);
        if self.function == PROFILE_FUNCTION { both.0 } else { both.1 }
    }
}

thread_local! {
    /// The profile and trace functions that this thread had before rscalene's.
    static CHAINED: Cell<(Option<TraceFunction>, Option<TraceFunction>)> = const { Cell::new((None, None)) };
}

/// Whether `threading` is asked to call [`boot`] in new threads.
static REACHING: AtomicBool = AtomicBool::new(false);

/// Installs the functions needed by the open requests. Called when a request opens.
pub(super) fn on(py: Python<'_>) {
    if FUNCTIONS.load(Relaxed) > 0 {
        PROFILE.install_everywhere();
    }
    if LINES.load(Relaxed) > 0 {
        TRACE.install_everywhere();
    }
    // A request that only has a label needs no events.
    if FUNCTIONS.load(Relaxed) + LINES.load(Relaxed) > 0
        && !REACHING.swap(true, Relaxed)
        && let Err(error) = reach_new_threads(py, true)
    {
        error.write_unraisable(py, None);
    }
}

/// Removes functions that no open request needs. Called when a request ends.
pub(super) fn off(py: Python<'_>) {
    if FUNCTIONS.load(Relaxed) == 0 {
        PROFILE.remove_everywhere();
    }
    if LINES.load(Relaxed) == 0 {
        TRACE.remove_everywhere();
    }
    if FUNCTIONS.load(Relaxed) + LINES.load(Relaxed) == 0
        && REACHING.swap(false, Relaxed)
        && let Err(error) = reach_new_threads(py, false)
    {
        error.write_unraisable(py, None);
    }
}

/// Makes `threading` call [`boot`] in threads that start from now on, unless another tool uses `threading.setprofile`.
fn reach_new_threads(py: Python<'_>, on: bool) -> PyResult<()> {
    let Some(threading) = py.import("sys")?.getattr("modules")?.call_method1("get", ("threading",)).ok() else {
        return Ok(());
    };
    if threading.is_none() {
        return Ok(());
    }
    static BOOT: std::sync::OnceLock<Py<PyAny>> = std::sync::OnceLock::new();
    if BOOT.get().is_none() {
        let boot = PyCFunction::new_closure(py, Some(c"rscalene_boot"), None, |arguments, _| {
            boot(arguments.py());
        })?;
        let _ = BOOT.set(boot.into_any().unbind());
    }
    let Some(boot) = BOOT.get() else { return Ok(()) };
    let there = threading.call_method0("getprofile")?;
    if on && there.is_none() {
        threading.call_method1("setprofile", (boot,))?;
    } else if !on && there.is(boot) {
        threading.call_method1("setprofile", (py.None(),))?;
    }
    Ok(())
}

/// Installs rscalene's functions in a new thread, at its first event.
fn boot(py: Python<'_>) {
    let _ = py;
    let Some(legacy) = api::legacy() else { return };
    // SAFETY: the GIL is held; this replaces the thread's function, which `threading` set.
    unsafe {
        let state = ffi::PyThreadState_Get();
        let ours = (FUNCTIONS.load(Relaxed) > 0).then_some(on_profile as TraceFunction);
        (legacy.set_profile)(state, ours, std::ptr::null_mut());
        if LINES.load(Relaxed) > 0 && TRACE.of(state).0.is_none() {
            (legacy.set_trace)(state, Some(on_trace), std::ptr::null_mut());
        }
    }
}

const CALL: libc::c_int = 0;
const LINE: libc::c_int = 2;
const RETURN: libc::c_int = 3;
const C_CALL: libc::c_int = 4;

/// Offsets in 3.11: of `f_frame`, `f_lineno` and `f_trace_lines` in `PyFrameObject`, of `f_code` in
/// `_PyInterpreterFrame`.
const FRAME_INTERPRETER_FRAME: usize = 24;
const FRAME_LINE: usize = 40;
const FRAME_TRACE_LINES: usize = 44;
const INTERPRETER_FRAME_CODE: usize = 32;

/// The code object of a frame, as a borrowed reference.
///
/// # Safety
/// `frame` is a running frame object of 3.11.
#[inline(always)]
unsafe fn code_of(frame: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        let inner = frame.cast::<u8>().add(FRAME_INTERPRETER_FRAME).cast::<*mut u8>().read();
        inner.add(INTERPRETER_FRAME_CODE).cast::<*mut ffi::PyObject>().read()
    }
}

unsafe extern "C" fn on_profile(
    object: *mut ffi::PyObject,
    frame: *mut ffi::PyObject,
    what: libc::c_int,
    argument: *mut ffi::PyObject,
) -> libc::c_int {
    let now = clock::ticks();
    if let Some(previous) = PROFILE.previous() {
        // SAFETY: the previous function gets its arguments unchanged.
        let answer = unsafe { previous(object, frame, what, argument) };
        if answer != 0 {
            return answer;
        }
    }
    // SAFETY: the interpreter passes a running frame, with the GIL held.
    let py = unsafe { Python::assume_attached() };
    if FUNCTIONS.load(Relaxed) == 0 {
        return 0;
    }
    apart(|| {
        with_book(py, |book, stack| {
            if !book.functions {
                return;
            }
            // SAFETY: as above; the argument of the C events is the callable.
            unsafe {
                match what {
                    CALL => {
                        let code = code_of(frame);
                        book.enter(py, stack, code, starts(py, code, frame));
                    }
                    RETURN => book.leave(stack, code_of(frame) as usize, now),
                    C_CALL => {
                        let key = functions::definition(argument);
                        if key != 0 {
                            book.enter_builtin(py, stack, key, argument);
                        }
                    }
                    _ => {
                        let key = functions::definition(argument);
                        if key != 0 {
                            book.leave(stack, key, now);
                        }
                    }
                }
            }
        })
    });
    0
}

/// Whether the frame starts, rather than resumes after a `yield` or an `await`. In both cases the event comes at a
/// `RESUME` instruction, whose argument distinguishes the cases. After a `throw`, the event comes at the instruction
/// that suspended the frame.
///
/// # Safety
/// The frame runs `code`, and the GIL is held.
#[inline(always)]
unsafe fn starts(py: Python<'_>, code: *mut ffi::PyObject, frame: *mut ffi::PyObject) -> bool {
    if functions::of_code(py, code).kind == Kind::Plain {
        return true;
    }
    let Some(legacy) = api::legacy() else { return true };
    // SAFETY: see above.
    let at = unsafe { (legacy.last_instruction)(frame) };
    at < 0 || (byte(py, code, at as usize + 1) == 0 && ![YIELD_VALUE, SEND].contains(&byte(py, code, at as usize)))
}

/// A byte of the bytecode. Opcodes are at even offsets, their arguments at odd ones.
fn byte(py: Python<'_>, code: *mut ffi::PyObject, at: usize) -> u8 {
    let _ = py;
    /// Offset of `co_code_adaptive` in a code object of 3.11.
    const CODE_BYTES: usize = 184;
    // SAFETY: the offset lies inside of the running code's bytecode, and the GIL is held.
    unsafe { code.cast::<u8>().add(CODE_BYTES + at).read() }
}

unsafe extern "C" fn on_trace(
    object: *mut ffi::PyObject,
    frame: *mut ffi::PyObject,
    what: libc::c_int,
    argument: *mut ffi::PyObject,
) -> libc::c_int {
    let now = clock::ticks();
    let previous = TRACE.previous();
    if let Some(previous) = previous {
        // SAFETY: the previous function gets its arguments unchanged.
        let answer = unsafe { previous(object, frame, what, argument) };
        if answer != 0 {
            return answer;
        }
    }
    // SAFETY: the interpreter passes a running frame, with the GIL held.
    let (py, code) = unsafe { (Python::assume_attached(), code_of(frame)) };
    if LINES.load(Relaxed) == 0 {
        if previous.is_none() {
            // SAFETY: the GIL is held. Another tool restored our trace function after the last request ended.
            unsafe { TRACE.remove_here() };
        }
        return 0;
    }
    let in_scope =
        functions::known_scope(py, code as usize).unwrap_or_else(|| apart(|| functions::of_code(py, code).in_scope));
    if !in_scope {
        if what == CALL && previous.is_none() {
            // SAFETY: the field lies in the frame object. No request reports lines of this frame.
            unsafe { frame.cast::<u8>().add(FRAME_TRACE_LINES).write(0) };
        }
        return 0;
    }
    let now = reading(now, || 0);
    apart(|| {
        with_book(py, |book, stack| {
            if !book.lines {
                return;
            }
            match what {
                CALL => {
                    // SAFETY: as above.
                    let starts = unsafe { starts(py, code, frame) };
                    book.enter_lines(py, stack, code, starts, now);
                    if !starts {
                        book.told_again(stack);
                    }
                }
                LINE => {
                    // SAFETY: the interpreter stores the line before the call.
                    let line = unsafe { frame.cast::<u8>().add(FRAME_LINE).cast::<i32>().read() } as u32;
                    book.line(py, stack, code, line, now);
                }
                RETURN => {
                    // SAFETY: as above; the argument is null if an exception leaves the frame.
                    let how = unsafe { how_it_leaves(py, code, frame, argument) };
                    book.leave_lines(stack, code as usize, how, now);
                }
                _ => {}
            }
        })
    });
    0
}

/// Opcodes of 3.11 that suspend a frame.
const YIELD_VALUE: u8 = 86;
const ASYNC_GEN_WRAP: u8 = 87;
const SEND: u8 = 123;

/// # Safety
/// The frame runs `code`, and the GIL is held.
unsafe fn how_it_leaves(
    py: Python<'_>,
    code: *mut ffi::PyObject,
    frame: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
) -> Leaves {
    let kind = functions::of_code(py, code).kind;
    if value.is_null() || kind == Kind::Plain {
        return Leaves::Ends;
    }
    let Some(legacy) = api::legacy() else { return Leaves::Ends };
    // SAFETY: see above.
    let at = unsafe { (legacy.last_instruction)(frame) };
    let Ok(at) = usize::try_from(at) else { return Leaves::Ends };
    if byte(py, code, at) != YIELD_VALUE {
        return Leaves::Ends;
    }
    let wraps = at >= 2 && byte(py, code, at - 2) == ASYNC_GEN_WRAP;
    if kind == Kind::Coroutine && !wraps { Leaves::Awaits } else { Leaves::Yields }
}

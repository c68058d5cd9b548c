//! Events from `PyEval_SetTrace`, on 3.11.
//!
//! Job: be the thread's tracer while a session runs on the thread, and restore the previous tracer afterwards.
//! Invariant: the previous tracer (a debugger, a coverage tool) gets every event that it had before. Neighbours:
//! `prologue` calls [`hook`] at the head of a decorated function, `threads` keeps the sessions.
//!
//! The interpreter reports the calls of all functions while a tracer is set; their lines are switched off frame by
//! frame where no other tracer wants them.

use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;

use super::monitoring::Callback;
use super::outcome::exception_name;
use super::previous::Previous;
use super::table::{LineTable, registry};
use super::threads::{Place, Scratch, with_thread};
use crate::bindings::symbols::{self, TraceFunction};
use crate::lines::clock;

/// The callable at the head of `table`'s function: begins a call.
pub(crate) fn hook<'py>(table: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static HOOK: Callback = Callback::new(c"rscalene", on_hook);
    HOOK.bound(table.py(), table.as_ptr())
}

/// Becomes this thread's tracer.
pub(crate) fn install(py: Python<'_>) {
    if symbols::minor(py) >= 12 {
        return;
    }
    // SAFETY: this is 3.11 and the GIL is held.
    let (function, object) = unsafe { symbols::tracer() };
    if function.is_some_and(is_ours) {
        return;
    }
    // SAFETY: `object` is null or alive; the reference is given back by `restore`.
    unsafe { ffi::Py_XINCREF(object) };
    let now = Previous { installed: true, function, object };
    // A tracer that the program set meanwhile takes the place of the one that we would have put back.
    let former = with_thread(|thread| std::mem::replace(&mut thread.tracer, now));
    if former.is_some() {
        // SAFETY: as above. The same object goes on answering `sys.gettrace()`.
        unsafe { symbols::set_trace(Some(on_event), object) };
    }
    // SAFETY: the object of the tracer before is null or ours to release; where none was replaced, that of `now`.
    unsafe { ffi::Py_XDECREF(former.map_or(object, |former| former.object)) };
}

/// Restores the previous tracer, once no session runs on this thread.
pub(crate) fn restore(py: Python<'_>) {
    if symbols::minor(py) >= 12 {
        return;
    }
    let previous = with_thread(|thread| {
        let idle = thread.tracer.installed && !thread.busy();
        idle.then(|| std::mem::replace(&mut thread.tracer, Previous::NONE))
    });
    let Some(Some(previous)) = previous else { return };
    // SAFETY: this is 3.11 and the GIL is held; `previous.object` is null or ours to release.
    unsafe {
        // A tracer that the program set meanwhile stays.
        if symbols::tracer().0.is_some_and(is_ours) {
            symbols::set_trace(previous.function, previous.object);
        }
        ffi::Py_XDECREF(previous.object);
    }
}

fn is_ours(function: TraceFunction) -> bool {
    std::ptr::fn_addr_eq(function, on_event as TraceFunction)
}

unsafe extern "C" fn on_hook(
    table: *mut ffi::PyObject,
    _: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    let began = clock::ticks();
    // SAFETY: the interpreter passes the object that the hook was bound to, with the GIL held.
    let (py, table) = unsafe {
        let py = Python::assume_attached();
        (py, Bound::from_borrowed_ptr(py, table))
    };
    if let Ok(table) = table.cast::<LineTable>() {
        let code = table.get().table.top_code();
        install(py);
        with_thread(|thread| {
            thread.enter(py, code, Place::Start, Scratch::NONE, began);
            thread.hooked();
        });
    }
    py.None().into_ptr()
}

const CALL: libc::c_int = 0;
const EXCEPTION: libc::c_int = 1;
const LINE: libc::c_int = 2;
const RETURN: libc::c_int = 3;

unsafe extern "C" fn on_event(
    object: *mut ffi::PyObject,
    frame: *mut ffi::PyObject,
    what: libc::c_int,
    argument: *mut ffi::PyObject,
) -> libc::c_int {
    let began = clock::ticks();
    let previous = with_thread(|thread| thread.tracer).unwrap_or(Previous::NONE);
    if let Some(function) = previous.function {
        // SAFETY: its arguments are passed on as they came, its object is kept alive by `Previous`.
        let answer =
            unsafe { function(if object.is_null() { previous.object } else { object }, frame, what, argument) };
        if answer != 0 {
            return answer;
        }
    }
    static EXPECTED: OnceLock<bool> = OnceLock::new();
    // SAFETY: the interpreter passes a frame object, with the GIL held.
    if !*EXPECTED.get_or_init(|| unsafe { symbols::frames_are_as_expected(frame) }) {
        return 0;
    }
    // SAFETY: the layout was confirmed just now.
    let (py, code) = unsafe { (Python::assume_attached(), symbols::frame_code(frame) as usize) };
    match what {
        LINE => {
            // SAFETY: as above.
            let line = unsafe { symbols::frame_line(frame) } as u32;
            with_thread(|thread| thread.line(py, code, line, Scratch::NONE, began));
        }
        CALL => match registry(py).get(&code) {
            Some(watched) if watched.begins_by_hook() => {
                with_thread(|thread| thread.framed(watched));
            }
            Some(_) => {
                // SAFETY: as above.
                let line = unsafe { symbols::frame_line(frame) } as u32;
                with_thread(|thread| thread.enter(py, code, Place::Line(line), Scratch::NONE, began));
            }
            None => {
                if previous.function.is_none() {
                    // SAFETY: as above.
                    unsafe { symbols::silence(frame) };
                }
                with_thread(|thread| thread.foreign(true, began));
            }
        },
        EXCEPTION if registry(py).contains_key(&code) => {
            // SAFETY: the argument is the tuple of type, value and traceback.
            let raised = unsafe { Bound::from_borrowed_ptr(py, argument) };
            let start = with_thread(|thread| thread.begin(began));
            let name = raised.get_item(0).map_or_else(|_| String::new(), |kind| exception_name(&kind));
            with_thread(|thread| {
                thread.raised = Some(name);
                start.into_iter().for_each(|start| thread.end(start));
            });
        }
        RETURN => {
            if !registry(py).contains_key(&code) {
                with_thread(|thread| thread.foreign(false, began));
                return 0;
            }
            let name =
                argument.is_null().then(|| with_thread(|thread| thread.raised.take()).flatten().unwrap_or_default());
            if let Some(ended) =
                with_thread(|thread| thread.leave(py, code, name.as_deref(), Scratch::NONE, began)).flatten()
            {
                ended.announce(py);
                restore(py);
            }
        }
        _ => {}
    }
    0
}

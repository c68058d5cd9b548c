//! Finds functions and fields in the running interpreter that the stable ABI leaves out.
//!
//! Job: look up each symbol once, and read three structures of 3.11, whose layout is final. Invariant: before reading a
//! layout, this code has compared one read with the interpreter's own answer. Callers: `tracing` and `counters`.

use std::ffi::CStr;
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;

/// `Py_tracefunc`.
pub(crate) type TraceFunction =
    unsafe extern "C" fn(*mut ffi::PyObject, *mut ffi::PyObject, libc::c_int, *mut ffi::PyObject) -> libc::c_int;

type SetTrace = unsafe extern "C" fn(Option<TraceFunction>, *mut ffi::PyObject);

/// Minor version of the running interpreter.
pub(crate) fn minor(py: Python<'_>) -> u8 {
    py.version_info().minor
}

/// Address of `name` in this process, or null.
pub(crate) fn address(name: &CStr) -> *mut libc::c_void {
    // SAFETY: `name` ends with a NUL; dlsym only reads it.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// Install `function` as this thread's tracer; `None` removes it.
///
/// # Safety
///
/// The GIL is held, and `object` is null or a live object.
pub(crate) unsafe fn set_trace(function: Option<TraceFunction>, object: *mut ffi::PyObject) {
    static FOUND: OnceLock<Option<SetTrace>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let address = address(c"PyEval_SetTrace");
        // SAFETY: the symbol has had this signature since Python 2; a null address becomes `None`.
        unsafe { std::mem::transmute::<*mut libc::c_void, Option<SetTrace>>(address) }
    });
    if let Some(set) = found {
        // SAFETY: as above, and the caller holds the GIL.
        unsafe { set(function, object) };
    }
}

/// Offsets in `PyThreadState` of 3.11: `c_tracefunc` and `c_traceobj`.
const TRACE_FUNCTION: usize = 72;
const TRACE_OBJECT: usize = 88;
/// Offsets in `PyFrameObject` of 3.11: `f_frame`, `f_lineno`, `f_trace_lines`; and `f_code` in `_PyInterpreterFrame`.
const FRAME_INTERPRETER_FRAME: usize = 24;
const FRAME_LINE: usize = 40;
const FRAME_TRACE_LINES: usize = 44;
const INTERPRETER_FRAME_CODE: usize = 32;

/// This thread's tracer on 3.11: the function and its object (borrowed).
///
/// # Safety
///
/// The interpreter is 3.11 and the GIL is held.
pub(crate) unsafe fn tracer() -> (Option<TraceFunction>, *mut ffi::PyObject) {
    // SAFETY: the thread state lives while its thread holds the GIL; 3.11's layout is final.
    unsafe {
        let state = ffi::PyThreadState_Get().cast::<u8>();
        (
            state.add(TRACE_FUNCTION).cast::<Option<TraceFunction>>().read(),
            state.add(TRACE_OBJECT).cast::<*mut ffi::PyObject>().read(),
        )
    }
}

/// Code object of a frame of 3.11, borrowed.
///
/// # Safety
///
/// `frame` is a frame object of 3.11, and [`frames_are_as_expected`] has confirmed the layout.
#[inline(always)]
pub(crate) unsafe fn frame_code(frame: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above; `f_frame` is never null while the frame runs.
    unsafe {
        let inner = frame.cast::<u8>().add(FRAME_INTERPRETER_FRAME).cast::<*mut u8>().read();
        inner.add(INTERPRETER_FRAME_CODE).cast::<*mut ffi::PyObject>().read()
    }
}

/// Line that the interpreter stored in a frame of 3.11 before it called the tracer.
///
/// # Safety
///
/// As [`frame_code`].
#[inline(always)]
pub(crate) unsafe fn frame_line(frame: *mut ffi::PyObject) -> i32 {
    // SAFETY: see above.
    unsafe { frame.cast::<u8>().add(FRAME_LINE).cast::<i32>().read() }
}

/// Switches off the line events of this frame.
///
/// # Safety
///
/// As [`frame_code`].
pub(crate) unsafe fn silence(frame: *mut ffi::PyObject) {
    // SAFETY: see above.
    unsafe { frame.cast::<u8>().add(FRAME_TRACE_LINES).write(0) };
}

/// Is the layout of frame objects the layout of this file? The argument is a frame that the interpreter passed to a
/// tracer.
///
/// # Safety
///
/// `frame` is a frame object, the GIL is held.
pub(crate) unsafe fn frames_are_as_expected(frame: *mut ffi::PyObject) -> bool {
    // SAFETY: the loads stay inside of the frame object, whose size is fixed by the version.
    unsafe {
        let code = ffi::PyFrame_GetCode(frame.cast());
        let same_code = frame_code(frame) == code.cast();
        ffi::Py_DECREF(code.cast());
        same_code && frame_line(frame) == ffi::PyFrame_GetLineNumber(frame.cast())
    }
}

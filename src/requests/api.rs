//! Functions of CPython that the stable ABI lacks, found by symbol: context variables, and profile functions of 3.11.
//!
//! Job: look up each symbol once. Invariant: if a symbol is missing, the lookup returns `None`; the code never calls a
//! guessed address. Callers: `context` and `legacy`.

use std::ffi::CStr;
use std::sync::OnceLock;

use pyo3::ffi;

use crate::bindings::symbols::{TraceFunction, address};

type SetTrace = unsafe extern "C" fn(*mut ffi::PyThreadState, Option<TraceFunction>, *mut ffi::PyObject) -> libc::c_int;
type NewVariable = unsafe extern "C" fn(*const libc::c_char, *mut ffi::PyObject) -> *mut ffi::PyObject;
type Get = unsafe extern "C" fn(*mut ffi::PyObject, *mut ffi::PyObject, *mut *mut ffi::PyObject) -> libc::c_int;
type Set = unsafe extern "C" fn(*mut ffi::PyObject, *mut ffi::PyObject) -> *mut ffi::PyObject;
type Reset = unsafe extern "C" fn(*mut ffi::PyObject, *mut ffi::PyObject) -> libc::c_int;
type LastInstruction = unsafe extern "C" fn(*mut ffi::PyObject) -> libc::c_int;
type Head = unsafe extern "C" fn(*mut ffi::PyInterpreterState) -> *mut ffi::PyThreadState;
type Next = unsafe extern "C" fn(*mut ffi::PyThreadState) -> *mut ffi::PyThreadState;

/// Functions that exist in every version.
pub(super) struct Contexts {
    /// `PyContextVar_New`
    pub(super) new: NewVariable,
    /// `PyContextVar_Get`
    pub(super) get: Get,
    /// `PyContextVar_Set`
    pub(super) set: Set,
    /// `PyContextVar_Reset`
    pub(super) reset: Reset,
}

/// Functions that exist in 3.11.
pub(super) struct Legacy {
    /// `_PyEval_SetProfile`
    pub(super) set_profile: SetTrace,
    /// `_PyEval_SetTrace`
    pub(super) set_trace: SetTrace,
    /// `PyFrame_GetLasti`
    pub(super) last_instruction: LastInstruction,
    /// `PyInterpreterState_ThreadHead`
    pub(super) first_thread: Head,
    /// `PyThreadState_Next`
    pub(super) next_thread: Next,
}

/// Looks up the function `name`, which has the type `T`.
///
/// # Safety
///
/// `T` is the function pointer type of the symbol.
unsafe fn function<T: Copy>(name: &CStr) -> Option<T> {
    const { assert!(size_of::<T>() == size_of::<usize>()) };
    let found = address(name);
    // SAFETY: a function pointer has the size of an address, and the caller guarantees its type.
    (!found.is_null()).then(|| unsafe { std::mem::transmute_copy::<*mut libc::c_void, T>(&found) })
}

/// The functions of [`Contexts`]; `None` if a symbol is missing.
pub(super) fn contexts() -> Option<&'static Contexts> {
    static FOUND: OnceLock<Option<Contexts>> = OnceLock::new();
    // SAFETY: the signatures are those of 3.7 and later.
    FOUND
        .get_or_init(|| unsafe {
            Some(Contexts {
                new: function(c"PyContextVar_New")?,
                get: function(c"PyContextVar_Get")?,
                set: function(c"PyContextVar_Set")?,
                reset: function(c"PyContextVar_Reset")?,
            })
        })
        .as_ref()
}

/// The functions of [`Legacy`]; `None` if a symbol is missing.
pub(super) fn legacy() -> Option<&'static Legacy> {
    static FOUND: OnceLock<Option<Legacy>> = OnceLock::new();
    // SAFETY: the signatures are those of 3.11.
    FOUND
        .get_or_init(|| unsafe {
            Some(Legacy {
                set_profile: function(c"_PyEval_SetProfile")?,
                set_trace: function(c"_PyEval_SetTrace")?,
                last_instruction: function(c"PyFrame_GetLasti")?,
                first_thread: function(c"PyInterpreterState_ThreadHead")?,
                next_thread: function(c"PyThreadState_Next")?,
            })
        })
        .as_ref()
}

//! Reads, sets and restores the value of a `ContextVar`.
//!
//! Job: call the interpreter's three functions, which the stable ABI lacks. If the functions are missing, call the
//! methods of the variable. Callers: `ledger` and `build`, each with its own variable.

use std::ffi::CStr;
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::bindings::symbols;

/// Returns the variable called `name`, made at the first call. Its default is None.
pub(super) fn made<'py>(
    py: Python<'py>,
    place: &'static PyOnceLock<Py<PyAny>>,
    name: &str,
) -> PyResult<&'py Bound<'py, PyAny>> {
    let made = place.get_or_try_init(py, || {
        let options = PyDict::new(py);
        options.set_item("default", py.None())?;
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        class.call((name,), Some(&options)).map(Bound::unbind)
    })?;
    Ok(made.bind(py))
}

/// Functions of the interpreter that the stable ABI lacks.
struct Variables {
    get: Get,
    set: Set,
    reset: Reset,
}

type Object = *mut ffi::PyObject;
type Get = unsafe extern "C" fn(Object, Object, *mut Object) -> libc::c_int;
type Set = unsafe extern "C" fn(Object, Object) -> Object;
type Reset = unsafe extern "C" fn(Object, Object) -> libc::c_int;

fn variables() -> Option<&'static Variables> {
    static FOUND: OnceLock<Option<Variables>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let at = |name: &CStr| Some(symbols::address(name)).filter(|address| !address.is_null());
        let (get, set, reset) = (at(c"PyContextVar_Get")?, at(c"PyContextVar_Set")?, at(c"PyContextVar_Reset")?);
        // SAFETY: these functions have had these signatures since 3.7.
        Some(unsafe {
            Variables {
                get: std::mem::transmute::<*mut libc::c_void, Get>(get),
                set: std::mem::transmute::<*mut libc::c_void, Set>(set),
                reset: std::mem::transmute::<*mut libc::c_void, Reset>(reset),
            }
        })
    });
    found.as_ref()
}

/// The variable's value; `None` if it is None.
pub(super) fn current<'py>(py: Python<'py>, variable: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(functions) = variables() else {
        let value = variable.call_method0("get")?;
        return Ok((!value.is_none()).then_some(value));
    };
    let mut value = std::ptr::null_mut();
    // SAFETY: the GIL is held; the variable is alive; the result is a new reference or null.
    unsafe {
        if (functions.get)(variable.as_ptr(), std::ptr::null_mut(), &raw mut value) != 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(Bound::from_owned_ptr_or_opt(py, value).filter(|value| !value.is_none()))
    }
}

/// Sets the variable. Returns a token for [`reset`].
pub(super) fn set<'py>(
    py: Python<'py>,
    variable: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    match variables() {
        // SAFETY: the GIL is held; both objects are alive; the result is a new reference, or null with an exception
        // set.
        Some(functions) => unsafe {
            Bound::from_owned_ptr_or_err(py, (functions.set)(variable.as_ptr(), value.as_ptr()))
        },
        None => variable.call_method1("set", (value,)),
    }
}

/// Restores the former value. In a context other than the token's, for example if a generator was closed elsewhere, the
/// call does nothing.
pub(super) fn reset(py: Python<'_>, variable: &Bound<'_, PyAny>, token: Py<PyAny>) {
    let failed = match variables() {
        // SAFETY: as in `set`.
        Some(functions) => unsafe { (functions.reset)(variable.as_ptr(), token.as_ptr()) != 0 },
        None => return drop(variable.call_method1("reset", (token,))),
    };
    if failed {
        drop(PyErr::take(py));
    }
}

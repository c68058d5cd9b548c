//! Switches events on when a request needs them, and off afterwards.
//!
//! Job: count the open requests of each gear (functions, lines) and switch its events on with the first one.
//! Invariants: no events are on before the first request of the process that needs them; if no request is open, an
//! event costs one load. Neighbours: `events` (3.12 and later) and `legacy` (3.11) do the switching.
//!
//! Line events stay on, because code out of scope disables its own at its first call. Function events are switched off
//! after [`IDLE_EVENTS`](super::counts::IDLE_EVENTS) events without a request that needs them: switching costs 0.05 to
//! 0.2 ms, more than the events of a short request.

use std::sync::atomic::Ordering::Relaxed;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::counts::{FUNCTIONS, IDLE, LINES};
use super::{context, events, legacy, scope};

/// Whether this interpreter has `sys.monitoring`.
pub(super) fn modern(py: Python<'_>) -> bool {
    py.version_info() >= (3, 12)
}

/// Counts an opened request, and switches on the events for it.
///
/// # Errors
/// If requests cannot be followed in this interpreter, or other tools hold all ids of `sys.monitoring`.
pub(super) fn open(py: Python<'_>, functions: bool, lines: bool) -> PyResult<()> {
    if let Some(why) = refused(py) {
        return Err(PyRuntimeError::new_err(why));
    }
    context::prepare(py)?;
    scope::fix(py)?;
    if modern(py) {
        events::on(py, functions, lines)?;
    }
    if functions {
        FUNCTIONS.fetch_add(1, Relaxed);
        IDLE.store(0, Relaxed);
    }
    if lines {
        LINES.fetch_add(1, Relaxed);
    }
    if !modern(py) {
        legacy::on(py);
    }
    Ok(())
}

/// Counts an ended request.
pub(super) fn close(py: Python<'_>, functions: bool, lines: bool) {
    if functions {
        FUNCTIONS.fetch_sub(1, Relaxed);
        IDLE.store(0, Relaxed);
    }
    if lines {
        LINES.fetch_sub(1, Relaxed);
    }
    if !modern(py) {
        legacy::off(py);
    }
}

/// Why requests are not profiled in this interpreter; `None` if they are.
pub(super) fn refused(py: Python<'_>) -> Option<&'static str> {
    // SAFETY: the GIL is held.
    let number = unsafe { pyo3::ffi::PyInterpreterState_GetID(pyo3::ffi::PyInterpreterState_Get()) };
    if number != 0 {
        return Some("requests are not profiled in sub-interpreters");
    }
    let threaded = py
        .import("sysconfig")
        .and_then(|module| module.call_method1("get_config_var", ("Py_GIL_DISABLED",)))
        .and_then(|value| value.is_truthy())
        .unwrap_or(false);
    threaded.then_some("requests are not profiled on a free-threaded build")
}

//! The tracer that was set before ours.
//!
//! Invariant: its object is alive for as long as ours is installed. Neighbours: `tracing` puts it back, `threads` keeps
//! it.

use pyo3::ffi;

use crate::bindings::symbols::TraceFunction;

/// The tracer before ours, with a reference to its object.
#[derive(Clone, Copy)]
pub(crate) struct Previous {
    pub(crate) installed: bool,
    pub(crate) function: Option<TraceFunction>,
    pub(crate) object: *mut ffi::PyObject,
}

impl Previous {
    /// Ours is not installed.
    pub(crate) const NONE: Self = Self { installed: false, function: None, object: std::ptr::null_mut() };
}

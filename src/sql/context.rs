//! The value of one `ContextVar`, read without the GIL.
//!
//! Job: say which ledger the running thread's context has, where the interpreter may not be called: sqlite's functions
//! run without the GIL. Invariant: [`value`] reads nothing before [`prepare`] has found how. Neighbours: `ledger` gives
//! values their meaning, `bindings::contexts` learns.

use std::sync::OnceLock;

use pyo3::prelude::*;
use rscalene_interp::ContextVariable;

use crate::bindings::contexts::{self, OwnContext};

static READER: OnceLock<Option<ContextVariable>> = OnceLock::new();

/// Can the variable be read?
pub(super) fn prepare(py: Python<'_>, variable: &Bound<'_, PyAny>) -> bool {
    if READER.get().is_none() {
        // Another thread may run meanwhile: none waits for the other's answer with the GIL.
        let found = contexts::learn(py, variable).ok().flatten();
        READER.get_or_init(|| found);
    }
    matches!(READER.get(), Some(Some(_)))
}

/// Address of the variable's value in the context of this thread state, the running thread's own; 0 where it has none.
#[inline]
pub(super) fn value(tstate: usize) -> usize {
    match READER.get() {
        Some(Some(reader)) => reader.value(&OwnContext, tstate as u64).unwrap_or(0) as usize,
        _ => 0,
    }
}

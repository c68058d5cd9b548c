//! The value of one `ContextVar`, read without the GIL.
//!
//! Job: find the ledger of the running thread's context inside sqlite's functions. They run without the GIL, so they may
//! not call the interpreter. Invariant: [`value`] reads nothing before [`prepare`] has found the layout. Neighbours:
//! `ledger` interprets the values, `bindings::contexts` finds the layout.

use std::sync::OnceLock;

use pyo3::prelude::*;
use rscalene_interp::ContextVariable;

use crate::bindings::contexts::{self, OwnContext};

static READER: OnceLock<Option<ContextVariable>> = OnceLock::new();

/// Whether the variable can be read.
pub(super) fn prepare(py: Python<'_>, variable: &Bound<'_, PyAny>) -> bool {
    if READER.get().is_none() {
        // Another thread may prepare at the same time. No thread may wait for the other while holding the GIL.
        let found = contexts::learn(py, variable).ok().flatten();
        READER.get_or_init(|| found);
    }
    matches!(READER.get(), Some(Some(_)))
}

/// Address of the variable's value in the context of the running thread, whose state is `tstate`; 0 if it has no value.
#[inline]
pub(super) fn value(tstate: usize) -> usize {
    match READER.get() {
        Some(Some(reader)) => reader.value(&OwnContext, tstate as u64).unwrap_or(0) as usize,
        _ => 0,
    }
}

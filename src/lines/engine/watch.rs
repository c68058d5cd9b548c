//! Watches code objects: asks the interpreter for their events.
//!
//! Job: the two steps that a decorated function takes once. Invariant: a watched code object lives as long as the
//! process. Neighbours: `decorator` (Python) calls, `monitoring` and `prologue` arrange the events, `table` knows the
//! code objects.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::table::{LineTable, Watched, registry};
use super::{monitoring, prologue, tracing};
use crate::bindings::symbols;

/// Returns a copy of the function's code object that reports its calls, or the object itself where the interpreter
/// reports them.
#[pyfunction]
pub(crate) fn instrumented<'py>(
    table: &Bound<'py, LineTable>,
    code: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    if symbols::minor(table.py()) >= 12 || table.get().table.driven {
        return Ok(code.clone());
    }
    let hook = tracing::hook(table.as_any())?;
    prologue::prepend_call(code, &hook)
}

/// Watches these code objects, the function's own first. They live as long as the process.
#[pyfunction]
pub(crate) fn watch(table: &Bound<'_, LineTable>, codes: &Bound<'_, PyList>) -> PyResult<()> {
    let (py, table) = (table.py(), &table.get().table);
    for (at, code) in codes.iter().enumerate() {
        let mut lines = Vec::new();
        for entry in code.call_method0("co_lines")?.try_iter()? {
            let (_, end, line): (u32, u32, Option<u32>) = entry?.extract()?;
            lines.push((end, line));
        }
        let first_line = code.getattr("co_firstlineno")?.extract()?;
        let watched = Watched { table: Arc::clone(table), top: at == 0, first_line, lines };
        if at == 0 {
            table.top_code.store(code.as_ptr() as usize, Relaxed);
        }
        registry(py).insert(code.as_ptr() as usize, watched);
        if symbols::minor(py) >= 12 {
            monitoring::watch(&code, table.own)?;
        }
        // The address is the key: the object must never be freed.
        std::mem::forget(code.unbind());
    }
    Ok(())
}

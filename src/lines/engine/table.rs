//! The profiled functions: their lines, their code objects, and the callbacks for their outcomes.
//!
//! Job: hold what a decorated function registers once. Invariants: the table of code objects is touched with the GIL
//! held; a code object in the table is never freed. Neighbours: `threads` runs sessions on these tables, `watch` fills
//! them, `monitoring` and `tracing` look code objects up.

use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::{outcome, split};
use crate::bindings::counters::{self, Source};
use crate::lines::report::Outcome;
use crate::lines::session::Session;

/// The lines of a decorated function: its code objects, and the callback for calls that have ended.
#[pyclass(frozen, module = "rscalene._rscalene")]
pub(crate) struct LineTable {
    pub(crate) table: Arc<Table>,
}

/// The data of a [`LineTable`], which sessions share.
pub(crate) struct Table {
    pub(crate) filename: String,
    pub(crate) name: String,
    pub(crate) first_line: u32,
    pub(crate) lines: usize,
    pub(crate) source: Source,
    /// Whether the time between the events of a call counts as the callee's.
    pub(crate) own: bool,
    /// Whether sessions of this table are driven.
    pub(crate) driven: bool,
    /// Number of the table in `split`; `None` if its time is not split.
    pub(crate) split: Option<usize>,
    pub(crate) on_end: Py<PyAny>,
    /// Address of the function's own code object, once the code object is watched.
    pub(super) top_code: AtomicUsize,
    /// Bytes of the frame object that tracing makes for each activation, on 3.11.
    pub(crate) frame_bytes: AtomicI64,
}

impl Table {
    pub(crate) fn top_code(&self) -> usize {
        self.top_code.load(Relaxed)
    }

    /// The outcome of a session that has ended, for Python.
    pub(crate) fn outcome(&self, session: Session, base_bytes: i64) -> Outcome {
        Outcome {
            filename: self.filename.clone(),
            name: self.name.clone(),
            first_line: self.first_line,
            calls: session.calls,
            base_bytes,
            memory: self.source != Source::Nothing,
            failure: None,
            split: None,
            rows: session.rows,
        }
    }
}

#[pymethods]
impl LineTable {
    /// `memory` is `None`, `"exact"` or `"rss"`; `on_end` is called with a `LineOutcome` after each session.
    #[new]
    #[pyo3(signature = (filename, name, first_line, lines, *, memory, own, driven, on_end))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn new(
        py: Python<'_>,
        filename: String,
        name: String,
        first_line: u32,
        lines: usize,
        memory: Option<&str>,
        own: bool,
        driven: bool,
        on_end: Py<PyAny>,
    ) -> PyResult<Self> {
        let source = match memory {
            None => Source::Nothing,
            Some("exact") => Source::Exact,
            Some("rss") => Source::Resident,
            Some(other) => {
                return Err(PyValueError::new_err(format!("memory must be `exact` or `rss`, not `{other}`")));
            }
        };
        if source == Source::Exact {
            counters::prepare(py)?;
        }
        let split = if own { split::register(&filename, first_line, lines.max(1)) } else { None };
        let table = Table {
            split,
            filename,
            name,
            first_line,
            lines: lines.max(1),
            source,
            own,
            driven,
            on_end,
            top_code: AtomicUsize::new(0),
            frame_bytes: AtomicI64::new(0),
        };
        Ok(Self { table: Arc::new(table) })
    }

    /// The outcome of a function that was not called.
    fn unused(&self) -> outcome::LineOutcome {
        outcome::LineOutcome::new(self.table.outcome(Session::new(self.table.lines), 0))
    }
}

/// A watched code object.
pub(crate) struct Watched {
    pub(crate) table: Arc<Table>,
    /// Whether this is the function itself, and not a function defined in it.
    pub(crate) top: bool,
    pub(crate) first_line: u32,
    pub(super) lines: Vec<(u32, Option<u32>)>,
}

impl Watched {
    /// Whether `tracing::hook` reports its start.
    pub(crate) fn begins_by_hook(&self) -> bool {
        self.top && !self.table.driven
    }

    /// Row of a line.
    pub(crate) fn row(&self, line: u32) -> usize {
        line.saturating_sub(self.table.first_line) as usize
    }

    /// Row of the line at a byte of the bytecode.
    pub(crate) fn row_at(&self, offset: u32) -> usize {
        let at = self.lines.partition_point(|(end, _)| *end <= offset);
        self.row(self.lines.get(at).and_then(|(_, line)| *line).unwrap_or(self.first_line))
    }
}

/// The watched code objects, by address.
#[inline(always)]
pub(crate) fn registry<'py>(_held: Python<'py>) -> &'py mut HashMap<usize, Watched> {
    struct Kept(UnsafeCell<Option<HashMap<usize, Watched>>>);
    // SAFETY: only reached with the GIL held, as the argument proves.
    unsafe impl Sync for Kept {}
    static WATCHED: Kept = Kept(UnsafeCell::new(None));
    // SAFETY: the GIL is held, and no caller keeps the reference across a call into Python.
    unsafe { &mut *WATCHED.0.get() }.get_or_insert_with(HashMap::new)
}

//! One request, as a class for Python.
//!
//! Job: open and close a request, put it into the running context, and return its counts. Invariant: `exit` takes the
//! result of an `enter`, and ends the effects of this `enter` in the same context. Neighbours: `object` is the state,
//! `book` counts, `rscalene.web` uses the class.

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::book::Book;
use super::ledger::Row;
use super::memory::{self, Part, Whole};
use super::object::Request;
use super::{context, engines, labels, table};
use crate::lines::clock;

/// A part of a request on one thread: [`Request::enter`] returns it, [`Request::exit`] takes it.
#[pyclass(frozen, module = "rscalene._rscalene")]
pub(super) struct Stretch {
    token: Py<PyAny>,
    /// Token to restore the context's former label, if there is a recorder of labels.
    label: Option<Py<PyAny>>,
    cpu_ns: u64,
    /// Readings at the beginning, if the request counts bytes.
    bytes: Option<Part>,
    /// The ledger of queries for this part of the request, and the result of the ledger's `enter`.
    sql: Option<(Py<PyAny>, Py<PyAny>)>,
}

#[pymethods]
impl Request {
    /// Opens a request. After `max_s` seconds its functions are no longer recorded. `memory`: count bytes.
    #[new]
    #[pyo3(signature = (*, lines=true, functions=false, memory=false, max_s=None))]
    fn new(py: Python<'_>, lines: bool, functions: bool, memory: bool, max_s: Option<f64>) -> PyResult<Self> {
        if memory {
            memory::open(py)?;
        }
        if let Err(error) = engines::open(py, functions, lines) {
            if memory {
                memory::close();
            }
            return Err(error);
        }
        let outer = context::current(py).filter(|outer| !outer.get().is_closed()).map(Bound::unbind);
        let label = labels::next();
        let opened = clock::ticks();
        let deadline = max_s.map_or(u64::MAX, |seconds| opened.saturating_add(clock::ticks_of(seconds)));
        Ok(Self {
            label: AtomicU32::new(label),
            closed: AtomicBool::new(false),
            functions,
            lines,
            memory,
            opened,
            ended: AtomicU64::new(0),
            cpu_ns: AtomicU64::new(0),
            bytes: Mutex::new(memory.then(Whole::default)),
            book: UnsafeCell::new(Book::new(lines, functions, deadline)),
            sql: Mutex::new(None),
            outer: Mutex::new(outer),
        })
    }

    /// Makes this the request of the running context, until `exit` is called with the result.
    fn enter(slf: &Bound<'_, Self>) -> PyResult<Stretch> {
        let py = slf.py();
        let token = context::set(slf)?.unbind();
        match slf.get().enter_others(py) {
            Ok((label, sql)) => {
                let bytes = slf.get().memory.then(|| Part::begin(clock::ticks()));
                Ok(Stretch { token, label, cpu_ns: thread_cpu_ns(), bytes, sql })
            }
            Err(error) => {
                context::reset(token.bind(py));
                Err(error)
            }
        }
    }

    /// Ends a part of a request. In a context other than the context of `enter`, the call only adds the CPU time.
    fn exit(&self, py: Python<'_>, stretch: &Stretch) {
        if let Some(part) = stretch.bytes
            && !self.is_closed()
            && let Ok(mut bytes) = self.bytes.lock()
        {
            let part = part.end(clock::ticks());
            *bytes = bytes.zip(part).map(|(mut whole, part)| {
                whole.add(&part);
                whole
            });
        }
        if let Some((ledger, back)) = &stretch.sql {
            drop(ledger.call_method1(py, "leave", (back,)));
        }
        if let Some(token) = &stretch.label {
            labels::reset(token.bind(py));
        }
        context::reset(stretch.token.bind(py));
        let took = thread_cpu_ns().saturating_sub(stretch.cpu_ns);
        self.cpu_ns.fetch_add(took, Relaxed);
    }

    /// Ends the request. Later events are not recorded. A second call does nothing.
    fn close(&self, py: Python<'_>) {
        if self.closed.swap(true, Relaxed) {
            return;
        }
        let ticks = clock::ticks();
        self.ended.store(ticks, Relaxed);
        let now = memory::reading(ticks, || 0);
        let running = context::running_stack(py, self);
        self.book(py).close(running, now);
        let outer = self.outer.lock().ok().and_then(|mut outer| outer.take());
        if let Some(outer) = outer
            && !outer.get().is_closed()
            && let Some(stack) = context::running_stack(py, outer.get())
        {
            outer.get().book(py).adopt(stack, self.book(py));
        }
        context::forget(py);
        engines::close(py, self.functions, self.lines);
        if self.memory {
            memory::close();
        }
    }

    /// Number of this request, in this process.
    #[getter]
    fn label(&self) -> u32 {
        self.label.load(Relaxed)
    }

    /// Whether the request has ended.
    #[getter]
    fn closed(&self) -> bool {
        self.is_closed()
    }

    /// Whether functions are recorded.
    #[getter]
    fn functions(&self) -> bool {
        self.functions
    }

    /// Whether lines are recorded.
    #[getter]
    fn lines(&self) -> bool {
        self.lines
    }

    /// `(allocated, net, peak)`: bytes between `enter` and `exit`; None if bytes are not counted, or if an `exit`
    /// ran on another thread than its `enter`. The numbers include other work of the thread in the meantime.
    #[getter]
    fn bytes(&self) -> Option<(u64, i64, i64)> {
        let bytes = (*self.bytes.lock().ok()?)?;
        Some((bytes.allocated, bytes.net, bytes.peak))
    }

    /// Whether the recording of functions was cut off after `max_s`.
    #[getter]
    fn cut(&self, py: Python<'_>) -> bool {
        self.book(py).cut
    }

    /// Whether the call tree was folded because it has too many paths.
    #[getter]
    fn folded(&self, py: Python<'_>) -> bool {
        self.book(py).tree.folded
    }

    /// Seconds from the opening to the end, or to now.
    #[getter]
    fn elapsed_s(&self) -> f64 {
        let ended = if self.is_closed() { self.ended.load(Relaxed) } else { clock::ticks() };
        clock::seconds(ended.saturating_sub(self.opened))
    }

    /// CPU seconds between `enter` and `exit`, summed over all threads.
    #[getter]
    fn cpu_s(&self) -> f64 {
        self.cpu_ns.load(Relaxed) as f64 * 1e-9
    }

    /// The object with which `rscalene.sql` counts the request's SQL; or None.
    #[getter]
    fn sql(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.sql.lock().ok()?.as_ref().map(|sql| sql.clone_ref(py))
    }

    /// Attaches an object to count the request's SQL.
    #[setter]
    fn set_sql(&self, value: Option<Py<PyAny>>) -> PyResult<()> {
        let old = match self.sql.lock() {
            Ok(mut sql) => std::mem::replace(&mut *sql, value),
            Err(_) => return Err(PyRuntimeError::new_err("cannot attach: another thread failed here")),
        };
        drop(old);
        Ok(())
    }

    /// The functions of the request, as cProfile counts them.
    fn table(&self, py: Python<'_>) -> table::CallTable {
        table::CallTable::of(&self.book(py).tree)
    }

    /// `(file, line, function, hits, time_s, own_s, await_s, net_bytes, peak_bytes)` of each line that ran, sorted by
    /// file and line.
    #[expect(clippy::type_complexity, reason = "rows for Python")]
    fn line_rows(&self, py: Python<'_>) -> Vec<(String, u32, String, u64, f64, f64, f64, Option<i64>, Option<i64>)> {
        let ledger = &self.book(py).ledger;
        let mut rows: BTreeMap<(&str, u32), (&str, Row)> = BTreeMap::new();
        for source in &ledger.sources {
            let function = &source.function;
            for (line, row) in (source.first..).zip(&source.rows) {
                if row.hits != 0 || row.ticks != 0 {
                    let place = (&*function.file, function.reported_line(line));
                    rows.entry(place).or_insert((&function.qualname, Row::default())).1.add(row);
                }
            }
        }
        let rate = clock::rate();
        let rows = rows.into_iter().map(|((file, line), (name, row))| {
            (
                file.to_owned(),
                line,
                name.to_owned(),
                row.hits,
                row.ticks as f64 * rate,
                row.own as f64 * rate,
                row.waited as f64 * rate,
                self.memory.then_some(row.net),
                self.memory.then_some(row.peak),
            )
        });
        rows.collect()
    }

    /// `(parent, file, line, function, calls, own_s)` of each path of functions. `parent` is an index in this list, or
    /// -1.
    fn tree_rows(&self, py: Python<'_>) -> Vec<(i64, String, u32, String, u64, f64)> {
        let nodes = &self.book(py).tree.nodes;
        let rate = clock::rate();
        let rows = nodes.iter().filter_map(|node| {
            let function = node.function.as_ref()?;
            Some((
                i64::from(node.parent) - 1,
                function.file.to_string(),
                function.line,
                function.name.to_string(),
                node.calls,
                node.own as f64 * rate,
            ))
        });
        rows.collect()
    }
}

/// The token of a label, and a ledger with the result of its `enter`.
type Others = (Option<Py<PyAny>>, Option<(Py<PyAny>, Py<PyAny>)>);

impl Request {
    /// Sets the label and enters the ledger of queries. If either fails, both are undone.
    fn enter_others(&self, py: Python<'_>) -> PyResult<Others> {
        let label = labels::set(py, self.label.load(Relaxed))?;
        let Some(ledger) = self.sql.lock().ok().and_then(|sql| sql.as_ref().map(|sql| sql.clone_ref(py))) else {
            return Ok((label, None));
        };
        match ledger.call_method0(py, "enter") {
            Ok(back) => Ok((label, Some((ledger, back)))),
            Err(error) => {
                if let Some(token) = label {
                    labels::reset(token.bind(py));
                }
                Err(error)
            }
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // A dropped request that was never closed still counts as open in `engines`.
        if !self.is_closed() {
            Python::try_attach(|py| {
                engines::close(py, self.functions, self.lines);
                if self.memory {
                    memory::close();
                }
            });
        }
    }
}

/// The running context's open request, or None.
#[pyfunction]
pub(super) fn current_request(py: Python<'_>) -> Option<Bound<'_, Request>> {
    context::current(py).filter(|request| !request.get().is_closed())
}

/// Adds globs of files whose lines are reported, besides the usual scope. False if a request has fixed the scope
/// already.
#[pyfunction]
pub(super) fn request_scope(globs: Vec<String>) -> PyResult<bool> {
    super::scope::include(globs).map_err(pyo3::exceptions::PyValueError::new_err)
}

/// Why requests are not profiled in this interpreter, or None.
#[pyfunction]
pub(super) fn requests_refused(py: Python<'_>) -> Option<&'static str> {
    engines::refused(py)
}

/// The style sheet of the report, which the pages of requests use too.
#[pyfunction]
pub(super) fn page_style() -> &'static str {
    crate::report::html::STYLE
}

fn thread_cpu_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec, and every Linux has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

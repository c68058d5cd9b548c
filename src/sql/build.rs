//! Time of ORMs in addition to the driver's time: they make queries, and objects from the rows.
//!
//! Job: time the calls into an ORM and subtract the driver's time. Invariant: of nested calls only the outermost
//! counts, on the calling line; other tasks and greenlets have contexts of their own. Neighbours: `rscalene.sql`
//! (Python) wraps the ORMs' functions, `ledger` reports the driver's time, `lock` keeps the sums.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::book::Site;
use super::lock::{self, nanoseconds};
use super::sites;
use super::variables::{self, current, reset, set};
use crate::lines::clock;

/// Whether any call into an ORM has begun in this process.
static USED: AtomicBool = AtomicBool::new(false);

fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    variables::made(py, &VARIABLE, "rscalene_sql_build")
}

/// A call into an ORM.
#[pyclass(frozen, module = "rscalene._rscalene")]
pub(super) struct Build {
    book: Option<u64>,
    began: u64,
    driver_ns: AtomicU64,
    ended: AtomicBool,
    token: Mutex<Option<Py<PyAny>>>,
}

/// The ORM call of the running context, if a call is open.
fn open<'py>(py: Python<'py>) -> Option<Bound<'py, Build>> {
    let value = current(py, variable(py).ok()?).ok()??;
    value.cast_into::<Build>().ok().filter(|build| !build.get().ended.load(Relaxed))
}

/// Adds time of the driver to the ORM call of the running context.
pub(super) fn driver_took(py: Python<'_>, ns: u64) {
    if USED.load(Relaxed)
        && let Some(build) = open(py)
    {
        build.get().driver_ns.fetch_add(ns, Relaxed);
    }
}

/// Begins a call into an ORM, for `book`; `None` inside another call.
pub(super) fn begin(py: Python<'_>, book: Option<u64>) -> PyResult<Option<Bound<'_, Build>>> {
    if open(py).is_some() {
        return Ok(None);
    }
    USED.store(true, Relaxed);
    let (driver_ns, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let build = Bound::new(py, Build { book, began: clock::ticks(), driver_ns, ended, token: Mutex::new(None) })?;
    let token = set(py, variable(py)?, build.as_any())?;
    if let Ok(mut place) = build.get().token.lock() {
        *place = Some(token.unbind());
    }
    Ok(Some(build))
}

#[pymethods]
impl Build {
    /// Ends the call. The calling line is on this thread's stack; if this stack holds only libraries, on the stack of
    /// `frame`.
    #[pyo3(signature = (frame=None))]
    fn end(&self, py: Python<'_>, frame: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        if self.ended.swap(true, Relaxed) {
            return Ok(());
        }
        let ns = nanoseconds(clock::ticks().saturating_sub(self.began)).saturating_sub(self.driver_ns.load(Relaxed));
        // SAFETY: the GIL is held.
        let tstate = unsafe { ffi::PyThreadState_Get() as usize };
        let elsewhere = frame.map(sites::of_frame).transpose()?;
        lock::with(|state| {
            let (site, place): (Site, bool) = state.here_or(tstate, elsewhere);
            state.built(self.book, &site, place, ns);
        });
        let token = self.token.lock().ok().and_then(|mut token| token.take());
        if let (Some(token), Ok(variable)) = (token, variable(py)) {
            reset(py, variable, token);
        }
        Ok(())
    }
}

//! The classes `Ledger` and `Call` for Python, which are the values of a `ContextVar`.
//!
//! Job: begin and end executions for the hooks written in Python, and return books. The value of the `ContextVar`
//! [`variable`] decides where an execution counts. If the value is a [`Ledger`], the execution counts there. If it is
//! an open [`Call`], the execution does not count, because an outer layer has counted it. Without a value, the
//! execution counts in the ledger of the process, if there is one. Invariant: `sqlite` reads both classes without the
//! GIL ([`meaning`]), so the fields read there are constant or atomic. Neighbours: `lock`, `context`.

use std::hash::{Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use rustc_hash::FxHasher;

use super::book::{Entry, Finding, Site, Slot, Stretch};
use super::build;
use super::context;
use super::lock::{self, nanoseconds};
use super::sites;
use super::to_launcher::Layer;
use super::variables::{self, current, reset, set};
use crate::lines::clock;

/// Name of the layer for Redis commands. They are no SQL, so their text stays unchanged.
const REDIS: &str = "redis";

/// The context variable that decides where executions of the running context count.
pub(super) fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    variables::made(py, &VARIABLE, "rscalene_sql")
}

/// Executions of statements in one request, test or block. See `rscalene.queries`.
#[pyclass(frozen, module = "rscalene._rscalene")]
#[repr(C)]
pub(super) struct Ledger {
    book: u64,
    outer: Option<Py<Ledger>>,
}

/// A running or ended execution.
#[pyclass(frozen, module = "rscalene._rscalene")]
#[repr(C)]
pub(super) struct Call {
    /// The book for executions after the end of this call.
    book: u64,
    ended: AtomicBool,
    /// Whether sqlite's hooks count the rows.
    exact: AtomicBool,
    began: u64,
    slots: Box<[Slot]>,
    token: std::sync::Mutex<Option<Py<PyAny>>>,
}

/// The value of the variable, as the hooks of sqlite use it.
pub(super) enum Meaning {
    /// Count in this book.
    Count(u64),
    /// A call has counted the execution; its rows belong in these slots.
    Counted(&'static [Slot]),
    /// The variable has no value.
    Nothing,
}

/// Addresses of the two classes, and offsets of the Rust values in their objects.
struct Shapes {
    ledger: usize,
    ledger_data: usize,
    call: usize,
    call_data: usize,
}

static SHAPES: OnceLock<Shapes> = OnceLock::new();

/// The meaning of the running thread's value, read without the GIL. The result is valid while the thread stays in this
/// call.
pub(super) fn meaning(tstate: usize) -> Meaning {
    let value = context::value(tstate);
    let Some(shapes) = SHAPES.get().filter(|_| value != 0) else { return Meaning::Nothing };
    // SAFETY: the context keeps the object alive, and the second word of an object is its type.
    let kind = unsafe { *((value + 8) as *const usize) };
    if kind == shapes.ledger {
        // SAFETY: objects of this class hold a `Ledger` at this offset, which never changes.
        return Meaning::Count(unsafe { &*((value + shapes.ledger_data) as *const Ledger) }.book);
    }
    if kind == shapes.call {
        // SAFETY: objects of this class hold a `Call` at this offset.
        let call = unsafe { &*((value + shapes.call_data) as *const Call) };
        if call.ended.load(Relaxed) {
            return if call.book == 0 { Meaning::Nothing } else { Meaning::Count(call.book) };
        }
        call.exact.store(true, Relaxed);
        return Meaning::Counted(&call.slots);
    }
    Meaning::Nothing
}

/// Finds the offsets of the Rust values in both classes' objects, once.
pub(super) fn learn_shapes(py: Python<'_>) -> PyResult<()> {
    if SHAPES.get().is_none() {
        let ledger = Bound::new(py, Ledger { book: 0, outer: None })?;
        let call = Bound::new(py, Call::new(0, 0, Box::from([])))?;
        let _ = SHAPES.set(Shapes {
            ledger: ledger.get_type().as_ptr() as usize,
            ledger_data: std::ptr::from_ref(ledger.get()) as usize - ledger.as_ptr() as usize,
            call: call.get_type().as_ptr() as usize,
            call_data: std::ptr::from_ref(call.get()) as usize - call.as_ptr() as usize,
        });
    }
    Ok(())
}

/// The `ContextVar` of the current ledger.
#[pyfunction]
pub(super) fn sql_variable(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    variable(py).cloned()
}

/// The book of the running context: `None` if an outer layer counts, `Some(None)` if the context has no book. In the
/// latter case only the book of the process counts.
fn counting(py: Python<'_>, variable: &Bound<'_, PyAny>) -> PyResult<Option<Option<u64>>> {
    let Some(value) = current(py, variable)? else { return Ok(Some(None)) };
    if let Ok(ledger) = value.cast::<Ledger>() {
        return Ok(Some(Some(ledger.get().book)));
    }
    match value.cast::<Call>() {
        Ok(call) if !call.get().ended.load(Relaxed) => Ok(None),
        Ok(call) => Ok(Some(Some(call.get().book).filter(|&book| book != 0))),
        Err(_) => Ok(Some(None)),
    }
}

/// The book for an execution that begins here. `None` if an outer layer counts the execution, or if there is no book at
/// all. `Some(None)` if only the book of the process or the launcher counts the execution.
fn counted_in(py: Python<'_>) -> PyResult<Option<Option<u64>>> {
    if !lock::counting() {
        return Ok(None);
    }
    let book = counting(py, variable(py)?)?;
    Ok(book.filter(|book| book.is_some() || lock::with(|state| state.counts_all())))
}

/// Whether an execution that begins here would count. Hooks check this before they read their arguments.
#[pyfunction]
pub(super) fn sql_counts(py: Python<'_>) -> PyResult<bool> {
    Ok(counted_in(py)?.is_some())
}

/// Begins an execution of `sql`. Returns `None` if an outer layer counts it, or if there is no book. `strings`: double
/// quotes enclose strings. The lines are on this thread's stack; if this stack holds only libraries, on the stack of
/// `frame`. `by`: the ORM that made the query, if any; with `redis`, `sql` is the name of a command.
#[pyfunction]
#[pyo3(signature = (sql, params=None, strings=false, frame=None, by=""))]
pub(super) fn sql_begin<'py>(
    py: Python<'py>,
    sql: &Bound<'py, PyAny>,
    params: Option<&Bound<'py, PyAny>>,
    strings: bool,
    frame: Option<&Bound<'py, PyAny>>,
    by: &str,
) -> PyResult<Option<Bound<'py, Call>>> {
    let Some(book) = counted_in(py)? else { return Ok(None) };
    let variable = variable(py)?;
    let bytes;
    let text = match sql.cast::<PyString>() {
        Ok(text) => text.to_cow().unwrap_or_default(),
        Err(_) => match sql.extract::<Vec<u8>>() {
            Ok(read) => {
                bytes = read;
                String::from_utf8_lossy(&bytes)
            }
            Err(_) => sql.str()?.to_string_lossy().into_owned().into(),
        },
    };
    // SAFETY: the GIL is held.
    let tstate = unsafe { ffi::PyThreadState_Get() as usize };
    let elsewhere = frame.map(sites::of_frame).transpose()?;
    let (mut slots, wanted) = lock::with(|state| {
        let (site, is_elsewhere) = state.here_or(tstate, elsewhere);
        let statement = if by == REDIS { state.call(&text) } else { state.statement(&text, strings) };
        let slots = state.begin(book, &site, &statement, Layer::of(by), is_elsewhere.then_some(&site));
        let wanted = state.wants_parameters(&slots);
        (slots, wanted)
    });
    let parameters = wanted.then(|| {
        let mut hasher = FxHasher::default();
        text.hash(&mut hasher);
        if let Some(params) = params {
            hash_value(params, &mut hasher, 0);
        }
        hasher.finish()
    });
    lock::with(|state| state.begun(&mut slots, parameters));
    let call = Bound::new(py, Call::new(book.unwrap_or(0), clock::ticks(), slots.into()))?;
    let token = set(py, variable, call.as_any())?;
    if let Ok(mut place) = call.get().token.lock() {
        *place = Some(token.unbind());
    }
    Ok(Some(call))
}

/// Adds a parameter to `hasher`. A value without a hash and without items counts as different from every other value.
fn hash_value(value: &Bound<'_, PyAny>, hasher: &mut FxHasher, depth: u32) {
    static UNIQUE: AtomicU64 = AtomicU64::new(0);
    if let Ok(hash) = value.hash() {
        return hash.hash(hasher);
    }
    if depth < 4 {
        if let Ok(list) = value.cast::<PyList>() {
            return list.iter().for_each(|item| hash_value(&item, hasher, depth + 1));
        }
        if let Ok(tuple) = value.cast::<PyTuple>() {
            return tuple.iter().for_each(|item| hash_value(&item, hasher, depth + 1));
        }
        if let Ok(dict) = value.cast::<PyDict>() {
            return dict.iter().for_each(|(key, item)| {
                hash_value(&key, hasher, depth + 1);
                hash_value(&item, hasher, depth + 1);
            });
        }
    }
    UNIQUE.fetch_add(1, Relaxed).hash(hasher);
}

/// Begins a call into an ORM. Returns `None` inside another such call, and if there is no book.
#[pyfunction]
pub(super) fn sql_build_begin(py: Python<'_>) -> PyResult<Option<Bound<'_, build::Build>>> {
    let Some(book) = counted_in(py)? else { return Ok(None) };
    build::begin(py, book)
}

impl Call {
    fn new(book: u64, began: u64, slots: Box<[Slot]>) -> Self {
        let (ended, exact) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { book, ended, exact, began, slots, token: std::sync::Mutex::new(None) }
    }

    fn finish(&self, py: Python<'_>, rows: Option<u64>, failed: bool) {
        if self.ended.swap(true, Relaxed) {
            return;
        }
        let ns = nanoseconds(clock::ticks().saturating_sub(self.began));
        lock::with(|state| state.end(&self.slots, &Stretch { ns, before_ns: 0, rows, failed }));
        build::driver_took(py, ns);
        let token = self.token.lock().ok().and_then(|mut token| token.take());
        if let (Some(token), Ok(variable)) = (token, variable(py)) {
            reset(py, variable, token);
        }
    }
}

#[pymethods]
impl Call {
    /// Ends the call. `rows` below 0 means unknown.
    #[pyo3(signature = (rows=-1), text_signature = "($self, rows=-1)")]
    fn end(&self, py: Python<'_>, rows: i64) {
        let known = u64::try_from(rows).ok().filter(|_| !self.exact.load(Relaxed));
        self.finish(py, known, false);
    }

    /// Ends the call as failed.
    fn fail(&self, py: Python<'_>) {
        self.finish(py, None, true);
    }

    /// Ends the call if no hook will report its end.
    fn abandon(&self, py: Python<'_>) {
        self.finish(py, None, false);
    }

    /// Adds rows fetched after the end.
    fn add_rows(&self, rows: u64) {
        if !self.exact.load(Relaxed) {
            lock::with(|state| state.add_rows(&self.slots, rows));
        }
    }

    /// Calls `function` as a part of this call, on another thread.
    fn run<'py>(slf: &Bound<'py, Self>, function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let variable = variable(py)?;
        let token = set(py, variable, slf.as_any())?;
        let result = function.call0();
        reset(py, variable, token.unbind());
        result
    }
}

/// `(places, statement, transaction, count, ns, longest_ns, rows, errors, first)`.
type EntryRow = (Vec<(String, u32, String)>, String, bool, u64, u64, u64, Option<u64>, u64, u64);
/// `(places, ns)`.
type BuildRow = (Vec<(String, u32, String)>, u64);
/// `(place, statement, count, n_plus_one, cause, first)`; `cause` is `(place, statement, rows)`.
type FindingRow = (Option<(String, u32, String)>, String, u64, bool, Option<((String, u32, String), String, u64)>, u64);

fn place_row(place: &super::book::Place) -> (String, u32, String) {
    (place.file.to_string(), place.line, place.function.to_string())
}

fn entry_row(entry: &Entry) -> EntryRow {
    let places = entry.site.iter().map(place_row).collect();
    let Entry { transaction, count, ns, longest_ns, rows, errors, first, .. } = *entry;
    (places, entry.statement.to_string(), transaction, count, ns, longest_ns, rows, errors, first)
}

fn finding_row(finding: &Finding) -> FindingRow {
    let cause = finding.cause.as_ref().map(|(place, statement, rows)| (place_row(place), statement.to_string(), *rows));
    let place = finding.place.as_ref().map(place_row);
    (place, finding.statement.to_string(), finding.count, finding.n_plus_one, cause, finding.first)
}

impl Ledger {
    fn look<R>(&self, look: impl FnOnce(&mut super::book::Book) -> R) -> Option<R> {
        lock::with(|state| {
            state.settle();
            state.book(self.book).map(look)
        })
    }
}

#[pymethods]
impl Ledger {
    /// An empty ledger. Its executions count in `outer` too.
    #[new]
    #[pyo3(signature = (outer=None))]
    fn new(outer: Option<Py<Self>>) -> Self {
        let parent = outer.as_ref().map(|outer| outer.get().book);
        Self { book: lock::with(|state| state.open(parent)), outer }
    }

    /// Begins to count executions of this context. Returns the token for `leave`.
    fn enter<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        set(slf.py(), variable(slf.py())?, slf.as_any())
    }

    /// Stops counting.
    fn leave(&self, py: Python<'_>, token: Py<PyAny>) {
        if let Ok(variable) = variable(py) {
            reset(py, variable, token);
        }
    }

    /// Counts all executions of this process, including those counted in another ledger.
    fn count_the_process(&self, on: bool) {
        lock::with(|state| state.set_root(on.then_some(self.book)));
    }

    /// The enclosing ledger.
    #[getter]
    fn outer(&self, py: Python<'_>) -> Option<Py<Self>> {
        self.outer.as_ref().map(|outer| outer.clone_ref(py))
    }

    /// Number of executions that neither control transactions nor are calls of another kind.
    #[getter]
    fn queries(&self) -> u64 {
        self.look(|book| book.queries()).unwrap_or(0)
    }

    /// Number of all executions.
    #[getter]
    fn executions(&self) -> u64 {
        self.look(|book| book.executions).unwrap_or(0)
    }

    /// Number of executions after the book was full.
    #[getter]
    fn folded(&self) -> u64 {
        self.look(|book| book.folded).unwrap_or(0)
    }

    /// All entries, in the order of their first execution.
    fn entries(&self) -> Vec<EntryRow> {
        self.look(|book| book.entries.iter().map(entry_row).collect()).unwrap_or_default()
    }

    /// `(places, ns)` of ORMs, without the driver's time.
    fn builds(&self) -> Vec<BuildRow> {
        let row = |(site, ns): &(Site, u64)| (site.iter().map(place_row).collect(), *ns);
        self.look(|book| book.builds.iter().map(row).collect()).unwrap_or_default()
    }

    /// N+1s and duplicates of at least `threshold` executions.
    fn findings(&self, threshold: u64) -> Vec<FindingRow> {
        self.look(|book| book.findings(threshold).iter().map(finding_row).collect()).unwrap_or_default()
    }

    /// Executions in order: the index of the entry, and nanoseconds.
    fn log(&self) -> Vec<(u32, u64)> {
        self.look(|book| book.log.clone()).unwrap_or_default()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if self.book != 0 {
            drop(lock::with(|state| state.close(self.book)));
        }
    }
}

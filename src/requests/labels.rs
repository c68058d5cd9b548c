//! Labels of requests and blocks, for the recorders of this process: `rscalene run` and `Profiler`.
//!
//! Job: set one context variable, `rscalene_label`, to a number; send the recorders the meaning of each number and the
//! end of labelled work. Invariants: without a recorder, no variable is set and nothing is sent; a forked child sends
//! the meaning of its labels again, because it has records of its own. Neighbours: `wire::tap` is the launcher's
//! contract, `bindings::label_listeners` has the profilers of this process, `request` uses the numbers, `rscalene.web`
//! names them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Once, OnceLock};

use pyo3::ffi;
use pyo3::prelude::*;
use rscalene_wire::{LABEL_BYTES, LABEL_PAIRS, LabelVariable, Span, TAP_SYMBOL, TAP_VERSION, TapTable, UNKNOWN_NS};

use super::api;
use crate::bindings::{contexts, label_listeners, symbols};
use crate::observe::proc;
use crate::transport::event::Body;

/// Most labels of a process with a number of their own. Later labels share `(others)`.
const MOST_LABELS: usize = 2_048;

/// The context variable, and the place of its value in memory for recorders.
struct Variable {
    variable: Py<PyAny>,
    place: LabelVariable,
}

/// Numbers of labels by text, for the process that sent them to the recorders.
struct Said {
    /// How many forks lie between the first process and the one that sent them.
    forks: u32,
    numbers: HashMap<String, u32>,
}

/// The variable; `None` if this interpreter stores contexts in an unknown way.
static VARIABLE: OnceLock<Option<Variable>> = OnceLock::new();
/// The shim of `rscalene run`, which reads the variable; `None` if the shim was not preloaded.
static LAUNCHED: OnceLock<Option<&'static TapTable>> = OnceLock::new();

struct Held(RefCell<Said>);
// SAFETY: only reached with the GIL held, which the argument of `held` proves.
unsafe impl Sync for Held {}
static HELD: std::sync::LazyLock<Held> =
    std::sync::LazyLock::new(|| Held(RefCell::new(Said { forks: 0, numbers: HashMap::new() })));

fn held(_held: Python<'_>) -> &'static RefCell<Said> {
    &HELD.0
}

/// How many forks lie between the first process and this one. Asks the kernel nothing, because a seccomp filter of the
/// program may end a process that asks for its number.
fn forks() -> u32 {
    static FORKS: AtomicU32 = AtomicU32::new(0);
    static WATCHED: Once = Once::new();
    extern "C" fn count() {
        FORKS.fetch_add(1, Relaxed);
    }
    WATCHED.call_once(|| {
        // SAFETY: the function is static, and only adds to a static.
        unsafe { libc::pthread_atfork(None, None, Some(count)) };
    });
    FORKS.load(Relaxed)
}

/// A number that is unique among the labels and requests of this process.
pub(crate) fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    // A Python `int` of one digit has 30 bits. After a billion requests, numbers are used again.
    NEXT.fetch_add(1, Relaxed) % ((1 << 30) - 1) + 1
}

/// The variable, if there is a recorder: `rscalene run`, or a profiler of this process.
fn followed(py: Python<'_>) -> Option<&'static Variable> {
    if launched(py).is_some() || label_listeners::any(py) { variable(py) } else { None }
}

fn variable(py: Python<'_>) -> Option<&'static Variable> {
    if let Some(known) = VARIABLE.get() {
        return known.as_ref();
    }
    // Another thread may make the variable at the same time. No thread may wait for the other while holding the GIL.
    let found = make(py).ok().flatten();
    let variable = VARIABLE.get_or_init(|| found).as_ref()?;
    label_listeners::follow(py, variable.place);
    Some(variable)
}

fn make(py: Python<'_>) -> PyResult<Option<Variable>> {
    let variable = py.import("contextvars")?.getattr("ContextVar")?.call1(("rscalene_label",))?;
    let Some(found) = contexts::learn(py, &variable)? else { return Ok(None) };
    let place = LabelVariable {
        context: found.context,
        hash: found.hash,
        variable: found.variable,
        bitmap: found.bitmap,
        array: found.array,
        int: (&raw const ffi::PyLong_Type) as u64,
    };
    Ok(Some(Variable { variable: variable.unbind(), place }))
}

/// The shim, if it is preloaded and records.
fn launched(py: Python<'_>) -> Option<&'static TapTable> {
    if let Some(known) = LAUNCHED.get() {
        return *known;
    }
    let table = preloaded().filter(|table| {
        // SAFETY: the GIL is held, the variable lives as long as the process, and the caller is not inside an
        // allocator.
        variable(py).is_some_and(|found| unsafe { (table.follow)(&raw const found.place) } != 0)
    });
    *LAUNCHED.get_or_init(|| table)
}

/// The functions of the shim in this process; `None` without a shim of this version.
pub(crate) fn preloaded() -> Option<&'static TapTable> {
    let symbol = symbols::address(TAP_SYMBOL);
    if symbol.is_null() {
        return None;
    }
    // SAFETY: the symbol is a function of this type in every version of the shim that exports it.
    let answer: extern "C" fn() -> *const TapTable =
        unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> *const TapTable>(symbol) };
    // SAFETY: the shim returns a static.
    let table = unsafe { &*answer() };
    (table.version == TAP_VERSION).then_some(table)
}

/// Sets the label of the running context to this number. Returns a token for [`reset`]; `None` without a recorder.
pub(super) fn set(py: Python<'_>, label: u32) -> PyResult<Option<Py<PyAny>>> {
    let (Some(followed), Some(contexts)) = (followed(py), api::contexts()) else { return Ok(None) };
    let number = label.into_pyobject(py)?;
    // SAFETY: both are live objects, and the GIL is held.
    let token =
        unsafe { Bound::from_owned_ptr_or_err(py, (contexts.set)(followed.variable.as_ptr(), number.as_ptr())) }?;
    Ok(Some(token.unbind()))
}

/// Restores the former label of the running context. A token of another context changes nothing.
pub(super) fn reset(token: &Bound<'_, PyAny>) {
    // The recorder may have stopped meanwhile.
    let (Some(Some(followed)), Some(contexts)) = (VARIABLE.get(), api::contexts()) else { return };
    // SAFETY: both are live objects, and the GIL is held.
    if unsafe { (contexts.reset)(followed.variable.as_ptr(), token.as_ptr()) } < 0 {
        // SAFETY: the GIL is held, and the call above raised the error.
        unsafe { ffi::PyErr_Clear() };
    }
}

/// The number for these pairs of key and value; `None` without a recorder.
fn number(py: Python<'_>, pairs: &[(String, String)]) -> Option<u32> {
    followed(py)?;
    let text = text(pairs);
    let mut said = held(py).borrow_mut();
    let forks = forks();
    if said.forks != forks {
        *said = Said { forks, numbers: HashMap::new() };
    }
    let text = if said.numbers.contains_key(&text) || said.numbers.len() < MOST_LABELS {
        text
    } else {
        pairs.first().map_or_else(String::new, |(key, _)| format!("{key}\0(others)\0"))
    };
    if let Some(&known) = said.numbers.get(&text) {
        return Some(known);
    }
    let number = next();
    if let Some(table) = launched(py) {
        // SAFETY: the text is valid for the call, and the caller is not inside an allocator.
        if unsafe { (table.define_label)(number, text.as_ptr(), text.len()) } == 0 {
            return None;
        }
    }
    label_listeners::send(py, &Body::Label { label: number, pairs: pairs_of(&text) });
    said.numbers.insert(text, number);
    Some(number)
}

/// The pairs as the text of [`rscalene_wire::Label`]. Pairs that do not fit are cut or left out.
pub(crate) fn text(pairs: &[(String, String)]) -> String {
    let mut text = String::new();
    for (key, value) in pairs.iter().take(LABEL_PAIRS) {
        let left = LABEL_BYTES.saturating_sub(text.len() + 2);
        if key.len() > left {
            break;
        }
        let mut value = value.replace('\0', " ");
        let value_limit = left - key.len();
        let end = (0..=value_limit.min(value.len())).rev().find(|&end| value.is_char_boundary(end));
        value.truncate(end.unwrap_or(0));
        text += &format!("{}\0{value}\0", key.replace('\0', " "));
    }
    text
}

/// The pairs from which [`text`] was made.
fn pairs_of(text: &str) -> Vec<(String, String)> {
    let mut parts = text.split_terminator('\0');
    let mut pairs = Vec::new();
    while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
        pairs.push((key.to_owned(), value.to_owned()));
    }
    pairs
}

/// Whether `rscalene run` or a `Profiler` records labels.
#[pyfunction]
pub(super) fn labels_followed(py: Python<'_>) -> bool {
    followed(py).is_some()
}

/// The number for these pairs of key and value; None without a recorder.
#[pyfunction]
pub(super) fn label_number(py: Python<'_>, pairs: Vec<(String, String)>) -> Option<u32> {
    number(py, &pairs)
}

/// The pairs of the running context's label; empty if it has no label, or a request's number.
#[pyfunction]
pub(super) fn label_pairs(py: Python<'_>) -> PyResult<Vec<(String, String)>> {
    let Some(followed) = followed(py) else { return Ok(Vec::new()) };
    let value = followed.variable.call_method1(py, "get", (0,))?.extract::<u32>(py)?;
    let said = held(py).borrow();
    let found = said.numbers.iter().find(|(_, number)| **number == value);
    Ok(found.map_or_else(Vec::new, |(text, _)| pairs_of(text)))
}

/// Gives the running context a label. Returns a token for `label_exit`.
#[pyfunction]
pub(super) fn label_enter(py: Python<'_>, label: u32) -> PyResult<Option<Py<PyAny>>> {
    set(py, label)
}

/// Restores the former label of the context.
#[pyfunction]
pub(super) fn label_exit(token: &Bound<'_, PyAny>) {
    reset(token);
}

/// Reports that work with the label `name` ended after `wall_ns` nanoseconds. `label` is the number of the request, or
/// 0 for a block.
#[pyfunction]
pub(super) fn label_ended(py: Python<'_>, label: u32, name: u32, wall_ns: u64, cpu_ns: Option<u64>) {
    let cpu_ns = cpu_ns.unwrap_or(UNKNOWN_NS);
    if let Some(table) = launched(py) {
        // SAFETY: the caller is not inside an allocator.
        unsafe { (table.span)(label, name, wall_ns, cpu_ns, u32::MAX) };
    }
    if label_listeners::any(py) {
        let span =
            Span { time_ns: proc::monotonic_ns(), wall_ns, cpu_ns, label, name, count: u32::MAX, ..Span::default() };
        label_listeners::send(py, &Body::Span(span));
    }
}

//! Finds the request for which the running thread works.
//!
//! Job: keep the request in one context variable, `rscalene_request`; each event looks it up in the context of the
//! running thread. Invariants: a thread reuses the result of its last lookup while its context and the context's
//! variables are the same objects; the thread's seat holds a reference to these variables, so that no other object gets
//! their address, and drops it when a request ends. Neighbours: `events` and `legacy` look up, `request` sets the
//! variable.

use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyCFunction;

use super::api;
use super::book::Book;
use super::object::Request;

/// The context variable.
static VARIABLE: OnceLock<Py<PyAny>> = OnceLock::new();
/// Offset of `context` in the thread state; 0: not found yet.
static CONTEXT: AtomicUsize = AtomicUsize::new(0);
/// Offsets in a context object: of the enclosing context, and of the variables.
const PREVIOUS: usize = 16;
const VARIABLES: usize = 24;
/// Bytes of a thread state in which the offset is searched.
const THREAD_STATE: usize = 700;

/// Result of a thread's last lookup.
struct Seat {
    context: Cell<usize>,
    variables: Cell<usize>,
    request: Cell<*const Request>,
    stack: Cell<u32>,
    gone: AtomicBool,
}

/// Marks a thread's seat as unused when the thread ends.
struct Hold(Arc<Seat>);

// SAFETY: all fields but `gone` are only accessed with the GIL held.
unsafe impl Send for Seat {}
// SAFETY: as above.
unsafe impl Sync for Seat {}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.gone.store(true, Relaxed);
    }
}

thread_local! {
    static SEAT: Cell<*const Seat> = const { Cell::new(std::ptr::null()) };
    static HOLD: UnsafeCell<Option<Hold>> = const { UnsafeCell::new(None) };
}

fn seats<'py>(_held: Python<'py>) -> &'py mut Vec<Arc<Seat>> {
    struct Kept(UnsafeCell<Vec<Arc<Seat>>>);
    // SAFETY: only reached with the GIL held, as the argument proves.
    unsafe impl Sync for Kept {}
    static SEATS: Kept = Kept(UnsafeCell::new(Vec::new()));
    // SAFETY: the GIL is held, and no caller keeps the reference across a call into Python.
    unsafe { &mut *SEATS.0.get() }
}

#[inline(always)]
fn load(address: usize) -> usize {
    // SAFETY: every caller passes a place inside of a live interpreter structure, with the GIL held.
    unsafe { (address as *const usize).read() }
}

/// Makes the variable, and finds the offset of the context in the thread state.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    if CONTEXT.load(Relaxed) != 0 && VARIABLE.get().is_some() {
        return Ok(());
    }
    let unknown = || PyRuntimeError::new_err("cannot follow requests: this interpreter keeps its contexts elsewhere");
    let contexts = api::contexts().ok_or_else(unknown)?;
    if VARIABLE.get().is_none() {
        // SAFETY: the name ends with a NUL, and there is no default.
        let made = unsafe { (contexts.new)(c"rscalene_request".as_ptr(), std::ptr::null_mut()) };
        // SAFETY: `made` is a new reference, or null with an exception set.
        let made = unsafe { Bound::from_owned_ptr_or_err(py, made) }?;
        let _ = VARIABLE.set(made.unbind());
    }
    let context = py.import("contextvars")?.call_method0("copy_context")?;
    let address = context.as_ptr() as usize;
    let find = PyCFunction::new_closure(py, None, None, move |_, _| -> PyResult<()> {
        // SAFETY: the GIL is held.
        let state = unsafe { ffi::PyThreadState_Get() } as usize;
        let found: Vec<usize> = (0..THREAD_STATE).step_by(8).filter(|offset| load(state + offset) == address).collect();
        if let [offset] = found.as_slice() {
            CONTEXT.store(*offset, Relaxed);
        }
        Ok(())
    })?;
    context.call_method1("run", (find,))?;
    if CONTEXT.load(Relaxed) == 0 { Err(unknown()) } else { Ok(()) }
}

/// Sets `request` in the running context. Returns a token for [`reset`].
pub(super) fn set<'py>(request: &Bound<'py, Request>) -> PyResult<Bound<'py, PyAny>> {
    let py = request.py();
    prepare(py)?;
    let (Some(variable), Some(contexts)) = (VARIABLE.get(), api::contexts()) else {
        return Err(PyRuntimeError::new_err("cannot follow requests"));
    };
    // SAFETY: both are live objects, and the GIL is held.
    unsafe { Bound::from_owned_ptr_or_err(py, (contexts.set)(variable.as_ptr(), request.as_ptr())) }
}

/// Restores the former value of the running context. A token of another context (if a body was closed elsewhere)
/// changes nothing.
pub(super) fn reset(token: &Bound<'_, PyAny>) {
    let (Some(variable), Some(contexts)) = (VARIABLE.get(), api::contexts()) else { return };
    // SAFETY: both are live objects, and the GIL is held.
    if unsafe { (contexts.reset)(variable.as_ptr(), token.as_ptr()) } < 0 {
        // SAFETY: the GIL is held, and the call above raised the error.
        unsafe { ffi::PyErr_Clear() };
    }
}

/// The request in the running context.
pub fn current<'py>(py: Python<'py>) -> Option<Bound<'py, Request>> {
    let found = raw(VARIABLE.get()?)?;
    // SAFETY: `raw` returns a new reference.
    let found = unsafe { Bound::from_owned_ptr(py, found) };
    found.cast_into::<Request>().ok()
}

/// The value of the variable, as a new reference.
fn raw(variable: &Py<PyAny>) -> Option<*mut ffi::PyObject> {
    let contexts = api::contexts()?;
    let mut found = std::ptr::null_mut();
    // SAFETY: the GIL is held; the current exception, if any, is restored unchanged.
    unsafe {
        let (mut kind, mut value, mut trace) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
        ffi::PyErr_Fetch(&raw mut kind, &raw mut value, &raw mut trace);
        (contexts.get)(variable.as_ptr(), std::ptr::null_mut(), &raw mut found);
        ffi::PyErr_Restore(kind, value, trace);
    }
    (!found.is_null()).then_some(found)
}

/// Runs `work` with the book and the stack of the running context's request, if there is an open one.
#[inline(always)]
pub(super) fn with_book<R>(py: Python<'_>, work: impl FnOnce(&mut Book, u32) -> R) -> Option<R> {
    // SAFETY: the GIL is held, so there is a thread state, and `prepare` found the offset in one.
    let context = load(unsafe { ffi::PyThreadState_Get() } as usize + CONTEXT.load(Relaxed));
    if context == 0 {
        return None;
    }
    let variables = load(context + VARIABLES);
    let mut seat = SEAT.with(Cell::get);
    // SAFETY: a seat lives at least as long as its thread.
    if seat.is_null() || unsafe { (*seat).variables.get() != variables || (*seat).context.get() != context } {
        seat = look(py, context, variables);
    }
    // SAFETY: as above; the seat holds the variables, and they hold the request.
    unsafe {
        let request = (*seat).request.get().as_ref()?;
        Some(work(request.book(py), (*seat).stack.get()))
    }
}

#[cold]
fn look(py: Python<'_>, context: usize, variables: usize) -> *const Seat {
    let mut seat = SEAT.with(Cell::get);
    if seat.is_null() {
        seat = take_seat(py);
    }
    // SAFETY: a seat lives at least as long as its thread.
    let this = unsafe { &*seat };
    if this.variables.get() != variables {
        let found = VARIABLE.get().and_then(raw);
        // SAFETY: `found` is a new reference to a live object, which the variables hold as well.
        let request = found.and_then(|found| unsafe {
            let bound = Bound::from_owned_ptr(py, found);
            bound.cast::<Request>().ok().map(|request| std::ptr::from_ref::<Request>(request.get()))
        });
        let old = this.variables.replace(variables);
        this.request.set(request.unwrap_or(std::ptr::null()));
        // SAFETY: these are the variables of a live context; the seat held the old ones.
        unsafe {
            ffi::Py_XINCREF(variables as *mut ffi::PyObject);
            release(old);
        }
    }
    this.context.set(context);
    // SAFETY: the variables hold the request.
    if let Some(request) = unsafe { this.request.get().as_ref() } {
        if request.is_closed() {
            this.request.set(std::ptr::null());
        } else {
            let stack = stack_in(py, request, context);
            this.stack.set(stack);
        }
    }
    seat
}

/// The stack of `request` for a context.
fn stack_in(py: Python<'_>, request: &Request, context: usize) -> u32 {
    let entered_in = |at: usize| Some(load(at + PREVIOUS)).filter(|previous| *previous != 0);
    let outer = std::iter::successors(entered_in(context), |at| entered_in(*at)).take(16);
    request.book(py).stack_of(context, outer)
}

/// The stack of `request` for the running context; `None` if the thread has no context.
pub(super) fn running_stack(py: Python<'_>, request: &Request) -> Option<u32> {
    // SAFETY: the GIL is held, so there is a thread state, and `prepare` found the offset in one.
    let context = load(unsafe { ffi::PyThreadState_Get() } as usize + CONTEXT.load(Relaxed));
    (context != 0).then(|| stack_in(py, request, context))
}

/// Drops a seat's reference to variables.
///
/// # Safety
///
/// The GIL is held, and `variables` is 0 or an address to which the caller has a reference.
unsafe fn release(variables: usize) {
    // Destructors of released objects may run Python code, which must not see the current exception.
    // SAFETY: see above.
    unsafe {
        let (mut kind, mut value, mut trace) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
        ffi::PyErr_Fetch(&raw mut kind, &raw mut value, &raw mut trace);
        ffi::Py_XDECREF(variables as *mut ffi::PyObject);
        ffi::PyErr_Restore(kind, value, trace);
    }
}

fn take_seat(py: Python<'_>) -> *const Seat {
    let seat = Arc::new(Seat {
        context: Cell::new(0),
        variables: Cell::new(0),
        request: Cell::new(std::ptr::null()),
        stack: Cell::new(0),
        gone: AtomicBool::new(false),
    });
    let address = Arc::as_ptr(&seat);
    // SAFETY: the value belongs to this thread, and nothing below calls this function again.
    let held = HOLD.try_with(|hold| unsafe { *hold.get() = Some(Hold(Arc::clone(&seat))) });
    if held.is_ok() {
        SEAT.with(|mine| mine.set(address));
    }
    // If the thread is ending already, the seat serves this lookup only; `forget` removes it when a request ends.
    seat.gone.store(held.is_err(), Relaxed);
    seats(py).push(seat);
    address
}

/// Drops the variables of all threads. Called when a request ends, so that no seat keeps its objects alive.
pub(super) fn forget(py: Python<'_>) {
    let mut held = Vec::new();
    for seat in seats(py).iter() {
        held.push(seat.variables.replace(0));
        seat.context.set(0);
        seat.request.set(std::ptr::null());
    }
    seats(py).retain(|seat| !seat.gone.load(Relaxed));
    for variables in held {
        // SAFETY: the seats had references to them.
        unsafe { release(variables) };
    }
}

//! The state of one request: the object in the context variable.
//!
//! Invariant: the first word is the request's label, a number unique among the requests of the process. A signal
//! handler or a hook that finds the object in a context reads the label at a fixed offset, without a call. Neighbours:
//! `request` has the methods for Python, `context` finds the object, `book` counts.

use std::cell::UnsafeCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use pyo3::prelude::*;

use super::book::Book;
use super::memory::Whole;

/// State of one request.
#[pyclass(frozen, module = "rscalene._rscalene")]
#[repr(C)]
pub struct Request {
    pub(super) label: AtomicU32,
    pub(super) closed: AtomicBool,
    pub(super) functions: bool,
    pub(super) lines: bool,
    pub(super) memory: bool,
    pub(super) opened: u64,
    pub(super) ended: AtomicU64,
    pub(super) cpu_ns: AtomicU64,
    /// Bytes of the ended parts; `None` if the request counts no bytes, or if a part began and ended on different
    /// threads.
    pub(super) bytes: Mutex<Option<Whole>>,
    pub(super) book: UnsafeCell<Book>,
    pub(super) sql: Mutex<Option<Py<PyAny>>>,
    /// The enclosing request, while the enclosing request is open.
    pub(super) outer: Mutex<Option<Py<Request>>>,
}

// SAFETY: the book is only reached with the GIL held, because `Request::book` takes a `Python` token.
unsafe impl Sync for Request {}

impl Request {
    /// The counts of the request.
    #[inline(always)]
    pub(super) fn book<'a>(&'a self, _held: Python<'a>) -> &'a mut Book {
        // SAFETY: the GIL is held, and no caller keeps the reference across a call into Python.
        unsafe { &mut *self.book.get() }
    }

    /// Whether the request has ended.
    #[inline(always)]
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }
}

//! The bytes of requests, counted exactly.
//!
//! Job: read the counters of the running thread for the lines of a request, and for the whole request. Invariants:
//! rscalene's own allocations during an event are in no figure ([`apart`]); if no open request counts bytes, a reading
//! costs a single load. Neighbours: `bindings::counters` has the counters, `events` and `legacy`
//! read them, `request` counts the whole.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use pyo3::prelude::*;

use crate::bindings::counters::{self, Mine};
use crate::lines::session::Reading;

/// Number of open requests with bytes.
static OPEN: AtomicU32 = AtomicU32::new(0);

/// The bytes of one thread.
struct Bytes {
    mine: Mine,
    /// Net bytes, and allocated bytes, of rscalene's own work.
    own_net: i64,
    own_allocated: u64,
    /// Highest net bytes since the last part of a request began on this thread.
    top: i64,
}

thread_local! {
    static BYTES: UnsafeCell<Bytes> =
        const { UnsafeCell::new(Bytes { mine: Mine::new(), own_net: 0, own_allocated: 0, top: i64::MIN }) };
}

/// Runs `work` on this thread's bytes; `None` while the thread ends. `work` must not call Python.
#[inline(always)]
fn with_bytes<R>(work: impl FnOnce(&mut Bytes) -> R) -> Option<R> {
    // SAFETY: the state belongs to this thread, and `work` calls nothing that comes back here.
    BYTES.try_with(|bytes| work(unsafe { &mut *bytes.get() })).ok()
}

/// Begins to count bytes for a request.
///
/// # Errors
/// If rscalene can hook no allocator of this process.
pub(super) fn open(py: Python<'_>) -> PyResult<()> {
    counters::prepare(py)?;
    counters::begin_counting();
    OPEN.fetch_add(1, Relaxed);
    Ok(())
}

/// Ends the counting for a request.
pub(super) fn close() {
    OPEN.fetch_sub(1, Relaxed);
    counters::end_counting();
}

/// Readings for an event of a line at `ticks`, to be taken before [`apart`]. `number`: the int that the interpreter made
/// for the event, and frees after the event.
#[inline(always)]
pub(super) fn reading(ticks: u64, number: impl FnOnce() -> u32) -> Reading {
    if OPEN.load(Relaxed) == 0 {
        return Reading { ticks, net: 0, high: 0 };
    }
    read(ticks, number())
}

#[cold]
fn read(ticks: u64, number: u32) -> Reading {
    // Ints up to 256 exist already.
    let scratch = if number > 256 { counters::int_bytes() } else { 0 };
    let read = with_bytes(|bytes| {
        bytes.mine.find();
        let (net, high) = bytes.mine.take(ticks, scratch);
        let (net, high) = (net - bytes.own_net, high - bytes.own_net);
        bytes.top = bytes.top.max(high);
        (net, high)
    });
    let (net, high) = read.unwrap_or((0, 0));
    Reading { ticks, net, high }
}

/// Runs rscalene's own `work`. Its bytes belong to no line and no request.
#[inline(always)]
pub(super) fn apart<R>(work: impl FnOnce() -> R) -> R {
    if OPEN.load(Relaxed) == 0 {
        return work();
    }
    let before = with_bytes(|bytes| {
        bytes.mine.find();
        (bytes.mine.net(), bytes.mine.allocated(), bytes.mine.high())
    });
    let answer = work();
    if let Some((net, allocated, high)) = before {
        with_bytes(|bytes| {
            let more = bytes.mine.net() - net;
            bytes.own_net += more;
            bytes.own_allocated += bytes.mine.allocated() - allocated;
            if let Some(high) = high {
                bytes.mine.set_high(high + more);
            }
        });
    }
    answer
}

/// Bytes of a request, or of a part of a request on one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Whole {
    /// Bytes allocated.
    pub(super) allocated: u64,
    /// Bytes allocated minus bytes freed.
    pub(super) net: i64,
    /// Highest net bytes, compared with the beginning.
    pub(super) peak: i64,
}

impl Whole {
    /// Adds a later part.
    pub(super) fn add(&mut self, part: &Self) {
        self.peak = self.peak.max(self.net + part.peak);
        self.allocated += part.allocated;
        self.net += part.net;
    }
}

/// Readings at the beginning of a part of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    allocated: u64,
    net: i64,
    /// The top of the enclosing part.
    outer: i64,
    /// The address of the thread's state, unique among the living threads.
    thread: usize,
}

impl Part {
    /// Begins a part on this thread.
    pub(super) fn begin(ticks: u64) -> Self {
        let net = reading(ticks, || 0).net;
        let read = with_bytes(|bytes| {
            let thread = std::ptr::from_ref(bytes) as usize;
            let outer = std::mem::replace(&mut bytes.top, net);
            (bytes.mine.allocated() - bytes.own_allocated, outer, thread)
        });
        let (allocated, outer, thread) = read.unwrap_or((0, i64::MIN, 0));
        Self { allocated, net, outer, thread }
    }

    /// Ends the part. `None` on another thread: the part's bytes are in the counters of the first thread.
    pub(super) fn end(self, ticks: u64) -> Option<Whole> {
        let net = reading(ticks, || 0).net;
        with_bytes(|bytes| {
            if std::ptr::from_ref(bytes) as usize != self.thread {
                return None;
            }
            let top = bytes.top;
            bytes.top = top.max(self.outer);
            Some(Whole {
                allocated: (bytes.mine.allocated() - bytes.own_allocated).saturating_sub(self.allocated),
                net: net - self.net,
                peak: (top - self.net).max(0),
            })
        })
        .flatten()
    }
}

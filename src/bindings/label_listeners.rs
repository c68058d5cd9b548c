//! Passes labels to the profilers of this process.
//!
//! Job: tell each running profiler the meaning of each label, which labelled work has ended, and the address of the
//! context variable that holds a thread's label. Invariant: a profiler that begins later receives all earlier meanings;
//! a profiler's thread takes its messages without the GIL. Neighbours: `requests::labels` sends, `inprocess` receives.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use pyo3::prelude::*;
use rscalene_wire::{LabelVariable, TapTable};

use crate::transport::event::Body;

type Queue = Mutex<Vec<Body>>;

/// A running profiler.
struct Listener {
    queue: Weak<Queue>,
    /// The shim that samples the memory of this profiler.
    tap: Option<&'static TapTable>,
}

impl Listener {
    fn follow(&self, place: &LabelVariable) {
        if let Some(tap) = self.tap {
            // SAFETY: the GIL is held, the variable lives as long as the process, and this runs in no allocator.
            unsafe { (tap.follow)(&raw const *place) };
        }
    }
}

#[derive(Default)]
struct Registered {
    listeners: Vec<Listener>,
    /// Every meaning so far; `requests::labels` limits their number.
    meanings: Vec<Body>,
}

struct Held(RefCell<Registered>);
// SAFETY: only reached with the GIL held, because `held` takes a `Python` token.
unsafe impl Sync for Held {}
static HELD: Held = Held(RefCell::new(Registered { listeners: Vec::new(), meanings: Vec::new() }));
static PLACE: OnceLock<LabelVariable> = OnceLock::new();

fn held(_held: Python<'_>) -> &'static RefCell<Registered> {
    &HELD.0
}

/// The queue of a profiler. Dropping the queue ends its registration, with or without the GIL.
#[derive(Debug)]
pub(crate) struct LabelReceiver(Arc<Queue>);

impl LabelReceiver {
    /// Registers a profiler. `tap` is the shim that samples this profiler's memory.
    pub(crate) fn begin(py: Python<'_>, tap: Option<&'static TapTable>) -> Self {
        let mut registered = held(py).borrow_mut();
        let queue = Arc::new(Mutex::new(registered.meanings.clone()));
        let listener = Listener { queue: Arc::downgrade(&queue), tap };
        if let Some(place) = PLACE.get() {
            listener.follow(place);
        }
        registered.listeners.retain(|listener| listener.queue.strong_count() > 0);
        registered.listeners.push(listener);
        Self(queue)
    }

    /// Takes the labels and spans that came since the last call.
    pub(crate) fn take(&self) -> Vec<Body> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The context variable of labels; `None` until the program has made a label.
pub(crate) fn place() -> Option<&'static LabelVariable> {
    PLACE.get()
}

/// Does a profiler of this process run?
pub(crate) fn any(py: Python<'_>) -> bool {
    held(py).borrow().listeners.iter().any(|listener| listener.queue.strong_count() > 0)
}

/// Passes the new context variable to every profiler.
pub(crate) fn follow(py: Python<'_>, place: LabelVariable) {
    let place = PLACE.get_or_init(|| place);
    held(py).borrow().listeners.iter().for_each(|listener| listener.follow(place));
}

/// Sends a label or a span to every profiler. Profilers that begin later get the meanings of labels too.
pub(crate) fn send(py: Python<'_>, body: &Body) {
    let mut registered = held(py).borrow_mut();
    for queue in registered.listeners.iter().filter_map(|listener| listener.queue.upgrade()) {
        queue.lock().unwrap_or_else(PoisonError::into_inner).push(body.clone());
    }
    if matches!(body, Body::Label { .. }) {
        registered.meanings.push(body.clone());
    }
}

/// Forgets all profilers in a forked child: their threads stayed in the parent.
pub(crate) fn forked(py: Python<'_>) {
    std::mem::forget(std::mem::take(&mut *held(py).borrow_mut()));
}

//! `rscalene.push`: a thread that sends windows of a running sampler's profile to a server.
//!
//! Job: take a profile so far now and then, and hand it to `push`. Invariants: the thread never needs the GIL; it is in
//! no profile; while the process forks it is gone, unless it is in the middle of a call to the server; a forked child
//! has none. Neighbours: `pair` gives the profiles, `push::pusher` queues and sends, `rscalene.continuous` (Python) is
//! the interface.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::other_samplers;
use super::pair::View;
use super::sampler::Sampler;
use crate::observe::jitter::Jitter;
use crate::push::pusher::{Counts, Pusher, pause};
use crate::push::server::{Address, Server};

/// A fork waits this long for the thread.
const PATIENCE: Duration = Duration::from_millis(10);

/// What the thread shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Send a window now and then.
    Go,
    /// End, because the process forks.
    Leave,
    /// Send a last window, and end.
    Stop,
}

/// What the thread works with.
struct Work {
    view: View,
    every: Duration,
    pusher: Mutex<Pusher>,
    order: Mutex<Order>,
    changed: Condvar,
    /// When the next window is due.
    due: Mutex<Instant>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counts: Arc<Counts>,
}

/// Sends windows of a sampler's profile. See `rscalene.push`.
#[pyclass(module = "rscalene._rscalene", frozen)]
pub(crate) struct Push {
    work: Arc<Work>,
    pid: u32,
}

#[pymethods]
impl Push {
    /// Starts to send windows of `sampler`, which runs, every `every_s` seconds.
    #[new]
    #[pyo3(signature = (sampler, url, *, name, labels, every_s, auth=None, headers=BTreeMap::new()))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn new(
        py: Python<'_>,
        sampler: PyRef<'_, Sampler>,
        url: String,
        name: String,
        labels: BTreeMap<String, String>,
        every_s: f64,
        auth: Option<(String, String)>,
        headers: BTreeMap<String, String>,
    ) -> PyResult<Self> {
        let every = Duration::try_from_secs_f64(every_s)
            .map_err(|error| PyValueError::new_err(format!("every: {error}")))?
            .max(Duration::from_secs(1));
        let server = Server::new(&Address { url, name, labels, auth, headers }).map_err(PyValueError::new_err)?;
        let view = sampler.view(py).ok_or_else(|| PyRuntimeError::new_err("the sampler does not run"))?;
        let pusher = Pusher::new(server);
        let counts = pusher.counts();
        let work = Arc::new(Work {
            view,
            every,
            pusher: Mutex::new(pusher),
            order: Mutex::new(Order::Go),
            changed: Condvar::new(),
            due: Mutex::new(Instant::now() + every),
            thread: Mutex::new(None),
            counts,
        });
        begin(&work).map_err(|error| PyRuntimeError::new_err(format!("cannot start a thread: {error}")))?;
        known(py).borrow_mut().push(Arc::downgrade(&work));
        Ok(Self { work, pid: std::process::id() })
    }

    /// Sends a last window and ends; waits at most `patience_s` seconds. False if the thread was still busy.
    fn stop(&self, py: Python<'_>, patience_s: f64) -> bool {
        if self.pid != std::process::id() {
            return true;
        }
        let end = Instant::now() + Duration::try_from_secs_f64(patience_s).unwrap_or_default();
        self.work.tell(Order::Stop);
        py.detach(|| self.work.wait_for_end(end))
    }

    /// The process forks: the threads end (`begins`), or start again.
    #[staticmethod]
    fn fork(py: Python<'_>, begins: bool) {
        let mut known = known(py).borrow_mut();
        known.retain(|work| work.strong_count() > 0);
        for work in known.iter().filter_map(Weak::upgrade) {
            let order = *locked(&work.order);
            if begins && order == Order::Go {
                work.tell(Order::Leave);
                work.wait_for_end(Instant::now() + PATIENCE);
            } else if !begins && order == Order::Leave {
                work.tell(Order::Go);
                // If no thread can start, no window is sent any more.
                let _ = begin(&work);
            }
        }
    }

    /// This is a forked child: nothing is sent from here.
    #[staticmethod]
    fn forked(py: Python<'_>) {
        std::mem::forget(std::mem::take(&mut *known(py).borrow_mut()));
    }

    /// Windows that the server took.
    #[getter]
    fn sent(&self) -> u64 {
        self.work.counts.sent.load(Relaxed)
    }

    /// Windows that were given up.
    #[getter]
    fn dropped(&self) -> u64 {
        self.work.counts.dropped.load(Relaxed)
    }

    /// Why the server did not take the last window; `None` if it did.
    #[getter]
    fn error(&self) -> Option<String> {
        self.work.counts.why()
    }
}

impl Work {
    fn tell(&self, order: Order) {
        *locked(&self.order) = order;
        self.changed.notify_all();
    }

    /// True if the thread is gone by then.
    fn wait_for_end(&self, end: Instant) -> bool {
        let mut thread = locked(&self.thread);
        while thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < end {
            thread::sleep(Duration::from_micros(200));
        }
        if thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return false;
        }
        thread.take().is_none_or(|thread| thread.join().is_ok())
    }

    /// Waits until a window is due, or the order changes. Returns the order.
    fn wait(&self) -> Order {
        let mut order = locked(&self.order);
        loop {
            let left = locked(&self.due).saturating_duration_since(Instant::now());
            if *order != Order::Go || left.is_zero() {
                return *order;
            }
            order = self.changed.wait_timeout(order, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn run(&self) {
        self.view.keep_thread_out();
        let mut jitter = Jitter::new();
        loop {
            let order = self.wait();
            if order == Order::Leave {
                return;
            }
            let Some(profile) = self.view.snapshot() else { return };
            let mut pusher = locked(&self.pusher);
            pusher.take(profile);
            *locked(&self.due) = Instant::now() + pause(self.every, &mut jitter);
            pusher.send();
            if order == Order::Stop {
                return pusher.give_up();
            }
        }
    }
}

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn begin(work: &Arc<Work>) -> io::Result<()> {
    let mut thread = locked(&work.thread);
    if thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
        return Ok(());
    }
    let (tell, told) = std::sync::mpsc::channel();
    let own = Arc::clone(work);
    *thread = Some(other_samplers::enlist(work.view.member, || {
        let work = move || {
            // SAFETY: gettid takes nothing.
            let _ = tell.send(unsafe { libc::gettid() }.cast_unsigned());
            own.run();
        };
        let thread = thread::Builder::new().name("rscalene-push".to_owned()).spawn(work)?;
        Ok((thread, told.recv().unwrap_or(0)))
    })?);
    Ok(())
}

struct Held(RefCell<Vec<Weak<Work>>>);
// SAFETY: only reached with the GIL held, as `known` asks for the proof.
unsafe impl Sync for Held {}
// SAFETY: as above.
unsafe impl Send for Held {}
static KNOWN: Held = Held(RefCell::new(Vec::new()));

/// All threads that send.
fn known(_held: Python<'_>) -> &'static RefCell<Vec<Weak<Work>>> {
    &KNOWN.0
}

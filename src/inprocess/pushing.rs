//! `rscalene.push`: a thread that sends windows of a running sampler's profile to a server.
//!
//! Job: take a profile so far at intervals, and pass it to `push`. Invariants: the thread never needs the GIL, and no
//! profile contains the thread. Before the process forks the thread ends, unless a call to the server is in progress; a
//! forked child has no such thread. Neighbours: `pair` makes the profiles, `push::pusher` queues and sends,
//! `rscalene.continuous` (Python) is the interface.

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
use crate::push::pusher::{BEGIN, Counts, Pusher, pause};
use crate::push::server::{Address, Server};

/// Longest time that a fork waits for the thread.
const PATIENCE: Duration = Duration::from_millis(10);

/// An order to the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Send windows at intervals.
    Go,
    /// End, because the process forks.
    Leave,
    /// Send a last window, and end.
    Stop,
}

/// The state shared with the thread.
struct Work {
    view: View,
    every: Duration,
    pusher: Mutex<Pusher>,
    order: Mutex<Order>,
    changed: Condvar,
    /// Time of the next window.
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
    /// Start to send windows of the running `sampler`, every `every_s` seconds.
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

    /// Send a last window and end. Wait at most `patience_s` seconds. Return False if the thread was still busy.
    fn stop(&self, py: Python<'_>, patience_s: f64) -> bool {
        if self.pid != std::process::id() {
            return true;
        }
        let end = Instant::now() + Duration::try_from_secs_f64(patience_s).unwrap_or_default();
        self.work.tell(Order::Stop);
        py.detach(|| self.work.wait_for_end(end))
    }

    /// End the threads before a fork (`begins`), or start them again after the fork.
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
                // If no thread can start, no more windows are sent.
                let _ = begin(&work);
            }
        }
    }

    /// Forget the threads in a forked child, which sends no windows.
    #[staticmethod]
    fn forked(py: Python<'_>) {
        std::mem::forget(std::mem::take(&mut *known(py).borrow_mut()));
    }

    /// Number of windows accepted by the server.
    #[getter]
    fn sent(&self) -> u64 {
        self.work.counts.sent.load(Relaxed)
    }

    /// Number of windows dropped.
    #[getter]
    fn dropped(&self) -> u64 {
        self.work.counts.dropped.load(Relaxed)
    }

    /// Why the server did not accept the last window; `None` if it did.
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

    /// Waits for the end of the thread until `end`. Returns true if the thread has ended.
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
            pusher.send(Instant::now() + BEGIN);
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
            // SAFETY: gettid has no preconditions.
            let _ = tell.send(unsafe { libc::gettid() }.cast_unsigned());
            own.run();
        };
        let thread = thread::Builder::new().name("rscalene-push".to_owned()).spawn(work)?;
        Ok((thread, told.recv().unwrap_or(0)))
    })?);
    Ok(())
}

struct Held(RefCell<Vec<Weak<Work>>>);
// SAFETY: only reached with the GIL held, because `known` takes a `Python` token.
unsafe impl Sync for Held {}
// SAFETY: as above.
unsafe impl Send for Held {}
static KNOWN: Held = Held(RefCell::new(Vec::new()));

/// All threads that send windows.
fn known(_held: Python<'_>) -> &'static RefCell<Vec<Weak<Work>>> {
    &KNOWN.0
}

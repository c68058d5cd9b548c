//! The queue between the windows and the server.
//!
//! Job: make a window of each profile so far, keep windows until the server accepts them, and count lost windows.
//! Invariants: at most [`QUEUE`] windows wait, and a new window replaces the oldest; no call fails, or blocks longer
//! than a call to the server may take. Neighbours: `windows` subtracts, `server` sends; `commands::run` and `inprocess`
//! own the threads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::server::{Server, Window};
use super::windows::Windows;
use crate::profile::model::Profile;
use crate::report::export;

/// Calls to the server begin within this time; the last of them may take its own time.
pub(crate) const BEGIN: Duration = Duration::from_secs(1);
/// Most windows that wait for the server.
const QUEUE: usize = 4;

/// Counts that any thread may read.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Windows accepted by the server.
    pub(crate) sent: AtomicU64,
    /// Windows dropped without being sent.
    pub(crate) dropped: AtomicU64,
    /// Why the server did not accept the last window.
    why: Mutex<Option<String>>,
}

impl Counts {
    /// Why the server did not accept the last window; `None` if it did.
    pub(crate) fn why(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, why: Option<String>) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

/// The queue, and the state for making windows.
#[derive(Debug)]
pub(crate) struct Pusher {
    server: Server,
    windows: Windows,
    waiting: VecDeque<Window>,
    from: SystemTime,
    counts: Arc<Counts>,
}

impl Pusher {
    /// Makes a pusher whose first window begins now.
    pub(crate) fn new(server: Server) -> Self {
        let (windows, waiting, counts) = (Windows::default(), VecDeque::new(), Arc::default());
        Self { server, windows, waiting, from: SystemTime::now(), counts }
    }

    /// The counts of this pusher.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Takes a profile so far, and queues the difference to the previous profile as a window. A window without samples
    /// is left out.
    pub(crate) fn take(&mut self, mut profile: Profile) {
        let (from, until) = (self.from, SystemTime::now());
        self.from = until;
        if !self.windows.reduce(&mut profile) {
            return;
        }
        profile.clock.started_at = humantime::format_rfc3339_seconds(from).to_string();
        profile.clock.elapsed_s = until.duration_since(from).unwrap_or_default().as_secs_f64();
        if self.waiting.len() == QUEUE {
            self.waiting.pop_front();
            self.counts.dropped.fetch_add(1, Relaxed);
        }
        self.waiting.push_back(Window { from, until, pprof: export::pprof(&profile) });
    }

    /// Sends the waiting windows, oldest first, until the server refuses a window. No call begins after `until`.
    pub(crate) fn send(&mut self, until: Instant) {
        while let Some(window) = self.waiting.front().filter(|_| Instant::now() < until) {
            match self.server.send(window) {
                Ok(()) => {
                    self.waiting.pop_front();
                    self.counts.sent.fetch_add(1, Relaxed);
                    self.counts.tell(None);
                }
                Err(why) => return self.counts.tell(Some(why)),
            }
        }
    }

    /// Drops the windows that still wait, at the end of the run.
    pub(crate) fn give_up(&mut self) {
        self.counts.dropped.fetch_add(self.waiting.len() as u64, Relaxed);
        self.waiting.clear();
    }
}

/// The time until the next window: `every`, up to a tenth shorter or longer, so that many processes do not send at once.
pub(crate) fn pause(every: Duration, jitter: &mut crate::observe::jitter::Jitter) -> Duration {
    let tenth = every / 10;
    (every - tenth + jitter.around(tenth)).max(Duration::from_millis(100))
}

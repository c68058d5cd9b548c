//! The registry of all sampler threads of this process. Samplers leave these threads out of profiles.
//!
//! Job: tell each sampler the threads of all samplers that run at the same time. Invariant: a new sampler thread is
//! entered here for every running sampler, before the thread does any work. An ended thread stays entered as long as
//! observations of the thread may still arrive. Neighbours: `sampler` joins, `intake` asks.
//!
//! A forked child has none of its parent's threads. If a thread of the parent held the lock at the fork, the child
//! knows no sampler thread until the lock is free.

use std::collections::HashMap;
use std::io;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use crate::bindings::fork_lock::ForkLock;

/// Time for which an ended thread stays entered. Observations of a thread arrive within a second.
const LINGER: Duration = Duration::from_secs(10);

/// A running sampler.
struct Running {
    id: u64,
    own: Vec<u32>,
    /// Threads that the sampler leaves out, with the time at which the thread's end was noticed; `None` while the
    /// thread runs.
    known: HashMap<u32, Option<Instant>>,
}

static RUNNING: ForkLock<Vec<Running>> = ForkLock::new(Vec::new());

fn running() -> Option<MutexGuard<'static, Vec<Running>>> {
    let (mut running, fresh) = RUNNING.take()?;
    if fresh {
        running.clear();
    }
    Some(running)
}

/// The membership of one sampler in the list of running samplers.
#[derive(Debug)]
pub(super) struct Member {
    id: u64,
}

/// Starts a thread of the sampler `id`; `spawn` also returns the thread's id. The function holds the lock until the
/// thread is entered, so a sampler that observes the new thread can leave it out from the first observation on.
///
/// # Errors
/// The error of `spawn`.
pub(super) fn enlist<T>(id: u64, spawn: impl FnOnce() -> io::Result<(T, u32)>) -> io::Result<T> {
    let mut running = running();
    let (thread, tid) = spawn()?;
    for sampler in running.iter_mut().flat_map(|running| running.iter_mut()) {
        sampler.known.insert(tid, None);
        if sampler.id == id {
            sampler.own.push(tid);
        }
    }
    Ok(thread)
}

impl Member {
    /// Enters a new sampler.
    pub(super) fn join() -> Self {
        let Some(mut running) = running() else { return Self { id: 0 } };
        let id = running.iter().map(|sampler| sampler.id).max().unwrap_or(0) + 1;
        let known = running.iter().flat_map(|sampler| sampler.own.iter().map(|&own| (own, None))).collect();
        running.push(Running { id, own: Vec::new(), known });
        Self { id }
    }

    /// The number of the sampler.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// All threads that this sampler must leave out.
    pub(super) fn threads(&self) -> Vec<u32> {
        let Some(mut running) = running() else { return Vec::new() };
        let Some(sampler) = running.iter_mut().find(|sampler| sampler.id == self.id) else { return Vec::new() };
        sampler.known.retain(|_, gone| gone.is_none_or(|at| at.elapsed() < LINGER));
        sampler.known.keys().copied().collect()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let Some(mut running) = running() else { return };
        let Some(at) = running.iter().position(|sampler| sampler.id == self.id) else { return };
        for own in running.swap_remove(at).own {
            for sampler in running.iter_mut() {
                sampler.known.insert(own, Some(Instant::now()));
            }
        }
    }
}

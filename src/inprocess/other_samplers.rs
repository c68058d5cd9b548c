//! The threads of all samplers of this process, which are no part of the program.
//!
//! Job: tell each sampler which threads to leave out: those of all samplers that run at the same time. Invariant: a
//! thread is entered here, for every running sampler, before it does anything. A thread that has ended stays entered
//! for as long as observations of it may still arrive. Neighbours: `sampler` joins, `intake` asks.
//!
//! A forked child has none of its parent's threads, and one of them may have held the lock at the fork. In that case no
//! thread is known in the child until the lock is free.

use std::collections::HashMap;
use std::io;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use crate::bindings::fork_lock::ForkLock;

/// An ended thread stays entered for this long; observations of a thread arrive within a second.
const LINGER: Duration = Duration::from_secs(10);

/// A sampler that runs.
struct Running {
    id: u64,
    own: Vec<u32>,
    /// Threads that the sampler leaves out. The time is when the thread was found to have ended; `None`: it has not.
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

/// Starts a thread of the sampler `id`; `spawn` also returns the thread's id. The lock is held meanwhile, so a sampler
/// that observes the new thread learns to leave it out before it can report it.
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
    /// Enters a sampler that begins.
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

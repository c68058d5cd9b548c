//! The threads of all samplers of this process, which are no part of the program.
//!
//! Job: let each sampler leave out the threads of those that run beside it. Invariant: a thread is known here before it
//! does anything, and to every sampler that runs meanwhile; one that ended stays known for as long as others may still
//! speak of it. Neighbours: `sampler` joins, `intake` asks.
//!
//! A forked child has none of its parent's threads, and may find the lock taken by one of them: there nobody is known
//! until the lock is free.

use std::collections::HashMap;
use std::io;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use crate::bindings::fork_lock::ForkLock;

/// What is seen of a thread is told within a second.
const LINGER: Duration = Duration::from_secs(10);

/// A sampler that runs.
struct Running {
    id: u64,
    own: Vec<u32>,
    /// Threads that it leaves out, and since when those that ended are gone.
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

/// One sampler among the others.
#[derive(Debug)]
pub(super) struct Member {
    id: u64,
}

/// Starts the thread of the sampler `id`; `spawn` also says its number. Whoever sees the thread meanwhile learns whose it
/// is before it can tell.
///
/// # Errors
/// That of `spawn`.
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
    /// A sampler begins.
    pub(super) fn join() -> Self {
        let Some(mut running) = running() else { return Self { id: 0 } };
        let id = running.iter().map(|sampler| sampler.id).max().unwrap_or(0) + 1;
        let known = running.iter().flat_map(|sampler| sampler.own.iter().map(|&own| (own, None))).collect();
        running.push(Running { id, own: Vec::new(), known });
        Self { id }
    }

    /// Its number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// All threads to be left out.
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

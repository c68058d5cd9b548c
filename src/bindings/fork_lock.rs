//! A lock that a forked child never waits for in vain.
//!
//! Job: guard what threads of one process share. Invariant: in a child whose parent forked while a thread held the
//! lock, taking it fails at once. Neighbours: `inprocess::other_samplers` and `lines::engine::split` keep their tables
//! behind it.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A lock that no thread of a forked child waits for in vain.
pub(crate) struct ForkLock<T> {
    pid: AtomicU32,
    lock: Mutex<T>,
}

impl<T> ForkLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { pid: AtomicU32::new(0), lock: Mutex::new(value) }
    }

    /// The value; `None` where a thread of the process that this one was forked from held it. True beside it: this is
    /// the first look of a process, and what lies there is its parent's.
    pub(crate) fn take(&self) -> Option<(MutexGuard<'_, T>, bool)> {
        let pid = std::process::id();
        if self.pid.load(Relaxed) == pid {
            return Some((self.lock.lock().unwrap_or_else(PoisonError::into_inner), false));
        }
        let held = match self.lock.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some((held, self.pid.swap(pid, Relaxed) != pid))
    }
}

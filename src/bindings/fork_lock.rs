//! A lock that does not block a forked child.
//!
//! Job: guard data shared by the threads of one process. Invariant: if the parent forked while another thread held the
//! lock, `take` in the child returns `None` at once. The child has no thread that could release the lock. Neighbours:
//! `inprocess::other_samplers` and `lines::engine::split` keep their tables behind this lock.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A mutex that knows the process of its last holder.
pub(crate) struct ForkLock<T> {
    pid: AtomicU32,
    lock: Mutex<T>,
}

impl<T> ForkLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { pid: AtomicU32::new(0), lock: Mutex::new(value) }
    }

    /// The value, and whether this is the first call in this process. On the first call in a forked child the value is
    /// a copy of the parent's. `None` if a thread of the parent held the lock during the fork.
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

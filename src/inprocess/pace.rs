//! What a sampler's thread is told to do, and whether it does it yet.
//!
//! Job: run, pause and stop as calls that are over when they have taken effect. Invariant: [`Pace::ask`] returns only when
//! the thread has taken its clocks for the new state, or is gone; the thread never waits for anybody. Neighbour: `sampler`.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

/// What the thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// Looks at the program.
    Run,
    /// Leaves out what happens.
    Pause,
    /// Ends.
    Stop,
}

/// Between a sampler and its thread.
#[derive(Debug)]
pub(super) struct Pace {
    wanted: AtomicU8,
    reached: Mutex<State>,
    moved: Condvar,
}

impl Pace {
    /// It runs.
    pub(super) const fn new() -> Self {
        Self { wanted: AtomicU8::new(State::Run as u8), reached: Mutex::new(State::Run), moved: Condvar::new() }
    }

    /// Has `thread` do something else, and waits until it does. The GIL is not held.
    pub(super) fn ask(&self, state: State, thread: &Thread) {
        self.tell(state);
        thread.unpark();
        let mut reached = self.reached();
        while *reached != state && *reached != State::Stop {
            reached = self.moved.wait(reached).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The same, and goes on at once.
    pub(super) fn tell(&self, state: State) {
        self.wanted.store(state as u8, Relaxed);
    }

    /// What the thread is to do.
    pub(super) fn wanted(&self) -> State {
        match self.wanted.load(Relaxed) {
            0 => State::Run,
            1 => State::Pause,
            _ => State::Stop,
        }
    }

    /// The thread does it.
    pub(super) fn reach(&self, state: State) {
        let mut reached = self.reached();
        if *reached != state {
            *reached = state;
            self.moved.notify_all();
        }
    }

    fn reached(&self) -> MutexGuard<'_, State> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells that the thread is gone, whatever ended it.
#[derive(Debug)]
pub(super) struct Goes<'a>(pub(super) &'a Pace);

impl Drop for Goes<'_> {
    fn drop(&mut self) {
        self.0.reach(State::Stop);
    }
}

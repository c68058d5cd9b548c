//! Does the handler of this library get the faults of this thread?
//!
//! Job: unblock SIGSEGV and SIGBUS for a reader, because the kernel ends a process that faults with the signal blocked.
//! If this library was loaded late, it does not see the program's calls of `sigaction`; then ask the kernel which
//! handlers are installed. Invariant: if a process sends one of these signals to a thread that blocks the signal, the
//! signal is still pending after the reader has ended. Neighbours: `guard` (the reader), `signals::actions` (the
//! handler).

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::ground::tls::tls;
use crate::ground::{quiet, sys};

const FAULTS: u64 = 1 << (libc::SIGSEGV - 1) | 1 << (libc::SIGBUS - 1);

/// While this value lives, SIGSEGV and SIGBUS are unblocked in a thread that the program has told to block them.
pub(crate) struct OpenFaults {
    blocked: u64,
    /// The state of the reader that a signal of ours interrupted; 0 if there is none.
    outer: u8,
}

/// Value of [`Tls::kept_fault`](crate::ground::tls::Tls) while the signals are unblocked and no process has sent
/// either. A larger value is the number of the sent signal, plus [`TO_THREAD`] if the signal was sent to this thread
/// alone.
const OPEN: u8 = 1;
const TO_THREAD: u8 = 0x80;

impl OpenFaults {
    /// Unblocks the two signals. Returns `None` if this thread blocks neither, for example while another value lives.
    ///
    /// A sample may interrupt another reader right before its unblocking or after its blocking. Therefore the state of
    /// that reader comes back at the end: without it, the next sent signal would count as the program's own fault.
    pub(crate) fn if_blocked() -> Option<Self> {
        // Set this first: the kernel delivers a pending signal before the call returns.
        let outer = tls().kept_fault.replace(OPEN);
        let blocked = sys::change_mask(libc::SIG_UNBLOCK, FAULTS) & FAULTS;
        Some(Self { blocked, outer }).filter(|open| open.blocked != 0)
    }
}

impl Drop for OpenFaults {
    fn drop(&mut self) {
        if self.blocked != 0 {
            sys::change_mask(libc::SIG_BLOCK, self.blocked);
        }
        let kept = tls().kept_fault.replace(self.outer);
        if kept <= OPEN {
            return;
        }
        let signal = usize::from(kept & !TO_THREAD);
        if kept & TO_THREAD != 0 || quiet::is_on() {
            sys::signal_thread(signal);
        } else {
            // SAFETY: sends to this process, once more, a signal that the process had received.
            unsafe { sys::call3(libc::SYS_kill, sys::pid() as usize, signal, 0) };
        }
    }
}

/// The handler calls this with a signal and its `si_code`. `None`: the thread does not block the signal. `Some(true)`:
/// a process sent the signal to a thread that blocks the signal; [`OpenFaults`] sends the signal again at its end.
/// `Some(false)`: the thread blocks the signal, and has faulted.
pub(crate) fn keep(signal: i32, code: i32) -> Option<bool> {
    let kept = &tls().kept_fault;
    if kept.get() == 0 {
        return None;
    }
    let sent = code <= 0;
    if sent {
        kept.set(signal as u8 | if code == libc::SI_TKILL { TO_THREAD } else { 0 });
    }
    Some(sent)
}

/// Address of this library's handler if `Profiler` samples in a library loaded late: the program may then replace the
/// handler at any time, unseen by this library. Otherwise 0.
static LENT_TO: AtomicUsize = AtomicUsize::new(0);

/// From now on readers ask the kernel whether `handler` is installed for both signals.
pub(crate) fn ask_for(handler: usize) {
    LENT_TO.store(handler, Relaxed);
}

/// Are the program's calls of `sigaction` invisible to this library?
#[inline]
pub(crate) fn lent() -> bool {
    LENT_TO.load(Relaxed) != 0
}

/// Is the handler that was passed to [`ask_for`] installed for both signals?
pub(crate) fn come_here() -> bool {
    let ours = LENT_TO.load(Relaxed);
    [libc::SIGSEGV, libc::SIGBUS].iter().all(|signal| sys::action_of(*signal) == ours)
}

//! Will a fault of this thread come to our handler?
//!
//! Job: open SIGSEGV and SIGBUS for a reader in a thread that blocks them (the kernel kills a thread that faults with the
//! signal blocked), and ask whose handlers are installed where the program's calls of `sigaction` are not seen. Invariant:
//! a signal that is sent to a thread which blocks it stays pending there. Neighbours: `guard` (the reader),
//! `signals::actions` (the handler).

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::ground::sys;
use crate::ground::tls::tls;

const FAULTS: u64 = 1 << (libc::SIGSEGV - 1) | 1 << (libc::SIGBUS - 1);

/// SIGSEGV and SIGBUS, open in a thread that blocks them while this value lives.
pub(crate) struct OpenFaults {
    blocked: u64,
}

/// What [`Tls::kept_fault`](crate::ground::tls::Tls) is while the signals are open and none was sent; above: the signal
/// that was, and whether it was sent to this thread alone.
const OPEN: u8 = 1;
const TO_THREAD: u8 = 0x80;

impl OpenFaults {
    /// Opens them; `None` where this thread blocks neither, as while another value lives.
    pub(crate) fn if_blocked() -> Option<Self> {
        let kept = &tls().kept_fault;
        let before = kept.get();
        // First: one that is pending is delivered before the call returns.
        kept.set(before.max(OPEN));
        let blocked = sys::change_mask(libc::SIG_UNBLOCK, FAULTS) & FAULTS;
        if blocked == 0 {
            kept.set(before);
            return None;
        }
        Some(Self { blocked })
    }
}

impl Drop for OpenFaults {
    fn drop(&mut self) {
        sys::change_mask(libc::SIG_BLOCK, self.blocked);
        let kept = tls().kept_fault.replace(0);
        let (pid, signal) = (sys::pid() as usize, usize::from(kept & !TO_THREAD));
        if kept <= OPEN {
            return;
        }
        // SAFETY: sends this process a signal that it was sent.
        unsafe {
            if kept & TO_THREAD != 0 {
                sys::call3(libc::SYS_tgkill, pid, sys::tid() as usize, signal)
            } else {
                sys::call3(libc::SYS_kill, pid, signal, 0)
            }
        };
    }
}

/// A signal came to the handler, with this `si_code`: keeps it for later if it was sent to a thread that blocks it. `None`:
/// the thread does not block it. `Some(false)`: the thread blocks it, and has faulted.
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

/// Our handler, where a program lends us its actions of SIGSEGV and SIGBUS and may take them back at any time; else 0.
static LENT_TO: AtomicUsize = AtomicUsize::new(0);

/// From now on readers ask whether `handler` is the one that faults come to.
pub(crate) fn ask_for(handler: usize) {
    LENT_TO.store(handler, Relaxed);
}

/// Does nothing of this library stand between the program and its signals?
#[inline]
pub(crate) fn lent() -> bool {
    LENT_TO.load(Relaxed) != 0
}

/// Would a fault come to our handler, in a program that lends us its actions?
pub(crate) fn come_here() -> bool {
    let ours = LENT_TO.load(Relaxed);
    [libc::SIGSEGV, libc::SIGBUS].iter().all(|signal| sys::action_of(*signal) == ours)
}

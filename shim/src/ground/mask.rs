//! A thread's real signal mask, and the mask that the program has set.
//!
//! Job: change a thread's real mask without passing through this library's own interposers, and store the program's
//! mask in the thread's block. SIGURG stays unblocked in every thread, because a thread that blocks SIGURG would not be
//! sampled. Neighbours: `signals` (shows the program its own mask), `cpu` (unblocks the signal in each thread).

use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use libc::sigset_t;

use crate::ground::real::{Next, call_next};
use crate::ground::tls::tls;

/// The signal of the CPU samples. The default action ignores SIGURG. So a pending SIGURG does no harm after an exec, or
/// in a process without this library's handler; SIGPROF would end such a process.
pub(crate) const SAMPLE: c_int = libc::SIGURG;

/// Bit of `Tls::masked`: the program has blocked SIGURG, as far as the program can see.
pub(crate) const BLOCKED: u32 = 1;
/// Bit of `Tls::masked`: SIGURG is really blocked, and the thread is not sampled.
pub(crate) const HANDED_OVER: u32 = 4;

/// The real `pthread_sigmask`; the interposer of `sigprocmask` uses this function too.
pub(crate) static SIGMASK: Next = Next::new(c"pthread_sigmask");
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Has this library installed its signal actions?
pub(crate) fn installed() -> bool {
    INSTALLED.load(Relaxed)
}

/// Called before this library installs its signal actions. Returns false if the actions are already installed.
pub(crate) fn begin_install() -> bool {
    !INSTALLED.swap(true, Relaxed)
}

/// The kernel's signal set: the first 64 bits of libc's set.
pub(crate) fn first_word(set: &sigset_t) -> u64 {
    // SAFETY: a sigset_t is 128 bytes, aligned to 8.
    unsafe { (&raw const *set).cast::<u64>().read() }
}

/// Sets the first 64 bits of libc's signal set.
pub(crate) fn set_first_word(set: &mut sigset_t, word: u64) {
    // SAFETY: as above.
    unsafe { (&raw mut *set).cast::<u64>().write(word) };
}

/// A signal's bit in the kernel's set.
pub(crate) const fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

const FAULTS: u64 = bit(libc::SIGSEGV) | bit(libc::SIGBUS);

/// Does this blocked set contain SIGSEGV or SIGBUS, so that a fault of a guarded load would end the process?
pub(crate) fn blocks_faults(word: u64) -> bool {
    word & FAULTS != 0
}

/// Unblocks SIGURG in this thread and stores the program's mask in the thread's block. `inherited` is the [`BLOCKED`]
/// bit of the thread that made this thread, or 0. The child of a fork keeps its own bit.
pub(crate) fn adopt_mask(inherited: u32) {
    let block = tls();
    let word = really(libc::SIG_BLOCK, 0);
    let blocked = (block.masked.get() | inherited) & BLOCKED | u32::from(word & bit(SAMPLE) != 0);
    block.masked.set(blocked | (u32::from(blocks_faults(word)) << 1));
    really(libc::SIG_UNBLOCK, bit(SAMPLE));
}

/// Changes this thread's real mask; returns the old mask.
pub(crate) fn really(how: c_int, word: u64) -> u64 {
    // SAFETY: all bytes zero is an empty set.
    let (mut new, mut old): (sigset_t, sigset_t) = unsafe { (core::mem::zeroed(), core::mem::zeroed()) };
    set_first_word(&mut new, word);
    real_mask(&SIGMASK, how, &raw const new, &raw mut old);
    first_word(&old)
}

/// Calls libc's `pthread_sigmask` or `sigprocmask`, whichever `next` is.
pub(crate) fn real_mask(next: &Next, how: c_int, new: *const sigset_t, old: *mut sigset_t) -> c_int {
    call_next!(next, fn(c_int, *const sigset_t, *mut sigset_t) -> c_int, (how, new, old), libc::ENOSYS)
}

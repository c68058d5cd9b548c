//! Signal masks, real and believed.
//!
//! Job: change a thread's real mask past our own interposers, and keep what the program believes of it in the thread's
//! block. SIGURG is left open in every thread, since a blocked thread would not be sampled. Neighbours: `signals`
//! (what the program sees), `cpu` (opens the signal in each thread).

use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use libc::sigset_t;

use crate::ground::real::{Next, call_next};
use crate::ground::tls::tls;

/// The signal of the CPU samples. Ignored by default, so one that is still pending when a program calls exec, or
/// that reaches a process without our handler, harms nothing (SIGPROF would end it).
pub(crate) const SAMPLE: c_int = libc::SIGURG;

/// The program believes SIGURG blocked.
pub(crate) const BLOCKED: u32 = 1;
/// It is blocked for real, and the thread is not sampled.
pub(crate) const HANDED_OVER: u32 = 4;

/// The real function, which `sigprocmask` asks as well.
pub(crate) static SIGMASK: Next = Next::new(c"pthread_sigmask");
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Are our actions in place?
pub(crate) fn installed() -> bool {
    INSTALLED.load(Relaxed)
}

/// Our actions are about to be put in place; false where they are already.
pub(crate) fn begin_install() -> bool {
    !INSTALLED.swap(true, Relaxed)
}

/// The kernel's signal set is the first 64 bits of libc's.
pub(crate) fn first_word(set: &sigset_t) -> u64 {
    // SAFETY: a sigset_t is 128 bytes, aligned to 8.
    unsafe { (&raw const *set).cast::<u64>().read() }
}

/// Sets those 64 bits.
pub(crate) fn set_first_word(set: &mut sigset_t, word: u64) {
    // SAFETY: as above.
    unsafe { (&raw mut *set).cast::<u64>().write(word) };
}

/// A signal's bit in the kernel's set.
pub(crate) const fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

const FAULTS: u64 = bit(libc::SIGSEGV) | bit(libc::SIGBUS);

/// Does a blocked set make a guarded load deadly?
pub(crate) fn blocks_faults(word: u64) -> bool {
    word & FAULTS != 0
}

/// Opens our signal in this thread and keeps what the program believes of its mask, which a new thread has `inherited`
/// and a forked child keeps.
pub(crate) fn adopt_mask(inherited: u32) {
    let block = tls();
    let word = really(libc::SIG_BLOCK, 0);
    let blocked = (block.masked.get() | inherited) & BLOCKED | u32::from(word & bit(SAMPLE) != 0);
    block.masked.set(blocked | (u32::from(blocks_faults(word)) << 1));
    really(libc::SIG_UNBLOCK, bit(SAMPLE));
}

/// Changes this thread's real mask; the old one.
pub(crate) fn really(how: c_int, word: u64) -> u64 {
    // SAFETY: all bytes zero is an empty set.
    let (mut new, mut old): (sigset_t, sigset_t) = unsafe { (core::mem::zeroed(), core::mem::zeroed()) };
    set_first_word(&mut new, word);
    real_mask(&SIGMASK, how, &raw const new, &raw mut old);
    first_word(&old)
}

/// Asks one of libc's two functions.
pub(crate) fn real_mask(next: &Next, how: c_int, new: *const sigset_t, old: *mut sigset_t) -> c_int {
    call_next!(next, fn(c_int, *const sigset_t, *mut sigset_t) -> c_int, (how, new, old), libc::ENOSYS)
}

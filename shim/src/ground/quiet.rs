//! System calls that the program has made deadly.
//!
//! Job: remember that a seccomp filter of the program would end it for a call of ours. Invariant: once this is so, no
//! system call is made on the program's behalf that it does not make itself: samples that the kernel sends go on, and all
//! else stops. Neighbours: `life::seccomp` (asks the filter), `sys`, `cpu::clock`.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

static QUIET: AtomicBool = AtomicBool::new(false);

/// Must system calls be left out?
#[inline]
pub(crate) fn is_on() -> bool {
    QUIET.load(Relaxed)
}

/// From now on they are.
pub(crate) fn begin() {
    QUIET.store(true, Relaxed);
}

/// The filter was refused: they are not.
pub(crate) fn end() {
    QUIET.store(false, Relaxed);
}

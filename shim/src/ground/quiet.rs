//! Whether this library must avoid system calls.
//!
//! Job: record that a seccomp filter of the program would end the program for a system call of this library. Invariant:
//! while the flag is set, all code that would make a call in `life::seccomp::LEFT_OUT` must leave the call out. Samples
//! that the kernel sends continue; all other work stops. Neighbours: `life::seccomp` (runs the filter's code and sets
//! the flag); `sys`, `cpu`, `life` and `memory` (read the flag).

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

static QUIET: AtomicBool = AtomicBool::new(false);

/// Must this library avoid system calls?
#[inline]
pub(crate) fn is_on() -> bool {
    QUIET.load(Relaxed)
}

/// Makes this library avoid system calls. Called before the kernel installs the filter.
pub(crate) fn begin() {
    QUIET.store(true, Relaxed);
}

/// Allows system calls again, because the kernel refused the filter.
pub(crate) fn end() {
    QUIET.store(false, Relaxed);
}

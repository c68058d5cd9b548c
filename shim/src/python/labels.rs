//! Labels: which request, task or query a thread works for.
//!
//! Job: the number that the records of this thread bear, set by the extension module on the thread's behalf. Invariant:
//! one load, anywhere; 0 where nobody set any. Neighbours: `exports::sample` (sets, and says what a number means),
//! `cpu::handler` and `memory` (write it into their records).

use crate::ground::tls::tls;

/// The label of this thread; 0: none.
#[inline]
pub(crate) fn current() -> u32 {
    tls().label.get()
}

/// This thread bears `label` from now on; answers which it bore before.
pub(crate) fn set(label: u32) -> u32 {
    tls().label.replace(label)
}

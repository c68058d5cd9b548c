//! The allocator's entry points.
//!
//! Invariant: the fast path is a countdown of bytes in the thread's block and a jump to the allocator behind us.

use core::ffi::c_void;

use crate::real::{Next, Weak, call_next};
use crate::tls::{Busy, tls};
use crate::{selftest, start, sys};

static MALLOC: Next = Next::or_libc(c"malloc", Weak::LibcMalloc);

/// Bytes between two looks at whether the interpreter is up.
const LOOK: i64 = 4096;

/// `malloc`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(bytes: usize) -> *mut c_void {
    let block = tls();
    let left = block.countdown.get() - bytes as i64;
    block.countdown.set(left);
    if left < 0 {
        slow(bytes);
    }
    call_next!(MALLOC, fn(usize) -> *mut c_void, (bytes), core::ptr::null_mut())
}

#[cold]
#[inline(never)]
fn slow(_bytes: usize) {
    let block = tls();
    block.countdown.set(LOOK);
    let Some(_busy) = Busy::enter() else { return };
    let _errno = sys::KeepErrno::new();
    if !start::ready() {
        return;
    }
    if selftest::pending() {
        selftest::ask();
    } else {
        block.countdown.set(i64::MAX);
    }
}

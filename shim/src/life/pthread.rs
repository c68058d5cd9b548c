//! `pthread_create`: the creation of threads, by C libraries too.
//!
//! Job: make each new thread arm itself before the program's function runs, so that samples cover the time from the
//! function's first instruction on. Invariant: the program's function gets its own argument, on the thread and with the
//! signal mask as without this library. Neighbours: `threads` (the slot, the sources), `signals` (the mask).

use core::ffi::{c_int, c_void};

use crate::arena::segment;
use crate::cpu::threads;
use crate::ground::mask::{self, BLOCKED};
use crate::ground::quiet;
use crate::ground::real::{Next, call_next};
use crate::ground::slot::{Entry, Slot, Task};
use crate::ground::tls::tls;

static PTHREAD_CREATE: Next = Next::new(c"pthread_create");

/// First function of a new thread.
unsafe extern "C" fn thread_begins(slot: *mut c_void) -> *mut c_void {
    let slot = slot.cast::<Slot>();
    // SAFETY: `pthread_create` gave the slot to this thread.
    let this = unsafe { &*slot };
    let Task { entry, argument, masked } = this.task.get();
    // The mask that the program set is inherited like the real mask.
    mask::adopt_mask(masked);
    threads::arm(slot);
    match entry {
        // SAFETY: calls the program's own start function with its own argument.
        Some(entry) => unsafe { entry(argument) },
        None => core::ptr::null_mut(),
    }
}

type Attributes = *const libc::pthread_attr_t;

/// `pthread_create`: the new thread arms itself before the program's function runs.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: Attributes,
    entry: Option<Entry>,
    argument: *mut c_void,
) -> c_int {
    let create = |entry: Option<Entry>, argument: *mut c_void| {
        call_next!(
            PTHREAD_CREATE,
            fn(*mut libc::pthread_t, Attributes, Option<Entry>, *mut c_void) -> c_int,
            (thread, attributes, entry, argument),
            libc::EAGAIN
        )
    };
    if !threads::armed() || quiet::is_on() || segment::segment().is_none() || segment::stopped() {
        return create(entry, argument);
    }
    let slot = threads::acquire();
    if slot.is_null() {
        return create(entry, argument);
    }
    // SAFETY: the slot belongs to this thread until the new thread begins.
    let this = unsafe { &*slot };
    this.tid.set(0);
    this.task.set(Task { entry, argument, masked: tls().masked.get() & BLOCKED });
    let answer = create(Some(thread_begins), slot.cast());
    if answer != 0 {
        threads::release(slot);
    }
    answer
}

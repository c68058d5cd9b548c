//! Fork and exit of a profiled process.
//!
//! Job: announce the process; give a forked child its own segment, tables and timers; record all clocks before the
//! process ends. Neighbours: `arena` (the segment), `start` (arms), `threads` (arms each thread), `exec`.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rscalene_wire as wire;
use wire::{EndedBy, ExitStatus, ProcessFlags};

use crate::arena::segment;
use crate::cpu::threads;
use crate::ground::real::{Next, call_next, global_symbol};
use crate::ground::{quiet, sys};
use crate::memory::{interval, sample};
use crate::python::interpreter;
use crate::python::selftest;
use crate::python::stack;

static UNDERSCORE_EXIT: Next = Next::new(c"_exit");

/// Announces this process in its own segment.
pub(crate) fn announce(forked: bool) {
    let Some(segment) = segment::segment() else { return };
    let python = interpreter::python();
    let record = wire::ProcessStart {
        time_ns: sys::now_ns(),
        pid: sys::pid(),
        parent: sys::parent_pid(),
        python_version: python.version,
        flags: ProcessFlags::NONE
            .and_if(python.free_threaded, ProcessFlags::FREE_THREADED)
            .and_if(forked, ProcessFlags::FORKED)
            .and_if(!python.frames_readable(), ProcessFlags::NO_FRAMES),
        runtime: python.runtime,
        code_type: python.code_type,
        cpu_ns: if forked { 0 } else { sys::clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID) },
    };
    segment.emit(&record);
    segment.wake();
}

/// Registers functions that libc calls after each fork, in the parent and in the child.
pub(crate) fn watch_forks() {
    unsafe extern "C" {
        fn __register_atfork(
            prepare: Option<unsafe extern "C" fn()>,
            parent: Option<unsafe extern "C" fn()>,
            child: Option<unsafe extern "C" fn()>,
            library: *const c_void,
        ) -> c_int;
    }
    static WATCHED: AtomicU32 = AtomicU32::new(0);
    if WATCHED.swap(1, Relaxed) != 0 {
        return;
    }
    // SAFETY: the function lives as long as the process (the library is never unloaded).
    unsafe { __register_atfork(None, Some(in_forking_parent), Some(in_forked_child), core::ptr::null()) };
}

// SAFETY: libc calls this function with the argument of its registration.
unsafe extern "C" fn in_forking_parent() {
    interval::share_savings();
}

/// Gives a forked child its own segment, tables and timers.
// SAFETY: libc calls this function with the argument of its registration.
unsafe extern "C" fn in_forked_child() {
    let _errno = sys::KeepErrno::new();
    if !segment::mapped() {
        return;
    }
    segment::next_generation();
    threads::forget_all();
    if quiet::is_on() {
        segment::fall_silent();
        return;
    }
    stack::forget_all();
    sample::forget_all();
    if segment::lent() {
        segment::abandon_loan();
        sample::stop();
        return;
    }
    segment::unmap_parents();
    if segment::stopped() || !segment::settings().follow_children.is_on() || !segment::claim() {
        return;
    }
    announce(true);
    selftest::repeat_verdict();
    threads::arm_current();
}

/// Records the clocks of every thread and of the process, with the exit code if it is known.
pub(crate) fn end(how: EndedBy, code: Option<c_int>) {
    let Some(segment) = segment::segment().filter(|_| !quiet::is_on()) else { return };
    // The end of a vfork child is not the end of this process.
    if !segment::is_own() {
        return;
    }
    threads::write_ledgers(&segment);
    let record = wire::ProcessEnd {
        time_ns: sys::now_ns(),
        cpu_ns: sys::clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID),
        peak_rss: sys::peak_rss(),
        how,
        status: code.map_or(ExitStatus::UNKNOWN, ExitStatus::exited),
    };
    segment.emit(&record);
}

/// Registers a function that libc calls when the process ends by `exit` or by returning from `main`. libc calls
/// functions that were registered before `main` last, after the destructors of all libraries.
pub(crate) fn watch_exit() {
    let address = global_symbol(c"on_exit");
    if address == 0 {
        return;
    }
    // SAFETY: the address is that of libc's on_exit, whose type this is.
    let on_exit: unsafe extern "C" fn(unsafe extern "C" fn(c_int, *mut c_void), *mut c_void) -> c_int =
        unsafe { core::mem::transmute(address) };
    // SAFETY: the function lives as long as the process (the library is never unloaded).
    let failed = unsafe { on_exit(exits, core::ptr::null_mut()) };
    WATCHED_EXIT.store(u32::from(failed == 0), Relaxed);
}

static WATCHED_EXIT: AtomicU32 = AtomicU32::new(0);

// SAFETY: libc calls this function with the argument of its registration.
unsafe extern "C" fn exits(code: c_int, _: *mut c_void) {
    let _errno = sys::KeepErrno::new();
    end(EndedBy::EXIT, Some(code));
}

/// As [`exits`], for a libc without `on_exit`; the exit code is then unknown.
extern "C" fn at_exit() {
    let _errno = sys::KeepErrno::new();
    if WATCHED_EXIT.load(Relaxed) == 0 {
        end(EndedBy::EXIT, None);
    }
}

#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;

fn leave(code: c_int) -> ! {
    end(EndedBy::UNDERSCORE_EXIT, Some(code));
    call_next!(UNDERSCORE_EXIT, fn(c_int) -> (), (code), ());
    loop {
        // SAFETY: ends the process.
        unsafe { sys::call3(libc::SYS_exit_group, code as usize, 0, 0) };
    }
}

/// `_exit`: records the clocks first.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn _exit(code: c_int) -> ! {
    leave(code)
}

/// `_Exit`: records the clocks first.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn _Exit(code: c_int) -> ! {
    leave(code)
}

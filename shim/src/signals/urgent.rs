//! The program's own SIGURG, if the program blocks it.
//!
//! Job: SIGURG carries samples, so this library leaves it open in every thread. A program may block SIGURG and wait for
//! it later; it must then find the signal pending and get the signal once. Suppose the program's SIGURG reaches a
//! thread in which the program has blocked it. Then the thread hands the signal over: it stops its sources, blocks the
//! signal for real and sends it again. From then on the kernel itself keeps the signal pending, for `sigpending`,
//! `sigwait` and signal descriptors alike. Sampling resumes when the thread has waited for the signal or unblocks it.
//! Invariant: the program never gets a signal of this library's sources. Neighbours: `actions` (the mask, the handler),
//! `threads` (the sources), `life::exec` (exec).

use core::ffi::{c_int, c_void};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use libc::{siginfo_t, sigset_t, timespec};
use rscalene_wire::NoticeCode;

use crate::arena::segment;
use crate::cpu::handler;
use crate::cpu::threads;
use crate::ground::mask::{self, BLOCKED, HANDED_OVER, SAMPLE, bit, first_word};
use crate::ground::real::{Next, call_next};
use crate::ground::tls::{Tls, tls};
use crate::ground::{quiet, sys};

static SIGWAIT: Next = Next::new(c"sigwait");
static SIGWAITINFO: Next = Next::new(c"sigwaitinfo");
static SIGTIMEDWAIT: Next = Next::new(c"sigtimedwait");
static SIGNALFD: Next = Next::new(c"signalfd");

/// Does the program read SIGURG from a descriptor? A read takes the reader's pending signals, samples too.
static DESCRIPTOR: AtomicBool = AtomicBool::new(false);
/// Origin of a signal sent again, if the kernel refused to pass the origin on: `si_code`, then pid and uid.
static AGAIN: AtomicBool = AtomicBool::new(false);
static AGAIN_CODE: AtomicU32 = AtomicU32::new(0);
static AGAIN_SENDER: AtomicU64 = AtomicU64::new(0);

/// Bytes from the start of a siginfo to the sender's pid; the sender's uid follows.
const SENDER: usize = 16;

/// Keeps the program's own SIGURG pending if this thread blocks it. Returns false if the signal is to be handled now.
pub(crate) fn hold(info: *mut siginfo_t, context: *mut c_void) -> bool {
    let block = tls();
    // If the signal is blocked for real and came nevertheless, a call such as `pselect` has opened it for the call's
    // duration.
    if block.masked.get() & BLOCKED == 0 || handler::interrupted_mask(context) & bit(SAMPLE) != 0 {
        return false;
    }
    hand_over(block);
    handler::block_behind(context, bit(SAMPLE));
    send_again(info);
    true
}

/// After a sample: if a descriptor reads SIGURG, stops sampling this thread if it blocks SIGURG.
pub(crate) fn yield_to_descriptor(context: *mut c_void) {
    let block = tls();
    if DESCRIPTOR.load(Relaxed) && block.masked.get() & (BLOCKED | HANDED_OVER) == BLOCKED {
        hand_over(block);
        handler::block_behind(context, bit(SAMPLE));
    }
}

/// Stops this thread's sources and drops their signals already sent. SIGURG must be blocked for real.
fn hand_over(block: &Tls) {
    if block.masked.get() & HANDED_OVER != 0 {
        return;
    }
    block.masked.set(block.masked.get() | HANDED_OVER);
    threads::silence();
    segment::notice(NoticeCode::SIGURG_BLOCKED, sys::tid());
    drop_ours();
}

fn drop_ours() {
    loop {
        // SAFETY: all bytes zero is a valid siginfo.
        let mut info: siginfo_t = unsafe { core::mem::zeroed() };
        let (set, now) = (bit(SAMPLE), timespec { tv_sec: 0, tv_nsec: 0 });
        // SAFETY: all three are local variables; the kernel's set is of eight bytes.
        let got = unsafe {
            sys::call6(
                libc::SYS_rt_sigtimedwait,
                (&raw const set) as usize,
                (&raw mut info) as usize,
                (&raw const now) as usize,
                size_of::<u64>(),
                0,
                0,
            )
        };
        if got != SAMPLE as isize {
            return;
        }
        if !handler::is_ours(&raw const info) {
            send_again(&raw mut info);
            return;
        }
    }
}

/// Sends a signal again to its first target: to this thread, or to the process. Where this library must not ask for the
/// process' number, this thread is the target.
fn send_again(info: *mut siginfo_t) {
    restore(info);
    // SAFETY: the kernel gave a whole siginfo.
    let code = unsafe { (*info).si_code };
    if quiet::is_on() {
        store_origin(info, code);
        sys::signal_thread(SAMPLE as usize);
        return;
    }
    let (pid, signal) = (sys::pid() as usize, SAMPLE as usize);
    let to_thread = code == libc::SI_TKILL;
    // SAFETY: sends a signal to this process, with a siginfo that the kernel made.
    let sent = unsafe {
        if to_thread {
            sys::call6(libc::SYS_rt_tgsigqueueinfo, pid, sys::tid() as usize, signal, info as usize, 0, 0)
        } else {
            sys::call3(libc::SYS_rt_sigqueueinfo, pid, signal, info as usize)
        }
    };
    if sent >= 0 {
        return;
    }
    // The kernel lets only the main thread send with a foreign origin to the process. So send without it.
    store_origin(info, code);
    // SAFETY: sends a signal to this process.
    unsafe { sys::call3(libc::SYS_kill, pid, signal, 0) };
}

/// Stores the origin of a signal for [`restore`].
fn store_origin(info: *const siginfo_t, code: c_int) {
    // SAFETY: a siginfo is 128 bytes.
    let sender = unsafe { info.cast::<u8>().add(SENDER).cast::<u64>().read_unaligned() };
    AGAIN_CODE.store(code as u32, Relaxed);
    AGAIN_SENDER.store(sender, Relaxed);
    AGAIN.store(true, Release);
}

/// Writes the stored origin into the siginfo of a signal sent again.
pub(crate) fn restore(info: *mut siginfo_t) {
    // SAFETY: the caller has a whole siginfo, of 128 bytes.
    let (code, pid) = unsafe { ((*info).si_code, info.cast::<u8>().add(SENDER).cast::<u32>().read_unaligned()) };
    let may_be_ours = if quiet::is_on() {
        code == libc::SI_TKILL
    } else {
        code == libc::SI_USER && AGAIN.load(Relaxed) && pid == sys::pid()
    };
    if may_be_ours && AGAIN.swap(false, Acquire) {
        // SAFETY: as above.
        unsafe {
            (*info).si_code = AGAIN_CODE.load(Relaxed) as c_int;
            info.cast::<u8>().add(SENDER).cast::<u64>().write_unaligned(AGAIN_SENDER.load(Relaxed));
        }
    }
}

/// Samples this thread again, if it had handed the signal over. `open`: also unblock the signal; otherwise the caller
/// does.
pub(crate) fn take_back(block: &Tls, open: bool) {
    if block.masked.get() & HANDED_OVER != 0 {
        block.masked.set(block.masked.get() & !HANDED_OVER);
        threads::resume();
        if open {
            mask::really(libc::SIG_UNBLOCK, bit(SAMPLE));
        }
    }
}

/// Called before a new program starts: sets the real mask, which the new program inherits, to the mask which this
/// program set. Returns true if the mask was changed. `leaves`: this process itself becomes the new program.
pub(crate) fn show_mask(leaves: bool) -> bool {
    let block = tls();
    if block.masked.get() & (BLOCKED | HANDED_OVER) != BLOCKED {
        return false;
    }
    mask::really(libc::SIG_BLOCK, bit(SAMPLE));
    if leaves {
        threads::silence();
        drop_ours();
    }
    true
}

/// Undoes [`show_mask`], once the new program has been started, or has failed to start.
pub(crate) fn hide_mask(leaves: bool) {
    if leaves {
        threads::resume();
    }
    mask::really(libc::SIG_UNBLOCK, bit(SAMPLE));
}

fn asks_for_ours(set: *const sigset_t) -> bool {
    // SAFETY: the caller's caller passes a valid set or null.
    mask::installed() && !set.is_null() && first_word(unsafe { &*set }) & bit(SAMPLE) != 0
}

/// Waits as `sigtimedwait` does, but skips signals of this library's sources.
fn wait(set: *const sigset_t, info: *mut siginfo_t, timeout: *const timespec) -> c_int {
    let ns = |time: &timespec| (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64);
    // SAFETY: the caller passes a valid time or null.
    let end = unsafe { timeout.as_ref() }.map(|time| sys::now_ns().saturating_add(ns(time)));
    let mut rest = timespec { tv_sec: 0, tv_nsec: 0 };
    let mut until = timeout;
    loop {
        // SAFETY: all bytes zero is a valid siginfo.
        let mut got: siginfo_t = unsafe { core::mem::zeroed() };
        let signal = call_next!(
            SIGTIMEDWAIT,
            fn(*const sigset_t, *mut siginfo_t, *const timespec) -> c_int,
            (set, &raw mut got, until),
            -1
        );
        if signal == SAMPLE && handler::is_ours(&raw const got) {
            if let Some(end) = end {
                let left = end.saturating_sub(sys::now_ns());
                rest.tv_sec = (left / 1_000_000_000) as libc::time_t;
                rest.tv_nsec = (left % 1_000_000_000) as libc::c_long;
                until = &raw const rest;
            }
            continue;
        }
        if signal == SAMPLE {
            restore(&raw mut got);
            take_back(tls(), true);
        }
        if signal > 0 && !info.is_null() {
            // SAFETY: the caller passes room for a siginfo or null.
            unsafe { info.write(got) };
        }
        return signal;
    }
}

/// `sigtimedwait`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn sigtimedwait(set: *const sigset_t, info: *mut siginfo_t, timeout: *const timespec) -> c_int {
    if asks_for_ours(set) {
        return wait(set, info, timeout);
    }
    call_next!(SIGTIMEDWAIT, fn(*const sigset_t, *mut siginfo_t, *const timespec) -> c_int, (set, info, timeout), -1)
}

/// `sigwaitinfo`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn sigwaitinfo(set: *const sigset_t, info: *mut siginfo_t) -> c_int {
    if asks_for_ours(set) {
        return wait(set, info, core::ptr::null());
    }
    call_next!(SIGWAITINFO, fn(*const sigset_t, *mut siginfo_t) -> c_int, (set, info), -1)
}

/// `sigwait`: returns an error number, and is never interrupted.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn sigwait(set: *const sigset_t, signal: *mut c_int) -> c_int {
    if !asks_for_ours(set) {
        return call_next!(SIGWAIT, fn(*const sigset_t, *mut c_int) -> c_int, (set, signal), libc::ENOSYS);
    }
    let _errno = sys::KeepErrno::new();
    loop {
        let got = wait(set, core::ptr::null_mut(), core::ptr::null());
        if got > 0 {
            // SAFETY: the caller passes room for a number.
            unsafe { signal.write(got) };
            return 0;
        }
        let error = sys::errno();
        if error != libc::EINTR {
            return error;
        }
    }
}

/// `signalfd`: from now on, threads that block SIGURG leave it to the program.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn signalfd(descriptor: c_int, set: *const sigset_t, flags: c_int) -> c_int {
    let answer = call_next!(SIGNALFD, fn(c_int, *const sigset_t, c_int) -> c_int, (descriptor, set, flags), -1);
    if answer >= 0 && asks_for_ours(set) {
        let _errno = sys::KeepErrno::new();
        DESCRIPTOR.store(true, Relaxed);
        let block = tls();
        if block.masked.get() & (BLOCKED | HANDED_OVER) == BLOCKED {
            mask::really(libc::SIG_BLOCK, bit(SAMPLE));
            hand_over(block);
        }
    }
    answer
}

//! The sources of CPU signals of a thread.
//!
//! Job: make the kernel send `signals::SAMPLE` to a thread for every interval of the thread's own CPU time; a sleeping
//! thread gets no signal. Two sources:
//!
//! * a perf task-clock event: exact to the nanosecond, user time only. `exclude_kernel` is all that
//!   `perf_event_paranoid` 2 allows, and with it the event never interrupts a blocking call. The period of an event is
//!   fixed for the event's life, so this library replaces the event to make the distances between signals random;
//! * a POSIX timer on the thread's CPU clock: works everywhere, fires at kernel ticks (250 a second at HZ=250) and
//!   passes the missed expirations in `si_overrun`. Next to a perf event, the timer only finds where kernel time is
//!   spent.
//!
//! Invariant: no descriptor stays open. A perf event lives as long as its page is mapped, so its descriptor is closed
//! at once. The program's own descriptors thus keep their numbers, and a daemon that closes all descriptors closes none
//! of this library. If another thread forks while a descriptor is open, the child closes its copy
//! (`threads::forget_all`). Neither source survives fork (the page is not inherited) or exec. `PERF_EVENT_IOC_REFRESH`
//! is never used.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::ground::mask::SAMPLE;
use crate::ground::{quiet, sys};

/// `perf_event_attr` as of its first 64-byte version (`PERF_ATTR_SIZE_VER0`).
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint: u32,
    config1: u64,
}

const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_TASK_CLOCK: u64 = 1;
/// Bits of `perf_event_attr.flags`: exclude_kernel (5) and exclude_hv (6).
const EXCLUDE_KERNEL_AND_HV: u64 = 1 << 5 | 1 << 6;
const PERF_FLAG_FD_CLOEXEC: usize = 8;
const F_SETSIG: usize = 10;
const F_SETOWN_EX: usize = 15;
const F_OWNER_TID: i32 = 0;
/// Size of the page that keeps the event alive.
const PAGE: usize = rscalene_wire::PAGE;

/// `struct f_owner_ex`.
#[repr(C)]
struct Owner {
    kind: i32,
    pid: i32,
}

/// Does the kernel refuse events, or what an event's descriptor needs?
static PERF_DENIED: AtomicBool = AtomicBool::new(false);
/// Does the kernel refuse the page of another event (a filter, or the user's limit of locked memory)? Events that run
/// can still be replaced, because they have their page.
static NO_PAGE: AtomicBool = AtomicBool::new(false);

/// A running perf event.
pub(crate) struct Perf {
    /// Page whose mapping keeps the event alive.
    pub(crate) page: *mut u8,
    /// The number that the event's descriptor had; the event's signals carry this number.
    pub(crate) fd: i32,
}

/// Starts a perf event on the current thread, whose id is `tid`. The event fires every `period_ns` of the thread's CPU
/// time. Returns the negative errno if the kernel denies the event; later calls then fail at once. While the descriptor
/// is open, `open` holds its number.
pub(crate) fn start_perf(tid: u32, period_ns: u64, open: &Cell<i32>) -> Result<Perf, i32> {
    if NO_PAGE.load(Relaxed) {
        return Err(-libc::EPERM);
    }
    with_event(tid, period_ns, open, |fd| {
        let page = sys::map_shared(fd, 0, PAGE);
        if page.is_null() {
            NO_PAGE.store(true, Relaxed);
            return Err(-libc::EPERM);
        }
        Ok(Perf { page, fd })
    })
}

/// Outcome of [`replace_perf`].
pub(crate) enum Replaced {
    /// The new event runs; its descriptor had this number.
    By(i32),
    /// The new event could not be made; the old event still runs.
    Not,
    /// The old event has ended and no new event runs.
    Gone,
}

/// Replaces a perf event of the current thread by an event of another period, in the same page.
///
/// # Safety
/// `page` must come from [`start_perf`] on this thread and must not have been ended.
pub(crate) unsafe fn replace_perf(page: *mut u8, tid: u32, period_ns: u64, open: &Cell<i32>) -> Replaced {
    let replaced = with_event(tid, period_ns, open, |fd| {
        // SAFETY: this library mapped the page, and the page keeps only the old event alive.
        Ok(if unsafe { sys::map_shared_over(page, fd, PAGE) } { Replaced::By(fd) } else { Replaced::Gone })
    });
    replaced.unwrap_or(Replaced::Not)
}

/// Opens a perf event, directs its signals to the thread, calls `keep` to map the event, and closes its descriptor.
fn with_event<T>(
    tid: u32,
    period_ns: u64,
    open: &Cell<i32>,
    keep: impl FnOnce(i32) -> Result<T, i32>,
) -> Result<T, i32> {
    if PERF_DENIED.load(Relaxed) || quiet::is_on() {
        return Err(-libc::EACCES);
    }
    let attributes = Attributes {
        kind: PERF_TYPE_SOFTWARE,
        size: size_of::<Attributes>() as u32,
        config: PERF_COUNT_SW_TASK_CLOCK,
        period: period_ns,
        sample_type: 0,
        read_format: 0,
        flags: EXCLUDE_KERNEL_AND_HV,
        wakeup_events: 1,
        breakpoint: 0,
        config1: 0,
    };
    // SAFETY: `attributes` is a valid perf_event_attr of the size it names.
    let opened = unsafe {
        sys::call6(
            libc::SYS_perf_event_open,
            (&raw const attributes) as usize,
            tid as usize,
            usize::MAX,
            usize::MAX,
            PERF_FLAG_FD_CLOEXEC,
            0,
        )
    };
    let fd = opened as i32;
    if fd < 0 {
        if fd != -libc::EMFILE && fd != -libc::ENFILE && fd != -libc::ESRCH {
            PERF_DENIED.store(true, Relaxed);
        }
        return Err(fd);
    }
    open.set(fd);
    let owner = Owner { kind: F_OWNER_TID, pid: tid as i32 };
    let fcntl = |command: usize, argument: usize| {
        // SAFETY: acts on a descriptor that this function opened; each call below passes the argument that its command
        // expects.
        unsafe { sys::call3(libc::SYS_fcntl, fd as usize, command, argument) }
    };
    let ready = fcntl(F_SETSIG, SAMPLE as usize) >= 0
        && fcntl(F_SETOWN_EX, (&raw const owner) as usize) >= 0
        && fcntl(libc::F_SETFL as usize, (libc::O_ASYNC | libc::O_NONBLOCK) as usize) >= 0;
    let kept = if ready {
        keep(fd)
    } else {
        PERF_DENIED.store(true, Relaxed);
        Err(-libc::EPERM)
    };
    sys::close(fd);
    open.set(-1);
    kept
}

/// Ends a perf event.
///
/// # Safety
/// `page` must come from [`start_perf`] in this process and be ended once.
pub(crate) unsafe fn stop_perf(page: *mut u8) {
    // SAFETY: the caller vouches for the page.
    unsafe { sys::unmap(page, PAGE) };
}

/// `struct sigevent` as the kernel reads it: 64 bytes.
#[repr(C)]
struct Event {
    value: usize,
    signal: i32,
    notify: i32,
    tid: i32,
    pad: [i32; 11],
}

const SIGEV_THREAD_ID: i32 = 4;

/// Starts a CPU timer on a thread of this process. Returns the timer's id, or the negative errno.
///
/// The timer's signals carry `value`. The first expiry is after `first_ns` of the thread's CPU time from now.
pub(crate) fn start_timer(tid: u32, value: usize, first_ns: u64, interval_ns: u64) -> Result<i32, i32> {
    if quiet::is_on() {
        return Err(-libc::EPERM);
    }
    let event = Event { value, signal: SAMPLE, notify: SIGEV_THREAD_ID, tid: tid as i32, pad: [0; 11] };
    let mut id: i32 = -1;
    // The kernel's encoding of a thread's CPU clock: ~tid << 3 | CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED.
    let clock = (!tid << 3 | 6) as i32;
    // SAFETY: both pointers are to local variables of this function.
    let made = unsafe {
        sys::call3(libc::SYS_timer_create, clock as usize, (&raw const event) as usize, (&raw mut id) as usize)
    };
    if made < 0 {
        return Err(made as i32);
    }
    let set = set_timer(id, first_ns, interval_ns);
    if set < 0 {
        stop_timer(id);
        return Err(set as i32);
    }
    Ok(id)
}

/// Makes a timer of `start_timer` fire after `first_ns` of its thread's CPU time from now, and every `interval_ns`
/// after that. Returns a negative errno on failure.
pub(crate) fn set_timer(id: i32, first_ns: u64, interval_ns: u64) -> isize {
    if quiet::is_on() {
        return -(libc::EPERM as isize);
    }
    let time = |ns: u64| libc::timespec {
        tv_sec: (ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (ns % 1_000_000_000) as libc::c_long,
    };
    let spec = libc::itimerspec { it_interval: time(interval_ns.max(1)), it_value: time(first_ns.max(1)) };
    // SAFETY: `spec` is a local variable; the kernel refuses an id that is no timer.
    unsafe { sys::call6(libc::SYS_timer_settime, id as usize, 0, (&raw const spec) as usize, 0, 0, 0) }
}

/// Ends a timer of `start_timer`.
pub(crate) fn stop_timer(id: i32) {
    if quiet::is_on() {
        return;
    }
    // SAFETY: deletes a timer that `start_timer` made.
    unsafe { sys::call3(libc::SYS_timer_delete, id as usize, 0, 0) };
}

//! System calls in which threads wait.
//!
//! Job: decide by the number of a blocked thread's system call why the thread waits. Invariant: an unlisted call may
//! have any reason. Neighbour: `process` reads the numbers.

use crate::observe::proc::Activity;

/// Calls in which threads wait for long. A thread that a signal stops within such a call still counts as waiting there.
const LONG_CALLS: [libc::c_long; 14] = [
    libc::SYS_futex,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_connect,
    libc::SYS_read,
];
/// Older calls of the same kind.
#[cfg(target_arch = "x86_64")]
const OLDER_LONG_CALLS: [libc::c_long; 3] = [libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_select];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_LONG_CALLS: [libc::c_long; 0] = [];

/// True if the thread waits for the system's events, as every event loop does.
pub(super) fn polls(activity: Activity) -> bool {
    let Activity::Syscall { number, .. } = activity else { return false };
    let calls = [libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];
    #[cfg(target_arch = "x86_64")]
    let calls = [calls[0], calls[1], libc::SYS_epoll_wait];
    calls.into_iter().any(|call| u64::try_from(call).is_ok_and(|call| call == number))
}

/// True if the thread is in a call in which threads wait. In any other call, a blocked thread may have been stopped.
pub(super) fn waits_by_itself(activity: Activity) -> bool {
    let Activity::Syscall { number, .. } = activity else { return false };
    LONG_CALLS.iter().chain(&OLDER_LONG_CALLS).any(|&call| u64::try_from(call).is_ok_and(|call| call == number))
}

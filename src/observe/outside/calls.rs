//! Names of the system calls that programs wait in.

/// The name of a system call, or its number.
pub(super) fn name(number: u64) -> String {
    let known = CALLS.iter().chain(OLD).find(|(call, _)| u64::try_from(*call) == Ok(number));
    known.map_or_else(|| format!("system call {number}"), |(_, name)| (*name).to_owned())
}

/// Makes a table of calls, each with its name.
macro_rules! calls {
    ($($constant:ident $name:literal),* $(,)?) => { &[$((libc::$constant, $name)),*] };
}

const CALLS: &[(libc::c_long, &str)] = calls![
    SYS_futex "futex (lock)", SYS_clock_nanosleep "clock_nanosleep", SYS_nanosleep "nanosleep", SYS_read "read",
    SYS_write "write", SYS_readv "readv", SYS_writev "writev", SYS_pread64 "pread", SYS_pwrite64 "pwrite",
    SYS_ppoll "ppoll", SYS_pselect6 "select", SYS_epoll_pwait "epoll_wait", SYS_accept "accept", SYS_accept4 "accept",
    SYS_connect "connect", SYS_recvfrom "recv", SYS_sendto "send", SYS_recvmsg "recvmsg", SYS_sendmsg "sendmsg",
    SYS_wait4 "wait4", SYS_waitid "waitid", SYS_fsync "fsync", SYS_fdatasync "fdatasync", SYS_flock "flock",
    SYS_fcntl "fcntl", SYS_openat "open", SYS_rt_sigtimedwait "sigwait", SYS_rt_sigsuspend "sigsuspend",
    SYS_msgrcv "msgrcv", SYS_semtimedop "semtimedop", SYS_splice "splice", SYS_sendfile "sendfile",
];

/// Calls that only older architectures have.
#[cfg(target_arch = "x86_64")]
const OLD: &[(libc::c_long, &str)] = calls![
    SYS_poll "poll", SYS_select "select", SYS_epoll_wait "epoll_wait", SYS_pause "pause", SYS_open "open",
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[(libc::c_long, &str)] = &[];

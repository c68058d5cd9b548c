//! System calls made without libc's wrappers: they touch neither `errno` nor libc's state. Only clocks are read by
//! libc's `clock_gettime` and `clock_getres`, which use the vdso.
//!
//! Invariant: no system call of this file passes through an interposer, and no function allocates. So all functions may
//! run in a signal handler and within `malloc`. Callers: all modules of this library.

use core::arch::asm;

use crate::ground::quiet;

/// Makes a system call with up to six arguments; returns the kernel's raw answer (negative errno on failure).
///
/// # Safety
/// The arguments must be valid for the call.
#[inline]
pub(crate) unsafe fn call6(number: libc::c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize {
    let answer: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the arguments; the clobbers are those of the ABI.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => answer, in("rdi") a, in("rsi") b, in("rdx") c,
             in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => answer, in("x1") b, in("x2") c,
             in("x3") d, in("x4") e, in("x5") f, options(nostack));
    }
    answer
}

/// See [`call6`].
///
/// # Safety
/// As [`call6`].
#[inline]
pub(crate) unsafe fn call3(number: libc::c_long, a: usize, b: usize, c: usize) -> isize {
    // SAFETY: passed on to the caller.
    unsafe { call6(number, a, b, c, 0, 0, 0) }
}

/// Bytes of a page; a power of two.
pub(crate) fn page_size() -> usize {
    // SAFETY: reads a value that the kernel passed to the process.
    let bytes = unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize;
    if bytes.is_power_of_two() { bytes } else { rscalene_wire::PAGE }
}

/// Process id.
pub(crate) fn pid() -> u32 {
    // SAFETY: the call has no arguments.
    (unsafe { call3(libc::SYS_getpid, 0, 0, 0) }) as u32
}

/// Process id in the PID namespace of the mounted `/proc`; 0 if `/proc` does not show this process.
pub(crate) fn pid_in_proc() -> u32 {
    let mut digits = [0u8; 10];
    let (path, into) = (c"/proc/self".as_ptr() as usize, digits.as_mut_ptr() as usize);
    // SAFETY: the path ends with NUL, and the kernel writes no more bytes than there are.
    let length = unsafe { call6(libc::SYS_readlinkat, libc::AT_FDCWD as usize, path, into, digits.len(), 0, 0) };
    let digits = digits.iter().take(usize::try_from(length).unwrap_or(0));
    digits.fold(0, |number: u32, digit| number.wrapping_mul(10).wrapping_add(u32::from(digit.wrapping_sub(b'0'))))
}

/// Parent's process id.
pub(crate) fn parent_pid() -> u32 {
    // SAFETY: the call has no arguments.
    (unsafe { call3(libc::SYS_getppid, 0, 0, 0) }) as u32
}

/// Kernel thread id.
pub(crate) fn tid() -> u32 {
    // SAFETY: the call has no arguments.
    (unsafe { call3(libc::SYS_gettid, 0, 0, 0) }) as u32
}

/// Sends a signal to this thread. `tkill`, unlike `tgkill`, does not ask for the number of the process.
pub(crate) fn signal_thread(signal: usize) {
    // SAFETY: the arguments are numbers, and the target is this thread.
    unsafe { call3(libc::SYS_tkill, tid() as usize, signal, 0) };
}

/// Reads a clock, in nanoseconds; 0 on failure.
pub(crate) fn clock_ns(clock: i32) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a local variable; libc reads CLOCK_MONOTONIC through the vdso and leaves errno on success.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if failed != 0 { 0 } else { (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64) }
}

/// Resolution of a clock, in nanoseconds; 0 on failure.
pub(crate) fn resolution_ns(clock: i32) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a local variable; libc reads the resolution through the vdso.
    let failed = unsafe { libc::clock_getres(clock, &raw mut time) };
    if failed != 0 { 0 } else { time.tv_nsec as u64 }
}

/// `CLOCK_MONOTONIC` nanoseconds.
#[inline]
pub(crate) fn now_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// CPU nanoseconds of a thread of this process; 0 if the thread has ended.
pub(crate) fn thread_cpu_ns(tid: u32) -> u64 {
    // The kernel's own encoding of a per-thread CPU clock (posix-timers.h): ~tid << 3 | CPUCLOCK_PERTHREAD | SCHED.
    clock_ns((!tid << 3 | 6) as i32)
}

/// User time and kernel time, in nanoseconds, and the number of page faults of this thread (`RUSAGE_THREAD`) or of this
/// process (`RUSAGE_SELF`). Returns zeros while [`quiet`] is on.
pub(crate) fn usage(who: i32) -> (u64, u64, u64) {
    if quiet::is_on() {
        return (0, 0, 0);
    }
    // SAFETY: all bytes zero is a valid rusage.
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    // SAFETY: `usage` is a local variable as large as the kernel's struct.
    let failed = unsafe { call3(libc::SYS_getrusage, who as usize, (&raw mut usage) as usize, 0) };
    if failed != 0 {
        return (0, 0, 0);
    }
    let ns = |time: libc::timeval| (time.tv_sec as u64).wrapping_mul(1_000_000_000) + (time.tv_usec as u64) * 1000;
    (ns(usage.ru_utime), ns(usage.ru_stime), (usage.ru_minflt as u64).wrapping_add(usage.ru_majflt as u64))
}

/// Highest RSS of this process since its exec, in bytes; 0 if `/proc` has no such number. This function does not use
/// `ru_maxrss`, because `ru_maxrss` includes the time before the exec, when the process was a copy of the launcher.
pub(crate) fn peak_rss() -> u64 {
    const NAME: &[u8] = b"\nVmHWM:";
    let fd = open(c"/proc/self/status");
    if fd < 0 {
        return 0;
    }
    let mut text = [0u8; 2048];
    // SAFETY: the kernel writes at most as many bytes as `text` has.
    let got = unsafe { call3(libc::SYS_read, fd as usize, text.as_mut_ptr() as usize, text.len()) };
    close(fd as i32);
    let text = text.get(..usize::try_from(got).unwrap_or(0)).unwrap_or(&[]);
    let Some(at) = text.windows(NAME.len()).position(|window| window == NAME) else { return 0 };
    let value = text.iter().skip(at + NAME.len()).skip_while(|byte| !byte.is_ascii_digit());
    let kib = value
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0u64, |sum, byte| sum.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')));
    kib.wrapping_mul(1024)
}

/// Anonymous private memory, zero, not resident until touched; null on failure.
pub(crate) fn map_private(bytes: usize) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh mapping touches nothing that exists.
    let at = unsafe {
        call6(libc::SYS_mmap, 0, bytes, (libc::PROT_READ | libc::PROT_WRITE) as usize, flags as usize, usize::MAX, 0)
    };
    if at < 0 { core::ptr::null_mut() } else { at as *mut u8 }
}

/// Shared memory of a file; null on failure.
pub(crate) fn map_shared(fd: i32, offset: u64, bytes: usize) -> *mut u8 {
    // SAFETY: a fresh mapping touches nothing that exists.
    let at = unsafe {
        call6(
            libc::SYS_mmap,
            0,
            bytes,
            (libc::PROT_READ | libc::PROT_WRITE) as usize,
            libc::MAP_SHARED as usize,
            fd as usize,
            offset as usize,
        )
    };
    if at < 0 { core::ptr::null_mut() } else { at as *mut u8 }
}

/// Maps shared memory of a file over the mapping at `at`. Returns false on failure; then the address range may be
/// unmapped.
///
/// # Safety
/// `at..at + bytes` must be a mapping of this library that no code uses.
pub(crate) unsafe fn map_shared_over(at: *mut u8, fd: i32, bytes: usize) -> bool {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_FIXED);
    // SAFETY: the caller vouches for the range.
    unsafe { call6(libc::SYS_mmap, at as usize, bytes, protection as usize, flags as usize, fd as usize, 0) >= 0 }
}

/// Unmaps memory that this library mapped.
///
/// # Safety
/// Nothing may use `at..at + bytes` any more.
pub(crate) unsafe fn unmap(at: *mut u8, bytes: usize) {
    // SAFETY: the caller vouches for the range.
    unsafe { call3(libc::SYS_munmap, at as usize, bytes, 0) };
}

/// Opens a path (NUL-terminated) for reading and writing; negative errno on failure.
pub(crate) fn open(path: &core::ffi::CStr) -> isize {
    let flags = libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: `path` ends with NUL.
    unsafe { call6(libc::SYS_openat, libc::AT_FDCWD as usize, path.as_ptr() as usize, flags as usize, 0, 0, 0) }
}

/// Closes a descriptor that this library opened.
pub(crate) fn close(fd: i32) {
    // SAFETY: closes a descriptor that the caller opened.
    unsafe { call3(libc::SYS_close, fd as usize, 0, 0) };
}

/// Reads this process' memory through the kernel: slower than a load, but a bad address only makes the result false.
pub(crate) fn read_own_memory(address: u64, into: &mut [u8]) -> bool {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut _, iov_len: into.len() };
    // SAFETY: `local` describes `into`; the kernel checks `remote`.
    let read = unsafe {
        call6(
            libc::SYS_process_vm_readv,
            pid() as usize,
            (&raw const local) as usize,
            1,
            (&raw const remote) as usize,
            1,
            0,
        )
    };
    read == into.len() as isize
}

/// Changes this thread's real signal mask (64 bits); returns the old mask.
pub(crate) fn change_mask(how: i32, word: u64) -> u64 {
    let mut old = 0u64;
    let (new, old_at) = ((&raw const word) as usize, (&raw mut old) as usize);
    // SAFETY: both words are local variables; the kernel's set has eight bytes.
    unsafe { call6(libc::SYS_rt_sigprocmask, how as usize, new, old_at, size_of::<u64>(), 0, 0) };
    old
}

/// Address of the handler that is really installed for a signal (or `SIG_DFL`, `SIG_IGN`).
pub(crate) fn action_of(signal: i32) -> usize {
    // The kernel's struct begins with the handler and has 32 bytes at most.
    let mut action = [0usize; 4];
    let at = (&raw mut action) as usize;
    // SAFETY: `action` is as large as the kernel's struct; its set has eight bytes.
    unsafe { call6(libc::SYS_rt_sigaction, signal as usize, 0, at, size_of::<u64>(), 0, 0) };
    action[0]
}

/// Wakes a thread that waits on a futex word in shared memory; does nothing while [`quiet`] is on.
pub(crate) fn futex_wake(word: &core::sync::atomic::AtomicU32) {
    if quiet::is_on() {
        return;
    }
    // SAFETY: FUTEX_WAKE (1) does not touch the word.
    unsafe { call3(libc::SYS_futex, word.as_ptr() as usize, 1, 1) };
}

/// Sleeps for `ns` nanoseconds, at most one second.
pub(crate) fn sleep_ns(ns: u64) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: ns.min(999_999_999) as libc::c_long };
    // SAFETY: `time` is a local variable.
    unsafe { call3(libc::SYS_nanosleep, (&raw const time) as usize, 0, 0) };
}

/// `errno` of this thread.
pub(crate) fn errno() -> i32 {
    // SAFETY: libc's location of this thread's errno is valid for its whole life.
    unsafe { *libc::__errno_location() }
}

/// Restores `errno` when it goes out of scope.
pub(crate) struct KeepErrno(i32);

impl KeepErrno {
    /// Remembers `errno`.
    pub(crate) fn new() -> Self {
        // SAFETY: libc's location of this thread's errno is valid for its whole life.
        Self(unsafe { *libc::__errno_location() })
    }
}

impl Drop for KeepErrno {
    fn drop(&mut self) {
        // SAFETY: as in `new`.
        unsafe { *libc::__errno_location() = self.0 };
    }
}

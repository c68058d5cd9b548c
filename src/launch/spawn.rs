//! The child: started as it would have been without us, waited for, never orphaned and never kept.
//!
//! Invariant: the child has our process group, folder, streams and environment (plus the preload), the signal mask that
//! we were started with, and default actions for the signals that Python ignores; signals that are sent to the launcher
//! alone are passed on from the handler itself, so that nothing can delay them. A terminal's own signals reach the child
//! without us. Neighbours: `run`.

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use super::program::Start;
use crate::observe::proc;

/// Signals that are passed on to the child.
const FORWARDED: [libc::c_int; 7] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH];

/// The child's process id; [`STARTING`] before there is one, [`ENDED`] after it.
static CHILD: AtomicI32 = AtomicI32::new(STARTING);
/// No child yet: a signal waits in [`PENDING`] for it.
const STARTING: i32 = 0;
/// The child is over, and the report is being written.
const ENDED: i32 = -1;
/// Signal that came before there was a child to pass it on to; 0: none.
static PENDING: AtomicI32 = AtomicI32::new(0);
/// Signals that came while the report was being written: the first is let pass, the second ends us.
static LATE: AtomicU32 = AtomicU32::new(0);

/// Begins to pass signals on, until this process ends: a signal during the report must not cost the report. One that we
/// were started with ignored stays so (`nohup`).
pub(crate) fn forward_signals() {
    for signal in FORWARDED {
        // SAFETY: all bytes zero is a valid sigaction.
        let (mut new, mut old): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
        new.sa_sigaction = forward as *const () as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        // SAFETY: both are valid.
        unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut old) };
        if old.sa_sigaction != libc::SIG_IGN {
            // SAFETY: the handler only does what may be done in one.
            unsafe { libc::sigaction(signal, &raw const new, std::ptr::null_mut()) };
        }
    }
}

/// Holds requests to end from now on: everything is done, and the interpreter that runs us resets its signal actions on
/// its way out, where one would replace the program's exit code.
pub(crate) fn hold_signals() {
    // SAFETY: all bytes zero is a valid set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: the set is valid, and so is the signal.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: the set is valid, and nothing is asked back.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Passes a signal on, unless the terminal has sent it to the whole group already.
extern "C" fn forward(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo.
    let from_terminal = unsafe { (*info).si_code } == libc::SI_KERNEL;
    match CHILD.load(Ordering::Relaxed) {
        STARTING => PENDING.store(signal, Ordering::Relaxed),
        ENDED => {
            let is_request = matches!(signal, libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT);
            if is_request && LATE.fetch_add(1, Ordering::Relaxed) > 0 {
                // SAFETY: may be called in a handler.
                unsafe { libc::_exit(128 + signal) };
            }
        }
        child if !from_terminal => {
            // SAFETY: the child has not been reaped while its number stands there.
            unsafe { libc::kill(child, signal) };
        }
        _ => {}
    }
}

/// Starts the program with more environment variables, and with another standard input if there is one.
pub(crate) fn start(
    start: &Start,
    variables: &[(&str, OsString)],
    stdin: Option<io::PipeReader>,
    mask: libc::sigset_t,
) -> io::Result<Child> {
    let mut command = Command::new(&start.executable);
    if let Some((name, arguments)) = start.words.split_first() {
        command.arg0(name).args(arguments);
    }
    if let Some(stdin) = stdin {
        command.stdin(stdin);
    }
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    // SAFETY: only async-signal-safe calls.
    unsafe {
        command.pre_exec(move || {
            // Python ignores these two; a program that a shell starts has them at their defaults.
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            libc::signal(libc::SIGXFSZ, libc::SIG_DFL);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut());
            Ok(())
        });
    }
    let child = command.spawn()?;
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    CHILD.store(pid, Ordering::Relaxed);
    let pending = PENDING.swap(0, Ordering::Relaxed);
    if pending != 0 {
        // SAFETY: the child is not reaped yet.
        unsafe { libc::kill(pid, pending) };
    }
    Ok(child)
}

/// The signal mask of this thread.
pub(crate) fn current_mask() -> libc::sigset_t {
    // SAFETY: all bytes zero is a valid set.
    let mut mask: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: only asks.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut mask) };
    mask
}

/// How a child ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended {
    /// Exit code.
    pub(crate) code: Option<i32>,
    /// Signal that ended it.
    pub(crate) signal: Option<i32>,
}

impl Ended {
    /// The exit code that a shell would report.
    pub(crate) fn shell_code(&self) -> i32 {
        self.code.unwrap_or_else(|| self.signal.map_or(1, |signal| 128 + signal))
    }
}

/// The child has stopped: stops this process too, as the shell that waits for it must see, until either is continued.
fn stop_with(child: libc::pid_t) {
    // What stopped both (a terminal's Ctrl-Z) may continue this process first.
    std::thread::sleep(SETTLING);
    if proc::thread_state(child.unsigned_abs(), child.unsigned_abs()) != Some('T') {
        return;
    }
    let waker = wake_with(child);
    // SAFETY: stops this process; it goes on behind the call.
    unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
    // SAFETY: the child has not been reaped, nor has the waker, which is this process' own.
    unsafe {
        libc::kill(child, libc::SIGCONT);
        if let Some(waker) = waker {
            libc::kill(waker, libc::SIGKILL);
            libc::waitpid(waker, std::ptr::null_mut(), 0);
        }
    }
}

/// From a stop to a second look at it, and between two looks at whether it goes on.
const SETTLING: Duration = Duration::from_millis(30);

/// A process that continues this one, which is about to stop, when the child goes on by itself; `None` where there can be
/// none.
fn wake_with(child: libc::pid_t) -> Option<libc::pid_t> {
    let path = CString::new(format!("/proc/{child}/stat")).ok()?;
    // SAFETY: the new process only makes system calls.
    let waker = unsafe { libc::fork() };
    if waker != 0 {
        return (waker > 0).then_some(waker);
    }
    // SAFETY: only async-signal-safe calls, on values of this very frame.
    unsafe {
        let launcher = libc::getppid();
        // Ends with the launcher, and is not stopped with it by a terminal.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::signal(libc::SIGTSTP, libc::SIG_IGN);
        let pause = libc::timespec { tv_sec: 0, tv_nsec: libc::c_long::from(SETTLING.subsec_nanos()) };
        loop {
            libc::nanosleep(&raw const pause, std::ptr::null_mut());
            let mut text = [0u8; 128];
            let file = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            let got = libc::read(file, text.as_mut_ptr().cast(), text.len());
            libc::close(file);
            let text = text.get(..usize::try_from(got).unwrap_or(0)).unwrap_or(&[]);
            // The state stands behind the name, which is in brackets and may hold some.
            let state = text.iter().rposition(|byte| *byte == b')').and_then(|at| text.get(at + 2));
            if state != Some(&b'T') || libc::getppid() != launcher {
                libc::kill(launcher, libc::SIGCONT);
                libc::_exit(0);
            }
        }
    }
}

/// Waits until the child has ended, without reaping it; then reaps it. Where the child stops, so does this process.
pub(crate) fn wait(child: &Child, before_reaping: impl FnOnce()) -> io::Result<Ended> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    loop {
        // SAFETY: all bytes zero is a valid siginfo.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT;
        // SAFETY: `info` has room for the answer.
        let answer = unsafe { libc::waitid(libc::P_PID, child.id(), &raw mut info, flags) };
        if answer == 0 && info.si_code != libc::CLD_STOPPED {
            break;
        }
        if answer == 0 {
            stop_with(pid);
            continue;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    before_reaping();
    // From here on its number may be given to another process.
    CHILD.store(ENDED, Ordering::Relaxed);
    let mut status = 0;
    // SAFETY: `status` has room for the answer.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let status = std::process::ExitStatus::from_raw(status);
    Ok(Ended { code: status.code(), signal: status.signal() })
}

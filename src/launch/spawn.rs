//! The child: started as it would start without rscalene, waited for, never orphaned and never kept.
//!
//! Invariant: the child has the launcher's process group, folder, streams and environment (plus the preload), the signal
//! mask that the launcher was started with, and default actions for the signals that Python ignores. The launcher's signal
//! handler itself passes on signals that are sent to the launcher alone, so that nothing can delay them. The signals of a
//! terminal reach the child directly. Neighbours: `commands::run` calls.

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
/// A signal that came before the child was there; 0: none.
static PENDING: AtomicI32 = AtomicI32::new(0);
/// Signals that came while the launcher wrote the report: the first has no effect, the second ends the launcher.
static LATE: AtomicU32 = AtomicU32::new(0);

/// Begins to pass signals on, until this process ends: a signal during the report must not cost the report. Signals that
/// were ignored when the launcher started stay ignored (`nohup`).
pub(crate) fn forward_signals() {
    for signal in FORWARDED {
        // SAFETY: all bytes zero is a valid sigaction.
        let (mut new, mut old): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
        new.sa_sigaction = forward as *const () as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        // SAFETY: both are valid.
        unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut old) };
        if old.sa_sigaction != libc::SIG_IGN {
            // SAFETY: the handler makes async-signal-safe calls alone.
            unsafe { libc::sigaction(signal, &raw const new, std::ptr::null_mut()) };
        }
    }
}

/// Blocks the signals that ask a process to end: the work is done, and the interpreter that runs the launcher resets its
/// signal actions on its way out, where such a signal would replace the program's exit code.
pub(crate) fn hold_signals() {
    // SAFETY: all bytes zero is a valid set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: the set is valid, and so is the signal.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: the set is valid, and the old mask is not asked for.
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
            // SAFETY: the child is not reaped while its number stands in `CHILD`.
            unsafe { libc::kill(child, signal) };
        }
        _ => {}
    }
}

/// Starts the program with more environment variables, and with another standard input if `stdin` is given.
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
    // SAFETY: reads the mask alone.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut mask) };
    mask
}

/// How a child ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended {
    /// Exit code.
    pub(crate) code: Option<i32>,
    /// Signal that ended the child.
    pub(crate) signal: Option<i32>,
}

impl Ended {
    /// The exit code that a shell would report.
    pub(crate) fn shell_code(&self) -> i32 {
        self.code.unwrap_or_else(|| self.signal.map_or(1, |signal| 128 + signal))
    }
}

/// Stops this process, since the child has stopped: the shell that waits for the launcher must see the stop. Returns when
/// either process is continued.
fn stop_with(child: libc::pid_t) {
    // A shell that stopped both (Ctrl-Z) may continue this process first.
    std::thread::sleep(SETTLING);
    if proc::thread_state(child.unsigned_abs(), child.unsigned_abs()) != Some('T') {
        return;
    }
    let waker = wake_with(child);
    // SAFETY: stops this process, which goes on behind the call.
    unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
    // SAFETY: neither the child nor the waker, a child of this process too, has been reaped.
    unsafe {
        libc::kill(child, libc::SIGCONT);
        if let Some(waker) = waker {
            libc::kill(waker, libc::SIGKILL);
            libc::waitpid(waker, std::ptr::null_mut(), 0);
        }
    }
}

/// Time from a stop to the second look at the child, and between two looks at whether the child goes on.
const SETTLING: Duration = Duration::from_millis(30);

/// Starts a process that continues this process, which is about to stop, when the child goes on by itself; `None` where
/// the system gives no process.
fn wake_with(child: libc::pid_t) -> Option<libc::pid_t> {
    let path = CString::new(format!("/proc/{child}/stat")).ok()?;
    // SAFETY: the new process only makes system calls.
    let waker = unsafe { libc::fork() };
    if waker != 0 {
        return (waker > 0).then_some(waker);
    }
    // SAFETY: async-signal-safe calls alone, on values of this very frame.
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
            // The state stands behind the name, which is in brackets and may hold brackets.
            let state = text.iter().rposition(|byte| *byte == b')').and_then(|at| text.get(at + 2));
            if state != Some(&b'T') || libc::getppid() != launcher {
                libc::kill(launcher, libc::SIGCONT);
                libc::_exit(0);
            }
        }
    }
}

/// Waits until the child has ended, calls `before_reaping`, and reaps the child. This process stops when the child stops.
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
    // From here on the system may give the child's number to another process.
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

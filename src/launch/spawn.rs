//! Starts the child and waits for it.
//!
//! Invariant: the child has the launcher's process group, folder, streams and environment (plus the preload), the
//! signal mask that the launcher was started with, and default actions for the signals that Python ignores. The
//! launcher's signal handler itself passes on signals that are sent to the launcher alone, so no other work of the
//! launcher can delay them. The signals of a terminal reach the child directly. The launcher
//! waits for the child and reaps the child. Caller: `commands::run`.

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

/// The child's process id; [`STARTING`] before the start, [`ENDED`] after the end.
static CHILD: AtomicI32 = AtomicI32::new(STARTING);
/// No child yet: a signal is stored in [`PENDING`].
const STARTING: i32 = 0;
/// The child has ended, and the launcher writes the report.
const ENDED: i32 = -1;
/// A signal that arrived before the child started; 0 if none.
static PENDING: AtomicI32 = AtomicI32::new(0);
/// Number of signals during the report: the first has no effect, the second ends the launcher.
static LATE: AtomicU32 = AtomicU32::new(0);

/// Passes signals on to the child from now until this process ends. A single signal during the report must not lose the
/// report. Signals that were ignored when the launcher started stay ignored (`nohup`).
pub(crate) fn forward_signals() {
    for signal in FORWARDED {
        // SAFETY: all bytes zero is a valid sigaction.
        let (mut new, mut old): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
        new.sa_sigaction = forward as *const () as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        // SAFETY: the signal number and both structures are valid.
        unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut old) };
        if old.sa_sigaction != libc::SIG_IGN {
            // SAFETY: the handler makes async-signal-safe calls alone.
            unsafe { libc::sigaction(signal, &raw const new, std::ptr::null_mut()) };
        }
    }
}

/// Blocks the signals that ask a process to end. The work is done. The interpreter that runs the launcher resets its
/// signal actions while it exits, and a signal would then replace the program's exit code.
pub(crate) fn hold_signals() {
    // SAFETY: all bytes zero is a valid set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: the set is valid, and so is the signal.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: the set is valid, and a null pointer asks for no old mask.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Passes a signal on, unless the terminal has already sent the signal to the whole process group.
extern "C" fn forward(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo.
    let from_terminal = unsafe { (*info).si_code } == libc::SI_KERNEL;
    match CHILD.load(Ordering::Relaxed) {
        STARTING => PENDING.store(signal, Ordering::Relaxed),
        ENDED => {
            let is_request = matches!(signal, libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT);
            if is_request && LATE.fetch_add(1, Ordering::Relaxed) > 0 {
                // SAFETY: `_exit` is async-signal-safe.
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

/// Starts the program with additional environment variables, and with `stdin` as standard input if given.
pub(crate) fn start(
    start: &Start,
    variables: &[(&str, OsString)],
    stdin: Option<io::PipeReader>,
    mask: libc::sigset_t,
) -> io::Result<Child> {
    let mut command = Command::new(&start.executable);
    if let Some((name, arguments)) = start.argv.split_first() {
        command.arg0(name).args(arguments);
    }
    if let Some(stdin) = stdin {
        command.stdin(stdin);
    }
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    // SAFETY: the closure makes async-signal-safe calls alone.
    unsafe {
        command.pre_exec(move || {
            // Python ignores these two signals, and ignored signals are inherited. A shell starts programs with the
            // default actions.
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
    // SAFETY: a null set changes nothing; the kernel writes the mask.
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

/// Stops this process because the child has stopped: the shell waits for the launcher and must see a stop. Returns when
/// either process is continued.
fn stop_with(child: libc::pid_t) {
    // Ctrl-Z stops both processes, and the shell may have continued them already.
    std::thread::sleep(SETTLING);
    if proc::thread_state(child.unsigned_abs(), child.unsigned_abs()) != Some('T') {
        return;
    }
    let waker = wake_with(child);
    // SAFETY: stops this process; the call returns when the process is continued.
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

/// Time from a stop to the second look at the child, and between two looks of the waker.
const SETTLING: Duration = Duration::from_millis(30);

/// Starts a process that continues this process as soon as the child runs again. This process is about to stop. `None`
/// if the fork fails.
fn wake_with(child: libc::pid_t) -> Option<libc::pid_t> {
    let path = CString::new(format!("/proc/{child}/stat")).ok()?;
    // SAFETY: the new process only makes system calls.
    let waker = unsafe { libc::fork() };
    if waker != 0 {
        return (waker > 0).then_some(waker);
    }
    // SAFETY: async-signal-safe calls alone, on values of this stack frame.
    unsafe {
        let launcher = libc::getppid();
        // This process ends with the launcher, and a terminal's stop does not stop it.
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
            // The state stands behind the name. The name is in brackets and may contain brackets.
            let state = text.iter().rposition(|byte| *byte == b')').and_then(|at| text.get(at + 2));
            if state != Some(&b'T') || libc::getppid() != launcher {
                libc::kill(launcher, libc::SIGCONT);
                libc::_exit(0);
            }
        }
    }
}

/// Waits until the child has ended, calls `before_reaping`, and reaps the child. Whenever the child stops, this process
/// stops too.
pub(crate) fn wait(child: &Child, before_reaping: impl FnOnce()) -> io::Result<Ended> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    loop {
        // SAFETY: all bytes zero is a valid siginfo.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT;
        // SAFETY: `info` is a valid siginfo to write to.
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
    // From here on the system may give the child's process id to another process.
    CHILD.store(ENDED, Ordering::Relaxed);
    let mut status = 0;
    // SAFETY: `status` is a valid int to write to.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let status = std::process::ExitStatus::from_raw(status);
    Ok(Ended { code: status.code(), signal: status.signal() })
}

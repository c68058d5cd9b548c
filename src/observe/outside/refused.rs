//! The reason why a process cannot be observed from outside, and a hint for the user.
//!
//! Job: separate the reasons that the kernel reports with the same error number, so that each has its own message and
//! hint. Invariant: only `/proc` is read. Neighbours: `commands::{attach, top, dump}` print the result.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rscalene_interp::Unsupported;

use crate::observe::locate::LocateError;
use crate::observe::proc;

/// A reason, as text for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub message: String,
    /// A single action that helps.
    pub hint: String,
}

const SUPPORTED: &str = "3.11 to 3.15 are supported";
/// Number of the capability to read other processes.
const CAP_SYS_PTRACE: u32 = 19;

impl Refused {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }

    /// Checks, before process `pid` is read, whether the process can be observed at all.
    ///
    /// # Errors
    /// The process does not exist, is a zombie, a thread, a kernel thread, or this process.
    pub fn check(pid: u32) -> Result<(), Self> {
        let Ok(stat) = proc::stat(pid) else {
            return Err(Self::new(
                format!("there is no process {pid}"),
                "`pgrep -af python` lists the Python processes",
            ));
        };
        if matches!(stat.state, 'Z' | 'X') && proc::thread_count(pid).unwrap_or(0) <= 1 {
            let hint = "its parent has not asked for its exit code yet; there is no program left to look at";
            return Err(Self::new(format!("process {pid} is a zombie: its program has ended"), hint));
        }
        if let Some(leader) = status_field(pid, "Tgid:").filter(|leader| *leader != pid) {
            let hint = format!("name the process: {leader}");
            return Err(Self::new(format!("{pid} is a thread of process {leader}"), hint));
        }
        if pid == std::process::id() {
            return Err(Self::new(format!("process {pid} is rscalene itself"), "name another process"));
        }
        Ok(())
    }

    /// Another process traces process `pid`, and the kernel allows only a single tracer.
    #[must_use]
    pub fn traced(pid: u32, tracer: u32) -> Self {
        let name = proc::comm(tracer, tracer).unwrap_or_default();
        Self::new(format!("process {pid} is traced by {tracer} ({name})"), "end the other one first")
    }

    /// The reason why the interpreter of process `pid` was not found.
    #[must_use]
    pub fn located(pid: u32, error: &LocateError) -> Self {
        match error {
            LocateError::Maps(_, error) if error.kind() == std::io::ErrorKind::PermissionDenied => Self::denied(pid),
            LocateError::Maps(_, _) => Self::check(pid).err().unwrap_or_else(|| {
                Self::new(format!("process {pid} has just ended"), "`pgrep -af python` lists the Python processes")
            }),
            LocateError::TooOld(_, version) => {
                let version = version.as_deref().unwrap_or("older than 3.11");
                Self::new(format!("process {pid} runs Python {version}; {SUPPORTED}"), "start it with a newer Python")
            }
            LocateError::NoInterpreter(_) => {
                let name = proc::comm(pid, pid).unwrap_or_default();
                let children = python_children(pid);
                let hint = match children[..] {
                    [] => "`pgrep -af python` lists the Python processes".to_owned(),
                    [child, ..] => format!("it has started Python as process {child}"),
                };
                Self::new(format!("process {pid} ({name}) runs no Python: no file in its memory is CPython 3"), hint)
            }
        }
    }

    /// The reason why the interpreter of process `pid` cannot be read.
    #[must_use]
    pub fn unsupported(pid: u32, why: Unsupported) -> Self {
        match why {
            Unsupported::FreeThreaded(_) => Self::new(
                format!("the interpreter of process {pid} is a free-threaded build, whose frames cannot be read"),
                "run it with a regular build of Python",
            ),
            Unsupported::Version(version) => {
                let version = format!("{}.{}", version >> 24, version >> 16 & 0xff);
                Self::new(format!("process {pid} runs Python {version}; {SUPPORTED}"), "`pip install -U rscalene`")
            }
            Unsupported::Unreadable => Self::denied(pid),
            other => Self::new(
                format!("the interpreter of process {pid} cannot be read: {other:?}"),
                "`rscalene doctor` tells what works here",
            ),
        }
    }

    /// The reason why the kernel does not let this process read process `pid`.
    #[must_use]
    pub fn denied(pid: u32) -> Self {
        let owner = fs::metadata(format!("/proc/{pid}")).map(|facts| facts.uid()).ok();
        // SAFETY: `geteuid` only returns a number.
        let own = unsafe { libc::geteuid() };
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
        let scope: u32 = scope.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        if own != 0 && owner.is_some_and(|owner| owner != own) {
            return Self::new(
                format!("process {pid} belongs to another user"),
                format!("`sudo rscalene ...` may read process {pid}"),
            );
        }
        if own == 0 || has_capability(CAP_SYS_PTRACE) {
            let hint = "give the container the right: `docker run --cap-add SYS_PTRACE`, or in Kubernetes \
                        `securityContext.capabilities.add: [SYS_PTRACE]`";
            return Self::new(format!("the kernel refuses to let process {pid} be read, although we are root"), hint);
        }
        match scope {
            0 => Self::new(
                format!("the kernel refuses to let process {pid} be read: it has changed its user or its rights"),
                "`sudo rscalene ...` may read it",
            ),
            3 => Self::new(
                format!("the kernel lets no process read process {pid} (kernel.yama.ptrace_scope = 3)"),
                "only `rscalene run` works here: start the program with it",
            ),
            scope => Self::new(
                format!("the kernel lets only its parent read process {pid} (kernel.yama.ptrace_scope = {scope})"),
                "`sudo rscalene ...` may read it, or start the program with `rscalene run`",
            ),
        }
    }
}

/// The process that traces process `pid`; `None`: no process traces it.
pub(super) fn tracer(pid: u32) -> Option<u32> {
    status_field(pid, "TracerPid:").filter(|tracer| *tracer != 0)
}

fn status_field(pid: u32, name: &str) -> Option<u32> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// True if this process has an effective capability.
fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set >> number & 1 != 0)
}

/// Children of a process whose programs are called python.
fn python_children(pid: u32) -> Vec<u32> {
    let named = |child: &u32| proc::comm(*child, *child).is_some_and(|name| name.starts_with("python"));
    proc::children(pid).into_iter().filter(named).collect()
}

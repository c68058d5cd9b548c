//! Finds the reason why no process of the program loaded the shim.
//!
//! Job: look at the program's processes in `/proc` until the first process announces itself, and name the visible
//! reason. Invariant: the code reads `/proc` and nothing else, and stops looking when a process announces itself. The
//! report shows a reason only if the run ends without any announcement. Neighbours: `commands::run::record` calls
//! [`look`] while the program runs, `commands::run::outcome` writes the message.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rscalene_wire::ARENA_ENV;

use super::preload::NAME;
use super::program;
use crate::observe::proc;

/// Pause before the first look; each following pause is twice as long, up to [`LONGEST`].
pub(crate) const FIRST: Duration = Duration::from_millis(8);
/// Longest pause between two looks. A look reads a few files of each process.
pub(crate) const LONGEST: Duration = Duration::from_secs(2);
/// Most processes to read in one look.
const MOST: usize = 64;

/// Why a Python process is not profiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotPreloaded {
    /// The program loaded this Python library after its start.
    LoadedLate(String),
    /// The environment of the process preloads this library instead of the shim.
    Replaced(String),
    /// The environment of the process preloads nothing.
    Cleared,
    /// The process has another PID, mount or network namespace than the launcher.
    Sandboxed,
    /// No library can be preloaded into the process: the reason, and a hint.
    Unreachable(String, String),
}

impl NotPreloaded {
    /// The reason as a sentence, and one thing to do.
    pub(crate) fn reason_and_hint(&self) -> (String, String) {
        match self {
            Self::LoadedLate(library) => (
                format!("the program loaded Python (`{library}`) after its start, as frozen programs do"),
                "run its script with `rscalene run SCRIPT`, or sample the program with `rscalene attach PID`"
                    .to_owned(),
            ),
            Self::Replaced(theirs) => (
                format!("Python was started with another `LD_PRELOAD` (`{theirs}`)"),
                format!("whatever starts it should keep the variable's value: `LD_PRELOAD={theirs}:$LD_PRELOAD`"),
            ),
            Self::Cleared => (
                "Python was started with an environment without `LD_PRELOAD`".to_owned(),
                format!("whatever starts it should pass on `LD_PRELOAD` and `{ARENA_ENV}`"),
            ),
            Self::Sandboxed => (
                "Python ran in a sandbox or container of its own, which the preload does not reach".to_owned(),
                "run `rscalene` inside of the sandbox or container".to_owned(),
            ),
            Self::Unreachable(why, hint) => (why.clone(), hint.clone()),
        }
    }
}

/// Looks at process `root` and at its descendants; `None` if none of them runs Python without the shim.
pub(crate) fn look(root: u32) -> Option<NotPreloaded> {
    let mut pids = vec![root];
    let mut at = 0;
    while at < pids.len() && pids.len() < MOST {
        pids.extend(proc::children(pids[at]));
        at += 1;
    }
    pids.into_iter().take(MOST).find_map(reason)
}

/// Why this process is not profiled; `None` if it runs no Python or cannot be read.
fn reason(pid: u32) -> Option<NotPreloaded> {
    let maps = fs::read(format!("/proc/{pid}/maps")).ok()?;
    let maps = String::from_utf8_lossy(&maps);
    let names = || maps.lines().filter_map(|line| line.rsplit_once('/')).map(|(_, name)| name);
    let executable = PathBuf::from(format!("/proc/{pid}/exe"));
    let shown = fs::read_link(&executable).unwrap_or_else(|_| executable.clone());
    let library = names().find(|name| name.starts_with("libpython"));
    if library.is_none() && !is_python(&shown) {
        return None;
    }
    if let Some((why, hint)) = program::unreachable_as(&executable, &shown) {
        return Some(NotPreloaded::Unreachable(why, hint));
    }
    if ["pid", "mnt", "net"].iter().any(|kind| namespace(&pid.to_string(), kind) != namespace("self", kind)) {
        return Some(NotPreloaded::Sandboxed);
    }
    if names().any(|name| name == NAME) {
        return library.map(|library| NotPreloaded::LoadedLate(library.to_owned()));
    }
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let environment = String::from_utf8_lossy(&environment);
    let preload = environment.split('\0').find_map(|entry| entry.strip_prefix("LD_PRELOAD=")).unwrap_or_default();
    match preload {
        "" => Some(NotPreloaded::Cleared),
        // The dynamic linker has not loaded the shim yet, or cannot find the file.
        theirs if theirs.contains(NAME) => None,
        theirs => Some(NotPreloaded::Replaced(theirs.to_owned())),
    }
}

/// Does the file have the name of a Python interpreter?
fn is_python(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python"))
}

/// The namespace of a process; `None` if it cannot be read.
fn namespace(process: &str, kind: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/{kind}")).ok()
}

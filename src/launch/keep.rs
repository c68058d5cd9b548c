//! The file of a capture: its place, its permissions and its removal.
//!
//! Job: make the file of a run, find the files that killed launchers left behind, and remove the file after a report.
//! Invariant: a capture lies under a random name in a folder that the user owns and no other user may enter. The
//! launcher holds a lock on the file, and the kernel releases the lock when the launcher ends. Without such a folder
//! the run goes on without a capture. Neighbours: `transport::capture` fills the file; `commands::run` and
//! `commands::recover` use it.

use std::fs::{self, DirBuilder, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::profile::build::scope::ScopeRules;
use crate::profile::model::Settings;
use crate::transport::capture::Writer;
use crate::transport::event::Event;

/// The head of a capture: the facts that a report needs besides the events.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Origin {
    /// Version of rscalene.
    pub(crate) version: String,
    /// Command line of the program.
    pub(crate) command: Vec<String>,
    /// Working directory of the program.
    pub(crate) cwd: String,
    /// Process id of the program.
    pub(crate) pid: u32,
    /// Start time of the program, RFC 3339.
    pub(crate) started_at: String,
    /// The same moment in `CLOCK_MONOTONIC` nanoseconds.
    pub(crate) start_ns: u64,
    /// Settings of the recording.
    pub(crate) settings: Settings,
    /// The rules of the scope.
    pub(crate) scope: ScopeRules,
}

/// Most bytes of a capture.
const LIMIT: u64 = 256 << 20;
/// Number of captures of killed launchers to keep.
const KEPT: usize = 8;
/// Ending of a capture's name.
const ENDING: &str = "capture";
/// Ending of the name until the head is written.
const UNNAMED: &str = "new";

/// The capture of this run; it stays on disk until [`Keep::forget`].
#[derive(Debug)]
pub(crate) struct Keep {
    writer: Writer,
    path: PathBuf,
}

impl Keep {
    /// Begins a capture; `None` if no folder can hold the file.
    pub(crate) fn begin(origin: &Origin) -> Option<Self> {
        let folder = folders().into_iter().find(|folder| make(folder).is_ok())?;
        prune(&folder);
        let (file, path) = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(16)
            .suffix(&format!(".{UNNAMED}"))
            .tempfile_in(&folder)
            .ok()?
            .keep()
            .ok()?;
        lock(&file);
        // The file gets its final name after its head is written. A kill before then leaves a file that `prune`
        // removes.
        let named = path.with_extension(ENDING);
        let begun = Writer::begin(file, origin, LIMIT).and_then(|writer| fs::rename(&path, &named).map(|()| writer));
        match begun {
            Ok(writer) => Some(Self { writer, path: named }),
            Err(_) => {
                let _ = fs::remove_file(path);
                None
            }
        }
    }

    /// Adds an event to the capture.
    pub(crate) fn push(&mut self, event: &Event) {
        self.writer.push(event);
    }

    /// Writes events to the disk that have waited long enough. `commands::run` calls this regularly.
    pub(crate) fn tick(&mut self) {
        self.writer.flush_in_time();
    }

    /// The reason if the capture is not complete; `None` if no event is missing.
    pub(crate) fn ended(&self) -> Option<&str> {
        self.writer.ended()
    }

    /// Removes the file. The caller has written the report.
    pub(crate) fn forget(self) {
        let _ = fs::remove_file(self.path);
    }

    /// Writes the remaining events and leaves the file on the disk. Returns its path, and whether the capture is
    /// complete.
    pub(crate) fn leave(mut self) -> (PathBuf, bool) {
        self.writer.flush();
        (self.path, self.writer.ended().is_none())
    }
}

/// A capture on disk.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its path.
    pub(crate) path: PathBuf,
    /// Time of the last write.
    pub(crate) written: SystemTime,
    /// Its size in bytes.
    pub(crate) bytes: u64,
    /// Does the launcher of this capture still run?
    pub(crate) running: bool,
}

/// All captures of this user, newest first.
pub(crate) fn found() -> Vec<Found> {
    let mut all: Vec<Found> =
        folders().iter().filter(|folder| is_own(folder)).flat_map(|folder| inside(folder, ENDING)).collect();
    all.sort_by_key(|found| std::cmp::Reverse(found.written));
    all
}

/// Folders for captures, best first.
pub(crate) fn folders() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
    // SAFETY: geteuid has no preconditions.
    let user = unsafe { libc::geteuid() };
    let temporary = std::env::temp_dir().join(format!("rscalene-{user}"));
    state.map(|state| state.join("rscalene")).into_iter().chain([temporary]).collect()
}

fn make(folder: &Path) -> std::io::Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if is_own(folder) { Ok(()) } else { Err(std::io::ErrorKind::PermissionDenied.into()) }
}

/// Is this a folder of this user, not a link, that no other user may enter?
fn is_own(folder: &Path) -> bool {
    // SAFETY: geteuid has no preconditions.
    let user = unsafe { libc::geteuid() };
    fs::symlink_metadata(folder)
        .is_ok_and(|facts| facts.is_dir() && facts.uid() == user && facts.mode().trailing_zeros() >= 6)
}

fn inside(folder: &Path, ending: &str) -> Vec<Found> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let found = entries.flatten().filter_map(|entry| {
        let path = entry.path();
        let facts = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        if path.extension()? != ending {
            return None;
        }
        let running = File::open(&path).is_ok_and(|file| !lock(&file));
        Some(Found { path, written: facts.modified().ok()?, bytes: facts.len(), running })
    });
    found.collect()
}

/// Removes files without a head, and the oldest captures above [`KEPT`].
fn prune(folder: &Path) {
    let over = |ending: &str| inside(folder, ending).into_iter().filter(|found| !found.running);
    for found in over(UNNAMED) {
        let _ = fs::remove_file(&found.path);
    }
    let mut left: Vec<Found> = over(ENDING).collect();
    left.sort_by_key(|found| std::cmp::Reverse(found.written));
    for found in left.iter().skip(KEPT) {
        let _ = fs::remove_file(&found.path);
    }
}

/// Locks a file until its last descriptor is closed; false if another process holds the lock.
fn lock(file: &File) -> bool {
    // SAFETY: the descriptor is open.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

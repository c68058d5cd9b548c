//! The file of a capture: where it lies, that it is the user's alone, and that it goes when it is not needed.
//!
//! Job: make it, know those that killed launchers left behind, remove it after a report. Invariant: a capture lies in a
//! folder that the user owns and nobody else may enter, under a name that nobody can guess; the launcher holds a lock on
//! it, which the kernel drops with the launcher. No folder, no capture: the run goes on without. Neighbours:
//! `transport::capture` fills it, `run` and `recover` use it.

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

/// What a capture says of itself, so that a report can be made of it alone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Origin {
    /// Version of rscalene.
    pub(crate) version: String,
    /// The program.
    pub(crate) command: Vec<String>,
    /// Where it ran.
    pub(crate) cwd: String,
    /// Process id of the program.
    pub(crate) pid: u32,
    /// When it started, RFC 3339.
    pub(crate) started_at: String,
    /// The same as `CLOCK_MONOTONIC` nanoseconds.
    pub(crate) start_ns: u64,
    /// How it was recorded.
    pub(crate) settings: Settings,
    /// Whose lines are reported.
    pub(crate) scope: ScopeRules,
}

/// Most bytes of a capture.
const LIMIT: u64 = 256 << 20;
/// Captures of killed launchers that are kept.
const KEPT: usize = 8;
/// Ending of a capture's name.
const ENDING: &str = "capture";
/// Ending while it does not say yet what it is.
const UNNAMED: &str = "new";

/// The capture of this run; it stays on disk until [`Keep::forget`].
#[derive(Debug)]
pub(crate) struct Keep {
    writer: Writer,
    path: PathBuf,
}

impl Keep {
    /// Begins one; `None` where there is no place for it.
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
        // It gets its name when it says what it is: one that a kill left before that is no capture.
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

    /// Adds an event.
    pub(crate) fn push(&mut self, event: &Event) {
        self.writer.push(event);
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self) {
        self.writer.flush_in_time();
    }

    /// Why it is not complete.
    pub(crate) fn ended(&self) -> Option<&str> {
        self.writer.ended()
    }

    /// The report is written: nobody needs it any more.
    pub(crate) fn forget(self) {
        let _ = fs::remove_file(self.path);
    }

    /// Completes it as far as it can be; where it lies, and whether it is complete.
    pub(crate) fn leave(mut self) -> (PathBuf, bool) {
        self.writer.flush();
        (self.path, self.writer.ended().is_none())
    }
}

/// A capture on disk.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where.
    pub(crate) path: PathBuf,
    /// Last written.
    pub(crate) written: SystemTime,
    /// Bytes.
    pub(crate) bytes: u64,
    /// Its launcher still runs.
    pub(crate) running: bool,
}

/// All captures of this user, newest first.
pub(crate) fn found() -> Vec<Found> {
    let mut all: Vec<Found> =
        folders().iter().filter(|folder| is_own(folder)).flat_map(|folder| inside(folder, ENDING)).collect();
    all.sort_by_key(|found| std::cmp::Reverse(found.written));
    all
}

/// Where captures may lie, best first.
pub(crate) fn folders() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
    // SAFETY: asks for a number.
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

/// A folder, no link to one, that only this user may enter.
fn is_own(folder: &Path) -> bool {
    // SAFETY: asks for a number.
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

/// Removes the oldest of too many, and what never became one.
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

/// Locks a file for as long as it is open; false where somebody else has.
fn lock(file: &File) -> bool {
    // SAFETY: the descriptor is open.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

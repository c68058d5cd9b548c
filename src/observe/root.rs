//! The files of another process, by the paths that the process uses.
//!
//! Job: find a file of a process with another root (a container, a chroot), even after the process has ended.
//! Invariant: a descriptor keeps the root open, so paths stay valid; a process with the same root as this process costs
//! nothing. Neighbours: `symbols` reads libraries through it, `commands::attach` source text.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The root folder of a process.
#[derive(Debug, Default)]
pub struct Root {
    /// `None`: the root of this process.
    folder: Option<File>,
}

impl Root {
    /// The root of process `pid`; the root of this process, if the other cannot be opened.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let (theirs, ours) = (format!("/proc/{pid}/root"), "/proc/self/root");
        let place = |path: &str| fs::metadata(path).map(|facts| (facts.dev(), facts.ino())).ok();
        let mounts = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let same = place(&theirs) == place(ours) && mounts(&pid.to_string()) == mounts("self");
        Self { folder: if same { None } else { File::open(theirs).ok() } }
    }

    /// The path by which this process opens the file that the other process calls `path`.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        match &self.folder {
            Some(folder) if path.starts_with('/') => {
                // Linux resolves `/proc/self/fd/N` to the open folder.
                let mut found = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
                found.push(path.trim_start_matches('/'));
                found
            }
            _ => Path::new(path).to_owned(),
        }
    }

    /// True if the process has another root than this process.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.folder.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_our_own_root_has_our_names() {
        let root = Root::of(std::process::id());
        assert!(!root.is_foreign());
        assert_eq!(root.path("/etc/passwd"), Path::new("/etc/passwd"));
    }
}

//! The libraries behind a process' addresses.
//!
//! Job: read the executable mappings of `/proc/PID/maps` while the process lives, often enough to know every library that
//! ran and seldom enough to cost nothing, and keep them for after its death. Invariant: a reading is complete or thrown
//! away. Neighbours: `profile::symbolize` looks program counters up in the maps, `symbols` reads the files that they name.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use super::proc;
use crate::transport::event::Module;

/// Suffix of the path of a file that has been deleted or replaced since it was mapped.
pub const DELETED: &str = " (deleted)";
/// Least time between two readings.
const SHORTEST: Duration = Duration::from_millis(50);
/// Longest time between two readings of a process whose libraries do not change.
const LONGEST: Duration = Duration::from_millis(1_000);
/// A reading may take one part in this many of the time.
const SHARE: u32 = 500;

/// One executable mapping and the file it was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Addresses, offset and path.
    pub module: Module,
    /// Inode of the file; 0 for anonymous memory.
    pub inode: u64,
}

/// The mappings of one process over its life.
#[derive(Debug)]
pub struct ModuleWatch {
    pid: u32,
    last: Vec<Mapping>,
    inodes: HashMap<String, u64>,
    due: Option<Instant>,
    pause: Duration,
}

impl ModuleWatch {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { pid, last: Vec::new(), inodes: HashMap::new(), due: None, pause: SHORTEST }
    }

    /// The same, first read when the process has lived for a while: those of a forked one are its parent's until then.
    #[must_use]
    pub fn later(pid: u32, now: Instant) -> Self {
        Self { due: Some(now + SHORTEST), ..Self::new(pid) }
    }

    /// Reads the mappings if a reading is due; the answer is `Some` where they changed.
    ///
    /// The time between readings doubles while nothing changes.
    pub fn poll(&mut self, now: Instant) -> Option<Vec<Module>> {
        if self.due.is_some_and(|due| now < due) {
            return None;
        }
        let cpu = proc::own_cpu();
        let changed = self.refresh();
        let spent = proc::own_cpu().saturating_sub(cpu);
        self.pause = if changed.is_some() { SHORTEST } else { (self.pause * 2).min(LONGEST) };
        self.due = Some(now + self.pause.max(spent * SHARE));
        changed
    }

    /// Reads the mappings now; the answer is `Some` where they changed, `None` also once the process is gone.
    pub fn refresh(&mut self) -> Option<Vec<Module>> {
        let mappings = executable(self.pid).ok().filter(|mappings| !mappings.is_empty())?;
        if mappings == self.last {
            return None;
        }
        for mapping in mappings.iter().filter(|mapping| mapping.inode != 0) {
            self.inodes.insert(mapping.module.path.clone(), mapping.inode);
        }
        self.last = mappings;
        Some(self.last.iter().map(|mapping| mapping.module.clone()).collect())
    }

    /// Inode of every file that was ever mapped executable, by path: tells a file from its replacement.
    #[must_use]
    pub fn inodes(&self) -> &HashMap<String, u64> {
        &self.inodes
    }
}

/// Executable mappings of a process, by address.
///
/// # Errors
/// The process is gone or may not be inspected.
pub fn executable(pid: u32) -> io::Result<Vec<Mapping>> {
    let bytes = proc::read_whole(&format!("/proc/{pid}/maps"), 1 << 16)?;
    Ok(String::from_utf8_lossy(&bytes).lines().filter_map(parse).collect())
}

/// `START-END PERMISSIONS OFFSET MAJOR:MINOR INODE      PATH`; `None` for what is not executable.
fn parse(line: &str) -> Option<Mapping> {
    let (range, rest) = line.split_once(' ')?;
    let (permissions, rest) = rest.split_once(' ')?;
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let (offset, rest) = rest.split_once(' ')?;
    let (_device, rest) = rest.split_once(' ')?;
    let (inode, path) = rest.split_once(' ').unwrap_or((rest, ""));
    let (start, end) = range.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let path = path.trim_start_matches(' ').to_owned();
    Some(Mapping {
        module: Module { start: hex(start)?, end: hex(end)?, offset: hex(offset)?, path },
        inode: inode.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_blanks_and_anonymous_memory_has_none() {
        let mapping =
            parse("7f00-7f80 r-xp 00001000 fe:00 42                         /a b/c (deleted)").expect("parses");
        assert_eq!(
            mapping.module,
            Module { start: 0x7f00, end: 0x7f80, offset: 0x1000, path: "/a b/c (deleted)".into() }
        );
        assert_eq!(mapping.inode, 42);
        assert_eq!(parse("7f00-7f80 rwxp 00000000 00:00 0 ").expect("parses").module.path, "");
        assert_eq!(parse("7f00-7f80 rw-p 00000000 00:00 0 "), None);
    }

    #[test]
    fn unchanged_mappings_are_told_once() {
        let mut watch = ModuleWatch::new(std::process::id());
        let modules = watch.refresh().expect("the first reading is news");
        assert!(modules.iter().any(|module| module.path.contains("libc")));
        assert!(modules.iter().any(|module| module.path == "[vdso]"));
        assert_eq!(watch.refresh(), None);
        assert!(watch.inodes().values().all(|&inode| inode != 0));
    }
}

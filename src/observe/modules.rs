//! The libraries behind a process' addresses.
//!
//! Job: read the executable mappings of `/proc/PID/maps` while the process runs, and keep them after its end. Readings
//! are frequent enough to find every library that ran, and rare enough to cost nothing. Invariant: a reading is
//! complete or discarded. Neighbours: `profile::symbolize` looks program counters up in the mappings, `symbols` reads
//! the mapped files.

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
/// Readings may take a part of 1 / `SHARE` of the time.
const SHARE: u32 = 500;

/// An executable mapping and its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Addresses, offset and path.
    pub module: Module,
    /// Inode of the file; 0 for anonymous memory.
    pub inode: u64,
}

/// The mappings of a process over its life.
#[derive(Debug)]
pub struct ModuleWatch {
    pid: u32,
    last: Vec<Mapping>,
    inodes: HashMap<String, u64>,
    due: Option<Instant>,
    pause: Duration,
}

impl ModuleWatch {
    /// A watch that has read nothing yet.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { pid, last: Vec::new(), inodes: HashMap::new(), due: None, pause: SHORTEST }
    }

    /// The same, with the first reading after `SHORTEST`: until then a forked process has its parent's mappings.
    #[must_use]
    pub fn later(pid: u32, now: Instant) -> Self {
        Self { due: Some(now + SHORTEST), ..Self::new(pid) }
    }

    /// Reads the mappings if a reading is due. Returns `Some` if they have changed.
    ///
    /// The time between readings doubles while the mappings stay the same.
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

    /// Reads the mappings now. Returns `Some` if they have changed, `None` also if the process has ended.
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

    /// Inode of every file that was ever mapped executable, by path. A replacement of the file has another inode.
    #[must_use]
    pub fn inodes(&self) -> &HashMap<String, u64> {
        &self.inodes
    }
}

/// Executable mappings of a process, by address.
///
/// # Errors
/// The process has ended or may not be inspected.
pub fn executable(pid: u32) -> io::Result<Vec<Mapping>> {
    let bytes = proc::read_whole(&format!("/proc/{pid}/maps"), 1 << 16)?;
    Ok(String::from_utf8_lossy(&bytes).lines().filter_map(parse).collect())
}

/// Parses `START-END PERMISSIONS OFFSET MAJOR:MINOR INODE      PATH`; `None`: the mapping is not executable.
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
    fn unchanged_mappings_are_reported_once() {
        let mut watch = ModuleWatch::new(std::process::id());
        let modules = watch.refresh().expect("the first reading is news");
        assert!(modules.iter().any(|module| module.path.contains("libc")));
        assert!(modules.iter().any(|module| module.path == "[vdso]"));
        assert_eq!(watch.refresh(), None);
        assert!(watch.inodes().values().all(|&inode| inode != 0));
    }
}

//! The source of code generated in another process.
//!
//! Job: read the source that `linecache` has for a name such as `<generated spin>`, through the process' memory. The
//! source may appear after the code first runs, and disappears with the process: a name is read again for some seconds.
//! Invariants: [`MOST_NAMES`] and [`MOST_BYTES`] bound the reads and the memory; an unreadable source is left out.
//! Neighbours: `rscalene_interp` finds the source, `commands::run` keeps the source for the report.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rscalene_interp::{Layout, cached_lines};

use super::memory::ProcessMemory;
use super::target::Target;

/// Most names that a run reads.
const MOST_NAMES: usize = 256;
/// Most bytes of a source.
const MOST_BYTES: usize = 1 << 20;
/// Number of reads of the same name, and the time between two.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(200);

/// Names whose source is still to be read.
#[derive(Debug, Default)]
pub struct GeneratedTexts {
    targets: HashMap<u32, Target>,
    wanted: Vec<Wanted>,
    asked: usize,
    due: Option<Instant>,
}

#[derive(Debug)]
struct Wanted {
    pid: u32,
    name: String,
    tries: u32,
}

impl GeneratedTexts {
    /// Adds a process whose code may be generated.
    pub fn watch(&mut self, target: Target) {
        self.targets.insert(target.pid, target);
    }

    /// Forgets an ended process.
    pub fn forget(&mut self, pid: u32) {
        self.targets.remove(&pid);
        self.wanted.retain(|wanted| wanted.pid != pid);
    }

    /// Adds a name: code of this name has run in the process.
    pub fn want(&mut self, pid: u32, name: &str) {
        if self.asked < MOST_NAMES {
            self.asked += 1;
            self.wanted.push(Wanted { pid, name: name.to_owned(), tries: 0 });
            self.due = None;
        }
    }

    /// Passes each source that can be read now to `take`, with its name. Does nothing before the next read is due.
    pub fn look(&mut self, mut take: impl FnMut(&str, String)) {
        if self.wanted.is_empty() || self.due.is_some_and(|due| Instant::now() < due) {
            return;
        }
        let targets = &self.targets;
        self.wanted.retain_mut(|wanted| {
            let Some(target) = targets.get(&wanted.pid) else { return false };
            if let Some(text) = text(*target, &wanted.name) {
                take(&wanted.name, text);
                return false;
            }
            wanted.tries += 1;
            wanted.tries < TRIES
        });
        self.due = Some(Instant::now() + PAUSE);
    }
}

/// The source under this name in the process' `linecache`, if all lines can be read.
fn text(target: Target, name: &str) -> Option<String> {
    let memory = ProcessMemory::new(target.pid);
    let layout = Layout::of(target.version, target.runtime, target.code_type, &memory).ok()?;
    let mut text = String::new();
    let whole = cached_lines(&memory, &layout, name.as_bytes(), |line| {
        text.push_str(&String::from_utf8_lossy(line));
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.len() <= MOST_BYTES
    });
    (whole && !text.is_empty()).then_some(text)
}

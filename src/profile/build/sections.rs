//! Sections: stretches of the run that the program marked by name.
//!
//! Job: sum up the time and memory of a process between a mark and its end, in total and by line. Invariant: sections
//! may overlap, and each counts all work of the process meanwhile, in all threads. Calls of the same name in the same
//! process share a row. CPU time is the process' exact clock, and samples divide the time among lines. Neighbours:
//! `process` feeds events, `tables` writes the rows.

use rscalene_wire as wire;
use rustc_hash::FxHashMap;

use crate::profile::book::Book;
use crate::profile::book::intern::FrameId;
use crate::profile::book::records::{Lines, SectionRecord};

/// Most names that are kept; sections of further names have no row, but are counted.
const MOST_NAMES: usize = 1024;

/// The open sections of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open {
    sections: FxHashMap<u32, Begun>,
}

#[derive(Clone, Debug)]
struct Begun {
    name: String,
    time_ns: u64,
    cpu_ns: u64,
    allocated: f64,
    tracked: f64,
    passed: Lines,
}

/// The memory figures of a process at a mark.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// Bytes allocated so far.
    pub(crate) allocated: f64,
    /// Live bytes now.
    pub(crate) tracked: f64,
}

impl Open {
    /// A section begins; false if too many are open.
    pub(crate) fn begin(&mut self, mark: &wire::Section, name: &str, at: Standing) -> bool {
        let begun = Begun {
            name: name.to_owned(),
            time_ns: mark.time_ns,
            cpu_ns: mark.cpu_ns,
            allocated: at.allocated,
            tracked: at.tracked,
            passed: Lines::default(),
        };
        let fits = self.sections.len() < MOST_NAMES;
        if fits {
            self.sections.insert(mark.section, begun);
        }
        fits
    }

    /// A section ends.
    pub(crate) fn end(&mut self, mark: &wire::Section, at: Standing, process: usize, book: &mut Book) {
        if let Some(begun) = self.sections.remove(&mark.section) {
            begun.close(mark.time_ns, Some(mark.cpu_ns), at, process, book);
        }
    }

    /// The process has ended: open sections end with it.
    pub(crate) fn end_all(&mut self, time_ns: u64, cpu_ns: Option<u64>, at: Standing, process: usize, book: &mut Book) {
        let mut open: Vec<_> = std::mem::take(&mut self.sections).into_iter().collect();
        open.sort_unstable_by_key(|(number, _)| *number);
        for (_, begun) in open {
            begun.close(time_ns, cpu_ns, at, process, book);
        }
    }

    /// Adds a CPU sample to all open sections.
    pub(crate) fn sampled(&mut self, owner: FrameId, weight_ns: u64) {
        for begun in self.sections.values_mut() {
            begun.passed.sampled_ns += weight_ns as f64;
            if owner.some().is_some() {
                begun.passed.lines.entry(owner).or_default().0 += weight_ns as f64;
            }
        }
    }

    /// Adds an allocation to all open sections.
    pub(crate) fn allocated(&mut self, owner: FrameId, bytes: f64) {
        for begun in self.sections.values_mut().filter(|_| owner.some().is_some()) {
            begun.passed.lines.entry(owner).or_default().1 += bytes;
        }
    }
}

impl Begun {
    fn close(self, time_ns: u64, cpu_ns: Option<u64>, at: Standing, process: usize, book: &mut Book) {
        let known = book.sections.iter().position(|row| row.process == process && row.name == self.name);
        if known.is_none() && book.sections.len() >= MOST_NAMES {
            book.sections_left_out += 1;
            return;
        }
        let row = known.unwrap_or_else(|| {
            let row = SectionRecord { process, start_ns: self.time_ns, cpu_ns: Some(0), ..SectionRecord::default() };
            book.sections.push(SectionRecord { name: self.name.clone(), ..row });
            book.sections.len() - 1
        });
        let row = &mut book.sections[row];
        row.count += 1;
        row.start_ns = row.start_ns.min(self.time_ns);
        row.end_ns = row.end_ns.max(time_ns);
        row.elapsed_ns += time_ns.saturating_sub(self.time_ns);
        row.cpu_ns = row.cpu_ns.zip(cpu_ns).map(|(sum, now)| sum + now.saturating_sub(self.cpu_ns));
        row.allocated += at.allocated - self.allocated;
        row.increment += at.tracked - self.tracked;
        row.passed.sampled_ns += self.passed.sampled_ns;
        for (owner, (ns, bytes)) in self.passed.lines {
            let line = row.passed.lines.entry(owner).or_default();
            *line = (line.0 + ns, line.1 + bytes);
        }
    }
}

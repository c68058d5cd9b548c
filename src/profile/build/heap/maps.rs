//! The mapped memory of a process.
//!
//! Job: book mappings, their ends and their moves. Invariant: the shim records the end of a mapping before it asks the
//! kernel, so the removed mappings are remembered until the answer is known. A refusal restores them. A move carries
//! their backing to the new address, even if another thread maps the old address meanwhile. Neighbour: `mappings` knows
//! each byte.

use super::taken::Taken;
use super::{Heap, Moment};
use crate::profile::book::estimate::Spread;
use crate::profile::book::intern::FrameId;
use crate::profile::book::tree::Place;
use crate::profile::build::mappings::{Backing, Mapping};

/// Most remembered unmappings: several times the threads between a record and the kernel's answer at the same time.
const MOST_TAKEN: usize = 256;

impl Heap {
    /// Memory was mapped. Returns the bytes that count as allocated.
    pub(crate) fn map(&mut self, at: Moment, place: Place, address: u64, size: u64, backing: Backing) -> f64 {
        self.take_away(at, place.owner, (address, size));
        let site = self.sites.number(place);
        self.mappings.map(address, size, site, backing);
        let bytes = size as f64;
        if backing != Backing::Anonymous {
            self.apart(at, backing, bytes);
            return 0.0;
        }
        self.sites.allocated(site, 1.0);
        let cell = self.cell(place.owner);
        cell.alloc += bytes;
        cell.blocks += 1.0;
        self.put_aside(at.peaks);
        self.touch.add((address, size), site, bytes);
        self.change(at, site, bytes, Spread::default());
        bytes
    }

    /// Memory is about to be unmapped or, with `moves`, to be moved: the mapping is removed, unless [`Heap::put_back`]
    /// restores it.
    pub(crate) fn unmap(&mut self, at: Moment, running: FrameId, address: u64, size: u64, moves: bool) {
        let range = (address, size);
        let runs = self.take_away(at, running, range);
        if self.taken.len() == MOST_TAKEN {
            self.taken.pop_front();
        }
        self.taken.push_back(Taken { range, moves, running, runs });
    }

    /// The memory at `old` (first address, bytes) was moved. Returns its backing. Recordings of earlier versions have
    /// no [`Heap::unmap`] before the move.
    pub(crate) fn moved(&mut self, at: Moment, running: FrameId, old: (u64, u64)) -> Option<Backing> {
        let runs = match self.answered(old, true) {
            Some(taken) => taken.runs,
            None => self.take_away(at, running, old),
        };
        runs.first().map(|(_, run)| run.backing)
    }

    /// The kernel refused to unmap or to move memory: restores the mapping.
    pub(crate) fn put_back(&mut self, at: Moment, address: u64, size: u64, moves: bool) {
        let Some(taken) = self.answered((address, size), moves) else { return };
        self.begin(at);
        self.put_aside(at.peaks);
        for (start, run) in taken.runs {
            let size = run.end() - start;
            let bytes = size as f64;
            self.mappings.map(start, size, run.site, run.backing);
            if run.backing == Backing::Anonymous {
                self.cell(taken.running).unmapped -= bytes;
                self.touch.add((start, size), run.site, bytes);
                self.change(at, run.site, bytes, Spread::default());
            } else {
                self.apart(at, run.backing, bytes);
            }
        }
    }

    /// The latest unmapping of this range that waits for the kernel's answer.
    fn answered(&mut self, range: (u64, u64), moves: bool) -> Option<Taken> {
        let at = self.taken.iter().rposition(|taken| taken.range == range && taken.moves == moves)?;
        self.taken.remove(at)
    }

    fn take_away(&mut self, at: Moment, running: FrameId, (address, size): (u64, u64)) -> Vec<(u64, Mapping)> {
        self.begin(at);
        self.put_aside(at.peaks);
        self.touch.remove((address, size));
        let runs = self.mappings.unmap(address, size);
        for (start, run) in &runs {
            let bytes = (run.end() - start) as f64;
            if run.backing == Backing::Anonymous {
                self.cell(running).unmapped += bytes;
                self.change(at, run.site, -bytes, Spread::default());
            } else {
                self.apart(at, run.backing, -bytes);
            }
        }
        runs
    }

    /// Memory becomes accessible: its reserved part counts as mapped from now on. Returns the bytes that count as
    /// allocated.
    pub(crate) fn open(&mut self, at: Moment, place: Place, address: u64, size: u64) -> f64 {
        self.begin(at);
        let reserved = self.mappings.reserved(address, size);
        reserved.into_iter().map(|(start, bytes)| self.map(at, place, start, bytes, Backing::Anonymous)).sum()
    }
}

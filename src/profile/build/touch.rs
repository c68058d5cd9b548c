//! The untouched bytes of large blocks: the program allocated them, but no memory is behind them.
//!
//! Job: know for each moment that may be the peak which bytes were untouched, by place. The launcher reads the page
//! tables only now and then, when the footprint has grown; in between it reads only the footprint. Invariant: constant
//! work per block, and a look costs no more than the number of live blocks. Neighbours: `heap` reports new and ended
//! large blocks, `peak` decides which moments count, `observe::untouched` reads the page tables.
//!
//! **Between two looks** the program may have filled a block that is new, or was half filled; the growth of the
//! footprint shows by how much. Growth without another explanation counts for the youngest block first, because
//! programs fill what they have just allocated.

use std::collections::{BTreeMap, HashMap};

use rustc_hash::FxHashMap;

use super::live::SiteId;
use super::peak::TIE;

/// Smallest block that may have pages of its own.
pub(crate) const LARGE: u64 = 128 * 1024;
/// Most changes kept between two looks.
const MOST_CHANGES: usize = 16_384;

/// Smaller differences (plus [`TIE`] of the footprint) do not show in the footprint, because small objects come and go
/// between readings.
const UNSURE: f64 = (1 << 20) as f64;

/// A block counts as full if at most this part of it is untouched: a look often meets a block that the program is still
/// filling.
const NEARLY_FULL: f64 = 1.0 / 16.0;

/// Untouched bytes by place.
pub(crate) type Untouched = FxHashMap<SiteId, f64>;

/// A large block.
#[derive(Clone, Copy, Debug)]
struct Piece {
    end: u64,
    site: SiteId,
    born: u64,
    /// Bytes that may be untouched, at the last look; all bytes of a block that is younger than the look.
    open: f64,
    /// Weight of each byte of the block: the sampled weight divided by the block's size.
    weight: f64,
}

/// A block was added or removed, and with it bytes that may be untouched (negative: removed).
#[derive(Clone, Copy, Debug)]
struct Change {
    born: u64,
    site: SiteId,
    open: f64,
    /// Bytes of the block, touched or not.
    whole: f64,
}

/// The state at a moment.
#[derive(Clone, Debug, Default)]
struct Aside {
    number: u64,
    changes: usize,
    read: f64,
    tracked: f64,
    /// The untouched bytes, computed before `changes` is cleared.
    known: Option<Untouched>,
}

/// The large blocks of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touch {
    pieces: BTreeMap<u64, Piece>,
    born: u64,
    changes: Vec<Change>,
    asides: [Aside; 2],
    /// The part of the footprint at the last look that touched tracked bytes do not explain.
    rest: Option<f64>,
    /// The last reading of the footprint.
    read: f64,
    /// Estimate of the bytes that are untouched now.
    untouched: f64,
    /// The part of `untouched` in the course of being filled at the last reading.
    filling: f64,
}

impl Touch {
    /// Untouched bytes now.
    pub(crate) fn untouched(&self) -> f64 {
        self.untouched
    }

    /// The part of [`Touch::untouched`] in the course of being filled at the last reading: the whole while the footprint
    /// grows, otherwise the bytes that have come since the reading before.
    pub(crate) fn filling(&self) -> f64 {
        self.filling
    }

    /// Adds a block whose sample has a weight of `weight` bytes.
    pub(crate) fn add(&mut self, (address, size): (u64, u64), site: SiteId, weight: f64) {
        if size >= LARGE {
            self.born += 1;
            let (born, end) = (self.born, address.saturating_add(size));
            self.pieces.insert(address, Piece { end, site, born, open: weight, weight: weight / size as f64 });
            self.note(Change { born, site, open: weight, whole: weight });
        }
    }

    /// Removes the blocks, or the parts of blocks, in a range of addresses.
    pub(crate) fn remove(&mut self, (address, size): (u64, u64)) {
        if self.pieces.is_empty() {
            return;
        }
        let end = address.saturating_add(size.max(1));
        let before = self.pieces.range(..address).next_back().filter(|(_, piece)| piece.end > address);
        let mut starts: Vec<u64> = before.map(|(&start, _)| start).into_iter().collect();
        starts.extend(self.pieces.range(address..end).map(|(&start, _)| start));
        for start in starts {
            let Some(piece) = self.pieces.remove(&start) else { continue };
            let whole = (piece.end - start) as f64;
            let mut left = 0.0;
            for (from, to) in [(start, address.max(start)), (end.min(piece.end), piece.end)] {
                if from < to {
                    let open = piece.open * ((to - from) as f64 / whole);
                    left += open;
                    self.pieces.insert(from, Piece { end: to, open, ..piece });
                }
            }
            self.note(Change { born: piece.born, site: piece.site, open: left - piece.open, whole: 0.0 });
        }
    }

    /// The footprint was read while `tracked` bytes were live.
    pub(crate) fn read(&mut self, bytes: u64, tracked: f64) {
        let untouched = self.untouched_of(self.changes.len(), bytes as f64, tracked).values().sum();
        self.estimate(untouched, bytes as f64);
    }

    fn estimate(&mut self, untouched: f64, read: f64) {
        let grows = read > self.read + UNSURE + self.read * TIE;
        self.filling = if grows { untouched } else { (untouched - self.untouched).max(0.0) };
        (self.untouched, self.read) = (untouched, read);
    }

    /// The footprint was `bytes` at an earlier moment.
    pub(crate) fn raise(&mut self, (which, number): (usize, u64), bytes: f64) {
        let aside = &mut self.asides[which];
        if aside.number == number {
            aside.read = bytes;
        }
    }

    /// The launcher read the page tables: `ranges` (first address, bytes), in order, have no pages. At that time the
    /// footprint was `bytes`, and `tracked` bytes were live.
    pub(crate) fn look(&mut self, ranges: &[(u64, u64)], bytes: u64, tracked: f64) {
        self.freeze();
        self.changes.clear();
        let mut untouched = 0.0;
        for (&start, piece) in &mut self.pieces {
            piece.open = overlap(ranges, start, piece.end) as f64 * piece.weight;
            if piece.open > 0.0 {
                untouched += piece.open;
                let whole = (piece.end - start) as f64 * piece.weight;
                self.changes.push(Change { born: piece.born, site: piece.site, open: piece.open, whole });
            }
        }
        self.estimate(untouched, bytes as f64);
        self.rest = Some(self.read - (tracked - self.untouched));
    }

    /// Computes the untouched bytes at the moments put aside, before the changes are cleared.
    fn freeze(&mut self) {
        for which in 0..self.asides.len() {
            let Aside { changes, read, tracked, ref known, .. } = self.asides[which];
            if known.is_none() {
                self.asides[which].known = Some(self.untouched_of(changes, read, tracked));
            }
        }
    }

    /// The untouched bytes at a moment; `tracked`: live bytes now.
    pub(crate) fn at(&self, (which, number): (usize, u64), tracked: f64) -> Untouched {
        let aside = &self.asides[which];
        match (&aside.known, aside.number == number) {
            (Some(known), true) => known.clone(),
            (None, true) => self.untouched_of(aside.changes, aside.read, aside.tracked),
            (_, false) => self.untouched_of(self.changes.len(), self.read, tracked),
        }
    }

    /// Keeps the state of a moment before the state changes.
    pub(crate) fn put_aside(&mut self, (which, number): (usize, u64), tracked: f64) {
        self.asides[which] = Aside { number, changes: self.changes.len(), read: self.read, tracked, known: None };
    }

    fn note(&mut self, change: Change) {
        if change.open < 0.0 {
            self.untouched = (self.untouched + change.open).max(0.0);
        }
        self.changes.push(change);
        if self.changes.len() > MOST_CHANGES {
            self.freeze();
            let mut open: BTreeMap<u64, Change> = BTreeMap::new();
            for change in self.changes.drain(..) {
                open.entry(change.born).or_insert(Change { open: 0.0, ..change }).open += change.open;
            }
            self.changes.extend(open.into_values().filter(|change| change.open >= 1.0));
            if self.changes.len() > MOST_CHANGES / 2 {
                // The footprint cannot separate so many blocks: they count as touched until the next look.
                (self.rest, self.untouched, self.filling) = (None, 0.0, 0.0);
                self.changes.clear();
            }
        }
    }

    /// The untouched bytes after the first `changes` changes, at a footprint of `read` bytes and with `tracked` live
    /// bytes.
    fn untouched_of(&self, changes: usize, read: f64, tracked: f64) -> Untouched {
        let mut untouched = Untouched::default();
        let Some(rest) = self.rest else { return untouched };
        let mut open: HashMap<u64, (SiteId, f64, f64)> = HashMap::new();
        for change in &self.changes[..changes.min(self.changes.len())] {
            let piece = open.entry(change.born).or_insert((change.site, 0.0, 0.0));
            (piece.1, piece.2) = (piece.1 + change.open, piece.2.max(change.whole));
        }
        let mut open: Vec<(u64, (SiteId, f64, f64))> = open.into_iter().collect();
        open.sort_unstable_by_key(|(born, _)| std::cmp::Reverse(*born));
        let all: f64 = open.iter().map(|(_, (_, bytes, _))| bytes).sum();
        // The part of the footprint without another explanation: the program filled so many bytes of these blocks.
        let mut filled = (read - rest - (tracked - all)).max(0.0);
        let mut unsure = UNSURE + read * TIE;
        for (_, (site, bytes, whole)) in open {
            let mut here = filled.min(bytes.max(0.0));
            filled -= here;
            // The footprint cannot show a gap this small, so the block counts as full. The same holds for a block that
            // the program was filling during the look.
            let lacking = bytes - here;
            if lacking <= NEARLY_FULL * whole {
                here = bytes;
            } else if lacking <= unsure && lacking <= 0.25 * whole {
                unsure -= lacking;
                here = bytes;
            }
            if bytes - here >= 1.0 {
                *untouched.entry(site).or_default() += bytes - here;
            }
        }
        untouched
    }
}

/// Bytes of `start..end` that lie in `ranges`, which are sorted and do not overlap.
pub(crate) fn overlap(ranges: &[(u64, u64)], start: u64, end: u64) -> u64 {
    let first = ranges.partition_point(|&(at, bytes)| at.saturating_add(bytes) <= start);
    let inside = ranges[first..].iter().take_while(|(at, _)| *at < end);
    inside.fold(0_u64, |sum, &(at, bytes)| {
        sum.saturating_add(at.saturating_add(bytes).min(end).saturating_sub(at.max(start)))
    })
}

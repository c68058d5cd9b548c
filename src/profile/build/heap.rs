//! The memory of one process, by owner.
//!
//! Job: add up allocations, frees and mappings by owner. Know of each owner the live bytes now, at the peak, and when
//! Python code last ran. Invariant: live bytes of all owners sum to `tracked`; only blocks are kept singly. Neighbours:
//! `estimate` weighs a sample, `mappings` knows mapped bytes, `peak` finds the moment of the peak, `leaks` reads the
//! snapshots.
//!
//! **Moments without snapshots.** The peak can move with every allocation, so copying all owners each time would be far
//! too slow. Each moment has a number, raised when the moment moves. Before an owner changes for the first time after a
//! moment, the owner puts its figures aside under that number. At the end, an owner that has not changed since the
//! moment still holds the right figures, and every other owner has put them aside. The result is exact, at constant
//! time per change.
//!
//! **The end.** An interpreter that exits tears its modules down and frees the program's memory; a user does not mean
//! that state by "live at the end". Live bytes therefore count at the moment when the teardown begins. If that moment
//! is unknown (the shim recorded nothing after it), they count at the last record with a Python stack, because a
//! teardown runs few frames.

mod maps;
mod taken;

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;

use self::taken::Taken;
use super::leaks::Snapshots;
use super::live::{Live, SiteId};
use super::mappings::{Backing, Mappings};
use super::peak::{Numbers, Tracked};
use super::repeats::Repeats;
use super::sites::Sites;
use super::touch::{LARGE, Touch, Untouched, overlap};
use crate::profile::book::courses::Courses;
use crate::profile::book::estimate::{Estimate, Spread, copy_spread, estimate};
use crate::profile::book::intern::FrameId;
use crate::profile::book::records::{Footprint, Growth};
use crate::profile::book::tree::{NodeId, Place};

/// Figures put aside at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Aside {
    live: Live,
    moment: u64,
}

/// The figures of one owner.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    /// Bytes allocated.
    pub(crate) alloc: f64,
    /// Sampling error of `alloc`.
    pub(crate) alloc_spread: Spread,
    /// Blocks allocated.
    pub(crate) blocks: f64,
    /// The part of `alloc` that came through Python's object allocators.
    pub(crate) python: f64,
    /// Bytes copied.
    pub(crate) copied: f64,
    /// Sampling error of `copied`.
    pub(crate) copied_spread: Spread,
    freed_blocks: f64,
    unmapped: f64,
    now: Live,
    /// The largest `now` in the stretch of time of this number, since the snapshot before.
    most: (f64, u64),
    /// The value of `now` at the two moments that may be the peak.
    at_peak: [Aside; 2],
    at_end: Aside,
}

/// A live block. The size is 12 bytes, because exact mode keeps an entry for every live block of the program.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Block {
    /// Low 48 bits: size; high 16: index of the interval.
    packed: u64,
    site: SiteId,
}

const SIZE_BITS: u32 = 48;

impl Block {
    fn size(self) -> u64 {
        self.packed & ((1 << SIZE_BITS) - 1)
    }
}

/// Most threads whose last resize is remembered.
const MOST_RESIZING: usize = 1 << 16;

/// Circumstances of a change of memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Time of the change.
    pub(crate) time_ns: u64,
    /// True if a Python stack was running.
    pub(crate) python: bool,
    /// Numbers of the moments that may be the peak.
    pub(crate) peaks: Numbers,
}

/// The memory of one process.
#[derive(Debug, Default)]
pub(crate) struct Heap {
    blocks: FxHashMap<u64, Block>,
    /// The block that each thread resized last. The block comes back if the allocator refuses.
    resizing: FxHashMap<u32, (u64, Block)>,
    intervals: Vec<u64>,
    mappings: Mappings,
    /// Mappings that the latest unmappings took away. They come back if the kernel refuses.
    taken: VecDeque<Taken>,
    cells: FxHashMap<FrameId, Cell>,
    sites: Sites,
    tracked: f64,
    /// Footprints at the two moments that may be the peak, and their numbers.
    at_peak: [(Footprint, u64); 2],
    touch: Touch,
    /// Touched bytes of memory that was mapped without reserve, by place.
    lazy: FxHashMap<SiteId, f64>,
    python_moment: u64,
    last_ns: u64,
    teardown: bool,
    files: f64,
    arenas: f64,
    snapshots: Snapshots,
    stretch: u64, // number of the stretch of time since the last snapshot
}

/// Final figures of an owner.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    /// Bytes freed while the owner ran.
    pub(crate) freed: f64,
    /// Live bytes at the end.
    pub(crate) live: Live,
}

impl Heap {
    /// Adds an allocated block. Returns the bytes that the record stands for.
    pub(crate) fn alloc(
        &mut self,
        at: Moment,
        place: Place,
        address: u64,
        size: u64,
        interval: u64,
        object: bool,
    ) -> f64 {
        self.begin(at);
        let one = estimate(size, interval);
        let index = self.interval_index(interval);
        let size = size.min((1 << SIZE_BITS) - 1);
        let site = self.sites.number(place);
        let before = self.blocks.insert(address, Block { packed: size | (index << SIZE_BITS), site });
        if let Some(before) = before {
            // The record of the former block's end was lost.
            self.went(at, address, before);
        }
        self.put_aside(at.peaks);
        self.touch.add((address, size), site, one.bytes);
        self.sites.allocated(site, one.blocks);
        let cell = self.cell(place.owner);
        cell.alloc += one.bytes;
        cell.alloc_spread.add(one.spread);
        cell.blocks += one.blocks;
        if object {
            cell.python += one.bytes;
        }
        self.change(at, site, one.bytes, one.spread);
        one.bytes
    }

    /// A recorded block was freed while the line of `running` ran.
    pub(crate) fn free(&mut self, at: Moment, running: FrameId, address: u64) {
        self.begin(at);
        if let Some((_, one)) = self.forget(at, address) {
            self.cell(running).freed_blocks += one.bytes;
        }
    }

    /// Thread `tid` is about to resize a recorded block: the block is removed, unless [`Heap::keep`] brings it back.
    pub(crate) fn resize(&mut self, at: Moment, running: FrameId, address: u64, tid: u32) {
        self.begin(at);
        self.resizing.remove(&tid);
        if let Some((block, one)) = self.forget(at, address) {
            self.cell(running).freed_blocks += one.bytes;
            if self.resizing.len() < MOST_RESIZING {
                self.resizing.insert(tid, (address, block));
            }
        }
    }

    /// The allocator refused to resize the block of thread `tid`: the block is live again.
    pub(crate) fn keep(&mut self, at: Moment, running: FrameId, address: u64, tid: u32) {
        self.begin(at);
        let Some((_, block)) = self.resizing.remove(&tid).filter(|(of, _)| *of == address) else { return };
        let one = self.estimate(block);
        self.cell(running).freed_blocks -= one.bytes;
        self.blocks.insert(address, block);
        self.put_aside(at.peaks);
        self.touch.add((address, block.size()), block.site, one.bytes);
        self.change(at, block.site, one.bytes, one.spread);
    }

    /// `weight` bytes were copied while the line of `running` ran.
    pub(crate) fn copy(&mut self, at: Moment, running: FrameId, weight: u64) {
        self.begin(at);
        let cell = self.cell(running);
        cell.copied += weight as f64;
        cell.copied_spread.add(copy_spread(weight));
    }

    /// The interpreter begins its teardown: records of later code no longer move the moment of "live at the end".
    pub(crate) fn tear_down(&mut self) {
        self.python_moment += 1;
        self.teardown = true;
    }

    /// A record had a Python stack: the moment of "live at the end" moves to that record, unless the teardown has
    /// begun.
    pub(crate) fn python_ran(&mut self, time_ns: u64) {
        if self.teardown {
            return;
        }
        self.python_moment += 1;
        self.alive(time_ns);
    }

    /// The process was alive at `time_ns`.
    pub(crate) fn alive(&mut self, time_ns: u64) {
        if !self.teardown {
            self.last_ns = self.last_ns.max(time_ns);
        }
    }

    /// A copy without the live blocks; the sums over the blocks are included.
    pub(crate) fn sums(&self) -> Self {
        Self {
            blocks: FxHashMap::default(),
            resizing: FxHashMap::default(),
            intervals: Vec::new(),
            mappings: self.mappings.clone(),
            taken: VecDeque::new(),
            cells: self.cells.clone(),
            sites: self.sites.sums(),
            tracked: self.tracked,
            at_peak: self.at_peak,
            touch: self.touch.clone(),
            lazy: self.lazy.clone(),
            python_moment: self.python_moment,
            last_ns: self.last_ns,
            teardown: self.teardown,
            files: self.files,
            arenas: self.arenas,
            snapshots: self.snapshots.clone(),
            stretch: self.stretch,
        }
    }

    /// The tracked live bytes now.
    pub(crate) fn tracked(&self) -> Tracked {
        let touched = self.tracked - self.touch.untouched();
        Tracked { touched, filled: (touched + self.touch.filling()).min(self.tracked), asked: self.tracked }
    }

    /// The footprint was read. `untouched`: ranges of memory (first address, bytes) that have no page behind them, in
    /// order; `None` if the launcher did not read the page tables.
    pub(crate) fn footprint_read(&mut self, at: Moment, bytes: u64, untouched: Option<&[(u64, u64)]>) {
        self.put_aside(at.peaks);
        if let Some(ranges) = untouched {
            self.touch_lazy(at, ranges);
            self.touch.look(ranges, bytes, self.tracked);
        } else {
            self.touch.read(bytes, self.tracked);
        }
    }

    /// The footprint was `bytes` at an earlier moment.
    pub(crate) fn raise(&mut self, peaks: Numbers, moment: (usize, u64), bytes: f64) {
        self.put_aside(peaks);
        self.touch.raise(moment, bytes);
    }

    /// Books the touched part of memory that was mapped without reserve. Such memory counts only once the program
    /// touches it.
    fn touch_lazy(&mut self, at: Moment, untouched: &[(u64, u64)]) {
        let mut touched: BTreeMap<u32, f64> = self.lazy.keys().map(|&site| (site.0, 0.0)).collect();
        for (start, run) in self.mappings.runs().filter(|(_, run)| run.backing == Backing::Lazy) {
            let bytes = (run.end() - start).saturating_sub(overlap(untouched, start, run.end()));
            *touched.entry(run.site.0).or_default() += bytes as f64;
        }
        for (site, bytes) in touched {
            let known = self.lazy.insert(SiteId(site), bytes).unwrap_or(0.0);
            if bytes > known {
                self.cell(self.sites.owner(SiteId(site))).alloc += bytes - known;
            }
            self.change(Moment { python: true, ..at }, SiteId(site), bytes - known, Spread::default());
        }
    }

    /// The footprint at a moment, given by its index among the two and its number.
    pub(crate) fn footprint(&self, (which, number): (usize, u64)) -> Footprint {
        let (aside, of) = self.at_peak[which];
        if of == number { aside } else { self.now() }
    }

    fn now(&self) -> Footprint {
        Footprint { tracked: self.tracked, files: self.files, arenas: self.arenas, untouched: 0.0 }
    }

    /// The owners with the most live bytes now, and their bytes.
    pub(crate) fn largest(&self, count: usize) -> Vec<(FrameId, f64)> {
        let mut owners: Vec<(FrameId, f64)> = self
            .cells
            .iter()
            .map(|(&owner, cell)| (owner, cell.now.bytes))
            .filter(|(_, bytes)| *bytes >= 1.0)
            .collect();
        owners.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
        owners.truncate(count);
        owners
    }

    /// Untouched bytes at a moment, given by its index among the two and its number.
    pub(crate) fn untouched_at(&self, moment: (usize, u64)) -> Untouched {
        self.touch.at(moment, self.tracked)
    }

    /// Touched bytes of each stack at a moment, given by its index among the two and its number.
    pub(crate) fn peak_by_stack(&self, moment: (usize, u64), untouched: &Untouched) -> Vec<(NodeId, f64)> {
        self.sites.at_peak(moment, untouched)
    }

    /// Touched bytes of each owner at a moment, given by its index among the two and its number.
    pub(crate) fn peak_by_owner(&self, (which, number): (usize, u64), untouched: &Untouched) -> Vec<(FrameId, Live)> {
        let mut of_owner: FxHashMap<FrameId, f64> = FxHashMap::default();
        for (&site, bytes) in untouched {
            *of_owner.entry(self.sites.owner(site)).or_default() += bytes;
        }
        let had = |(&owner, cell): (&FrameId, &Cell)| {
            let live = cell.at_peak[which].or(cell.now, number);
            (owner, Live { bytes: live.bytes - of_owner.get(&owner).copied().unwrap_or(0.0), ..live })
        };
        self.cells.iter().map(had).filter(|(_, live)| live.bytes != 0.0).collect()
    }

    /// The owners whose live bytes grew until the teardown, or until the process was last seen alive.
    pub(crate) fn growing(&self, repeats: &Repeats) -> Vec<Growth> {
        let mut snapshots = self.snapshots.clone();
        if snapshots.due(self.last_ns) {
            snapshots.take(self.last_ns, self.owners_now());
        }
        snapshots.growing(self.last_ns, |owner, since| repeats.since(owner, since))
    }

    /// Adds the live bytes of the lines over time to `courses`. `ended`: the process holds no memory from now on.
    pub(crate) fn add_courses(&self, courses: &mut Courses, ended: bool) {
        let points = self.snapshots.stretches(self.last_ns, self.owners_now().map(|(owner, _, most)| (owner, most)));
        courses.add(&points, ended.then_some(self.last_ns));
    }

    /// Each owner with its live bytes now and the most since the last snapshot.
    fn owners_now(&self) -> impl Iterator<Item = (FrameId, f64, f64)> {
        self.cells.iter().map(|(&owner, cell)| (owner, cell.now.bytes, cell.most_in(self.stretch)))
    }

    /// All owners with their figures. `orderly`: the process exited by itself, so frees during its teardown do not
    /// count.
    pub(crate) fn owners(&self, orderly: bool) -> impl Iterator<Item = (FrameId, &Cell, Sums)> {
        let end = self.end(orderly);
        self.cells.iter().map(move |(&owner, cell)| {
            let sums = Sums {
                freed: cell.freed_blocks + cell.unmapped,
                live: end.map_or(cell.now, |end| cell.at_end.or(cell.now, end)),
            };
            (owner, cell, sums)
        })
    }

    /// Each stack with its allocated blocks and its live bytes; `orderly` as in [`Heap::owners`].
    pub(crate) fn stacks(&self, orderly: bool) -> impl Iterator<Item = (NodeId, f64, f64)> {
        self.sites.at_end(self.end(orderly))
    }

    /// The number of the moment at which the teardown began; `None`: the live bytes of now count.
    fn end(&self, orderly: bool) -> Option<u64> {
        Some(self.python_moment).filter(|&moment| orderly && moment > 0)
    }

    fn cell(&mut self, owner: FrameId) -> &mut Cell {
        self.cells.entry(owner).or_default()
    }

    fn begin(&mut self, at: Moment) {
        if at.python {
            self.python_ran(at.time_ns);
        }
        if self.teardown {
            self.last_ns = self.last_ns.min(at.time_ns);
        }
        if self.snapshots.due(at.time_ns) {
            let owners = self.cells.iter().map(|(&owner, cell)| (owner, cell.now.bytes, cell.most_in(self.stretch)));
            self.stretch += u64::from(self.snapshots.take(at.time_ns, owners));
        }
    }

    fn forget(&mut self, at: Moment, address: u64) -> Option<(Block, Estimate)> {
        let block = self.blocks.remove(&address)?;
        Some((block, self.went(at, address, block)))
    }

    fn went(&mut self, at: Moment, address: u64, block: Block) -> Estimate {
        let one = self.estimate(block);
        if block.size() >= LARGE {
            self.put_aside(at.peaks);
            self.touch.remove((address, block.size()));
        }
        self.change(at, block.site, -one.bytes, one.spread.negated());
        one
    }

    fn estimate(&self, block: Block) -> Estimate {
        let packed = block.packed;
        estimate(block.size(), self.intervals[(packed >> SIZE_BITS) as usize])
    }

    fn change(&mut self, at: Moment, site: SiteId, bytes: f64, spread: Spread) {
        let end = Some(self.python_moment).filter(|_| self.teardown || !at.python);
        self.put_aside(at.peaks);
        self.sites.change(site, bytes, at.peaks, end);
        let cell = self.cells.entry(self.sites.owner(site)).or_default();
        for (aside, number) in cell.at_peak.iter_mut().zip(at.peaks) {
            aside.put(cell.now, number);
        }
        if let Some(end) = end {
            cell.at_end.put(cell.now, end);
        }
        let most = cell.most_in(self.stretch);
        cell.now.bytes += bytes;
        cell.most = (most.max(cell.now.bytes), self.stretch);
        cell.now.spread.add(spread);
        self.tracked += bytes;
    }

    /// Keeps the footprint of the moments before it changes.
    fn put_aside(&mut self, peaks: Numbers) {
        for (which, number) in peaks.into_iter().enumerate() {
            if self.at_peak[which].1 != number {
                self.at_peak[which] = (self.now(), number);
                self.touch.put_aside((which, number), self.tracked);
            }
        }
    }

    fn apart(&mut self, at: Moment, backing: Backing, bytes: f64) {
        self.put_aside(at.peaks);
        match backing {
            Backing::File => self.files += bytes,
            Backing::Arena => self.arenas += bytes,
            Backing::Anonymous | Backing::Reserved | Backing::Lazy => {}
        }
    }

    fn interval_index(&mut self, interval: u64) -> u64 {
        let known = self.intervals.iter().rposition(|&known| known == interval);
        known.unwrap_or_else(|| {
            // Adapting the interval halves or doubles the value, so there are about a dozen values. If a forged ring
            // sends more than the index can hold, the rest get the last value.
            if self.intervals.len() < usize::from(u16::MAX) {
                self.intervals.push(interval);
            }
            self.intervals.len() - 1
        }) as u64
    }
}

impl Cell {
    /// The most live bytes in the present stretch of time; an owner without a change there held the same all the time.
    fn most_in(&self, stretch: u64) -> f64 {
        if self.most.1 == stretch { self.most.0.max(self.now.bytes) } else { self.now.bytes }
    }
}

impl Aside {
    fn put(&mut self, live: Live, moment: u64) {
        if self.moment != moment {
            *self = Self { live, moment };
        }
    }

    fn or(&self, now: Live, moment: u64) -> Live {
        // The first change of an owner that appeared after the moment put its empty figures aside.
        if self.moment == moment { self.live } else { now }
    }
}

//! The memory of one process, line by line.
//!
//! Job: add up allocations, frees and mappings by owner, and know at any moment what each owner has live, what it had at
//! the process' high-water mark, and what it had when Python code last ran. Invariant: live bytes of all owners sum to
//! `tracked`; blocks are the only thing that is kept singly. Neighbours: `estimate` weighs a sample, `mappings` knows
//! mapped bytes, `leaks` reads the snapshots.
//!
//! **Two moments without snapshots.** A maximum can move with every allocation, so copying all owners each time is out of
//! the question. Each moment has a number, raised when the moment moves; an owner that is about to change, and has not
//! changed since the moment, first puts its figures aside under that number. At the end an owner that has not changed
//! since the moment still holds the right figures, and any other put them aside: exact, in constant time a change.
//!
//! **The end.** An interpreter that exits tears its modules down and frees what the program kept; nobody asks for that
//! "live at the end". Live bytes count at the moment when it begins; where that is not known (the shim saw nothing after
//! it), at the last record with a Python stack, since tearing down runs few frames.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::leaks::Snapshots;
use super::mappings::{Backing, Mappings};
use super::sites::{SiteId, Sites};
use crate::profile::book::estimate::{Estimate, Spread, estimate};
use crate::profile::book::intern::FrameId;
use crate::profile::book::records::Footprint;
use crate::profile::book::tree::{NodeId, Place};

/// Live figures of an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Live {
    /// Bytes.
    pub(crate) bytes: f64,
    /// How far `bytes` may be off.
    pub(crate) spread: Spread,
}

/// Figures put aside at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Aside {
    live: Live,
    moment: u64,
}

/// One owner.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    /// Bytes allocated.
    pub(crate) alloc: f64,
    /// How far `alloc` may be off.
    pub(crate) alloc_spread: Spread,
    /// Blocks allocated.
    pub(crate) blocks: f64,
    /// Part of `alloc` through Python's object allocators.
    pub(crate) python: f64,
    /// Bytes copied.
    pub(crate) copied: f64,
    freed_blocks: f64,
    unmapped: f64,
    now: Live,
    /// At the moments of [`Heap::moments`].
    at_peak: [Aside; 2],
    at_end: Aside,
}

/// A live block: 12 bytes, since exact mode keeps one for every block there is.
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

/// Threads whose last resize is remembered.
const MOST_RESIZING: usize = 1 << 16;

/// What a change of memory says beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// When.
    pub(crate) time_ns: u64,
    /// Was a Python stack running?
    pub(crate) python: bool,
}

/// A moment that may be the peak.
#[derive(Clone, Copy, Debug, Default)]
struct Peak {
    /// Its number; 0: there was none.
    number: u64,
    /// The footprint then, read or estimated.
    bytes: f64,
    footprint: Footprint,
}

/// Place of the moment of the highest reading in [`Heap::moments`], and of the highest estimate.
const READ: usize = 0;
const ESTIMATED: usize = 1;
/// Blocks from this size on may hold pages that were never touched.
const LARGE: u64 = 128 * 1024;

/// The memory of one process.
#[derive(Debug, Default)]
pub(crate) struct Heap {
    blocks: FxHashMap<u64, Block>,
    /// Blocks that went into a resize last, by thread: a refusal brings them back.
    resizing: FxHashMap<u32, (u64, Block)>,
    intervals: Vec<u64>,
    mappings: Mappings,
    cells: FxHashMap<FrameId, Cell>,
    sites: Sites,
    tracked: f64,
    /// The two candidates for the peak: the moment of the highest reading of the footprint, and that of the highest
    /// estimate between two readings.
    moments: [Peak; 2],
    /// Numbers of moments that were given.
    given: u64,
    /// The last reading, and what was tracked then.
    read: Option<(u64, f64)>,
    /// Most bytes that were ever tracked.
    most: f64,
    /// Blocks that may have pages of their own, by address: bytes and place.
    large: BTreeMap<u64, (u64, SiteId)>,
    /// Those of `large` that are younger than the last look at untouched memory.
    young: BTreeMap<u64, (u64, SiteId)>,
    /// Bytes of the places that were never touched, at the highest reading.
    untouched: FxHashMap<SiteId, f64>,
    /// What was untouched when that was last looked at.
    last_untouched: Box<[(u64, u64)]>,
    /// The footprint at that look.
    looked: u64,
    /// Touched bytes of memory that was mapped without reserve, by place.
    lazy: FxHashMap<SiteId, f64>,
    python_moment: u64,
    last_python_ns: u64,
    teardown: bool,
    files: f64,
    arenas: f64,
    snapshots: Snapshots,
}

/// What the heap of a process comes to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    /// Bytes freed while the owner ran.
    pub(crate) freed: f64,
    /// Live at the end.
    pub(crate) live: Live,
    /// Live at the high-water mark.
    pub(crate) peak: Live,
}

impl Heap {
    /// A block was allocated. Returns the bytes that the record stands for.
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
            // Its end did not reach us.
            self.large.remove(&address);
            self.young.remove(&address);
            self.went(at, before);
        }
        if size >= LARGE {
            self.large.insert(address, (size, site));
            self.young.insert(address, (size, site));
        }
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

    /// A recorded block went, while `running` ran.
    pub(crate) fn free(&mut self, at: Moment, running: FrameId, address: u64) {
        self.begin(at);
        if let Some((_, one)) = self.forget(at, address) {
            self.cell(running).freed_blocks += one.bytes;
        }
    }

    /// Thread `tid` is about to resize a recorded block: it goes, unless [`Heap::keep`] brings it back.
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

    /// The allocator refused to resize the block of thread `tid`: it lives on.
    pub(crate) fn keep(&mut self, at: Moment, running: FrameId, address: u64, tid: u32) {
        self.begin(at);
        let Some((_, block)) = self.resizing.remove(&tid).filter(|(of, _)| *of == address) else { return };
        let one = self.estimate(block);
        self.cell(running).freed_blocks -= one.bytes;
        self.blocks.insert(address, block);
        let size = block.size();
        if size >= LARGE {
            self.large.insert(address, (size, block.site));
        }
        self.change(at, block.site, one.bytes, one.spread);
    }

    /// `weight` bytes were copied while `running` ran.
    pub(crate) fn copy(&mut self, at: Moment, running: FrameId, weight: u64) {
        self.begin(at);
        self.cell(running).copied += weight as f64;
    }

    /// Memory was mapped. Returns the bytes that count as allocated.
    pub(crate) fn map(&mut self, at: Moment, place: Place, address: u64, size: u64, backing: Backing) -> f64 {
        self.unmap(at, place.owner, address, size);
        let site = self.sites.number(place);
        self.mappings.map(address, size, site, backing);
        let bytes = size as f64;
        if backing != Backing::Anonymous {
            self.apart(backing, bytes);
            return 0.0;
        }
        let cell = self.cell(place.owner);
        cell.alloc += bytes;
        cell.blocks += 1.0;
        self.change(at, site, bytes, Spread::default());
        bytes
    }

    /// Memory was unmapped. Returns what was behind its first known byte.
    pub(crate) fn unmap(&mut self, at: Moment, running: FrameId, address: u64, size: u64) -> Option<Backing> {
        self.begin(at);
        let mut first = None;
        let mut mappings = std::mem::take(&mut self.mappings);
        mappings.unmap(address, size, |run, bytes| {
            first.get_or_insert(run.backing);
            let bytes = bytes as f64;
            if run.backing == Backing::Anonymous {
                self.cell(running).unmapped += bytes;
                self.change(at, run.site, -bytes, Spread::default());
            } else {
                self.apart(run.backing, -bytes);
            }
        });
        self.mappings = mappings;
        first
    }

    /// Memory may be touched from now on: what of it was reserved is mapped only now. Returns the bytes that count as
    /// allocated.
    pub(crate) fn open(&mut self, at: Moment, place: Place, address: u64, size: u64) -> f64 {
        self.begin(at);
        let reserved = self.mappings.reserved(address, size);
        reserved.into_iter().map(|(start, bytes)| self.map(at, place, start, bytes, Backing::Anonymous)).sum()
    }

    /// The interpreter begins to tear itself down: code that still runs does not move the end.
    pub(crate) fn tear_down(&mut self) {
        self.python_moment += 1;
        self.teardown = true;
    }

    /// Something else was recorded with a Python stack.
    pub(crate) fn python_ran(&mut self, time_ns: u64) {
        if self.teardown {
            return;
        }
        self.python_moment += 1;
        self.last_python_ns = self.last_python_ns.max(time_ns);
    }

    /// A copy without the live blocks, whose sums it has.
    pub(crate) fn sums(&self) -> Self {
        Self {
            blocks: FxHashMap::default(),
            resizing: FxHashMap::default(),
            intervals: Vec::new(),
            mappings: self.mappings.clone(),
            cells: self.cells.clone(),
            sites: self.sites.sums(),
            tracked: self.tracked,
            moments: self.moments,
            given: self.given,
            read: self.read,
            most: self.most,
            large: self.large.clone(),
            young: self.young.clone(),
            untouched: self.untouched.clone(),
            last_untouched: self.last_untouched.clone(),
            looked: self.looked,
            lazy: self.lazy.clone(),
            python_moment: self.python_moment,
            last_python_ns: self.last_python_ns,
            teardown: self.teardown,
            files: self.files,
            arenas: self.arenas,
            snapshots: self.snapshots.clone(),
        }
    }

    /// Tracked live bytes now.
    pub(crate) fn tracked(&self) -> f64 {
        self.tracked
    }

    /// The footprint at the peak, `most` being the largest that the kernel knows of.
    pub(crate) fn highest(&self, most: Option<u64>) -> Footprint {
        self.moments[self.peak_of(most)].footprint
    }

    /// Most bytes that were ever tracked, touched or not.
    pub(crate) fn most_tracked(&self) -> f64 {
        self.most
    }

    /// The owners of most of what lives now, and their bytes.
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

    /// What each stack had at the peak, as far as it was touched.
    pub(crate) fn peak_by_stack(&self, most: Option<u64>) -> impl Iterator<Item = (NodeId, f64)> {
        let peak = self.peak_of(most);
        let untouched = (peak == READ).then_some(&self.untouched);
        self.sites.at_peak(peak, self.moments[peak].number, untouched)
    }

    /// Series of live bytes by owner, up to when Python code last ran.
    pub(crate) fn snapshots(&self) -> (&Snapshots, u64) {
        (&self.snapshots, self.last_python_ns)
    }

    /// All owners with their figures. `orderly`: the process ended by itself, so its teardown does not count.
    pub(crate) fn owners(&self, orderly: bool, most: Option<u64>) -> impl Iterator<Item = (FrameId, &Cell, Sums)> {
        let peak = self.peak_of(most);
        let number = self.moments[peak].number;
        let mut untouched: FxHashMap<FrameId, f64> = FxHashMap::default();
        for (&site, bytes) in self.untouched.iter().filter(|_| peak == READ) {
            *untouched.entry(self.sites.owner(site)).or_default() += bytes;
        }
        let teardown = orderly && self.python_moment > 0;
        self.cells.iter().map(move |(&owner, cell)| {
            let sums = Sums {
                freed: cell.freed_blocks + cell.unmapped,
                live: if teardown { cell.at_end.or(cell.now, self.python_moment) } else { cell.now },
                peak: {
                    let live = cell.at_peak[peak].or(cell.now, number);
                    let bytes = live.bytes - untouched.get(&owner).copied().unwrap_or(0.0);
                    Live { bytes: bytes.max(0.0), ..live }
                },
            };
            (owner, cell, sums)
        })
    }

    fn cell(&mut self, owner: FrameId) -> &mut Cell {
        self.cells.entry(owner).or_default()
    }

    fn begin(&mut self, at: Moment) {
        if at.python {
            self.python_ran(at.time_ns);
        }
        if self.snapshots.due(at.time_ns) {
            self.snapshots.take(at.time_ns, self.cells.iter().map(|(&owner, cell)| (owner, cell.now.bytes)));
        }
    }

    fn forget(&mut self, at: Moment, address: u64) -> Option<(Block, Estimate)> {
        let block = self.blocks.remove(&address)?;
        self.large.remove(&address);
        self.young.remove(&address);
        Some((block, self.went(at, block)))
    }

    fn went(&mut self, at: Moment, block: Block) -> Estimate {
        let one = self.estimate(block);
        self.change(at, block.site, -one.bytes, one.spread.negated());
        one
    }

    fn estimate(&self, block: Block) -> Estimate {
        let packed = block.packed;
        estimate(packed & ((1 << SIZE_BITS) - 1), self.intervals[(packed >> SIZE_BITS) as usize])
    }

    fn change(&mut self, at: Moment, site: SiteId, bytes: f64, spread: Spread) {
        let (peaks, end) = (self.moments.map(|peak| peak.number), self.python_moment);
        self.sites.change(site, bytes, peaks);
        let cell = self.cells.entry(self.sites.owner(site)).or_default();
        for (aside, number) in cell.at_peak.iter_mut().zip(peaks) {
            aside.put(cell.now, number);
        }
        if self.teardown || !at.python {
            cell.at_end.put(cell.now, end);
        }
        cell.now.bytes += bytes;
        cell.now.spread.add(spread);
        self.tracked += bytes;
        self.most = self.most.max(self.tracked);
        let (read, then) = self.read.unwrap_or_default();
        let estimate = read as f64 + self.tracked - then;
        if bytes > 0.0 && estimate > self.moments[ESTIMATED].bytes {
            self.moments[ESTIMATED] = self.this_moment(estimate);
        }
    }

    /// This moment as one that may be the peak.
    fn this_moment(&mut self, bytes: f64) -> Peak {
        self.given += 1;
        let footprint = Footprint { tracked: self.tracked, files: self.files, arenas: self.arenas, untouched: 0.0 };
        Peak { number: self.given, bytes, footprint }
    }

    /// The footprint was read. `untouched`: stretches of memory (first address, bytes) that have no page behind them, in
    /// order; `None` where that was not looked at.
    pub(crate) fn footprint_read(&mut self, at: Moment, bytes: u64, untouched: Option<&[(u64, u64)]>) {
        if let Some(untouched) = untouched {
            self.touch(at, untouched);
            self.last_untouched = untouched.into();
            self.looked = bytes;
            self.young.clear();
        }
        let (before, then) = self.read.unwrap_or_default();
        let expected = before as f64 + self.tracked - then;
        if (bytes as f64) < 0.9 * expected {
            // What was asked for was not touched: so much for the estimate.
            self.moments[ESTIMATED].bytes = bytes as f64;
        }
        self.read = Some((bytes, self.tracked));
        if bytes as f64 > self.moments[READ].bytes {
            self.moments[READ] = self.this_moment(bytes as f64);
            self.untouched = self.untouched_in(&self.last_untouched);
            self.touch_since_look(bytes);
            self.moments[READ].footprint.untouched = self.untouched.values().sum();
        }
    }

    /// Corrects what the last look found untouched for a later reading of the footprint. Growth that blocks younger than
    /// the look do not explain is memory that has been touched since, e.g. of an array that was half filled at the look.
    /// Of younger blocks nothing is known: they count as touched.
    fn touch_since_look(&mut self, bytes: u64) {
        let young: f64 = self.young.values().map(|(size, _)| *size as f64).sum();
        let grown = bytes as f64 - self.looked as f64 - young;
        let untouched: f64 = self.untouched.values().sum();
        if grown > 0.0 && untouched > 0.0 {
            let left = (1.0 - grown / untouched).max(0.0);
            self.untouched.values_mut().for_each(|bytes| *bytes *= left);
        }
    }

    /// Bytes of `ranges` in the live blocks and mappings of each place.
    fn untouched_in(&self, ranges: &[(u64, u64)]) -> FxHashMap<SiteId, f64> {
        let mut untouched: FxHashMap<SiteId, f64> = FxHashMap::default();
        let looked_at = self.large.iter().filter(|(start, _)| !self.young.contains_key(start));
        let blocks = looked_at.map(|(&start, &(size, site))| (start, start.saturating_add(size), site));
        let mapped = self.mappings.runs().filter(|(_, run)| run.backing == Backing::Anonymous);
        for (start, end, site) in blocks.chain(mapped.map(|(start, run)| (start, run.end(), run.site))) {
            let bytes = overlap(ranges, start, end);
            if bytes > 0 {
                *untouched.entry(site).or_default() += bytes as f64;
            }
        }
        untouched
    }

    /// Books what has been touched of memory that was mapped without reserve: it counts from then on.
    fn touch(&mut self, at: Moment, untouched: &[(u64, u64)]) {
        let mut touched: FxHashMap<SiteId, f64> = self.lazy.keys().map(|&site| (site, 0.0)).collect();
        for (start, run) in self.mappings.runs().filter(|(_, run)| run.backing == Backing::Lazy) {
            let bytes = (run.end() - start).saturating_sub(overlap(untouched, start, run.end()));
            *touched.entry(run.site).or_default() += bytes as f64;
        }
        let mut touched: Vec<(SiteId, f64)> = touched.into_iter().collect();
        touched.sort_unstable_by_key(|(site, _)| site.0);
        for (site, bytes) in touched {
            let known = self.lazy.insert(site, bytes).unwrap_or(0.0);
            if bytes > known {
                self.cell(self.sites.owner(site)).alloc += bytes - known;
            }
            self.change(Moment { python: false, ..at }, site, bytes - known, Spread::default());
        }
    }

    /// Which of the two moments was the peak, the process' largest footprint having been `most` bytes.
    fn peak_of(&self, most: Option<u64>) -> usize {
        let [read, estimated] = self.moments;
        let beyond = most.is_some_and(|most| {
            let most = most as f64;
            most > read.bytes * 1.05 + 1e6 && estimated.bytes > read.bytes && estimated.bytes <= most * 1.15 + 4e6
        });
        if read.number == 0 || beyond { ESTIMATED } else { READ }
    }

    fn apart(&mut self, backing: Backing, bytes: f64) {
        match backing {
            Backing::File => self.files += bytes,
            Backing::Arena => self.arenas += bytes,
            Backing::Anonymous | Backing::Reserved | Backing::Lazy => {}
        }
    }

    fn interval_index(&mut self, interval: u64) -> u64 {
        let known = self.intervals.iter().rposition(|&known| known == interval);
        known.unwrap_or_else(|| {
            // Adaptation halves and doubles, so there are a dozen; a liar among the shims gets the last one.
            if self.intervals.len() < usize::from(u16::MAX) {
                self.intervals.push(interval);
            }
            self.intervals.len() - 1
        }) as u64
    }
}

/// Bytes of `start..end` that lie in `ranges`, which are in order and apart.
fn overlap(ranges: &[(u64, u64)], start: u64, end: u64) -> u64 {
    let first = ranges.partition_point(|&(at, bytes)| at.saturating_add(bytes) <= start);
    let inside = ranges[first..].iter().take_while(|(at, _)| *at < end);
    inside.map(|&(at, bytes)| at.saturating_add(bytes).min(end) - at.max(start)).sum()
}

impl Aside {
    fn put(&mut self, live: Live, moment: u64) {
        if self.moment != moment {
            *self = Self { live, moment };
        }
    }

    fn or(&self, now: Live, moment: u64) -> Live {
        // An owner that was born after the moment put nothing aside at it but its empty self.
        if self.moment == moment { self.live } else { now }
    }
}

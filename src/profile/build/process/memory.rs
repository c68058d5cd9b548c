//! The memory of one process: its blocks, its mappings, and its part of the peak.
//!
//! Job: pass each record of memory to the heap, and each reading of the footprint to the search for the peak, in the
//! order of their times. Invariant: a reading waits until all earlier records have arrived. Neighbours: `heap` sums,
//! `peak` searches.

use rscalene_wire as wire;
use wire::{AllocFlags, FreeHow, MapChange, MapFlags};

use super::Process;
use crate::profile::book::Book;
use crate::profile::book::intern::FrameId;
use crate::profile::book::records::{Footprint, NearLimitRecord};
use crate::profile::book::sums::{Bytes, NodeDetails};
use crate::profile::book::tree::Place;
use crate::profile::build::heap::Moment;
use crate::profile::build::live::Live;
use crate::profile::build::mappings::Backing;
use crate::profile::build::peak::{Numbers, Peak, Reading, Share};
use crate::transport::event::NearLimit;

/// The thread id under which mappings are booked, because their records carry none.
const NOBODY: u32 = 0;
/// Most readings of the footprint that wait for records.
const MOST_READINGS: usize = 4096;
/// Most owners of memory that are kept for each moment near a limit.
const OWNERS: usize = 16;
/// Most moments near a limit that are kept.
const MOST_NEAR_LIMITS: usize = 256;

impl Process {
    /// Adds an allocation.
    pub(crate) fn alloc(&mut self, alloc: &wire::Alloc, flags: AllocFlags) {
        self.samples.1 += 1;
        let (at, place) = self.running(alloc.time_ns, alloc.stack);
        self.note_line(alloc.tid, alloc.stack, place.owner, alloc.time_ns);
        let interval = if flags.has(AllocFlags::CERTAIN) { 0 } else { alloc.interval };
        let bytes = self.heap.alloc(at, place, alloc.address, alloc.size, interval, flags.has(AllocFlags::PYTHON));
        self.labels.allocated(alloc.label, place.owner, alloc.address, bytes);
        self.add_allocated(alloc.tid, place, bytes);
    }

    pub(super) fn add_allocated(&mut self, tid: u32, place: Place, bytes: f64) {
        *self.allocated.entry(tid).or_default().entry(place).or_default() += bytes;
        self.allocated_bytes += bytes;
        self.sections.allocated(place.owner, bytes);
    }

    /// A block was freed, is about to be resized, or its resize failed.
    pub(crate) fn free(&mut self, free: &wire::Free) {
        let (at, place) = self.running(free.time_ns, free.stack);
        match free.how {
            FreeHow::RESIZED => {
                self.labels.resize(free.address, free.tid);
                self.heap.resize(at, place.owner, free.address, free.tid);
            }
            FreeHow::REFUSED => {
                self.labels.refuse(free.address, free.tid);
                self.heap.keep(at, place.owner, free.address, free.tid);
            }
            _ => {
                self.labels.free(free.address);
                self.heap.free(at, place.owner, free.address);
            }
        }
    }

    /// A process has used nearly all the memory of a limit: keeps the owners of most memory. The latest answer for each
    /// limit replaces the former.
    pub(crate) fn near_limit(&self, what: &NearLimit, book: &mut Book) {
        let owners = if self.refused { Vec::new() } else { self.heap.largest(OWNERS) };
        let moment = NearLimitRecord { process: self.row, what: *what, owners };
        let known = |known: &&mut NearLimitRecord| known.process == moment.process && known.what.limit == what.limit;
        if let Some(known) = book.near_limits.iter_mut().find(known) {
            *known = moment;
        } else if book.near_limits.len() < MOST_NEAR_LIMITS {
            book.near_limits.push(moment);
        }
    }

    /// Adds copied bytes.
    pub(crate) fn copy(&mut self, copy: &wire::Copy) {
        let (at, place) = self.running(copy.time_ns, copy.stack);
        self.heap.copy(at, place.owner, copy.weight);
    }

    /// Adds a change of the address space.
    pub(crate) fn map(&mut self, map: &wire::Map, flags: MapFlags) {
        let (at, place) = self.running(map.time_ns, map.stack);
        let moves = flags.has(MapFlags::MOVES);
        if map.change == MapChange::UNMAPPED {
            if !moves {
                self.labels.unmap(map.address);
            }
            self.heap.unmap(at, place.owner, map.address, map.size, moves);
            return;
        }
        if map.change == MapChange::REFUSED {
            if !moves {
                self.labels.put_back(map.address);
            }
            self.heap.put_back(at, map.address, map.size, moves);
            return;
        }
        if map.change == MapChange::OPENED {
            let bytes = self.heap.open(at, place, map.address, map.size);
            self.add_mapped(place, bytes);
            return;
        }
        let mut backing = Backing::of(flags, map.size);
        if map.change == MapChange::MOVED {
            // Moved memory keeps its backing.
            backing = self.heap.moved(at, place.owner, (map.old_address, map.old_size)).unwrap_or(backing);
        }
        let bytes = self.heap.map(at, place, map.address, map.size, backing);
        if bytes > 0.0 {
            self.labels.allocated(map.label, place.owner, map.address, bytes);
        }
        self.add_mapped(place, bytes);
    }

    /// Books the bytes of a mapping that count as allocated. Bytes that are mapped but do not count as allocated (a
    /// file, a reservation) belong to no line.
    pub(super) fn add_mapped(&mut self, place: Place, bytes: f64) {
        if bytes > 0.0 {
            self.add_allocated(NOBODY, place, bytes);
        }
    }

    pub(super) fn settle_memory(&mut self, last: bool, book: &mut Book) {
        let trusted = |owner: FrameId| if self.refused { FrameId::NONE } else { owner };
        // A process that ended before its parent holds nothing at the end of the run.
        let holds = last && !self.outlived;
        for (owner, cell, sums) in self.heap.owners(self.orderly) {
            let live = if holds { sums.live } else { Live::default() };
            let bytes = Bytes {
                alloc: cell.alloc,
                alloc_spread: cell.alloc_spread,
                blocks: cell.blocks,
                python: cell.python,
                copied: cell.copied,
                copied_spread: cell.copied_spread,
                freed: sums.freed,
                live: live.bytes,
                live_spread: live.spread,
                ..Bytes::default()
            };
            book.add_bytes(self.row, trusted(owner), &bytes);
        }
        for (owner, usage) in self.resident.owners() {
            book.add_bytes(self.row, trusted(owner), &Bytes { usage, ..Bytes::default() });
        }
        if self.refused {
            return;
        }
        let mut tids: Vec<u32> = self.allocated.keys().copied().collect();
        tids.sort_unstable();
        for tid in tids {
            self.end_allocated(tid, None);
        }
        for (thread, places) in std::mem::take(&mut self.ended_allocated) {
            for (place, bytes) in places {
                book.add_allocated(self.row, thread, place, bytes);
            }
        }
        for (node, blocks, live) in self.heap.stacks(self.orderly) {
            let live = if holds { live } else { 0.0 };
            book.add_details(node, &NodeDetails { blocks, live, ..NodeDetails::default() });
        }
        book.growing.extend(self.heap.growing(&self.repeats));
        self.heap.add_courses(&mut book.courses, self.ended);
    }

    /// Moves the allocations of an ended thread to `ended_allocated`; `row` is the thread's row in the book.
    pub(super) fn end_allocated(&mut self, tid: u32, row: Option<usize>) {
        let Some(places) = self.allocated.remove(&tid) else { return };
        let sums = self.ended_allocated.entry(row).or_default();
        for (place, bytes) in places {
            *sums.entry(place).or_default() += bytes;
        }
    }

    /// The launcher read the footprint. The reading waits, because records made before the reading may arrive later.
    pub(crate) fn read_footprint(&mut self, reading: Reading, peak: &mut Peak) {
        let untouched = self.untouched.take();
        if self.last_moment.is_none() {
            self.readings.push_back((reading, untouched));
            if let Some((oldest, _)) = self.readings.front().filter(|_| self.readings.len() > MOST_READINGS) {
                self.catch_up(oldest.time_ns.saturating_add(1), peak);
            }
        }
    }

    /// The launcher read, just before the next footprint, which ranges of memory have no page behind them.
    pub(crate) fn read_untouched(&mut self, ranges: &[(u64, u64)]) {
        self.untouched = Some(ranges.into());
    }

    /// All records before `time_ns` have arrived: takes in the readings made before.
    pub(crate) fn catch_up(&mut self, time_ns: u64, peak: &mut Peak) {
        self.peaks = peak.numbers();
        while self.readings.front().is_some_and(|(reading, _)| reading.time_ns < time_ns) {
            let Some((reading, untouched)) = self.readings.pop_front() else { return };
            self.look_back(reading.most, reading.shared, reading.bytes.saturating_sub(reading.shared), peak);
            let at = Moment { time_ns: reading.time_ns, python: false, peaks: self.peaks };
            self.heap.footprint_read(at, reading.bytes, untouched.as_deref());
            if let Some((moment, then)) = peak.read((self.pid, &mut self.part), reading, self.heap.tracked()) {
                self.heap.raise(self.peaks, moment, then);
            }
            peak.weigh(self.pid, reading.time_ns);
            self.peaks = peak.numbers();
        }
    }

    /// Asks the kernel's high-water mark whether the footprint was higher since the last reading. `most`: the mark.
    /// `alone`: the footprint now, without the bytes that are `shared` with the parent.
    pub(super) fn look_back(&mut self, most: u64, shared: u64, alone: u64, peak: &mut Peak) {
        let most_alone = most.saturating_sub(shared) as f64;
        if let Some(moment) = peak.look_back(self.pid, &mut self.part, most_alone, alone as f64) {
            self.heap.raise(self.peaks, moment, most as f64);
        }
    }

    /// The memory of the process has changed.
    pub(crate) fn changed(&mut self, time_ns: u64, peak: &mut Peak) {
        if self.last_moment.is_none() {
            peak.changed((self.pid, time_ns), &mut self.part, self.heap.tracked());
        }
    }

    /// The process has ended and holds no memory from here on.
    pub(crate) fn go(&mut self, time_ns: u64, peak: &mut Peak) {
        if self.last_moment.is_none() {
            self.catch_up(u64::MAX, peak);
            self.look_back(self.most, self.shared, self.part.bytes(), peak);
            self.last_moment = Some(peak.gone((self.pid, time_ns), &mut self.part));
        }
    }

    /// The memory of the process at each of the moments that may be the peak.
    pub(crate) fn shares(&self, peaks: Numbers) -> impl Iterator<Item = Share> {
        let held = move |number: u64| self.last_moment.is_none_or(|last| number <= last);
        let moments = peaks.into_iter().enumerate().filter(move |&(_, number)| held(number));
        moments.map(|moment| {
            let trusted = |owner: FrameId| if self.refused { FrameId::NONE } else { owner };
            let untouched = self.heap.untouched_at(moment);
            let footprint = Footprint { untouched: untouched.values().sum(), ..self.heap.footprint(moment) };
            let owners = self.heap.peak_by_owner(moment, &untouched);
            let owners = owners.into_iter().map(|(owner, live)| (trusted(owner), live)).collect();
            let stacks = if self.refused { Vec::new() } else { self.heap.peak_by_stack(moment, &untouched) };
            Share { number: moment.1, row: self.row, footprint, owners, stacks }
        })
    }
}

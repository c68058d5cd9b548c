//! The moment of the peak: when the footprint of all processes together was highest.
//!
//! Job: find that moment from readings of the footprint (a hundred a second), the kernel's high-water marks, and the
//! tracked bytes between readings. Invariant: a process that has ended holds no memory. Neighbours: `builder` feeds the
//! readings and changes, `heap` and `sites` put figures aside under the numbers of [`Peak::numbers`].
//!
//! **Between two readings** the moment with most tracked bytes is kept as a candidate. The candidate becomes the peak
//! if the kernel's high-water mark says that the footprint was higher than at any reading. So a block that lives for a
//! millisecond is found. The candidate also becomes the peak if the next reading is the highest, and the program
//! only freed memory meanwhile. **Nearly the same footprint**: freed memory that the allocator keeps holds the footprint up.
//! Of moments within [`TIE`], the moment with most tracked bytes is therefore the peak: its figures show which lines
//! needed the memory. **No reading at all**: the moment with most tracked bytes is the peak. **Pages that a forked
//! process shares with its parent** count once, for the parent.

use super::live::Live;
use crate::profile::book::Book;
use crate::profile::book::intern::FrameId;
use crate::profile::book::records::Footprint;
use crate::profile::book::sums::Bytes;
use crate::profile::book::tree::NodeId;

/// Footprints that differ by less than this share count as equal: 1.6 %.
pub(crate) const TIE: f64 = 1.0 / 64.0;
/// A reading waits for records made before the reading, until records of other processes are this much later.
pub(crate) const LATE_NS: u64 = 100_000_000;

/// Numbers of the two moments whose figures are kept: the peak so far, and the candidate since the last reading.
pub(crate) type Numbers = [u64; 2];

/// A reading of the footprint of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) time_ns: u64,
    pub(crate) bytes: u64,
    /// The part of `bytes` that is counted for the parent.
    pub(crate) shared: u64,
    /// The kernel's high-water mark; 0: unknown.
    pub(crate) most: u64,
}

/// Tracked bytes of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tracked {
    /// Those that were touched.
    pub(crate) touched: f64,
    /// Those, and what the program was filling at the last reading: all of that is touched a moment later, without any
    /// record.
    pub(crate) filled: f64,
    /// All.
    pub(crate) asked: f64,
}

/// The part of a process in the footprint of all processes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    bytes: f64,
    most: f64,
    tracked: Tracked,
}

impl Part {
    /// Bytes of the last reading.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes as u64
    }
}

/// Memory of a single program at a single moment.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) number: u64,
    /// Row of its process in the book.
    pub(crate) row: usize,
    pub(crate) footprint: Footprint,
    pub(crate) owners: Vec<(FrameId, Live)>,
    pub(crate) stacks: Vec<(NodeId, f64)>,
}

impl Share {
    /// Books the share as held at the peak.
    pub(crate) fn settle(&self, book: &mut Book) {
        for &(owner, live) in &self.owners {
            let bytes = Bytes { peak: live.bytes, peak_spread: live.spread, ..Bytes::default() };
            book.add_bytes(self.row, owner, &bytes);
        }
        for &(node, bytes) in &self.stacks {
            book.add_peak(self.row, node, bytes);
        }
        book.highest.footprint.add(self.footprint);
    }
}

/// The moment with most tracked bytes since the last reading.
#[derive(Clone, Copy, Debug, Default)]
struct Candidate {
    time_ns: u64,
    tracked: Tracked,
    /// The process whose allocation made this candidate; `None`: the moment is that of a reading.
    pid: Option<u32>,
    /// The first process whose footprint was read after the candidate's moment.
    read_by: Option<u32>,
    /// Least tracked bytes since then.
    least: f64,
    /// Largest rise of the tracked bytes since then.
    rise: f64,
}

impl Candidate {
    fn new(time_ns: u64, tracked: Tracked, pid: Option<u32>) -> Self {
        Self { time_ns, tracked, pid, read_by: None, least: tracked.filled, rise: 0.0 }
    }

    /// The tracked bytes have changed to `filled` since the candidate's moment.
    fn follow(&mut self, filled: f64) {
        self.least = self.least.min(filled);
        self.rise = self.rise.max(filled - self.least);
    }
}

/// The search for the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peak {
    numbers: Numbers,
    /// Index of the moment that is the peak so far.
    at: usize,
    /// Count of the moments numbered so far.
    given: u64,
    /// Time of the peak, its footprint, and its tracked bytes.
    time_ns: u64,
    bytes: f64,
    tracked: f64,
    /// The highest footprint, within [`TIE`] of `bytes`.
    highest: f64,
    candidate: Candidate,
    /// Sums over the running processes.
    now: Part,
    most_tracked: f64,
}

impl Peak {
    /// The numbers of the two moments, under which figures are put aside.
    pub(crate) fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// The peak: its index among the two moments, and its number.
    fn moment(&self) -> (usize, u64) {
        let at = if self.was_read() { self.at } else { 1 - self.at };
        (at, self.numbers[at])
    }

    /// Books the moment of the peak, and the shares held at it.
    pub(crate) fn settle(&self, shares: &[Share], book: &mut Book) {
        let read = self.was_read();
        let time_ns = if read { self.time_ns } else { self.candidate.time_ns };
        book.highest.time_ns = Some(time_ns).filter(|_| self.given > 0);
        book.highest.bytes = read.then_some(self.highest as u64);
        book.highest.most_tracked = self.most_tracked;
        let (_, number) = self.moment();
        shares.iter().filter(|share| share.number == number).for_each(|share| share.settle(book));
    }

    /// Tracked bytes of all live processes, touched or not.
    pub(crate) fn asked(&self) -> f64 {
        self.now.tracked.asked
    }

    /// The tracked bytes of process `pid` have changed to `tracked`.
    pub(crate) fn changed(&mut self, (pid, time_ns): (u32, u64), part: &mut Part, tracked: Tracked) {
        self.sum_up(part, tracked);
        if self.now.tracked.filled > self.candidate.tracked.filled {
            self.candidate = Candidate::new(time_ns, self.now.tracked, Some(pid));
            self.numbers[1 - self.at] = self.next();
        } else {
            self.candidate.follow(self.now.tracked.filled);
        }
    }

    fn sum_up(&mut self, part: &mut Part, tracked: Tracked) {
        let now = &mut self.now.tracked;
        now.touched += tracked.touched - part.tracked.touched;
        now.filled += tracked.filled - part.tracked.filled;
        now.asked += tracked.asked - part.tracked.asked;
        part.tracked = tracked;
        self.most_tracked = self.most_tracked.max(now.asked);
    }

    /// The footprint of process `pid` was read; `tracked`: as in [`Peak::changed`]. [`Peak::weigh`] must follow. Returns
    /// the candidate's moment, and the footprint of the process then, if the candidate becomes the peak.
    ///
    /// The allocator keeps freed memory, so the footprint at the candidate's moment was as high as now, less the rise of
    /// the tracked bytes since.
    pub(crate) fn read(
        &mut self,
        (pid, part): (u32, &mut Part),
        reading: Reading,
        tracked: Tracked,
    ) -> Option<((usize, u64), f64)> {
        let bytes = reading.bytes.saturating_sub(reading.shared) as f64;
        self.sum_up(part, tracked);
        self.now.bytes += bytes - part.bytes;
        part.bytes = bytes;
        let now = self.now.tracked;
        self.candidate.follow(now.touched);
        let Candidate { time_ns, tracked: before, pid: of, rise, .. } = self.candidate;
        let then = self.now.bytes - rise;
        // Memory without pages now had no pages then.
        let held = before.filled.min(before.asked - (now.asked - now.touched));
        // The reading knows better than the candidate which memory has pages, so small frees do not decide.
        let freed = held - now.touched > TIE * self.now.bytes;
        if of != Some(pid) || !freed || !self.beats(then, held) {
            return None;
        }
        self.at = 1 - self.at;
        self.take(time_ns, then, held);
        Some(((self.at, self.numbers[self.at]), reading.bytes as f64 - rise))
    }

    /// Compares the footprint that was read last with the peak so far.
    pub(crate) fn weigh(&mut self, pid: u32, time_ns: u64) {
        if self.beats(self.now.bytes, self.now.tracked.touched) {
            self.numbers[self.at] = self.next();
            self.take(time_ns, self.now.bytes, self.now.tracked.touched);
        }
        self.begin(pid, time_ns);
    }

    /// Process `pid` has ended and holds no memory from here on. Returns the last moment at which the process held
    /// memory.
    pub(crate) fn gone(&mut self, (pid, time_ns): (u32, u64), part: &mut Part) -> u64 {
        self.now.bytes -= part.bytes;
        self.sum_up(part, Tracked::default());
        *part = Part::default();
        let last = self.given;
        self.begin(pid, time_ns);
        last
    }

    /// Asks the kernel's mark `most` whether the footprint of process `pid` was higher between its last reading and a
    /// reading of `bytes`. Returns the candidate's moment if the footprint was higher and the candidate becomes the
    /// peak.
    pub(crate) fn look_back(&mut self, pid: u32, part: &mut Part, most: f64, bytes: f64) -> Option<(usize, u64)> {
        let unseen = most > part.most && most > bytes.max(part.bytes);
        part.most = part.most.max(most).max(bytes);
        if !unseen || self.candidate.pid.is_some_and(|of| of != pid) {
            return None;
        }
        let Candidate { time_ns, tracked, .. } = self.candidate;
        let then = self.now.bytes - part.bytes + most;
        let beats = self.beats(then, tracked.filled);
        if beats {
            self.at = 1 - self.at;
            self.take(time_ns, then, tracked.filled);
        }
        self.highest = self.highest.max(then);
        beats.then_some((self.at, self.numbers[self.at]))
    }

    fn beats(&self, bytes: f64, tracked: f64) -> bool {
        bytes > self.bytes + TIE * self.bytes || bytes > self.highest - TIE * self.highest && tracked > self.tracked
    }

    fn take(&mut self, time_ns: u64, bytes: f64, tracked: f64) {
        (self.time_ns, self.bytes, self.tracked) = (time_ns, bytes, tracked);
        self.highest = self.highest.max(bytes);
    }

    /// Makes this moment the new candidate, unless the candidate belongs to another process: the next reading of that
    /// process decides. If `pid` is read a second time before that, the candidate is replaced all the same.
    fn begin(&mut self, pid: u32, time_ns: u64) {
        self.highest = self.highest.max(self.now.bytes);
        let mine = self.candidate.pid.is_none_or(|of| of == pid);
        if self.was_read() && (mine || self.candidate.read_by == Some(pid)) {
            self.candidate = Candidate::new(time_ns, self.now.tracked, None);
            self.numbers[1 - self.at] = self.next();
        }
        self.candidate.read_by.get_or_insert(pid);
    }

    fn was_read(&self) -> bool {
        self.highest > 0.0
    }

    fn next(&mut self) -> u64 {
        self.given += 1;
        self.given
    }
}

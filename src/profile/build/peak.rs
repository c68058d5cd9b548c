//! The moment of the peak: when the footprint of all processes together was highest.
//!
//! Job: say which moment it was, from readings of the footprint (a hundred a second), the kernel's high-water marks, and
//! the course of the tracked bytes between readings. Invariant: a process that has ended holds nothing. Neighbours:
//! `builder` tells what it sees, `heap` and `sites` put figures aside under the numbers of [`Peak::numbers`].
//!
//! **Between two readings** the moment with most tracked bytes is kept as a candidate. It becomes the peak if the
//! kernel's high-water mark says that the footprint was higher than any reading: a block that lives for a millisecond is
//! found so. **Nearly the same footprint**: freed memory that the allocator keeps holds the footprint up, so of moments
//! within [`TIE`] the one with most tracked bytes is taken, which tells who needed the memory. **No reading at all**: most
//! tracked bytes are all there is. **Pages that a forked process shares with its parent** count once, as the parent's.

use super::live::Live;
use crate::profile::book::Book;
use crate::profile::book::intern::FrameId;
use crate::profile::book::records::Footprint;
use crate::profile::book::sums::Bytes;
use crate::profile::book::tree::NodeId;

/// Footprints that differ by less than this part of them are the same: 1.6 %.
pub(crate) const TIE: f64 = 1.0 / 64.0;
/// A reading waits for records that were made before it until other processes' records are so much later.
pub(crate) const LATE_NS: u64 = 100_000_000;

/// Numbers of the two moments whose figures are kept: the peak so far, and the candidate since the last reading.
pub(crate) type Numbers = [u64; 2];

/// A reading of the footprint of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) time_ns: u64,
    pub(crate) bytes: u64,
    /// The part of `bytes` that counts as its parent's.
    pub(crate) shared: u64,
    /// The kernel's high-water mark; 0 if it is not known.
    pub(crate) most: u64,
}

/// What is known of the footprint of a process, as part of the sum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    bytes: f64,
    most: f64,
    /// Tracked bytes that were touched, and all of them.
    tracked: f64,
    asked: f64,
}

impl Part {
    /// The last reading.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes as u64
    }
}

/// What one program held at one moment.
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
    /// Books it as held at the peak.
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
    tracked: f64,
    /// The process that made it so many; `None`: it is the moment of a reading.
    pid: Option<u32>,
    /// Another process whose footprint was read since.
    read_by: Option<u32>,
}

/// The search for the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peak {
    numbers: Numbers,
    /// Which of the two is the peak.
    at: usize,
    /// Moments that were numbered.
    given: u64,
    /// When it was, the footprint, and what was tracked then.
    time_ns: u64,
    bytes: f64,
    tracked: f64,
    /// The highest footprint, within [`TIE`] of `bytes`.
    highest: f64,
    candidate: Candidate,
    /// Sums over the processes that live.
    now: Part,
    most_tracked: f64,
}

impl Peak {
    /// The numbers of the moments, for whoever puts figures aside.
    pub(crate) fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// The peak: its place among the two, and its number.
    fn moment(&self) -> (usize, u64) {
        let at = if self.was_read() { self.at } else { 1 - self.at };
        (at, self.numbers[at])
    }

    /// Books the moment, and what was held at it.
    pub(crate) fn settle(&self, shares: &[Share], book: &mut Book) {
        let read = self.was_read();
        let time_ns = if read { self.time_ns } else { self.candidate.time_ns };
        book.highest.time_ns = Some(time_ns).filter(|_| self.given > 0);
        book.highest.bytes = read.then_some(self.highest as u64);
        book.highest.most_tracked = self.most_tracked;
        let (_, number) = self.moment();
        shares.iter().filter(|share| share.number == number).for_each(|share| share.settle(book));
    }

    /// Tracked bytes of all that lives, touched or not.
    pub(crate) fn asked(&self) -> f64 {
        self.now.asked
    }

    /// The tracked bytes of process `pid` have changed: those that were touched, and all.
    pub(crate) fn changed(&mut self, (pid, time_ns): (u32, u64), part: &mut Part, tracked: (f64, f64)) {
        self.sum_up(part, tracked);
        if self.now.tracked > self.candidate.tracked {
            self.candidate = Candidate { time_ns, tracked: self.now.tracked, pid: Some(pid), read_by: None };
            self.numbers[1 - self.at] = self.next();
        }
    }

    fn sum_up(&mut self, part: &mut Part, (touched, asked): (f64, f64)) {
        self.now.tracked += touched - part.tracked;
        self.now.asked += asked - part.asked;
        (part.tracked, part.asked) = (touched, asked);
        self.most_tracked = self.most_tracked.max(self.now.asked);
    }

    /// The footprint of process `pid` was read; `tracked`: as in [`Peak::changed`].
    pub(crate) fn read(&mut self, (pid, part): (u32, &mut Part), reading: Reading, tracked: (f64, f64)) {
        let bytes = reading.bytes.saturating_sub(reading.shared) as f64;
        self.sum_up(part, tracked);
        self.now.bytes += bytes - part.bytes;
        part.bytes = bytes;
        if self.beats(self.now.bytes, self.now.tracked) {
            self.numbers[self.at] = self.next();
            self.take(reading.time_ns, self.now.bytes, self.now.tracked);
        }
        self.begin(pid, reading.time_ns);
    }

    /// Process `pid` has ended. It holds nothing from here on; the answer is the last moment at which it did.
    pub(crate) fn gone(&mut self, (pid, time_ns): (u32, u64), part: &mut Part) -> u64 {
        self.now.bytes -= part.bytes;
        self.now.tracked -= part.tracked;
        self.now.asked -= part.asked;
        *part = Part::default();
        let last = self.given;
        self.begin(pid, time_ns);
        last
    }

    /// Was the footprint of process `pid` higher between its last reading and one of `bytes`, as the mark `most` says? Then
    /// the answer is the moment, if it is the peak.
    pub(crate) fn look_back(&mut self, pid: u32, part: &mut Part, most: f64, bytes: f64) -> Option<(usize, u64)> {
        let unseen = most > part.most && most > bytes.max(part.bytes);
        part.most = part.most.max(most).max(bytes);
        if !unseen || self.candidate.pid.is_some_and(|of| of != pid) {
            return None;
        }
        let Candidate { time_ns, tracked, .. } = self.candidate;
        let then = self.now.bytes - part.bytes + most;
        let beats = self.beats(then, tracked);
        if beats {
            self.at = 1 - self.at;
            self.take(time_ns, then, tracked);
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

    /// This moment is the new candidate, unless the old one is another process', whose next reading decides on it.
    fn begin(&mut self, pid: u32, time_ns: u64) {
        self.highest = self.highest.max(self.now.bytes);
        let mine = self.candidate.pid.is_none_or(|of| of == pid);
        if self.was_read() && (mine || self.candidate.read_by == Some(pid)) {
            self.candidate = Candidate { time_ns, tracked: self.now.tracked, pid: None, read_by: None };
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

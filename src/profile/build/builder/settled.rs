//! Sums of ended programs.
//!
//! Job: hold the book of a run. Invariant: sums are added once, when a program ends. Neighbours: `life` settles
//! programs, `finish` writes the book.

use crate::profile::book::Book;
use crate::profile::build::cpu::Forks;
use crate::profile::build::notices;
use crate::profile::build::peak::{Peak, Share};
use crate::profile::build::process::Process;
use crate::profile::model::Notice;

/// Most notices to keep.
const MOST_NOTICES: usize = 64;

/// Sums of ended programs.
#[derive(Clone, Debug, Default)]
pub(super) struct Settled {
    pub(super) book: Book,
    /// Threads with few samples, of forked children.
    pub(super) forks: Forks,
    /// CPU and allocation samples.
    pub(super) samples: (u64, u64),
    /// Lost records and frames.
    pub(super) lost: u64,
    /// Memory of ended programs at the candidate moments of the peak.
    pub(super) shares: Vec<Share>,
    pub(super) notices: Vec<Notice>,
    /// Notices beyond the limit of `notices`.
    pub(super) more_notices: u64,
}

impl Settled {
    /// Books all sums of a program. `last`: its process has ended too.
    pub(super) fn settle(&mut self, process: &mut Process, last: bool, now_ns: u64, peak: &Peak) {
        process.end_sections(now_ns, &mut self.book);
        process.settle(last, &mut self.book, &mut self.forks);
        let peaks = peak.numbers();
        self.shares.retain(|share| peaks.contains(&share.number));
        self.shares.extend(process.shares(peaks));
        self.samples.0 += process.samples.0;
        self.samples.1 += process.samples.1;
        self.lost = self.lost.saturating_add(process.lost());
        let losses = process.counters.iter().filter_map(|counters| notices::losses(process.pid, counters));
        losses.for_each(|notice| self.say(notice));
        let record = &mut self.book.processes[process.row];
        record.resident = record.resident.max(process.resident.peak());
        record.row.peak_rss_bytes = record.row.peak_rss_bytes.max(record.resident.map(|(bytes, _)| bytes));
    }

    pub(super) fn say(&mut self, notice: Notice) {
        if self.notices.contains(&notice) {
            return;
        }
        if self.notices.len() < MOST_NOTICES {
            self.notices.push(notice);
        } else {
            self.more_notices += 1;
        }
    }
}

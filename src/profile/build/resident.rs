//! Resident memory of a process while each line ran.
//!
//! Job: give every owner the largest footprint among the readings nearest in time to its records. Invariant: constant
//! work per record. Only the last readings are kept and, between readings, the time at which each owner was last
//! active. Neighbours: the launcher reads RSS, `lines` shows the maxima.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::profile::book::intern::FrameId;

/// Most readings that are kept, because records arrive later than readings: by a second or so on a busy machine.
const MOST_READINGS: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Reading {
    time_ns: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    most: u64,
    active_ns: u64,
}

/// The readings of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resident {
    /// The last readings, oldest first.
    readings: VecDeque<Reading>,
    /// The largest reading, and its pages of files in bytes.
    peak: Option<(u64, u64)>,
    usage: FxHashMap<FrameId, Usage>,
    /// Owners with a record since the last reading.
    active: Vec<FrameId>,
}

impl Resident {
    /// The owner ran at `time_ns`.
    pub(crate) fn ran(&mut self, owner: FrameId, time_ns: u64) {
        let nearest = self.nearest(time_ns);
        let since = self.last().map_or(0, |last| last.time_ns);
        let usage = self.usage.entry(owner).or_default();
        usage.most = usage.most.max(nearest);
        if time_ns >= since {
            if usage.active_ns < since || usage.active_ns == 0 {
                self.active.push(owner);
            }
            usage.active_ns = usage.active_ns.max(time_ns.max(1));
        }
    }

    /// The footprint was read.
    pub(crate) fn read(&mut self, time_ns: u64, bytes: u64, files: u64) {
        let since = self.last().map_or(0, |last| last.time_ns.midpoint(time_ns));
        for owner in self.active.drain(..) {
            if let Some(usage) = self.usage.get_mut(&owner).filter(|usage| usage.active_ns >= since) {
                usage.most = usage.most.max(bytes);
            }
        }
        if self.readings.len() >= MOST_READINGS {
            self.readings.pop_front();
        }
        self.readings.push_back(Reading { time_ns, bytes });
        self.peak = self.peak.max(Some((bytes, files)));
    }

    fn last(&self) -> Option<Reading> {
        self.readings.back().copied()
    }

    /// The bytes of the reading nearest to a moment; 0 if the moment lies before all kept readings.
    fn nearest(&self, time_ns: u64) -> u64 {
        let next = self.readings.partition_point(|reading| reading.time_ns <= time_ns);
        let before = next.checked_sub(1).and_then(|at| self.readings.get(at));
        match (before, self.readings.get(next)) {
            (Some(before), Some(after)) if time_ns >= before.time_ns.midpoint(after.time_ns) => after.bytes,
            (Some(before), _) => before.bytes,
            (None, Some(first)) if self.readings.len() < MOST_READINGS => first.bytes,
            (None, _) => 0,
        }
    }

    /// The largest reading, and its pages of files in bytes.
    pub(crate) fn peak(&self) -> Option<(u64, u64)> {
        self.peak
    }

    /// The largest footprint while each owner ran.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (FrameId, u64)> {
        self.usage.iter().filter(|(_, usage)| usage.most > 0).map(|(&owner, usage)| (owner, usage.most))
    }
}

#[cfg(test)]
mod tests {
    use super::{FrameId, Resident};

    #[test]
    fn a_record_gets_the_reading_nearest_in_time() {
        let mut resident = Resident::default();
        resident.read(100, 10, 1);
        resident.ran(FrameId(1), 120);
        resident.ran(FrameId(2), 190);
        resident.read(200, 99, 7);
        resident.ran(FrameId(3), 210);
        let most: std::collections::BTreeMap<_, _> = resident.owners().collect();
        assert_eq!(most[&FrameId(1)], 10);
        assert_eq!(most[&FrameId(2)], 99);
        assert_eq!(most[&FrameId(3)], 99);
        assert_eq!(resident.peak(), Some((99, 7)));
    }

    #[test]
    fn a_record_that_arrives_late_still_gets_the_reading_of_its_time() {
        let mut resident = Resident::default();
        resident.read(100, 10, 1);
        resident.read(200, 99, 7);
        resident.read(300, 99, 7);
        resident.ran(FrameId(1), 110);
        assert_eq!(resident.owners().collect::<Vec<_>>(), [(FrameId(1), 10)]);
    }
}

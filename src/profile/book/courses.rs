//! Live bytes of single lines over time, all processes together.
//!
//! Job: add up the series of the lines with most live bytes, process by process. Invariants: at most [`BUCKETS`]
//! moments, whatever the length of the run (at the limit neighbouring moments merge); of each process only the
//! [`MOST_LINES`] largest lines count. Neighbours: `build::leaks` has the snapshots of a process, `write::lines` makes
//! rows.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::intern::FrameId;

/// Most moments.
const BUCKETS: usize = 128;
/// Nanoseconds between two moments at the beginning.
const FIRST_WIDTH_NS: u64 = 5_000_000;
/// Most lines of a process, and most lines of the result.
pub(crate) const MOST_LINES: usize = 20;

/// Changes of live bytes, by moment and line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Courses {
    width_ns: u64,
    changes: BTreeMap<u64, FxHashMap<FrameId, f64>>,
}

impl Courses {
    /// Adds a process: the live bytes of its lines at each of `points`, in order; after `end_ns` the process holds no
    /// memory.
    pub(crate) fn add(&mut self, points: &[(u64, Vec<(FrameId, f64)>)], end_ns: Option<u64>) {
        let mut most: FxHashMap<FrameId, f64> = FxHashMap::default();
        for (owner, bytes) in points.iter().flat_map(|(_, live)| live) {
            let largest = most.entry(*owner).or_default();
            *largest = largest.max(*bytes);
        }
        let mut chosen: Vec<(FrameId, f64)> = most.into_iter().collect();
        chosen.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        chosen.truncate(MOST_LINES);
        for (owner, _) in chosen {
            let mut held = 0.0;
            for (at, live) in points {
                let now = live.iter().find(|(other, _)| *other == owner).map_or(0.0, |(_, bytes)| *bytes);
                self.change(*at, owner, now - held);
                held = now;
            }
            if let Some(end) = end_ns {
                self.change(end, owner, -held);
            }
        }
    }

    fn change(&mut self, at_ns: u64, owner: FrameId, bytes: f64) {
        if bytes == 0.0 {
            return;
        }
        self.width_ns = self.width_ns.max(FIRST_WIDTH_NS);
        *self.changes.entry(at_ns / self.width_ns).or_default().entry(owner).or_default() += bytes;
        while self.changes.len() > BUCKETS {
            self.width_ns = self.width_ns.saturating_mul(2);
            for (bucket, changes) in std::mem::take(&mut self.changes) {
                let merged = self.changes.entry(bucket / 2).or_default();
                changes.into_iter().for_each(|(owner, bytes)| *merged.entry(owner).or_default() += bytes);
            }
        }
    }

    /// The series by line: moments (`CLOCK_MONOTONIC` nanoseconds), each with the line's live bytes from then on.
    /// `line` returns the line of an owner.
    pub(crate) fn by_line<L: Copy + Ord>(&self, line: impl Fn(FrameId) -> Option<L>) -> Vec<(L, Vec<(u64, u64)>)> {
        let mut held: BTreeMap<L, (f64, Vec<(u64, u64)>)> = BTreeMap::new();
        for (bucket, changes) in &self.changes {
            let mut changed: BTreeMap<L, f64> = BTreeMap::new();
            for (owner, bytes) in changes {
                if let Some(line) = line(*owner) {
                    *changed.entry(line).or_default() += bytes;
                }
            }
            for (line, bytes) in changed {
                let (now, course) = held.entry(line).or_default();
                *now += bytes;
                course.push((bucket.saturating_mul(self.width_ns), now.max(0.0).round() as u64));
            }
        }
        let mut rows: Vec<_> = held.into_iter().map(|(line, (_, course))| (line, course)).collect();
        let most = |course: &[(u64, u64)]| course.iter().map(|point| point.1).max().unwrap_or(0);
        rows.sort_by(|a, b| most(&b.1).cmp(&most(&a.1)).then(a.0.cmp(&b.0)));
        rows.truncate(MOST_LINES);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_courses_of_two_processes_add_up_and_end_with_them() {
        let mut courses = Courses::default();
        let ms = 1_000_000;
        courses.add(&[(10 * ms, vec![(FrameId(1), 100.0)]), (20 * ms, vec![(FrameId(1), 300.0)])], Some(30 * ms));
        courses.add(&[(20 * ms, vec![(FrameId(1), 50.0), (FrameId(2), 7.0)])], None);
        let rows = courses.by_line(|owner| Some(owner.0));
        assert_eq!(rows[0], (1, vec![(10 * ms, 100), (20 * ms, 350), (30 * ms, 50)]));
        assert_eq!(rows[1], (2, vec![(20 * ms, 7)]));
    }

    #[test]
    fn a_long_run_stays_short() {
        let mut courses = Courses::default();
        let points: Vec<_> = (1..5_000_u64).map(|at| (at * 50_000_000, vec![(FrameId(1), at as f64)])).collect();
        courses.add(&points, None);
        let rows = courses.by_line(|owner| Some(owner.0));
        assert!(rows[0].1.len() <= BUCKETS);
        assert_eq!(rows[0].1.last().map(|point| point.1), Some(4_999));
    }
}

//! Live bytes of single lines over time, all processes together.
//!
//! Job: add up the series of the lines with most live bytes, process by process. Invariants: a value is the most of its
//! stretch of time, so a short peak shows; at most [`BUCKETS`] stretches with changes, whatever the length of the run (at
//! the limit neighbours merge); of each process only the [`MOST_LINES`] largest lines count. Neighbours: `build::leaks`
//! has the stretches of a process, `write::lines` makes rows.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::intern::FrameId;

/// Most stretches with changes. Each gives a series one point, or two.
const BUCKETS: usize = 128;
/// Nanoseconds of a stretch at the beginning.
const FIRST_WIDTH_NS: u64 = 5_000_000;
/// Most lines of a process, and most lines of the result.
pub(crate) const MOST_LINES: usize = 20;

/// Keeps the `count` largest of some lines, the largest first.
pub(crate) fn keep_largest(lines: &mut Vec<(FrameId, f64)>, count: usize) {
    let order = |a: &(FrameId, f64), b: &(FrameId, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if lines.len() > count {
        lines.select_nth_unstable_by(count, order);
        lines.truncate(count);
    }
    lines.sort_unstable_by(order);
}

/// The changes of a line's live bytes within a stretch of time.
#[derive(Clone, Copy, Debug, Default)]
struct Change {
    /// All changes together.
    sum: f64,
    /// The largest sum after any of the changes. Below 0 if the line only lost bytes.
    most: f64,
}

impl Change {
    /// The changes of this stretch, then those of `next`.
    fn then(self, next: Self) -> Self {
        Self { sum: self.sum + next.sum, most: self.most.max(self.sum + next.most) }
    }
}

/// Changes of live bytes, by stretch of time and line.
type Changes = BTreeMap<u64, FxHashMap<FrameId, Change>>;

/// Live bytes of the lines of all processes over time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Courses {
    width_ns: u64,
    changes: Changes,
}

impl Courses {
    /// Adds a process: the live bytes of its lines from each of `points` on, in order; after `end_ns` the process holds
    /// no memory.
    pub(crate) fn add(&mut self, points: &[(u64, Vec<(FrameId, f64)>)], end_ns: Option<u64>) {
        self.width_ns = self.width_ns.max(FIRST_WIDTH_NS);
        let mut most: FxHashMap<FrameId, f64> = FxHashMap::default();
        for (owner, bytes) in points.iter().flat_map(|(_, live)| live) {
            let largest = most.entry(*owner).or_default();
            *largest = largest.max(*bytes);
        }
        let mut chosen: Vec<(FrameId, f64)> = most.into_iter().collect();
        keep_largest(&mut chosen, MOST_LINES);
        let end = end_ns.map(|end| (end, 0.0));
        for (owner, _) in chosen {
            let at = |live: &[(FrameId, f64)]| live.iter().find(|(other, _)| *other == owner).map_or(0.0, |one| one.1);
            let mut held = 0.0;
            let mut of_process: BTreeMap<u64, Change> = BTreeMap::new();
            for (at_ns, now) in points.iter().map(|(at_ns, live)| (*at_ns, at(live))).chain(end) {
                if now == held {
                    continue;
                }
                let mut change = Change { sum: now - held, most: now - held };
                let of = of_process.entry(at_ns / self.width_ns);
                if at_ns % self.width_ns >= FIRST_WIDTH_NS {
                    change = Change::default().then(change);
                }
                of.and_modify(|before| *before = before.then(change)).or_insert(change);
                held = now;
            }
            for (bucket, change) in of_process {
                // Processes may hold their most at the same moment, so the sums add up.
                let all = self.changes.entry(bucket).or_default().entry(owner).or_default();
                *all = Change { sum: all.sum + change.sum, most: all.most + change.most };
            }
        }
        while self.changes.len() > BUCKETS {
            self.widen();
        }
    }

    /// Merges neighbouring stretches.
    fn widen(&mut self) {
        self.width_ns = self.width_ns.saturating_mul(2);
        for (bucket, changes) in std::mem::take(&mut self.changes) {
            let merged = self.changes.entry(bucket / 2).or_default();
            for (owner, mut change) in changes {
                if bucket % 2 == 1 {
                    // The line held its former bytes in the first half.
                    change = Change::default().then(change);
                }
                merged.entry(owner).and_modify(|before| *before = before.then(change)).or_insert(change);
            }
        }
    }

    /// The series by line: moments (`CLOCK_MONOTONIC` nanoseconds), each with the most live bytes of the line from then
    /// until the next moment. `line` returns the line of an owner.
    pub(crate) fn by_line<L: Copy + Ord>(&self, line: impl Fn(FrameId) -> Option<L>) -> Vec<(L, Vec<(u64, u64)>)> {
        let mut of_lines: BTreeMap<L, BTreeMap<u64, Change>> = BTreeMap::new();
        for (bucket, changes) in &self.changes {
            for (owner, change) in changes {
                let Some(line) = line(*owner) else { continue };
                let all = of_lines.entry(line).or_default().entry(*bucket).or_default();
                *all = Change { sum: all.sum + change.sum, most: all.most + change.most };
            }
        }
        let held = of_lines.into_iter().map(|(line, changes)| (line, self.course(&changes)));
        let mut rows: Vec<_> = held.collect();
        let most = |course: &[(u64, u64)]| course.iter().map(|point| point.1).max().unwrap_or(0);
        rows.sort_by(|a, b| most(&b.1).cmp(&most(&a.1)).then(a.0.cmp(&b.0)));
        rows.truncate(MOST_LINES);
        rows
    }

    /// The series of a line: the most of each stretch, then what is left if the next stretch has no change.
    fn course(&self, changes: &BTreeMap<u64, Change>) -> Vec<(u64, u64)> {
        let mut course: Vec<(u64, u64)> = Vec::new();
        let mut held = 0.0_f64;
        for (&bucket, change) in changes {
            let most = (held + change.most).max(0.0).round() as u64;
            held += change.sum;
            let left = held.max(0.0).round() as u64;
            course.push((bucket.saturating_mul(self.width_ns), most));
            if left != most && !changes.contains_key(&(bucket + 1)) {
                course.push(((bucket + 1).saturating_mul(self.width_ns), left));
            }
        }
        course
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

    #[test]
    fn a_peak_shorter_than_a_stretch_shows_in_its_stretch() {
        let mut courses = Courses::default();
        let ms = 1_000_000;
        let live = |bytes: f64| vec![(FrameId(1), bytes)];
        courses.add(&[(10 * ms, live(100.0)), (11 * ms, live(900.0)), (12 * ms, live(200.0))], None);
        let long: Vec<_> = (1..1_000_u64).map(|at| (at * 50 * ms, vec![(FrameId(2), (at % 2) as f64)])).collect();
        let rows = |courses: &Courses| courses.by_line(|owner| Some(owner.0));
        assert_eq!(rows(&courses)[0], (1, vec![(10 * ms, 900), (15 * ms, 200)]));
        courses.add(&long, None);
        let (line, course) = &rows(&courses)[0];
        assert_eq!((*line, course[0].1, course.last().unwrap().1), (1, 900, 200));
    }
}

//! A series of bytes over time: short, however long the run.
//!
//! Job: keep the course and the exact maximum of a quantity. Invariant: at most [`BUCKETS`] stretches of time with two
//! points each: the largest value with its moment, and the last value of the stretch, which holds until the next point.
//! At the limit, neighbouring stretches merge. Neighbour: `builder` feeds it.

/// Most stretches.
const BUCKETS: usize = 1024;
/// Nanoseconds of a stretch at the beginning of a run.
const FIRST_WIDTH_NS: u64 = 1_000_000;

/// The series.
#[derive(Debug)]
pub(crate) struct Series {
    start_ns: u64,
    width_ns: u64,
    /// The stretches, in order.
    stretches: Vec<Stretch>,
}

/// The points of a stretch of time: each a moment and a value.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    bucket: u64,
    most: (u64, u64),
    last: (u64, u64),
}

impl Series {
    /// A series whose times count from `start_ns`.
    pub(crate) fn new(start_ns: u64) -> Self {
        Self { start_ns, width_ns: FIRST_WIDTH_NS, stretches: Vec::new() }
    }

    /// The quantity is `value` from `time_ns` on.
    pub(crate) fn push(&mut self, time_ns: u64, value: u64) {
        let time_ns = time_ns.saturating_sub(self.start_ns);
        let bucket = time_ns / self.width_ns;
        if let Some(stretch) = self.stretches.last_mut()
            && bucket <= stretch.bucket
        {
            let at = time_ns.max(stretch.last.0);
            stretch.extend(Stretch { bucket, most: (at, value), last: (at, value) });
            return;
        }
        self.stretches.push(Stretch { bucket, most: (time_ns, value), last: (time_ns, value) });
        if self.stretches.len() > BUCKETS {
            self.halve();
        }
    }

    /// The points: seconds since the start, and bytes.
    pub(crate) fn points(&self) -> Vec<(f64, u64)> {
        let mut points = Vec::with_capacity(self.stretches.len() * 2);
        for Stretch { most, last, .. } in &self.stretches {
            points.push((most.0 as f64 / 1e9, most.1));
            if last.0 > most.0 && last.1 != most.1 {
                points.push((last.0 as f64 / 1e9, last.1));
            }
        }
        points
    }

    fn halve(&mut self) {
        self.width_ns *= 2;
        let mut merged: Vec<Stretch> = Vec::with_capacity(BUCKETS);
        for stretch in self.stretches.drain(..) {
            let bucket = stretch.bucket / 2;
            match merged.last_mut() {
                Some(before) if before.bucket == bucket => before.extend(stretch),
                _ => merged.push(Stretch { bucket, ..stretch }),
            }
        }
        self.stretches = merged;
    }
}

impl Stretch {
    /// Merges the next points into this stretch.
    fn extend(&mut self, next: Self) {
        if next.most.1 > self.most.1 {
            self.most = next.most;
        }
        self.last = next.last;
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Series};

    #[test]
    fn a_long_series_stays_short_and_keeps_its_maximum_and_its_moment() {
        let mut series = Series::new(1_000_000_000);
        for ms in 0..500_000u64 {
            series.push(1_000_000_000 + ms * 1_000_000, if ms == 123_457 { 1_000_003 } else { ms % 97 });
        }
        let points = series.points();
        assert!(points.len() <= 2 * BUCKETS && points.len() > BUCKETS / 4, "{}", points.len());
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(points.contains(&(123.457, 1_000_003)));
    }

    #[test]
    fn a_fall_right_after_a_peak_lasts_until_the_next_change() {
        let mut series = Series::new(0);
        for (microseconds, value) in [(10, 5), (20, 900), (30, 7), (9_000_000, 8)] {
            series.push(microseconds * 1000, value);
        }
        assert_eq!(series.points(), [(20e-6, 900), (30e-6, 7), (9.0, 8)]);
    }
}

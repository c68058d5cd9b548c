//! A series of bytes over time, short however long the run.
//!
//! Job: keep the course and the exact maximum of a quantity. Invariant: at most [`BUCKETS`] points, each the largest
//! value of its stretch with the moment of that value; at the limit neighbours merge. Neighbour: `merge` feeds it.

/// Points at most.
const BUCKETS: usize = 1024;
/// Nanoseconds of a bucket at first.
const FIRST_WIDTH_NS: u64 = 1_000_000;

/// The series.
#[derive(Debug)]
pub(crate) struct Series {
    start_ns: u64,
    width_ns: u64,
    /// Bucket, moment and value of each point, in order.
    points: Vec<(u64, u64, u64)>,
}

impl Series {
    /// A series whose times count from `start_ns`.
    pub(crate) fn new(start_ns: u64) -> Self {
        Self { start_ns, width_ns: FIRST_WIDTH_NS, points: Vec::new() }
    }

    /// The quantity is `value` from `time_ns` on.
    pub(crate) fn push(&mut self, time_ns: u64, value: u64) {
        let time_ns = time_ns.saturating_sub(self.start_ns);
        let bucket = time_ns / self.width_ns;
        if let Some((last, at, highest)) = self.points.last_mut()
            && bucket <= *last
        {
            if value > *highest {
                (*at, *highest) = (time_ns.max(*at), value);
            }
            return;
        }
        self.points.push((bucket, time_ns, value));
        if self.points.len() > BUCKETS {
            self.halve();
        }
    }

    /// The points: seconds since the start, and bytes.
    pub(crate) fn into_points(self) -> Vec<(f64, u64)> {
        self.points.into_iter().map(|(_, at, value)| (at as f64 / 1e9, value)).collect()
    }

    fn halve(&mut self) {
        self.width_ns *= 2;
        let mut merged: Vec<(u64, u64, u64)> = Vec::with_capacity(BUCKETS);
        for (bucket, at, value) in self.points.drain(..) {
            match merged.last_mut() {
                Some(last) if last.0 == bucket / 2 => {
                    if value > last.2 {
                        (last.1, last.2) = (at, value);
                    }
                }
                _ => merged.push((bucket / 2, at, value)),
            }
        }
        self.points = merged;
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
        let points = series.into_points();
        assert!(points.len() <= BUCKETS && points.len() > BUCKETS / 4, "{}", points.len());
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(points.contains(&(123.457, 1_000_003)));
    }
}

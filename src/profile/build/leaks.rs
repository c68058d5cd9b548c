//! Lines whose live bytes grow with time.
//!
//! Job: keep a short series of live bytes for each owner and judge the series. Invariant: at most [`POINTS`] snapshots,
//! whatever the length of the run (at the limit every other snapshot is dropped and the distance doubles). Neighbours:
//! `heap` takes the snapshots, `lines` lists the verdicts.
//!
//! **Drift.** A line that leaks gains bytes in most intervals. A line that fills a cache gains bytes once, or until the
//! cache is full. A line that allocates and frees all the time gains and loses. The mean gain of an interval is tested
//! against 0 by Student's t. A stable population of sampled blocks looks like a driftless random walk, whose gains are
//! independent with mean 0. A single big step has t = 1. A ramp that ends gives a high t over the whole run, so the
//! last half and the last third have to pass as well, and the last tenth must not fall behind. The confidence is the
//! lowest of the three tests.
//!
//! **Steps.** A container grows by an eighth at a time and a batch job leaks once a batch: most intervals gain nothing.
//! In this case the steps are counted: by chance, as many steps would go down as up. The last step must not be longer
//! ago than twice the longest pause between steps.
//!
//! **The same work again.** Memory that one call takes until it returns, such as `model.fit(x)`, is the result of the
//! call. So a line that grows is listed only if the program entered the line several times in the last two thirds of
//! the growth (`repeats`).
//!
//! The probability of growth by chance is multiplied by the number of owners tested, so that a large program has no
//! leaks by mere number. Growth alone does not separate a leak from a list that grows by design until the program ends,
//! so reports say "grew until the end".

use crate::profile::book::courses::{MOST_LINES, keep_largest};
use crate::profile::book::intern::FrameId;
use crate::profile::book::records::Growth;

/// Most snapshots.
const POINTS: usize = 96;
/// Nanoseconds between the first snapshots.
const FIRST_GAP_NS: u64 = 5_000_000;
/// Least number of gains in the last third.
const FEWEST_GAINS: usize = 6;
/// Least number of steps up in the last two thirds.
const FEWEST_STEPS: usize = 5;
/// Largest part of the gained bytes that the owner may have lost again, in growth by steps.
const MOST_LOST: f64 = 0.25;
/// Owners with fewer live bytes are not tested.
const SMALLEST: f64 = 64.0 * 1024.0;
/// A line is listed from this confidence on.
const LISTED_FROM: f64 = 0.95;

/// Live bytes of the owners at one moment, and the most since the moment before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    at_ns: u64,
    /// Live bytes of the owners that have any, in the order of the owners.
    live: Vec<(FrameId, f64)>,
    /// The owners with most bytes between the two moments, at most [`MOST_LINES`].
    most: Vec<(FrameId, f64)>,
}

impl Snapshot {
    fn new(at_ns: u64, owners: impl Iterator<Item = (FrameId, f64, f64)>) -> Self {
        let (mut live, mut most) = (Vec::new(), Vec::new());
        for (owner, now, largest) in owners.filter(|&(owner, _, largest)| owner.some().is_some() && largest > 0.0) {
            most.push((owner, largest));
            if now > 0.0 {
                live.push((owner, now));
            }
        }
        live.sort_unstable_by_key(|&(owner, _)| owner);
        keep_largest(&mut most, MOST_LINES);
        Self { at_ns, live, most }
    }

    /// The same state at a later moment: nothing changed in between.
    fn held_until(&self, at_ns: u64) -> Self {
        let mut most = self.live.clone();
        keep_largest(&mut most, MOST_LINES);
        Self { at_ns, live: self.live.clone(), most }
    }

    /// Adds the stretch of time before this one.
    fn absorb(&mut self, before: Self) {
        for (owner, bytes) in before.most {
            match self.most.iter_mut().find(|(other, _)| *other == owner) {
                Some((_, most)) => *most = most.max(bytes),
                None => self.most.push((owner, bytes)),
            }
        }
        keep_largest(&mut self.most, MOST_LINES);
    }
}

/// A series for each owner, sampled at equal distances.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshots {
    points: Vec<Snapshot>,
    gap_ns: u64,
    next_ns: u64,
}

impl Snapshots {
    /// True if the next snapshot is due.
    pub(crate) fn due(&self, time_ns: u64) -> bool {
        time_ns >= self.next_ns
    }

    /// Takes a snapshot of the state before the record of `time_ns`. `owners` yields each owner with its live bytes now
    /// and the most since the snapshot before. Returns false if this was the beginning of the series.
    pub(crate) fn take(&mut self, time_ns: u64, owners: impl Iterator<Item = (FrameId, f64, f64)>) -> bool {
        if self.gap_ns == 0 {
            self.gap_ns = FIRST_GAP_NS;
            self.next_ns = time_ns.saturating_add(self.gap_ns);
            return false;
        }
        let mut point = Snapshot::new(self.next_ns, owners);
        // The state has not changed since the last record, so the same figures hold for every moment that is due.
        while self.due(time_ns) && self.next_ns < u64::MAX {
            let next = point.held_until(self.next_ns);
            point.at_ns = self.next_ns;
            self.points.push(std::mem::replace(&mut point, next));
            if self.points.len() == POINTS {
                self.halve();
                self.next_ns = self.points.last().map_or(time_ns, |last| last.at_ns);
            }
            self.next_ns = self.next_ns.saturating_add(self.gap_ns);
        }
        true
    }

    /// Drops every other snapshot; the next one takes over its largest figures.
    fn halve(&mut self) {
        let mut dropped: Option<Snapshot> = None;
        let mut kept = Vec::with_capacity(POINTS);
        for mut point in std::mem::take(&mut self.points) {
            match dropped.take() {
                None => dropped = Some(point),
                Some(before) => {
                    point.absorb(before);
                    kept.push(point);
                }
            }
        }
        self.points = kept;
        self.gap_ns = self.gap_ns.saturating_mul(2);
    }

    /// The series for a drawing: the beginning of each stretch of time with the largest figures of the stretch. `last`
    /// yields each owner with the most since the last snapshot; the last stretch ends at `until_ns`.
    pub(crate) fn stretches(
        &self,
        until_ns: u64,
        last: impl Iterator<Item = (FrameId, f64)>,
    ) -> Vec<(u64, Vec<(FrameId, f64)>)> {
        if self.gap_ns == 0 {
            return Vec::new();
        }
        let starts = |point: &Snapshot| point.at_ns.saturating_sub(self.gap_ns);
        let mut rows: Vec<_> = self
            .points
            .iter()
            .take_while(|point| starts(point) <= until_ns)
            .map(|point| (starts(point), point.most.clone()))
            .collect();
        let start = self.points.last().map_or(self.next_ns.saturating_sub(self.gap_ns), |point| point.at_ns);
        if start <= until_ns {
            let mut most: Vec<_> = last.filter(|&(owner, bytes)| owner.some().is_some() && bytes > 0.0).collect();
            keep_largest(&mut most, MOST_LINES);
            rows.push((start, most));
        }
        rows
    }

    /// The owners that grow, by the snapshots up to `until_ns`.
    /// `repeats(owner, time)`: was the line entered again and again since that time?
    pub(crate) fn growing(&self, until_ns: u64, repeats: impl Fn(FrameId, u64) -> bool) -> Vec<Growth> {
        let points: Vec<_> = self.points.iter().map(|point| (point.at_ns, &point.live)).collect();
        let points = &points[..points.partition_point(|(at, _)| *at <= until_ns)];
        let Some((_, last)) = points.last() else { return Vec::new() };
        let tested: Vec<_> = last.iter().filter(|(_, bytes)| *bytes >= SMALLEST).collect();
        let seconds = self.gap_ns as f64 / 1e9;
        let mut growing = Vec::new();
        for &&(owner, _) in &tested {
            let series: Vec<f64> = points
                .iter()
                .map(|(_, live)| live.binary_search_by_key(&owner, |&(owner, _)| owner).map_or(0.0, |at| live[at].1))
                .collect();
            let Some((chance, gain)) = chance_of_growth(&series) else { continue };
            let confidence = 1.0 - (chance * tested.len() as f64).min(1.0);
            let first = series.iter().position(|&bytes| bytes > 0.0).unwrap_or(0);
            let late = points[first + (points.len() - first) / 3].0;
            if confidence >= LISTED_FROM && repeats(owner, late) {
                growing.push(Growth { owner, bytes_per_s: gain / seconds, confidence });
            }
        }
        growing
    }
}

/// The probability that chance made the series grow (for a drift, the largest of the three), and the mean gain over the
/// last half of the series.
fn chance_of_growth(series: &[f64]) -> Option<(f64, f64)> {
    let first = series.iter().position(|&bytes| bytes > 0.0)?;
    let gains: Vec<f64> = series[first..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    let third = &gains[gains.len() - gains.len() / 3..];
    let half = &gains[gains.len() - gains.len() / 2..];
    if third.len() < FEWEST_GAINS {
        return None;
    }
    let late = &gains[gains.len() / 3..];
    let changes = late.iter().filter(|gain| **gain != 0.0).count();
    let chance = if changes * 2 < late.len() {
        chance_of_steps(late)?
    } else {
        if fell_behind(half) {
            return None;
        }
        [&gains[..], half, third].iter().map(|gains| chance(gains)).fold(0.0, f64::max)
    };
    Some((chance, half.iter().sum::<f64>() / half.len() as f64))
}

/// True if the last fifth of `half` the gains (the last tenth of all) gained much less than the other gains predict.
fn fell_behind(half: &[f64]) -> bool {
    let (before, tail) = half.split_at(half.len() - (half.len() / 5).max(2));
    let (mean, variance) = moments(before);
    let (expected, found) = (mean * tail.len() as f64, tail.iter().sum::<f64>());
    found < 0.25 * expected && expected - found > 2.0 * (variance * tail.len() as f64).sqrt()
}

/// The probability that chance takes as many of the changes up; `None` unless the steps go on until the end.
fn chance_of_steps(gains: &[f64]) -> Option<f64> {
    let ups: Vec<usize> = (0..gains.len()).filter(|&at| gains[at] > 0.0).collect();
    let (gained, lost) = gains.iter().fold((0.0, 0.0), |(up, down), gain| (up + gain.max(0.0), down - gain.min(0.0)));
    let pause = ups.windows(2).map(|pair| pair[1] - pair[0]).max()?;
    let since = gains.len() - 1 - ups.last()?;
    if ups.len() < FEWEST_STEPS || lost > MOST_LOST * gained || since > 2 * pause {
        return None;
    }
    let changes = gains.iter().filter(|gain| **gain != 0.0).count();
    // The binomial tail of `changes` fair coins, from its last term down.
    let mut term = 0.5f64.powi(changes as i32);
    let mut tail = term;
    for down in 0..changes - ups.len() {
        term *= (changes - down) as f64 / (down + 1) as f64;
        tail += term;
    }
    Some(tail)
}

/// One-sided probability under Student's t that independent gains of mean 0 have at least this mean.
fn chance(gains: &[f64]) -> f64 {
    let count = gains.len() as f64;
    let (mean, variance) = moments(gains);
    if mean <= 0.0 {
        return 1.0;
    }
    if variance <= 0.0 {
        // All gains are equal: as likely as the same side for so many coins.
        return 0.5f64.powf(count);
    }
    let t = mean / (variance / count).sqrt();
    let freedom = count - 1.0;
    // Wallace's normal approximation to Student's t, good to 0.002 from five degrees of freedom on.
    let z = (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0) * (freedom * (t * t / freedom).ln_1p()).sqrt();
    upper_tail(z)
}

/// Mean and variance.
fn moments(gains: &[f64]) -> (f64, f64) {
    let count = gains.len() as f64;
    let mean = gains.iter().sum::<f64>() / count;
    (mean, gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (count - 1.0))
}

/// Probability that a standard normal exceeds `z >= 0` (Abramowitz and Stegun 26.2.17, error below 7.5e-8).
pub(crate) fn upper_tail(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let polynomial =
        t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt() * polynomial
}

#[cfg(test)]
mod tests {
    use super::{FrameId, POINTS, Snapshots, chance_of_growth, upper_tail};

    fn confidence(series: impl Iterator<Item = f64>) -> f64 {
        chance_of_growth(&series.collect::<Vec<_>>()).map_or(0.0, |(chance, _)| 1.0 - chance)
    }

    #[test]
    fn the_normal_tail_is_known() {
        assert!((upper_tail(0.0) - 0.5).abs() < 1e-6);
        assert!((upper_tail(1.959_964) - 0.025).abs() < 1e-6);
    }

    #[test]
    fn steady_growth_is_a_leak_and_a_cache_that_fills_is_none() {
        let jitter = |i: u32| f64::from(i.wrapping_mul(2_654_435_761) >> 24);
        assert!(confidence((0..60).map(|i| f64::from(i) * 1000.0 + jitter(i))) > 0.999);
        assert!(confidence((0..60).map(|i| f64::from(i.min(36)) * 1000.0 + jitter(i))) < 0.95);
        assert!(confidence((0..60).map(|i| if i < 20 { 0.0 } else { 1e6 } + jitter(i))) < 0.95);
        assert!(confidence((0..60).map(|i| f64::from(i % 7) * 1e5)) < 0.95);
        assert!(confidence((0..60).map(|_| 1e6)) < 0.95);
    }

    #[test]
    fn growth_that_stopped_is_none_wherever_it_stopped() {
        let jitter = |i: u32| f64::from(i.wrapping_mul(2_654_435_761) >> 27);
        for stop in [18, 36, 54] {
            assert!(confidence((0..60).map(|i| f64::from(i.min(stop)) * 1000.0)) < 0.95, "{stop}");
            assert!(confidence((0..60).map(|i| f64::from(i.min(stop)) * 1000.0 + jitter(i))) < 0.95, "{stop}");
        }
    }

    #[test]
    fn a_container_grows_by_steps_and_batches_leak_by_steps() {
        let list = |length: f64| 1.125f64.powf((length.ln() / 1.125f64.ln()).ceil());
        assert!(confidence((1..90).map(|i| list(f64::from(i) * 1e4))) > 0.99);
        assert!(confidence((0..90).map(|i| f64::from(i / 7) * 1e6)) > 0.99);
        // Filled until the middle; emptied again and again; loaded in three parts.
        assert!(confidence((0..90).map(|i| f64::from(i.min(45) / 7) * 1e6)) < 0.95);
        assert!(confidence((0..90).map(|i| f64::from(i / 7 % 4) * 1e6)) < 0.95);
        assert!(confidence((0..90).map(|i| f64::from(i / 30) * 1e6)) < 0.95);
    }

    #[test]
    fn a_wandering_series_is_seldom_called_a_leak() {
        let mut state = 1u64;
        let mut coin = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / f64::from(1 << 24) - 0.5
        };
        let mut false_alarms = 0;
        for _ in 0..2000 {
            let mut level = 1e9;
            let walk: Vec<f64> = (0..60)
                .map(|_| {
                    level += coin() * 1e6;
                    level
                })
                .collect();
            false_alarms += u32::from(chance_of_growth(&walk).is_some_and(|(chance, _)| chance < 0.05));
        }
        // One test in twenty would be 100; three sigmas above that is 130, and two more tests have to agree.
        assert!(false_alarms < 130, "{false_alarms}");
    }

    #[test]
    fn a_run_of_any_length_keeps_a_bounded_series() {
        let mut snapshots = Snapshots::default();
        for ms in 0..200_000u64 {
            if snapshots.due(ms * 1_000_000) {
                snapshots.take(ms * 1_000_000, [(FrameId(3), ms as f64 * 1000.0, ms as f64 * 1000.0)].into_iter());
            }
        }
        assert!(snapshots.points.len() < POINTS && snapshots.points.len() >= POINTS / 2 - 1);
        assert!(snapshots.points.windows(2).all(|pair| pair[1].at_ns - pair[0].at_ns == snapshots.gap_ns));
        let growing = snapshots.growing(u64::MAX, |_, _| true);
        assert_eq!(growing.len(), 1);
        assert!((growing[0].bytes_per_s - 1e6).abs() < 1e4, "{growing:?}");
    }

    #[test]
    fn a_short_peak_stays_in_the_series_whatever_the_length_of_the_run() {
        let mut snapshots = Snapshots::default();
        snapshots.take(0, std::iter::empty());
        let mut most: f64 = 1e6;
        for ms in 1..50_000u64 {
            if snapshots.due(ms * 1_000_000) {
                // The line holds nothing at any snapshot.
                snapshots.take(ms * 1_000_000, [(FrameId(3), 0.0, most)].into_iter());
                most = 1e6;
            }
            most = most.max(if ms == 20_000 { 9e6 } else { 1e6 });
        }
        let rows = snapshots.stretches(u64::MAX, std::iter::empty());
        let high: Vec<u64> = rows.iter().filter(|row| row.1 == [(FrameId(3), 9e6)]).map(|row| row.0).collect();
        assert_eq!(high.len(), 1);
        assert!(high[0] <= 20_000_000_000 && high[0] + snapshots.gap_ns >= 20_000_000_000, "{high:?}");
    }
}

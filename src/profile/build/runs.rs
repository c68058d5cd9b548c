//! The standard error of each line's CPU time, from the order of the samples.
//!
//! Job: count where a thread's consecutive samples leave a line for another. Invariant: the result needs no knowledge
//! of the program. It is right for work scattered over many lines, and for work that stays on a line for long.
//! Neighbours: `cpu` passes each sample in the order of time, and asks for the variances at a thread's end.
//!
//! A sample shows the position of a thread at a moment of its CPU time; the next sample comes an interval `w` later.
//! Two cases:
//!
//! * **Stretches.** A line with at least [`LONG`] consecutive samples ran for a stretch. Only the positions of its two
//!   ends within an interval are unknown: each end has a variance of `w² / 8` (intervals are drawn from half of `w` to
//!   one and a half, so a boundary falls into a long interval more often; equal intervals would give `w² / 12`).
//! * **Scattered work.** Where lines alternate faster than samples come, each sample is an independent draw. `n` draws
//!   with a chance of `p` have a variance of `n p (1 - p)`. They show `n p (1 - p)` runs of the line, with two ends
//!   each: `w² / 2` for each end.
//!
//! A line of 5 % in a run of 1,000 samples: 50 ± 6.9 samples if scattered, 50 ± 0.5 in a single stretch.

use rustc_hash::FxHashMap;

use crate::profile::book::intern::FrameId;

/// Least consecutive samples of a stretch. Two could be chance: in scattered work on two equal lines, every other run
/// has two or more samples, every fourth three or more. Both sides of a boundary need this length.
const LONG: u32 = 3;
/// Variance of the end of a stretch, in squared intervals.
const STRETCH: f64 = 1.0 / 8.0;
/// Variance of each end of a run of scattered samples, in squared intervals.
const SCATTERED: f64 = 1.0 / 2.0;

/// Consecutive samples of a thread on the same line.
#[derive(Clone, Copy, Debug)]
struct Run {
    line: FrameId,
    samples: u32,
    /// Nanoseconds of the first sample: the run began within them.
    first_ns: f64,
}

/// The runs of a thread so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    before: Option<Run>,
    current: Option<Run>,
    /// Squared nanoseconds.
    variances: FxHashMap<FrameId, f64>,
}

impl Runs {
    /// Takes in a sample on `line` with a weight of `ns` nanoseconds.
    pub(crate) fn sample(&mut self, line: FrameId, ns: f64) {
        match &mut self.current {
            Some(run) if run.line == line => run.samples = run.samples.saturating_add(1),
            _ => {
                self.close_boundary();
                self.before = self.current.replace(Run { line, samples: 1, first_ns: ns });
            }
        }
    }

    /// The variance of each sampled line, in squared nanoseconds.
    pub(crate) fn variances(mut self) -> FxHashMap<FrameId, f64> {
        self.close_boundary();
        if let Some(last) = self.current {
            // The end of the thread itself lies within an interval.
            *self.variances.entry(last.line).or_default() += STRETCH * last.first_ns * last.first_ns;
        }
        self.variances
    }

    /// Adds the boundary at which the current run began.
    fn close_boundary(&mut self) {
        let Some(current) = self.current else { return };
        let square = current.first_ns * current.first_ns;
        let Some(before) = self.before else {
            *self.variances.entry(current.line).or_default() += STRETCH * square;
            return;
        };
        let stretches = before.samples >= LONG && current.samples >= LONG;
        let variance = if stretches { STRETCH } else { SCATTERED } * square;
        for line in [before.line, current.line] {
            *self.variances.entry(line).or_default() += variance;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FrameId, Runs};

    const A: FrameId = FrameId(1);
    const B: FrameId = FrameId(2);

    /// Simulates samples of a program: line A at times where `on_a` returns true, otherwise line B. Samples are
    /// `0.5..1.5` intervals apart.
    fn observe(seed: u64, length: f64, on_a: &mut dyn FnMut(f64, &mut fastrand::Rng) -> bool) -> (f64, f64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut runs = Runs::default();
        let mut time = -random.f64();
        let mut seen = 0.0;
        loop {
            let gap = 0.5 + random.f64();
            time += gap;
            if time >= length {
                break;
            }
            if time < 0.0 {
                continue;
            }
            let line = if on_a(time, &mut random) { A } else { B };
            seen += if line == A { gap } else { 0.0 };
            runs.sample(line, gap);
        }
        (seen, runs.variances().get(&A).copied().unwrap_or(0.0).sqrt())
    }

    /// Root mean square of the true errors, divided by the root mean square of the printed errors.
    fn ratio(length: f64, truth: f64, on_a: &mut dyn FnMut(f64, &mut fastrand::Rng) -> bool) -> f64 {
        let (mut real, mut told) = (0.0, 0.0);
        for seed in 0..400 {
            let (seen, error) = observe(seed, length, on_a);
            real += (seen - truth).powi(2);
            told += error * error;
        }
        (real / told).sqrt()
    }

    #[test]
    fn scattered_work_has_the_error_of_independent_draws() {
        for share in [0.05, 0.2, 0.5, 0.74, 0.95] {
            let found = ratio(200.0, 200.0 * share, &mut |_, random| random.f64() < share);
            assert!((0.8..1.2).contains(&found), "{share}: {found}");
        }
    }

    #[test]
    fn mixed_distances_have_the_error_of_each_of_their_parts() {
        for (share, of) in [(0.05, 0.0), (0.74, 0.0), (0.2, 60.0)] {
            let (mut real, mut told) = (0.0, 0.0);
            for seed in 0..400 {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut runs = Runs::default();
                let (mut time, mut seen) = (0.0, 0.0);
                while time < 600.0 {
                    // Three times as far apart in the second half.
                    let gap = (0.5 + random.f64()) * if time < 300.0 { 1.0 } else { 3.0 };
                    time += gap;
                    let on_a = if of > 0.0 { time % of < of * share } else { random.f64() < share };
                    seen += if on_a { gap } else { 0.0 };
                    runs.sample(if on_a { A } else { B }, gap);
                }
                real += (seen - time * share).powi(2);
                told += runs.variances()[&A];
            }
            let found = (real / told).sqrt();
            assert!((0.6..1.2).contains(&found), "{share} of {of}: {found}");
        }
    }

    #[test]
    fn stretches_have_the_error_of_their_ends() {
        for (each, of) in [(12.0_f64, 60.0), (30.0, 60.0), (7.3, 21.9)] {
            let found = ratio(20.0 * of, 20.0 * each, &mut |time, _| time % of < each);
            assert!((0.6..1.2).contains(&found), "{each} of {of}: {found}");
        }
    }

    #[test]
    fn the_error_of_one_long_stretch_is_below_the_error_of_its_sample_count() {
        let (seen, error) = observe(7, 100.0, &mut |time, _| (20.0..80.0).contains(&time));
        assert!((seen - 60.0).abs() < 2.0 && error < 1.0, "{seen} {error}");
    }

    #[test]
    fn a_line_that_a_single_sample_met_may_have_had_none() {
        let mut runs = Runs::default();
        [B, B, A, B, B].into_iter().for_each(|line| runs.sample(line, 10.0));
        assert_eq!(runs.variances()[&A].sqrt(), 10.0);
    }
}

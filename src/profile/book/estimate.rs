//! The bytes and blocks for which a sampled allocation stands.
//!
//! The shim samples the allocated bytes as a Poisson process of mean gap `T`: a block of `n` bytes is recorded with
//! probability `p = 1 - exp(-n / T)`, and blocks well above `T` always (`p = 1`). Dividing by `p` makes every sum
//! unbiased, whatever `T` was at that moment (Horvitz and Thompson): a sample stands for `n / p` bytes and `1 / p`
//! blocks. Since samples are independent, `n² (1 - p) / p²` summed over the samples estimates the variance of the bytes
//! without bias as well.
//!
//! **Few samples.** The number of samples has a skewed distribution: if five are expected, three occur more often than
//! seven. A sum that is too low by chance also gets a variance that is too low, so that twice its root would contain
//! the true value in nine cases of ten only. Adding two average samples to the variance (half of 1.96 squared, as in
//! the score interval of a Poisson mean) corrects this: from three samples on, 1.96 errors contain the true value in at
//! least 93 %, whatever number was expected (a test adds the cases up). With many samples, the two change nothing. A
//! sum without any sample is 0 without an error; the missing bytes are below three intervals in 95 % of cases.
//!
//! Invariant: pure. Neighbour: `heap` sums.

use rscalene_wire as wire;

/// Average samples added to the variance, against the error of few samples.
const MORE: f64 = 2.0;
/// Rounds of Newton's method for the size of a copy. For the smallest copies each round halves `n / T`; for others the
/// rounds square the error.
const ROUNDS: u32 = 8;

/// The bytes and blocks for which a recorded block stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Estimate {
    /// Bytes.
    pub(crate) bytes: f64,
    /// Blocks.
    pub(crate) blocks: f64,
    /// Sampling error of `bytes`.
    pub(crate) spread: Spread,
}

/// Sampling error of a sum of estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    variance: f64,
    /// Number of estimates in the sum that were sampled by chance.
    samples: f64,
}

impl Spread {
    /// Adds the error of another estimate to the error of the sum.
    pub(crate) fn add(&mut self, other: Self) {
        self.variance += other.variance;
        self.samples += other.samples;
    }

    /// The value which, added to a sum, removes this error again.
    pub(crate) fn negated(self) -> Self {
        Self { variance: -self.variance, samples: -self.samples }
    }

    /// The standard error of the sum.
    pub(crate) fn error(self) -> f64 {
        if self.samples < 0.5 {
            return 0.0;
        }
        (self.variance.max(0.0) * (self.samples + MORE) / self.samples).sqrt()
    }
}

/// The estimate from a recorded block of `size` bytes, sampled at a mean gap of `interval` bytes (0: always recorded).
pub(crate) fn estimate(size: u64, interval: u64) -> Estimate {
    let bytes = size as f64;
    if interval == 0 {
        return Estimate { bytes, blocks: 1.0, spread: Spread::default() };
    }
    // A block of no bytes cannot be sampled; a record of such a block counts as the smallest block.
    let n = bytes.max(1.0);
    let p = -(-n / interval as f64).exp_m1();
    let spread = Spread { variance: n * n * (1.0 - p) / (p * p), samples: 1.0 };
    Estimate { bytes: n / p, blocks: 1.0 / p, spread }
}

/// The error of a sampled copy that stands for `weight` bytes. The record holds `weight = n / p` alone; the bytes `n` of
/// the copy follow from it, because `p = 1 - exp(-n / T)`.
pub(crate) fn copy_spread(weight: u64) -> Spread {
    let interval = wire::COPY_INTERVAL as f64;
    // In units of the interval: weight = x / (1 - exp(-x)), 1 at least. Newton's method falls from x = weight.
    let weight = (weight as f64 / interval).max(1.0);
    let mut x = weight;
    for _ in 0..ROUNDS {
        x -= (x + weight * (-x).exp_m1()) / (1.0 - weight * (-x).exp()).max(1e-9);
    }
    Spread { variance: (weight * interval).powi(2) * (-x).exp(), samples: 1.0 }
}

#[cfg(test)]
mod tests {
    use super::{Spread, copy_spread, estimate, wire};

    #[test]
    fn a_copy_has_the_error_of_a_block_of_its_size() {
        for size in [1, 100_000, 1 << 20, 4 << 20, 20 << 20, 200 << 20] {
            let block = estimate(size, wire::COPY_INTERVAL);
            let (found, expected) = (copy_spread(block.bytes as u64).error(), block.spread.error());
            assert!((found - expected).abs() <= 0.02 * expected + 1.0, "{size}: {found} for {expected}");
        }
    }

    #[test]
    fn a_block_that_is_always_recorded_stands_for_itself() {
        let one = estimate(7919, 0);
        assert_eq!((one.bytes, one.blocks, one.spread.error()), (7919.0, 1.0, 0.0));
    }

    #[test]
    fn few_samples_have_the_error_of_two_more_and_none_has_none() {
        let one = estimate(1000, 65_536).spread;
        let mut sum = Spread::default();
        (0..4).for_each(|_| sum.add(one));
        let plain = (4.0 * one.variance).sqrt();
        assert!((sum.error() / plain - 1.5f64.sqrt()).abs() < 1e-9);
        (0..4).for_each(|_| sum.add(one.negated()));
        assert_eq!(sum.error(), 0.0);
    }

    #[test]
    fn whatever_was_expected_the_interval_holds_the_truth_in_93_percent() {
        let one = estimate(64, 65_536);
        for tenths in 30..600u32 {
            let expected = f64::from(tenths) / 10.0;
            // Add up the Poisson probabilities of each number of samples; no samples at all count as a miss.
            let (mut sum, mut bytes, mut probability, mut held) = (Spread::default(), 0.0, (-expected).exp(), 0.0);
            for samples in 1..200u32 {
                sum.add(one.spread);
                bytes += one.bytes;
                probability *= expected / f64::from(samples);
                if (bytes - expected * one.bytes).abs() <= 1.96 * sum.error() {
                    held += probability;
                }
            }
            assert!(held >= 0.93, "{held} at {expected}");
        }
    }

    #[test]
    fn a_tiny_block_stands_for_about_one_interval() {
        let one = estimate(1, 65_536);
        assert!((one.bytes - 65_536.5).abs() < 0.01, "{one:?}");
        assert!((one.blocks - one.bytes).abs() < 1e-6);
    }

    #[test]
    fn a_block_far_above_the_interval_stands_for_little_more_than_itself() {
        let one = estimate(1 << 20, 65_536);
        assert!(one.bytes - 1_048_576.0 < 1.0 && one.bytes >= 1_048_576.0, "{one:?}");
    }
}

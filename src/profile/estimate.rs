//! What one sampled allocation stands for.
//!
//! The shim walks through the allocated bytes as a Poisson process of mean gap `T`: a block of `n` bytes is recorded with
//! probability `p = 1 - exp(-n / T)`, and blocks well above `T` always (`p = 1`). Dividing by `p` makes every sum
//! unbiased whatever `T` was at that moment (Horvitz and Thompson): a sample stands for `n / p` bytes and `1 / p` blocks,
//! and, samples being independent, `n² (1 - p) / p²` summed over the samples estimates the variance of the bytes without
//! bias as well.
//!
//! Invariant: pure. Neighbour: `heap` sums.

/// What a recorded block stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Estimate {
    /// Bytes.
    pub(crate) bytes: f64,
    /// Blocks.
    pub(crate) blocks: f64,
    /// Variance of `bytes`.
    pub(crate) variance: f64,
}

/// What a recorded block of `size` bytes stands for, sampled at a mean gap of `interval` bytes (0: always recorded).
pub(crate) fn estimate(size: u64, interval: u64) -> Estimate {
    let bytes = size as f64;
    if interval == 0 {
        return Estimate { bytes, blocks: 1.0, variance: 0.0 };
    }
    // A block of no bytes cannot be hit; a record that says so counts as the smallest block.
    let n = bytes.max(1.0);
    let p = -(-n / interval as f64).exp_m1();
    Estimate { bytes: n / p, blocks: 1.0 / p, variance: n * n * (1.0 - p) / (p * p) }
}

#[cfg(test)]
mod tests {
    use super::estimate;

    #[test]
    fn a_block_that_is_always_recorded_stands_for_itself() {
        let one = estimate(7919, 0);
        assert_eq!((one.bytes, one.blocks, one.variance), (7919.0, 1.0, 0.0));
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

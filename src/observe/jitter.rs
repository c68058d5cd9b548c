//! Distances between looks, at random, so that nothing periodic in the target keeps step with them.

use std::time::Duration;

use super::proc;

/// A source of distances (xorshift64*: only their evenness is at stake).
#[derive(Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// Seeded by the clock.
    #[must_use]
    pub fn new() -> Self {
        Self(proc::monotonic_ns() | 1)
    }

    /// Between half of `mean` and one and a half times it.
    pub fn around(&mut self, mean: Duration) -> Duration {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        mean.mul_f64(0.5 + f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(u32::MAX))
    }
}

impl Default for Jitter {
    fn default() -> Self {
        Self::new()
    }
}

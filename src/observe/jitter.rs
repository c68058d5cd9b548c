//! Random numbers: distances between looks, so that no periodic work of the target keeps step with the looks; and
//! choices.

use std::time::Duration;

use super::proc;

/// A source of random distances (xorshift64*; only an even distribution matters).
#[derive(Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// Seeded by the clock.
    #[must_use]
    pub fn new() -> Self {
        Self(proc::monotonic_ns() | 1)
    }

    /// A number below `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let bits = u128::from(self.next());
        usize::try_from((bits * end as u128) >> 32).unwrap_or(0)
    }

    /// Between half of `mean` and one and a half times it.
    pub fn around(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(0.5 + f64::from(self.next()) / f64::from(u32::MAX))
    }

    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        u32::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32).unwrap_or(0)
    }
}

impl Default for Jitter {
    fn default() -> Self {
        Self::new()
    }
}

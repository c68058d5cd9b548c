//! The scheduler's ticks of a line: in user mode, and in the kernel.
//!
//! Job: count ticks, and compute the kernel's share. Neighbour: `cpu` divides a line's sampled time by this share.

/// Nanoseconds of ticks: in user mode, and in the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ticked([f64; 2]);

impl Ticked {
    /// Adds ticks.
    pub(crate) fn add(&mut self, user_ns: u64, kernel_ns: u64) {
        self.0[0] += user_ns as f64;
        self.0[1] += kernel_ns as f64;
    }

    /// Adds other ticks.
    pub(crate) fn join(&mut self, other: Self) {
        self.0[0] += other.0[0];
        self.0[1] += other.0[1];
    }

    /// The share of the ticks that met the kernel; `None` without ticks.
    pub(crate) fn kernel(self) -> Option<f64> {
        let [user, kernel] = self.0;
        (user + kernel > 0.0).then(|| kernel / (user + kernel))
    }
}

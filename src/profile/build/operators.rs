//! Python or native: the time of C functions under instructions that make no call.
//!
//! Job: decide for each line whether the C functions under its operators (`a * b`, `x in xs`, `del xs`) run long enough
//! to be native. Invariant: the decision needs no clock of the single operation, only the ratio of a line's samples in
//! the evaluation loop to its samples in functions outside the loop. Neighbours: the shim flags samples
//! ([`rscalene_wire::CpuFlags::OUTSIDE`]); `cpu` moves the seconds, `native` the names.
//!
//! A line that adds two small numbers spends some nanoseconds in the loop, on loading and storing, for each call of the
//! function that adds: a third of its samples are in the loop. A line that multiplies two numbers of 10,000 digits
//! spends as long in the loop, and 1,000 times as long in the function: hardly any sample is in the loop. A line is
//! native if the functions take at least [`RATIO`] times as long as the loop; such an operation takes 0.4 to 1 µs. A
//! few samples cannot separate the cases, so lines with fewer than [`FEW`] are decided together.

use rustc_hash::FxHashMap;

use crate::profile::book::intern::FrameId;

/// Samples outside the loop for each sample in the loop, from which on a line's functions count as native. Measured on
/// CPython 3.11 to 3.13 with slices, products, sums of texts, searches and unions of many sizes: at most 26 for
/// operations of up to 250 ns, at least 57 for operations of 1.5 µs and more.
const RATIO: f64 = 36.0;
/// Lines with fewer samples are decided together: 20 samples without any in the loop put the loop's share below 14 %
/// with a confidence of 95 %.
const FEW: u32 = 20;

/// Samples of a line's own bytecode, and of the functions under its instructions.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    inside: u32,
    outside: u32,
}

impl Tally {
    fn add(&mut self, outside: bool) {
        let count = if outside { &mut self.outside } else { &mut self.inside };
        *count = count.saturating_add(1);
    }

    fn has_few(self) -> bool {
        self.inside.saturating_add(self.outside) < FEW
    }

    /// True if the functions run long. The rule adds half a sample to those in the loop, because a line without samples
    /// there may still have some time there.
    fn is_long(self) -> bool {
        (f64::from(self.inside) + 0.5) * RATIO <= f64::from(self.outside)
    }
}

/// The samples of a process by line, in bytecode and under instructions without a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Operators {
    lines: FxHashMap<FrameId, Tally>,
    /// The sum over all lines that have few samples.
    few: Tally,
}

impl Operators {
    /// Takes in a sample on the line `leaf`, in bytecode or `outside` the evaluation loop.
    pub(crate) fn sample(&mut self, leaf: FrameId, outside: bool) {
        let line = self.lines.entry(leaf).or_default();
        line.add(outside);
        if line.has_few() {
            self.few.add(outside);
        } else if line.inside + line.outside == FEW {
            self.few.inside -= line.inside - u32::from(!outside);
            self.few.outside -= line.outside - u32::from(outside);
        }
    }

    /// True if the functions under the instructions of the line `leaf` are native.
    pub(crate) fn are_native(&self, leaf: FrameId) -> bool {
        let line = self.lines.get(&leaf).copied().unwrap_or_default();
        if line.has_few() { self.few.is_long() } else { line.is_long() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[(u32, u32, u32)]) -> Operators {
        let mut operators = Operators::default();
        for &(line, inside, outside) in lines {
            (0..inside).for_each(|_| operators.sample(FrameId(line), false));
            (0..outside).for_each(|_| operators.sample(FrameId(line), true));
        }
        operators
    }

    #[test]
    fn a_function_is_native_if_its_line_is_hardly_ever_met_in_the_loop() {
        let operators = after(&[(1, 0, 100), (2, 30, 70), (3, 1, 100), (4, 10, 100), (5, 41, 1_000), (6, 17, 1_000)]);
        let native = [1, 2, 3, 4, 5, 6].map(|line| operators.are_native(FrameId(line)));
        assert_eq!(native, [true, false, true, false, false, true]);
    }

    #[test]
    fn lines_with_few_samples_are_decided_together() {
        let long: Vec<_> = (1..20).map(|line| (line, 0, 3)).collect();
        assert!(after(&long).are_native(FrameId(7)));
        let short: Vec<_> = (1..20).map(|line| (line, u32::from(line % 4 == 0), 2)).collect();
        assert!(!after(&short).are_native(FrameId(7)));
        assert!(!after(&[(1, 0, 2)]).are_native(FrameId(1)), "two samples tell nothing");
    }

    #[test]
    fn a_line_with_many_samples_does_not_decide_for_those_with_few() {
        let operators = after(&[(1, 0, 500), (2, 1, 3)]);
        assert!(operators.are_native(FrameId(1)) && !operators.are_native(FrameId(2)));
    }
}

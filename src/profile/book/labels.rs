//! Sums of a label, and the durations of the work that ended under the label.
//!
//! Job: sums that add up over threads and processes. Invariant: durations are kept in steps of 1 %, so a million
//! requests take no more memory than a thousand. Neighbours: `build::labels` fills a record, `write::tables` reads the
//! record.

use std::collections::BTreeMap;

use super::records::Lines;

/// The key and value pairs of a label.
pub(crate) type Pairs = BTreeMap<String, String>;

/// Natural logarithm of the step between two durations.
const STEP: f64 = 0.01;

/// Sums of a label.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabelRecord {
    /// Samples by line.
    pub(crate) passed: Lines,
    /// Bytes allocated.
    pub(crate) allocated: f64,
    /// The live part of `allocated`.
    pub(crate) kept: f64,
    /// Number of live blocks while the run lasts; without meaning in a row of the book.
    pub(crate) blocks: u64,
    /// Number of ended pieces of work, and the nanoseconds of all and of the longest.
    pub(crate) count: u64,
    pub(crate) elapsed_ns: u64,
    pub(crate) longest_ns: u64,
    /// CPU nanoseconds of the pieces of work with a known clock.
    pub(crate) cpu_ns: u64,
    /// Number of pieces of work with a known clock.
    pub(crate) clocks: u64,
    /// Number of pieces of work for each duration, by the logarithm of the duration in steps.
    lengths: BTreeMap<i32, u64>,
}

impl LabelRecord {
    /// Adds an ended piece of work.
    pub(crate) fn ended(&mut self, wall_ns: u64, cpu_ns: Option<u64>) {
        self.count += 1;
        self.elapsed_ns = self.elapsed_ns.saturating_add(wall_ns);
        self.longest_ns = self.longest_ns.max(wall_ns);
        self.cpu_ns = self.cpu_ns.saturating_add(cpu_ns.unwrap_or(0));
        self.clocks += u64::from(cpu_ns.is_some());
        *self.lengths.entry(((wall_ns.max(1) as f64).ln() / STEP).round() as i32).or_default() += 1;
    }

    /// Adds the sums of another record.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed.sampled_ns += other.passed.sampled_ns;
        for (owner, (ns, bytes)) in other.passed.lines {
            let line = self.passed.lines.entry(owner).or_default();
            *line = (line.0 + ns, line.1 + bytes);
        }
        self.allocated += other.allocated;
        self.kept += other.kept;
        self.blocks += other.blocks;
        self.count += other.count;
        self.elapsed_ns = self.elapsed_ns.saturating_add(other.elapsed_ns);
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        self.cpu_ns = self.cpu_ns.saturating_add(other.cpu_ns);
        self.clocks += other.clocks;
        for (length, count) in other.lengths {
            *self.lengths.entry(length).or_default() += count;
        }
    }

    /// The duration in seconds which the given share of the work did not exceed; `None` if no work ended.
    pub(crate) fn quantile_s(&self, share: f64) -> Option<f64> {
        let wanted = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let length = self.lengths.iter().find(|(_, count)| {
            seen += **count;
            seen >= wanted
        })?;
        Some((f64::from(*length.0) * STEP).exp().min(self.longest_ns as f64) / 1e9)
    }
}

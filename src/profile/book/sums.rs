//! Sums of the book: the seconds and the bytes of a line, a thread and a stack.
//!
//! Invariant: sums only add others, and become figures of the model. Neighbours: [`super::Book`] keeps the sums,
//! `write` reads them.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::estimate::Spread;
use crate::profile::model::Memory;

/// Index of a kind of CPU time in arrays of python, native, system.
pub(crate) const PYTHON: usize = 0;
pub(crate) const NATIVE: usize = 1;
pub(crate) const SYSTEM: usize = 2;

/// Time of a line, a thread, or a part of either.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Amount {
    /// CPU seconds: python, native, system.
    pub(crate) s: [f64; 3],
    /// CPU samples.
    pub(crate) samples: u64,
    /// Seconds off the CPU.
    pub(crate) wait_s: f64,
    /// The part of `wait_s` spent waiting for the GIL.
    pub(crate) gil_s: f64,
    /// The part of `wait_s` spent idle.
    pub(crate) idle_s: f64,
    /// CPU seconds of threads without Python code that worked for the line; in none of `s`.
    pub(crate) helpers_s: f64,
    /// The part of `s` in which the garbage collector ran.
    pub(crate) gc_s: f64,
    /// CPU seconds whose kind is unknown; in none of `s`.
    pub(crate) unsplit_s: f64,
    /// Variance of `s`, in squared seconds; for lines only.
    pub(crate) variance: f64,
}

/// Memory of a line, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Bytes {
    pub(crate) alloc: f64,
    pub(crate) alloc_spread: Spread,
    pub(crate) blocks: f64,
    pub(crate) python: f64,
    pub(crate) copied: f64,
    pub(crate) copied_spread: Spread,
    pub(crate) freed: f64,
    pub(crate) live: f64,
    pub(crate) live_spread: Spread,
    pub(crate) peak: f64,
    pub(crate) peak_spread: Spread,
    /// Largest footprint of the process while the line ran.
    pub(crate) usage: u64,
}

/// Time and memory of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    pub(crate) time: Amount,
    pub(crate) bytes: Bytes,
}

/// A stack's own figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct NodeSums {
    pub(crate) cpu_s: f64,
    pub(crate) wait_s: f64,
    pub(crate) alloc: f64,
    /// Bytes live at the peak.
    pub(crate) peak: f64,
    /// CPU samples.
    pub(crate) samples: u64,
}

/// Further figures of a stack, which are not divided between threads and processes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct NodeDetails {
    /// CPU seconds: python, native, system. Seconds of unknown kind are in none.
    pub(crate) s: [f64; 3],
    /// Blocks allocated.
    pub(crate) blocks: f64,
    /// Bytes live at the end.
    pub(crate) live: f64,
}

/// A thread's share of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ThreadSums {
    pub(crate) time: Amount,
    /// Bytes allocated.
    pub(crate) alloc: f64,
}

impl Amount {
    /// Adds another.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in self.s.iter_mut().zip(other.s) {
            *sum += more;
        }
        self.samples += other.samples;
        self.wait_s += other.wait_s;
        self.gil_s += other.gil_s;
        self.idle_s += other.idle_s;
        self.helpers_s += other.helpers_s;
        self.gc_s += other.gc_s;
        self.unsplit_s += other.unsplit_s;
        self.variance += other.variance;
    }

    /// CPU seconds of all kinds.
    pub(crate) fn cpu_s(&self) -> f64 {
        self.s.iter().sum::<f64>() + self.helpers_s + self.unsplit_s
    }
}

impl NodeSums {
    /// Adds another.
    pub(crate) fn add(&mut self, other: &Self) {
        self.cpu_s += other.cpu_s;
        self.wait_s += other.wait_s;
        self.alloc += other.alloc;
        self.peak += other.peak;
        self.samples += other.samples;
    }
}

impl NodeDetails {
    /// Adds another.
    pub(crate) fn add(&mut self, other: &Self) {
        self.s.iter_mut().zip(other.s).for_each(|(sum, more)| *sum += more);
        self.blocks += other.blocks;
        self.live += other.live;
    }
}

impl Bytes {
    /// Adds another; footprints keep the larger.
    pub(crate) fn add(&mut self, other: &Self) {
        self.alloc += other.alloc;
        self.alloc_spread.add(other.alloc_spread);
        self.blocks += other.blocks;
        self.python += other.python;
        self.copied += other.copied;
        self.copied_spread.add(other.copied_spread);
        self.freed += other.freed;
        self.live += other.live;
        self.live_spread.add(other.live_spread);
        self.peak += other.peak;
        self.peak_spread.add(other.peak_spread);
        self.usage = self.usage.max(other.usage);
    }

    /// Largest footprint; `None` if no reading was near the line's records.
    pub(crate) fn usage(&self) -> Option<u64> {
        (self.usage > 0).then_some(self.usage)
    }

    /// The figures of the model, of measured memory; `copies`: copies were measured too.
    pub(crate) fn memory(&self, copies: bool) -> Memory {
        let whole = |value: f64| value.max(0.0).round() as u64;
        let (alloc, freed) = (whole(self.alloc), whole(self.freed));
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        Memory {
            alloc_bytes: Some(alloc),
            alloc_bytes_se: Some(self.alloc_spread.error()),
            alloc_count: Some(whole(self.blocks)),
            free_bytes: Some(freed),
            increment_bytes: Some(signed(alloc) - signed(freed)),
            live_bytes: Some(whole(self.live)),
            live_bytes_se: Some(self.live_spread.error()),
            peak_bytes: Some(whole(self.peak)),
            peak_bytes_se: Some(self.peak_spread.error()),
            mem_usage_bytes: self.usage(),
            python_alloc_bytes: Some(whole(self.python)),
            copy_bytes: copies.then(|| whole(self.copied)),
            copy_bytes_se: copies.then(|| self.copied_spread.error()),
        }
    }
}

impl Sums {
    /// Adds another.
    pub(crate) fn add(&mut self, other: &Self) {
        self.time.add(&other.time);
        self.bytes.add(&other.bytes);
    }
}

/// The sum of the known values.
pub(crate) fn sum(left: Option<f64>, right: Option<f64>) -> Option<f64> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left + right),
        (one, other) => one.or(other),
    }
}

/// The entries of a map in the order of their keys. A hash map has no fixed order, but a capture has to give the same
/// profile again, byte for byte.
pub(crate) fn sorted<K: Copy + Ord + Hash, V>(map: &FxHashMap<K, V>) -> Vec<(K, &V)> {
    let mut entries: Vec<_> = map.iter().map(|(&key, value)| (key, value)).collect();
    entries.sort_unstable_by_key(|&(key, _)| key);
    entries
}

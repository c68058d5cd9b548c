//! The measured distance between CPU samples, as opposed to the requested interval.
//!
//! Job: find the median weight of the samples. Invariant: bounded memory, whatever the weights are. Neighbour:
//! `builder` passes each sample's weight and writes the median into the profile's settings.

use std::collections::BTreeMap;

/// Classes of weights for each doubling.
const CLASSES: f64 = 32.0;

/// Weights of CPU samples, in classes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Distances {
    /// Number and sum of the weights of a class.
    classes: BTreeMap<u16, (u64, f64)>,
}

impl Distances {
    /// Takes in a sample with a weight of `weight_ns` nanoseconds.
    pub(crate) fn sample(&mut self, weight_ns: u64) {
        if weight_ns > 0 {
            let (count, sum) = self.classes.entry(((weight_ns as f64).log2() * CLASSES) as u16).or_default();
            *count += 1;
            *sum += weight_ns as f64;
        }
    }

    /// The median in nanoseconds, to 2 %; `None` without samples.
    pub(crate) fn median_ns(&self) -> Option<f64> {
        let all: u64 = self.classes.values().map(|(count, _)| count).sum();
        let mut below = 0;
        let class = self.classes.values().find(|(count, _)| {
            below += count;
            below * 2 >= all
        });
        class.map(|(count, sum)| sum / *count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::Distances;

    #[test]
    fn the_median_is_weighted_by_the_samples() {
        assert_eq!(Distances::default().median_ns(), None);
        let mut distances = Distances::default();
        [4_000_000; 7].into_iter().chain([900_000; 6]).chain([0; 50]).for_each(|ns| distances.sample(ns));
        assert_eq!(distances.median_ns(), Some(4e6));
        let mut distances = Distances::default();
        (1..=1001).for_each(|us| distances.sample(us * 1000));
        let median = distances.median_ns().expect("there are samples");
        assert!((median / 501_000.0 - 1.0).abs() < 0.02, "{median}");
        distances.sample(u64::MAX);
    }
}

//! Sums that do not depend on their order: integers that stop at their largest value.
//!
//! Job: turn the figures of the model into integers and back. Invariants: addition commutes and associates, also at the
//! largest value; writing and reading a figure gives the same integer. Seconds are kept in microseconds, so a double
//! holds 285 years to the digit. Neighbours: every file of this folder adds with it.

use crate::profile::model::figures::{Add, FIGURES};
use crate::profile::model::{Memory, Time, Variances};

/// The largest integer up to which a double holds every integer.
const MOST: u64 = (1 << 53) - 1;
/// Bytes² in a unit of a variance.
const VARIANCE_UNIT: f64 = 65_536.0;

/// Microseconds of a figure in seconds; 0 for NaN and negative numbers.
pub(super) fn micros(seconds: f64) -> u64 {
    // A cast from NaN or below 0 gives 0.
    ((seconds * 1e6).round() as u64).min(MOST)
}

/// Seconds of microseconds.
pub(super) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// Adds microseconds.
pub(super) fn add_micros(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more).min(MOST);
}

/// Adds bytes or counts.
pub(super) fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

/// Adds known values: unknown and 5 are 5.
pub(super) fn add_known(sum: &mut Option<u64>, more: Option<u64>, add: fn(&mut u64, u64)) {
    if let Some(more) = more {
        add(sum.get_or_insert(0), more);
    }
}

/// The least of the known values, in any order of the calls.
pub(super) fn choose(chosen: &mut Option<String>, other: Option<String>) {
    if let Some(other) = other
        && chosen.as_ref().is_none_or(|chosen| other < *chosen)
    {
        *chosen = Some(other);
    }
}

/// The larger of the known values.
pub(super) fn larger<T: PartialOrd + Copy>(most: &mut Option<T>, other: Option<T>) {
    if other.is_some_and(|other| most.is_none_or(|most| other > most)) {
        *most = other;
    }
}

/// The variance of a standard error; an error above 0 is at least a unit.
pub(super) fn variance(se: Option<f64>) -> u64 {
    let se = se.unwrap_or(0.0);
    let units = (se * se / VARIANCE_UNIT).round() as u64;
    units.max(u64::from(se > 0.0))
}

/// The standard error of a variance.
pub(super) fn error(variance: u64) -> f64 {
    (variance as f64 * VARIANCE_UNIT).sqrt()
}

/// Seconds in the root of a unit of a variance of time: 16 µs.
const TIME_UNIT: f64 = 16e-6;

/// The variance of a standard error in seconds; an error above 0 is at least a unit.
pub(super) fn time_variance(se: f64) -> u64 {
    let units = (se / TIME_UNIT).powi(2).round() as u64;
    units.max(u64::from(se > 0.0))
}

/// The standard error in seconds of a variance.
pub(super) fn time_error(variance: u64) -> f64 {
    (variance as f64).sqrt() * TIME_UNIT
}

/// Time in microseconds, in the order of the model's fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TimeSum([Option<u64>; 10]);

impl TimeSum {
    pub(super) fn add(&mut self, time: &Time) {
        self.add_sum(&Self::of(time));
    }

    fn of(time: &Time) -> Self {
        let Time { python_s, native_s, system_s, wait_s, gil_wait_s, idle_s, helpers_s, gc_s, user_s, core_wait_s } =
            *time;
        let all = [python_s, native_s, system_s, wait_s, gil_wait_s, idle_s, helpers_s, gc_s, user_s, core_wait_s];
        Self(all.map(|figure| figure.map(micros)))
    }

    pub(super) fn add_sum(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            add_known(sum, more, add_micros);
        }
    }

    pub(super) fn time(&self) -> Time {
        let [python_s, native_s, system_s, wait_s, gil_wait_s, idle_s, helpers_s, gc_s, user_s, core_wait_s] =
            self.0.map(|figure| figure.map(seconds));
        Time { python_s, native_s, system_s, wait_s, gil_wait_s, idle_s, helpers_s, gc_s, user_s, core_wait_s }
    }
}

/// CPU microseconds of a time, split by kind or not; `None` if no kind is known.
pub(super) fn cpu_micros(time: &Time) -> Option<u64> {
    let mut sum = None;
    for kind in [time.python_s, time.native_s, time.system_s, time.user_s] {
        add_known(&mut sum, kind.map(micros), add_micros);
    }
    sum
}

/// Sums of memory figures, and the largest footprint. Peaks are stored separately, because they never add up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct MemorySum {
    sums: Memory,
    alloc_variance: u64,
    live_variance: u64,
    copy_variance: u64,
}

/// Bytes held at the peak of the run with the highest peak, and their standard error.
pub(super) type AtPeak = Option<(u64, f64)>;

/// The bytes of a row at the peak.
pub(super) fn at_peak(memory: &Memory) -> AtPeak {
    memory.peak_bytes.map(|bytes| (bytes, memory.peak_bytes_se.unwrap_or(0.0)))
}

impl MemorySum {
    /// Adds a row. `variances`: the variances of a merged row; `None`: the squares of the row's errors count.
    pub(super) fn add(&mut self, memory: &Memory, variances: Option<Variances>) {
        let mut row = *memory;
        for figure in FIGURES {
            let (Some(sum), Some(part)) = ((figure.count)(&mut self.sums), (figure.count)(&mut row)) else { continue };
            match figure.row.add {
                Add::Sum => add_known(sum, *part, add),
                Add::Larger => larger(sum, *part),
                Add::Apart => {}
            }
        }
        let Variances { alloc_variance, live_variance, copy_variance } = variances.unwrap_or_else(|| Variances {
            alloc_variance: variance(memory.alloc_bytes_se),
            live_variance: variance(memory.live_bytes_se),
            copy_variance: variance(memory.copy_bytes_se),
        });
        add(&mut self.alloc_variance, alloc_variance);
        add(&mut self.live_variance, live_variance);
        add(&mut self.copy_variance, copy_variance);
    }

    pub(super) fn variances(&self) -> Variances {
        Variances {
            alloc_variance: self.alloc_variance,
            live_variance: self.live_variance,
            copy_variance: self.copy_variance,
        }
    }

    /// The row of the model. `peak` belongs to the run with the highest peak, which has 0 for lines that the run did
    /// not execute.
    pub(super) fn memory(&self, peak: AtPeak, peak_known: bool) -> Memory {
        let peak = peak.or(peak_known.then_some((0, 0.0)));
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let Memory { alloc_bytes, free_bytes, live_bytes, copy_bytes, .. } = self.sums;
        Memory {
            alloc_bytes_se: alloc_bytes.map(|_| error(self.alloc_variance)),
            increment_bytes: alloc_bytes.zip(free_bytes).map(|(alloc, free)| signed(alloc) - signed(free)),
            live_bytes_se: live_bytes.map(|_| error(self.live_variance)),
            peak_bytes: peak.map(|(bytes, _)| bytes),
            peak_bytes_se: peak.map(|(_, se)| se),
            copy_bytes_se: copy_bytes.map(|_| error(self.copy_variance)),
            ..self.sums
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_was_written_and_read_again_is_the_same_integer() {
        for value in [0, 1, 3, 1_234_567, 10_u64.pow(12) + 7, MOST - 1, MOST] {
            assert_eq!(micros(seconds(value)), value);
        }
        assert_eq!((micros(f64::NAN), micros(-1.0), micros(f64::INFINITY)), (0, 0, MOST));
    }

    #[test]
    fn errors_add_up_as_squares_and_none_above_zero_is_lost() {
        let sum = variance(Some(3e6)) + variance(Some(4e6));
        assert!((error(sum) - 5e6).abs() < 1.0, "{}", error(sum));
        assert_eq!((variance(Some(0.5)), variance(Some(0.0)), variance(None)), (1, 0, 0));
    }
}

//! Order of figures in reports.
//!
//! Invariant: larger figures come first, unknown figures last. Callers: `view` and the page's `overview`.

use std::cmp::Ordering;

/// Keeps the first `count` items, sorted. The rest is dropped unsorted: a profile may have 100,000 lines, a list ten.
pub(super) fn keep_first<T>(items: &mut Vec<T>, count: usize, compare: impl Fn(&T, &T) -> Ordering) {
    if count < items.len() {
        items.select_nth_unstable_by(count, &compare);
        items.truncate(count);
    }
    items.sort_by(compare);
}

/// Orders larger figures first, unknown figures last.
pub(super) fn descending(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// Sort key that puts a larger first figure first; the second figure decides between equal first figures.
pub(super) struct Descending(pub(super) Option<f64>, pub(super) f64);

impl Ord for Descending {
    fn cmp(&self, other: &Self) -> Ordering {
        descending(self.0, other.0).then(other.1.total_cmp(&self.1))
    }
}

impl PartialOrd for Descending {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Descending {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Descending {}

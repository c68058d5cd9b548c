//! Lines that run again and again.
//!
//! Job: tell a line of a loop from a single long call. `model.fit(x)` takes memory from its begin to its end because its
//! result grows; without a second run of the same work, nothing shows a leak. Invariant: a line counts as entered when a
//! thread comes from another instruction of a line in scope, so two records within one call never count twice. Neighbours: `process` passes the records on, `leaks` asks.

use rustc_hash::FxHashMap;

use crate::profile::book::intern::FrameId;

/// Entries of a line in a loop, at least.
const ENTRIES: usize = 3;

/// The latest entries into each line, by all threads of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repeats {
    /// The call in which each thread was seen last; see [`Repeats::ran`].
    last: FxHashMap<u32, u64>,
    /// Times of the latest entries of each line, the oldest first; 0: none yet.
    entries: FxHashMap<FrameId, [u64; ENTRIES]>,
}

impl Repeats {
    /// Thread `tid` was seen in the line `owner`. `call` identifies the instruction of the line.
    pub(crate) fn ran(&mut self, tid: u32, owner: FrameId, call: u32, time_ns: u64) {
        if owner == FrameId::NONE {
            return;
        }
        let here = u64::from(owner.0) << 32 | u64::from(call);
        if self.last.insert(tid, here) == Some(here) {
            return;
        }
        let times = self.entries.entry(owner).or_default();
        times.rotate_left(1);
        times[ENTRIES - 1] = time_ns;
    }

    /// A thread ended.
    pub(crate) fn forget(&mut self, tid: u32) {
        self.last.remove(&tid);
    }

    /// True if the line was entered again and again since `time_ns`.
    pub(crate) fn since(&self, owner: FrameId, time_ns: u64) -> bool {
        self.entries.get(&owner).is_some_and(|times| times[0] > time_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::{FrameId, Repeats};

    #[test]
    fn one_long_call_is_no_repetition_and_a_loop_is_one() {
        let mut repeats = Repeats::default();
        let (fit, body, other) = (FrameId(1), FrameId(2), FrameId(3));
        repeats.ran(7, other, 0, 1);
        (2..1000).for_each(|time| repeats.ran(7, fit, 40, time));
        // Records of another thread and records without a line do not interrupt the call.
        (2..1000).for_each(|time| repeats.ran(8, other, 4, time));
        repeats.ran(7, FrameId::NONE, 0, 1000);
        repeats.ran(7, fit, 40, 1001);
        assert!(!repeats.since(fit, 0));
        for time in 1100..1120 {
            repeats.ran(7, body, 8, time);
            repeats.ran(7, other, 2, time);
        }
        assert!(repeats.since(body, 1100));
        assert!(!repeats.since(body, 1118));
        // A loop of one line alternates between the instructions of the line.
        (2000..2010).for_each(|time| repeats.ran(9, fit, time as u32 % 2, time));
        assert!(repeats.since(fit, 2000));
    }
}

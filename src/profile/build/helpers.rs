//! Threads without Python code: their CPU time goes to the lines that they work for.
//!
//! Job: find, for each sample of such a thread (of BLAS, polars, a native pool), the lines that ran or awaited native
//! code at the same time. Invariant: the weight of a sample is distributed once, or stays outside of scope if no line
//! qualifies. Neighbours: `process` feeds records in their order, and books the result.
//!
//! A line qualifies by the activity of its thread at the same time. First choice: the thread ran native code of the
//! helper's library. Second: the thread waited, but not for work. Third: the thread ran other native code. Lines of the
//! same rank share the sample in proportion to the overlapping time. A record of a thread covers the time since the
//! previous record of the thread: 10 ms of CPU time may take 50 ms on a busy machine. Records of different threads
//! arrive late by different times, so a sample is distributed when [`LATE_NS`] have passed.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};

use super::symbolize::object_name;
use crate::profile::book::tree::Place;

/// Longest delay of a record: waits come from looks every 10 ms, on a busy machine every 40 ms.
const LATE_NS: u64 = 300_000_000;
/// A record covers at most this much time, up to the moment of the record.
const LONGEST_NS: u64 = 100_000_000;
/// Most samples and most stretches that are held; the oldest are dropped first.
const MOST_HELD: usize = 1 << 16;

/// The activity of a line's thread, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    OtherNative,
    Wait,
    SameLibrary,
}

/// A stretch of time in which a line ran native code, or waited.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    start_ns: u64,
    end_ns: u64,
    place: Place,
    /// Start address of the library whose code ran; `None` for a wait.
    library: Option<u64>,
}

/// The library of a program counter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Library {
    /// Its first address; 0: unknown.
    pub(crate) start: u64,
    /// True for a library other than the interpreter, libc and the shim, because every Python thread runs code of those
    /// three.
    pub(crate) is_foreign: bool,
}

impl Library {
    /// The library that is mapped from `start` on, from the file `path`.
    pub(crate) fn of(start: u64, path: &str) -> Self {
        let name = object_name(path);
        let own = ["python", "libpython", "libc.", "libc-", "libpthread", "ld-", "librscalene"];
        let is_foreign = path.starts_with('/') && !own.iter().any(|prefix| name.starts_with(prefix));
        Self { start, is_foreign }
    }
}

/// A sample of a helper.
#[derive(Clone, Copy, Debug)]
struct Sample {
    tid: u32,
    start_ns: u64,
    time_ns: u64,
    weight_ns: u64,
    kind: usize,
    library: u64,
}

/// The helpers of one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Helpers {
    /// Threads that ran Python code.
    python: FxHashSet<u32>,
    /// Threads that ran code of a foreign library: only such threads are helpers.
    native: FxHashSet<u32>,
    /// Time of each thread's last record.
    last_ns: FxHashMap<u32, u64>,
    stretches: VecDeque<Stretch>,
    samples: VecDeque<Sample>,
    distributed: FxHashMap<Place, [f64; 3]>,
}

impl Helpers {
    /// Takes in a sample of thread `tid` in `place`, of `kind`. `library`: the library of its program counter.
    /// `python`: the thread has a Python stack, or is the main thread, which is never a helper.
    pub(crate) fn sample(
        &mut self,
        tid: u32,
        python: bool,
        place: Place,
        kind: usize,
        at: (u64, u64),
        library: Library,
    ) {
        let (time_ns, weight_ns) = at;
        let start_ns = self.since(tid, time_ns, weight_ns);
        if python {
            self.python.insert(tid);
            if kind == 1 && place.owner.some().is_some() {
                self.stretch(Stretch { start_ns, end_ns: time_ns, place, library: Some(library.start) });
            }
        } else if !self.python.contains(&tid) {
            if library.is_foreign {
                self.native.insert(tid);
            }
            let library = library.start;
            self.samples.push_back(Sample { tid, start_ns, time_ns, weight_ns, kind, library });
        }
        self.give_until(time_ns.saturating_sub(LATE_NS));
    }

    /// Thread `tid` waited `wait_ns` until `time_ns`. `awaits`: the wait was not for work.
    pub(crate) fn wait(&mut self, tid: u32, place: Place, awaits: bool, wait_ns: u64, time_ns: u64) {
        let start_ns = self.since(tid, time_ns, wait_ns);
        if awaits && place.owner.some().is_some() && wait_ns > 0 {
            self.stretch(Stretch { start_ns, end_ns: time_ns, place, library: None });
        }
    }

    /// Distributes the samples that are left. Returns the nanoseconds of each place by kind.
    pub(crate) fn settle(&mut self) -> Vec<(Place, [f64; 3])> {
        self.give_until(u64::MAX);
        let mut distributed: Vec<_> = std::mem::take(&mut self.distributed).into_iter().collect();
        distributed.sort_unstable_by_key(|(place, _)| (place.node, place.owner));
        distributed
    }

    /// The start of the time that a record of thread `tid` covers: at the latest `ns` before `time_ns`.
    fn since(&mut self, tid: u32, time_ns: u64, ns: u64) -> u64 {
        let last_ns = self.last_ns.insert(tid, time_ns).unwrap_or(0);
        last_ns.max(time_ns.saturating_sub(LONGEST_NS)).min(time_ns.saturating_sub(ns))
    }

    fn stretch(&mut self, stretch: Stretch) {
        if self.stretches.len() >= MOST_HELD {
            self.stretches.pop_front();
        }
        self.stretches.push_back(stretch);
    }

    fn give_until(&mut self, until_ns: u64) {
        let too_many = |held: &VecDeque<Sample>| held.len() > MOST_HELD;
        while self.samples.front().is_some_and(|sample| sample.time_ns <= until_ns) || too_many(&self.samples) {
            let Some(sample) = self.samples.pop_front() else { break };
            self.give(sample);
        }
        // No later sample of a helper begins before this.
        let needed_ns = self.samples.front().map_or(until_ns, |sample| sample.time_ns).saturating_sub(LATE_NS);
        while self.stretches.front().is_some_and(|stretch| stretch.end_ns < needed_ns) {
            self.stretches.pop_front();
        }
    }

    fn give(&mut self, sample: Sample) {
        // A thread may run Python code later than its first samples, and its library may become known later.
        if self.python.contains(&sample.tid) || !self.native.contains(&sample.tid) {
            return;
        }
        let found: Vec<(Rank, f64, Place)> = self
            .stretches
            .iter()
            .filter_map(|stretch| {
                let overlap = stretch.end_ns.min(sample.time_ns).checked_sub(stretch.start_ns.max(sample.start_ns))?;
                let rank = match stretch.library {
                    None => Rank::Wait,
                    Some(library) if library == sample.library && library != 0 => Rank::SameLibrary,
                    Some(_) => Rank::OtherNative,
                };
                (overlap > 0).then_some((rank, overlap as f64, stretch.place))
            })
            .collect();
        let Some(best) = found.iter().map(|(rank, ..)| *rank).max() else { return };
        let chosen = || found.iter().filter(|(rank, ..)| *rank == best);
        let all: f64 = chosen().map(|(_, overlap, _)| overlap).sum();
        for (_, overlap, place) in chosen() {
            self.distributed.entry(*place).or_default()[sample.kind] += sample.weight_ns as f64 * overlap / all;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Helpers, Library, Place};
    use crate::profile::book::intern::FrameId;
    use crate::profile::book::tree::NodeId;

    const MS: u64 = 1_000_000;
    const LIB: Library = Library { start: 0x1000, is_foreign: true };
    const OTHER: Library = Library { start: 0x2000, is_foreign: true };

    fn line(number: u32) -> Place {
        Place { node: NodeId(number), owner: FrameId(number) }
    }

    fn distributed(helpers: &mut Helpers) -> Vec<(u32, f64)> {
        let ms = |ns: [f64; 3]| ns.iter().sum::<f64>() / MS as f64;
        helpers.settle().into_iter().map(|(place, ns)| (place.owner.0, ms(ns))).collect()
    }

    #[test]
    fn the_line_that_runs_the_same_library_gets_all_of_the_time() {
        let mut helpers = Helpers::default();
        helpers.wait(3, line(1), true, 30 * MS, 40 * MS);
        for ms in [20, 30, 40] {
            helpers.sample(9, false, Place::NOWHERE, 1, (ms * MS, 10 * MS), LIB);
            helpers.sample(1, true, line(2), 1, (ms * MS, 10 * MS), LIB);
            helpers.sample(2, true, line(3), 1, (ms * MS, 10 * MS), OTHER);
        }
        assert_eq!(distributed(&mut helpers), [(2, 30.0)]);
    }

    #[test]
    fn a_waiting_line_gets_the_helpers_time_of_its_wait_and_no_earlier_time() {
        let mut helpers = Helpers::default();
        helpers.sample(9, false, Place::NOWHERE, 1, (10 * MS, 10 * MS), LIB);
        for ms in [30, 40, 50] {
            helpers.sample(9, false, Place::NOWHERE, 1, (ms * MS, 10 * MS), LIB);
        }
        helpers.wait(3, line(2), false, 10 * MS, 20 * MS);
        helpers.wait(3, line(1), true, 30 * MS, 50 * MS);
        assert_eq!(distributed(&mut helpers), [(1, 30.0)]);
    }

    #[test]
    fn threads_that_ran_python_are_no_helpers() {
        let mut helpers = Helpers::default();
        helpers.sample(9, true, line(1), 0, (10 * MS, 10 * MS), LIB);
        helpers.sample(9, false, Place::NOWHERE, 1, (20 * MS, 10 * MS), LIB);
        helpers.wait(3, line(2), true, 20 * MS, 30 * MS);
        assert_eq!(distributed(&mut helpers), []);
    }

    #[test]
    fn a_thread_in_the_interpreters_own_code_may_be_about_to_run_python() {
        let mut helpers = Helpers::default();
        let libc = Library::of(0x3000, "/lib/x86_64-linux-gnu/libc.so.6");
        helpers.sample(9, false, Place::NOWHERE, 1, (20 * MS, 10 * MS), libc);
        helpers.wait(3, line(2), true, 20 * MS, 30 * MS);
        assert_eq!(distributed(&mut helpers), []);
        assert!(Library::of(0x4000, "/usr/lib/libopenblas.so.0").is_foreign);
    }

    #[test]
    fn held_samples_are_bounded_by_time() {
        let mut helpers = Helpers::default();
        for ms in 0..100_000 {
            helpers.sample(9, false, Place::NOWHERE, 1, (ms * MS, MS), LIB);
            helpers.wait(3, line(1), true, MS, ms * MS);
        }
        assert!(helpers.samples.len() < 400 && helpers.stretches.len() < 800);
    }
}

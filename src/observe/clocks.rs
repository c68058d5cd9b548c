//! Resources that a process and its threads used, as the kernel counts them.
//!
//! Job: exact CPU clocks of threads, their names, and the process' memory over time, read as late as possible.
//! Invariant: clocks only grow; a thread that has ended keeps its last clock. Neighbours: `remote` calls it at its
//! ticks. The shim's own `ThreadEnd` and `ProcessEnd` records are later still, so the builder prefers them.

use std::collections::HashMap;

use super::proc::{self, Clock, StatusFile};
use super::shared::Shared;
use super::untouched::Untouched;
use crate::transport::event::{Body, ProcessExit, ThreadClock};

/// Nanoseconds between two readings of the resident memory at first.
const RSS_PAUSE_NS: u64 = 10_000_000;
/// Readings of the resident memory before the time between them doubles.
const RSS_POINTS: u32 = 512;

/// The clocks and the memory of a process.
#[derive(Debug)]
pub struct Ledger {
    pid: u32,
    threads: HashMap<u32, Entry>,
    status: Option<StatusFile>,
    peak_rss: Option<u64>,
    rss_pause_ns: u64,
    rss_points: u32,
    rss_due_ns: u64,
    untouched: Untouched,
    shared: Shared,
}

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    time_ns: u64,
    clock: Clock,
    told_ns: Option<u64>,
}

impl Ledger {
    /// A ledger without readings.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self {
            pid,
            threads: HashMap::new(),
            status: None,
            peak_rss: None,
            rss_pause_ns: RSS_PAUSE_NS,
            rss_points: 0,
            rss_due_ns: 0,
            untouched: Untouched::new(),
            shared: Shared::default(),
        }
    }

    /// Takes in a reading of a thread's clock.
    pub fn note(&mut self, tid: u32, time_ns: u64, clock: Clock) {
        let pid = self.pid;
        let fresh = || Entry { name: name(pid, tid), time_ns, clock, told_ns: None };
        let entry = self.threads.entry(tid).or_insert_with(fresh);
        if clock.run_ns >= entry.clock.run_ns {
            (entry.time_ns, entry.clock) = (time_ns, clock);
        }
    }

    /// Reads the name of a thread again, because threads get their names after they begin.
    pub fn refresh_name(&mut self, tid: u32) {
        if let Some(entry) = self.threads.get_mut(&tid)
            && let Some(comm) = proc::comm(self.pid, tid)
        {
            entry.name = named(self.pid, tid, comm);
        }
    }

    /// Takes Python's own name for a thread that has no name of its own in the kernel.
    pub fn rename(&mut self, tid: u32, python: &str) {
        if let Some(entry) = self.threads.get_mut(&tid)
            && entry.name == format!("Thread-{tid}")
            && !python.is_empty()
        {
            python.clone_into(&mut entry.name);
            // The next [`Ledger::tell`] sends the name, even if the clock has not changed.
            entry.told_ns = None;
        }
    }

    /// Reads the resident memory if a reading is due. The pause doubles every few hundred points, so even a long run
    /// has few points.
    pub fn rss(&mut self, now_ns: u64, out: &mut Vec<Body>) -> bool {
        if now_ns < self.rss_due_ns {
            return false;
        }
        if self.status.is_none() {
            self.status = StatusFile::open(self.pid).ok();
        }
        // The looks before this reading took time.
        let time_ns = proc::monotonic_ns().max(now_ns);
        let Some(resident) = self.status.as_ref().and_then(|file| file.resident().ok()) else { return false };
        self.rss_points += 1;
        if self.rss_points.is_multiple_of(RSS_POINTS) {
            self.rss_pause_ns *= 2;
        }
        self.rss_due_ns = now_ns + self.rss_pause_ns;
        if self.untouched.is_worth(resident.now, time_ns) {
            let ranges = self.untouched.look(self.pid, resident.now);
            out.extend(ranges.map(|ranges| Body::Untouched { time_ns, ranges }));
        }
        let shared = self.shared.look(self.pid, time_ns, resident.now);
        out.extend(shared.map(|bytes| Body::Shared { time_ns, bytes }));
        out.push(Body::Rss { time_ns, bytes: resident.now, files: resident.files, most: resident.most });
        true
    }

    /// The end of the process, without an exit status, which only its parent can read.
    #[must_use]
    pub fn exit(&self, time_ns: u64) -> Body {
        Body::ProcessExit(ProcessExit { time_ns, peak_rss: self.peak_rss, ..ProcessExit::default() })
    }

    /// Reads the high-water mark of the resident memory, before the process ends: afterwards the mark is gone.
    pub fn read_peak(&mut self) {
        self.peak_rss = self.peak_rss.max(proc::peak_resident_bytes(self.pid));
    }

    /// Sends the clocks that have changed since they were last sent.
    pub fn tell(&mut self, out: &mut Vec<Body>) {
        for (&tid, entry) in &mut self.threads {
            if entry.told_ns == Some(entry.clock.run_ns) {
                continue;
            }
            entry.told_ns = Some(entry.clock.run_ns);
            out.push(Body::ThreadClock(ThreadClock {
                time_ns: entry.time_ns,
                tid,
                cpu_ns: entry.clock.run_ns,
                name: entry.name.clone(),
            }));
            out.push(Body::CoreWait { tid, delay_ns: entry.clock.delay_ns });
        }
    }
}

/// Name of a thread for reports.
fn name(pid: u32, tid: u32) -> String {
    proc::comm(pid, tid).map_or_else(String::new, |comm| named(pid, tid, comm))
}

/// Names a thread. A thread without a name of its own has its process' name; `Thread-TID` is then more useful.
fn named(pid: u32, tid: u32, comm: String) -> String {
    if tid == pid {
        "MainThread".to_owned()
    } else if proc::comm(pid, pid).as_ref() == Some(&comm) {
        format!("Thread-{tid}")
    } else {
        comm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(run_ns: u64) -> Clock {
        Clock { run_ns, delay_ns: 7, slices: 1 }
    }

    #[test]
    fn a_thread_clock_is_reported_when_it_changed_and_never_decreases() {
        let pid = std::process::id();
        let mut ledger = Ledger::new(pid);
        ledger.note(pid, 10, clock(500));
        ledger.note(pid, 20, clock(400));
        let mut out = Vec::new();
        ledger.tell(&mut out);
        ledger.tell(&mut out);
        let reading = ThreadClock { time_ns: 10, tid: pid, cpu_ns: 500, name: "MainThread".into() };
        assert_eq!(out, [Body::ThreadClock(reading), Body::CoreWait { tid: pid, delay_ns: 7 }]);
    }

    #[test]
    fn a_named_thread_has_its_name_and_another_its_number() {
        let pid = std::process::id();
        let (send, receive) = std::sync::mpsc::channel();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let worker = std::thread::Builder::new().name("worker".into()).spawn(move || {
            // SAFETY: `gettid` has no preconditions.
            send.send(unsafe { libc::gettid() }).expect("the test listens");
            let _ = wait.recv();
        });
        let tid = u32::try_from(receive.recv().expect("the thread tells")).expect("positive");
        assert_eq!(name(pid, tid), "worker");
        assert_eq!(named(pid, tid, proc::comm(pid, pid).expect("alive")), format!("Thread-{tid}"));
        drop(done);
        worker.expect("spawned").join().expect("no panic");
    }

    #[test]
    fn the_points_of_a_long_run_grow_with_its_logarithm() {
        let mut ledger = Ledger::new(std::process::id());
        let hour_ns = 3_600 * 1_000_000_000;
        let points = (0..hour_ns).step_by(10_000_000).filter(|&now| ledger.rss(now, &mut Vec::new())).count();
        assert!((2_000..8_000).contains(&points), "{points} points");
    }
}

//! The book: settled seconds and bytes, by process, line, thread and stack.
//!
//! Job: the one place where what processes settle adds up. Invariant: everything in it is final (stretched, weighed,
//! trusted), in seconds and bytes. Neighbours: `cpu` and `process` write, `lines`, `functions` and `tables` read.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::estimate::Spread;
use super::heap::Footprint;
use super::intern::{FrameId, Interner};
use super::leaks::Growth;
use super::model;
use super::sections::SectionRecord;
use super::shares::NodeShares;
use super::stacks::{NodeId, Place};
use crate::transport::event::NearLimit;

/// Processes and threads that have rows of their own; what comes later shares the last one.
const MOST_ROWS: usize = 4096;
/// Processes and threads whose share of each line is kept.
const MOST_SHARES: usize = 256;
/// Distinct native places that are kept.
const MOST_NATIVE: usize = 1 << 19;

/// Time of something.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Amount {
    /// CPU seconds: python, native, system.
    pub(crate) s: [f64; 3],
    /// CPU samples.
    pub(crate) samples: u64,
    /// Seconds off the CPU.
    pub(crate) wait_s: f64,
    /// Part of it waiting for the GIL.
    pub(crate) gil_s: f64,
    /// CPU seconds in user code of which nobody knows whether they were Python or native; in none of `s`.
    pub(crate) unsplit_s: f64,
}

/// Memory of something, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Bytes {
    pub(crate) alloc: f64,
    pub(crate) alloc_spread: Spread,
    pub(crate) blocks: f64,
    pub(crate) python: f64,
    pub(crate) copied: f64,
    pub(crate) freed: f64,
    pub(crate) live: f64,
    pub(crate) live_spread: Spread,
    pub(crate) peak: f64,
    pub(crate) peak_spread: Spread,
    /// Largest footprint of the process meanwhile.
    pub(crate) usage: u64,
}

/// Time and memory of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    pub(crate) time: Amount,
    pub(crate) bytes: Bytes,
}

/// Own figures of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct NodeSums {
    pub(crate) cpu_s: f64,
    pub(crate) wait_s: f64,
    pub(crate) alloc: f64,
    /// Live at the peak of the process.
    pub(crate) peak: f64,
}

/// One process.
#[derive(Debug, Default)]
pub(crate) struct ProcessRecord {
    /// Its row, but for time and memory.
    pub(crate) row: model::Process,
    /// Its lines; [`FrameId::NONE`] is what lies outside scope.
    pub(crate) lines: FxHashMap<FrameId, Sums>,
    /// Its footprint at the high-water mark of its tracked bytes.
    pub(crate) footprint: Footprint,
    /// The largest footprint that was read, and the part of it that was pages of files.
    pub(crate) resident: Option<(u64, u64)>,
    /// What its threads wait for is not known.
    pub(crate) hidden_waits: bool,
}

/// One thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct ThreadRecord {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) name: String,
    pub(crate) amount: Amount,
    pub(crate) clock_s: Option<f64>,
    /// What it waits for is not known.
    pub(crate) hidden_waits: bool,
    /// Its share of the lines.
    pub(crate) lines: FxHashMap<FrameId, ThreadSums>,
}

/// What a thread has of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ThreadSums {
    pub(crate) time: Amount,
    /// Bytes allocated.
    pub(crate) alloc: f64,
}

/// A place in native code: a file by its number, and an offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NativePlace {
    pub(crate) object: u32,
    pub(crate) offset: u64,
}

/// A limit that a process came near to, and who held its memory then.
#[derive(Clone, Debug)]
pub(crate) struct Near {
    /// Row of the process.
    pub(crate) process: usize,
    pub(crate) what: NearLimit,
    pub(crate) owners: Vec<(FrameId, f64)>,
}

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) processes: Vec<ProcessRecord>,
    pub(crate) threads: Vec<ThreadRecord>,
    pub(crate) nodes: Vec<NodeSums>,
    /// What each thread has of the stacks.
    pub(crate) thread_nodes: NodeShares,
    /// What each process has of the stacks.
    pub(crate) process_nodes: NodeShares,
    /// Nanoseconds of native samples by line and place.
    pub(crate) native: FxHashMap<(FrameId, NativePlace), f64>,
    /// Paths of native objects.
    pub(crate) objects: Interner<String>,
    /// Seconds of the clocks that no sample stands for.
    pub(crate) unsampled_s: f64,
    pub(crate) growing: Vec<Growth>,
    /// Stretches that programs marked, by the end of their first call.
    pub(crate) sections: Vec<SectionRecord>,
    /// Calls of sections that are in no row.
    pub(crate) sections_left_out: u64,
    pub(crate) near: Vec<Near>,
    /// Processes and threads that share the last row.
    pub(crate) crowded: (u64, u64),
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
        self.unsplit_s += other.unsplit_s;
    }

    /// CPU seconds of all kinds.
    pub(crate) fn cpu_s(&self) -> f64 {
        self.s.iter().sum::<f64>() + self.unsplit_s
    }
}

impl NodeSums {
    /// Adds another.
    pub(crate) fn add(&mut self, other: &Self) {
        self.cpu_s += other.cpu_s;
        self.wait_s += other.wait_s;
        self.alloc += other.alloc;
        self.peak += other.peak;
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
        self.freed += other.freed;
        self.live += other.live;
        self.live_spread.add(other.live_spread);
        self.peak += other.peak;
        self.peak_spread.add(other.peak_spread);
        self.usage = self.usage.max(other.usage);
    }
}

impl Sums {
    /// Adds another.
    pub(crate) fn add(&mut self, other: &Self) {
        self.time.add(&other.time);
        self.bytes.add(&other.bytes);
    }
}

impl ThreadRecord {
    /// A thread without figures.
    pub(crate) fn new(pid: u32, tid: u32, name: &str) -> Self {
        let name = match (name, pid == tid) {
            (_, true) => "MainThread".to_owned(),
            ("", false) => format!("Thread-{tid}"),
            (name, false) => name.to_owned(),
        };
        Self { pid, tid, name, ..Self::default() }
    }
}

impl Book {
    /// Opens a row for a process.
    pub(crate) fn add_process(&mut self, row: model::Process) -> usize {
        if self.processes.len() >= MOST_ROWS {
            self.crowded.0 += 1;
            let last = self.processes.len() - 1;
            self.processes[last].row = model::Process { pid: 0, ..model::Process::default() };
            return last;
        }
        self.processes.push(ProcessRecord { row, ..ProcessRecord::default() });
        self.processes.len() - 1
    }

    /// Names the row that many processes share, to which each has said what it is.
    pub(crate) fn name_crowd(&mut self) {
        if let Some(last) = self.processes.last_mut().filter(|_| self.crowded.0 > 0) {
            last.row = model::Process { command: vec!["other processes".to_owned()], ..model::Process::default() };
        }
    }

    /// Enters a thread; the answer is `None` where its shares of lines are not kept.
    pub(crate) fn add_thread(&mut self, record: ThreadRecord) -> Option<usize> {
        if self.threads.len() >= MOST_ROWS {
            self.crowded.1 += 1;
            let last = self.threads.last_mut()?;
            (last.pid, last.tid) = (0, 0);
            "other threads".clone_into(&mut last.name);
            last.amount.add(&record.amount);
            last.clock_s = sum(last.clock_s, record.clock_s);
            last.lines.clear();
            return None;
        }
        self.threads.push(record);
        (self.threads.len() <= MOST_SHARES).then(|| self.threads.len() - 1)
    }

    /// Books time.
    pub(crate) fn add(&mut self, process: usize, thread: Option<usize>, place: Place, amount: &Amount) {
        self.line(process, place.owner).time.add(amount);
        let sums = NodeSums { cpu_s: amount.cpu_s(), wait_s: amount.wait_s, ..NodeSums::default() };
        self.add_node(process, thread, place.node, &sums);
        if let (Some(thread), Some(owner)) = (thread, place.owner.some()) {
            self.threads[thread].lines.entry(owner).or_default().time.add(amount);
        }
    }

    /// Books CPU seconds that no sample stands for.
    pub(crate) fn add_unseen(&mut self, process: usize, amount: Amount) {
        self.unsampled_s += amount.cpu_s();
        self.line(process, FrameId::NONE).time.add(&amount);
    }

    /// Books memory.
    pub(crate) fn add_bytes(&mut self, process: usize, owner: FrameId, bytes: &Bytes) {
        self.line(process, owner).bytes.add(bytes);
    }

    /// Books bytes that a thread allocated in a place.
    pub(crate) fn add_allocated(&mut self, process: usize, thread: Option<usize>, place: Place, bytes: f64) {
        self.add_node(process, thread, place.node, &NodeSums { alloc: bytes, ..NodeSums::default() });
        if let (Some(thread), Some(owner)) = (thread, place.owner.some()) {
            self.threads[thread].lines.entry(owner).or_default().alloc += bytes;
        }
    }

    /// Books bytes of a stack that were live at the peak.
    pub(crate) fn add_peak(&mut self, process: usize, node: NodeId, bytes: f64) {
        self.add_node(process, None, node, &NodeSums { peak: bytes, ..NodeSums::default() });
    }

    /// Books nanoseconds of native samples.
    pub(crate) fn add_native(&mut self, owner: FrameId, object: &str, offset: u64, ns: f64) {
        let object = self.objects.number(object.to_owned());
        let offset = if self.native.len() < MOST_NATIVE { offset } else { 0 };
        *self.native.entry((owner, NativePlace { object, offset })).or_default() += ns;
    }

    /// Is the process' share of each line kept?
    pub(crate) fn keeps_shares(&self, process: usize) -> bool {
        process < MOST_SHARES
    }

    fn line(&mut self, process: usize, owner: FrameId) -> &mut Sums {
        // The lines of processes without shares of their own are held together, in the first row behind the shares.
        let row = process.min(MOST_SHARES);
        self.processes[row].lines.entry(owner).or_default()
    }

    fn add_node(&mut self, process: usize, thread: Option<usize>, node: NodeId, sums: &NodeSums) {
        let Some(index) = node.index() else { return };
        if self.nodes.len() <= index {
            self.nodes.resize(index + 1, NodeSums::default());
        }
        self.nodes[index].add(sums);
        if self.keeps_shares(process) {
            self.process_nodes.add(node, process, sums);
        }
        if let Some(thread) = thread {
            self.thread_nodes.add(node, thread, sums);
        }
    }
}

/// The sum of what is known.
pub(crate) fn sum(left: Option<f64>, right: Option<f64>) -> Option<f64> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left + right),
        (one, other) => one.or(other),
    }
}

/// The entries of a map in the order of their keys: maps have none of their own, and a profile must replay to the byte.
pub(crate) fn sorted<K: Copy + Ord + Hash, V>(map: &FxHashMap<K, V>) -> Vec<(K, &V)> {
    let mut entries: Vec<_> = map.iter().map(|(&key, value)| (key, value)).collect();
    entries.sort_unstable_by_key(|&(key, _)| key);
    entries
}

//! The book: settled seconds and bytes, by process, line, thread and stack.
//!
//! Job: add up the settled sums of all processes; no other module does. Invariant: all sums are final (stretched,
//! weighed, trusted), in seconds and bytes. Neighbours: `cpu` and `process` write, `lines`, `functions` and `tables`
//! read.

pub(crate) mod courses;
pub(crate) mod estimate;
pub(crate) mod intern;
pub(crate) mod labels;
pub(crate) mod queries;
pub(crate) mod records;
pub(crate) mod shares;
pub(crate) mod sums;
pub(crate) mod tree;

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use self::intern::{FrameId, Interner};
use self::labels::{LabelRecord, Pairs};
use self::queries::{QueryKey, QueryRecord, QueryRecords};
use self::records::{Growth, Highest, NativePlace, NearLimitRecord, ProcessRecord, SectionRecord, ThreadRecord};
use self::shares::NodeShares;
use self::sums::{Amount, Bytes, NodeDetails, NodeSums, Sums, sum};
use self::tree::{NodeId, Place};
use crate::profile::model;

/// Most labels with a row of their own; further labels share the row `(others)`.
const MOST_LABELS: usize = 1_024;
/// Most processes, and most threads, with a row of their own; further ones share the last row.
const MOST_ROWS: usize = 4096;
/// Most processes, and most threads, whose share of each line is kept.
const MOST_SHARES: usize = 256;
/// Most distinct native places.
const MOST_NATIVE: usize = 1 << 19;

/// The book.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    pub(crate) processes: Vec<ProcessRecord>,
    pub(crate) threads: Vec<ThreadRecord>,
    pub(crate) nodes: Vec<NodeSums>,
    /// Further figures of the stacks.
    pub(crate) node_details: Vec<NodeDetails>,
    /// The share of each thread in the stacks.
    pub(crate) thread_nodes: NodeShares,
    /// The share of each process in the stacks.
    pub(crate) process_nodes: NodeShares,
    /// Nanoseconds of native samples by line and place.
    pub(crate) native: FxHashMap<(FrameId, NativePlace), f64>,
    /// Paths of native objects.
    pub(crate) objects: Interner<String>,
    /// CPU seconds of the clocks without a sample.
    pub(crate) unsampled_s: f64,
    pub(crate) growing: Vec<Growth>,
    /// Live bytes of lines over time.
    pub(crate) courses: courses::Courses,
    /// Sections, in the order in which their first calls ended.
    pub(crate) sections: Vec<SectionRecord>,
    /// Sums of labels, over all processes.
    pub(crate) labels: BTreeMap<Pairs, LabelRecord>,
    /// Queries of databases, all processes.
    pub(crate) queries: QueryRecords,
    /// Number of calls of sections without a row.
    pub(crate) sections_left_out: u64,
    pub(crate) near_limits: Vec<NearLimitRecord>,
    /// The peak.
    pub(crate) highest: Highest,
    /// Numbers of processes and threads that share the last row.
    pub(crate) overflow: (u64, u64),
}

impl Book {
    /// Opens a row for a process.
    pub(crate) fn add_process(&mut self, row: model::Process) -> usize {
        if self.processes.len() >= MOST_ROWS {
            self.overflow.0 += 1;
            let last = self.processes.len() - 1;
            self.processes[last].row = model::Process { pid: 0, ..model::Process::default() };
            return last;
        }
        self.processes.push(ProcessRecord { row, ..ProcessRecord::default() });
        self.processes.len() - 1
    }

    /// Names the row that further processes share, because each of them has overwritten the name.
    pub(crate) fn name_overflow(&mut self) {
        if let Some(last) = self.processes.last_mut().filter(|_| self.overflow.0 > 0) {
            last.row = model::Process { command: vec!["other processes".to_owned()], ..model::Process::default() };
        }
    }

    /// Adds a thread. Returns its row, or `None` if its shares of lines are not kept.
    pub(crate) fn add_thread(&mut self, record: ThreadRecord) -> Option<usize> {
        if self.threads.len() >= MOST_ROWS {
            self.overflow.1 += 1;
            let last = self.threads.last_mut()?;
            (last.pid, last.tid) = (0, 0);
            "other threads".clone_into(&mut last.name);
            last.amount.add(&record.amount);
            last.clock_s = sum(last.clock_s, record.clock_s);
            last.core_wait_s = sum(last.core_wait_s, record.core_wait_s);
            last.lines.clear();
            return None;
        }
        self.threads.push(record);
        (self.threads.len() <= MOST_SHARES).then(|| self.threads.len() - 1)
    }

    /// Books time.
    pub(crate) fn add(&mut self, process: usize, thread: Option<usize>, place: Place, amount: &Amount) {
        self.line(process, place.owner).time.add(amount);
        let sums =
            NodeSums { cpu_s: amount.cpu_s(), wait_s: amount.wait_s, samples: amount.samples, ..NodeSums::default() };
        self.add_node(process, thread, place.node, &sums);
        self.add_details(place.node, &NodeDetails { s: amount.s, ..NodeDetails::default() });
        if let (Some(thread), Some(owner)) = (thread, place.owner.some()) {
            self.threads[thread].lines.entry(owner).or_default().time.add(amount);
        }
    }

    /// Books the variance of a line's CPU time, in squared seconds.
    pub(crate) fn add_variance(&mut self, process: usize, owner: FrameId, variance: f64) {
        self.line(process, owner).time.variance += variance;
    }

    /// Books CPU seconds without a sample.
    pub(crate) fn add_unseen(&mut self, process: usize, amount: Amount) {
        self.unsampled_s += amount.cpu_s();
        self.line(process, FrameId::NONE).time.add(&amount);
    }

    /// Moves CPU seconds (by kind) of threads without Python code from outside scope to the line at `place`.
    pub(crate) fn give_to_line(&mut self, process: usize, place: Place, seconds: [f64; 3]) {
        let outside = &mut self.line(process, FrameId::NONE).time;
        let mut given = 0.0;
        for (left, s) in outside.s.iter_mut().zip(seconds) {
            let taken = s.min(*left).max(0.0);
            *left -= taken;
            given += taken;
        }
        self.line(process, place.owner).time.helpers_s += given;
        self.add_node(process, None, place.node, &NodeSums { cpu_s: given, ..NodeSums::default() });
    }

    /// Books memory.
    pub(crate) fn add_bytes(&mut self, process: usize, owner: FrameId, bytes: &Bytes) {
        self.line(process, owner).bytes.add(bytes);
    }

    /// Books bytes allocated by a thread at a place.
    pub(crate) fn add_allocated(&mut self, process: usize, thread: Option<usize>, place: Place, bytes: f64) {
        self.add_node(process, thread, place.node, &NodeSums { alloc: bytes, ..NodeSums::default() });
        if let (Some(thread), Some(owner)) = (thread, place.owner.some()) {
            self.threads[thread].lines.entry(owner).or_default().alloc += bytes;
        }
    }

    /// Books bytes of a stack, live at the peak.
    pub(crate) fn add_peak(&mut self, process: usize, node: NodeId, bytes: f64) {
        self.add_node(process, None, node, &NodeSums { peak: bytes, ..NodeSums::default() });
    }

    /// Books further figures of a stack.
    pub(crate) fn add_details(&mut self, node: NodeId, details: &NodeDetails) {
        let Some(index) = node.index().filter(|_| *details != NodeDetails::default()) else { return };
        if self.node_details.len() <= index {
            self.node_details.resize(index + 1, NodeDetails::default());
        }
        self.node_details[index].add(details);
    }

    /// Books nanoseconds of native samples.
    pub(crate) fn add_native(&mut self, owner: FrameId, object: &str, offset: u64, ns: f64) {
        let object = self.objects.number(object.to_owned());
        let offset = if self.native.len() < MOST_NATIVE { offset } else { 0 };
        *self.native.entry((owner, NativePlace { object, offset })).or_default() += ns;
    }

    /// Books the sums of a label. `pairs` is `None` for a request that did not end.
    pub(crate) fn add_label(&mut self, pairs: Option<Pairs>, sums: LabelRecord) {
        let route = |name: &str| Pairs::from([(model::Label::ROUTE.to_owned(), name.to_owned())]);
        let mut pairs = pairs.unwrap_or_else(|| route("(did not end)"));
        if self.labels.len() >= MOST_LABELS && !self.labels.contains_key(&pairs) {
            pairs = route("(others)");
        }
        self.labels.entry(pairs).or_default().add(sums);
    }

    /// Books the executions of a statement in a process. The line becomes a line of the report, even without other
    /// figures.
    pub(crate) fn add_query(&mut self, process: usize, key: QueryKey, record: &QueryRecord) {
        self.line(process, key.owner);
        self.queries.add(key, record);
    }

    /// Books the time of an ORM on a line of a process.
    pub(crate) fn add_built(&mut self, process: usize, owner: FrameId, ns: u64) {
        self.line(process, owner);
        let built = self.queries.built.entry(owner).or_default();
        *built = built.saturating_add(ns);
    }

    /// True if the process' share of each line is kept.
    pub(crate) fn keeps_shares(&self, process: usize) -> bool {
        process < MOST_SHARES
    }

    fn line(&mut self, process: usize, owner: FrameId) -> &mut Sums {
        // Processes without shares of their own keep their lines together, in the first row after the shares.
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

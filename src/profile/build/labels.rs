//! Labels: figures of a request, a task, or any block that the program named.
//!
//! Job: add up the samples and allocations of each label, and the pieces of work that ended under the label. Invariant:
//! a request has a number of its own while it runs. The record of its end names the route, and all sums under the
//! number then move to the route. Kept singly are live blocks, open requests, and the last requests that ended, because
//! their threads may still carry the number. Neighbours: `process` feeds the events, `book::labels` adds processes up.

use std::collections::VecDeque;

use rscalene_wire as wire;
use rustc_hash::FxHashMap;

use crate::profile::book::Book;
use crate::profile::book::intern::FrameId;
use crate::profile::book::labels::{LabelRecord, Pairs};

/// Most labels of a process whose key-value pairs are kept.
const MOST_TEXTS: usize = 4_096;
/// Most label numbers with sums: requests that run at the same time.
const MOST_NUMBERS: usize = 1 << 16;
/// Most ended requests that are remembered.
const MOST_ENDED: usize = 1_024;
/// Most threads whose last resize is remembered.
const MOST_RESIZING: usize = 1 << 16;
/// Most unmapped mappings that are remembered: more than the threads that wait for the kernel's answer at once.
const MOST_UNMAPPED: usize = 256;

/// The labels of one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    pairs_by_label: FxHashMap<u32, Pairs>,
    sums: FxHashMap<u32, LabelRecord>,
    /// Live blocks by address.
    blocks: FxHashMap<u64, Block>,
    /// The block that each thread resized last. The block comes back if the allocator refuses.
    resizing: FxHashMap<u32, (u64, Block)>,
    /// The mappings that were unmapped last. A mapping comes back if the kernel refuses.
    unmapped: VecDeque<(u64, Block)>,
    ended: FxHashMap<u32, Ended>,
    latest: VecDeque<u32>,
    /// True once the interpreter tears itself down. A block freed from now on counts as kept to the end.
    over: bool,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    label: u32,
    bytes: f64,
}

/// An ended request.
#[derive(Clone, Copy, Debug)]
struct Ended {
    /// The number of its route.
    route: u32,
    /// Number of its live blocks.
    blocks: u64,
    /// True if the request is no longer among the latest: the entry goes as soon as no block is live.
    old: bool,
}

impl Labels {
    /// A copy of the sums and the key-value pairs, without live blocks and requests.
    pub(crate) fn sums(&self) -> Self {
        Self {
            pairs_by_label: self.pairs_by_label.clone(),
            sums: self.sums.clone(),
            over: self.over,
            ..Self::default()
        }
    }

    /// The key-value pairs of the labels, for a forked child to take over.
    pub(crate) fn pairs_by_label(&self) -> &FxHashMap<u32, Pairs> {
        &self.pairs_by_label
    }

    /// Takes over the key-value pairs of the parent's labels, except for labels that this process has defined itself.
    pub(crate) fn inherit(&mut self, pairs_by_label: &FxHashMap<u32, Pairs>) {
        for (&label, pairs) in pairs_by_label {
            if self.pairs_by_label.len() < MOST_TEXTS {
                self.pairs_by_label.entry(label).or_insert_with(|| pairs.clone());
            }
        }
    }

    /// Defines the key-value pairs of a label.
    pub(crate) fn define(&mut self, label: u32, pairs: &[(String, String)]) {
        if self.pairs_by_label.len() < MOST_TEXTS {
            self.pairs_by_label.insert(label, pairs.iter().cloned().collect());
        }
    }

    /// Adds a CPU sample.
    pub(crate) fn sampled(&mut self, label: u32, owner: FrameId, weight_ns: u64) {
        if let Some(sums) = self.of(label) {
            sums.passed.sampled_ns += weight_ns as f64;
            if owner.some().is_some() {
                sums.passed.lines.entry(owner).or_default().0 += weight_ns as f64;
            }
        }
    }

    /// Adds an allocation sample with a weight of `bytes`.
    pub(crate) fn allocated(&mut self, label: u32, owner: FrameId, address: u64, bytes: f64) {
        // If an earlier block lay here, the record of its end was lost.
        self.free(address);
        let Some(sums) = self.of(label) else { return };
        sums.allocated += bytes;
        if owner.some().is_some() {
            sums.passed.lines.entry(owner).or_default().1 += bytes;
        }
        self.keep(address, Block { label, bytes });
    }

    /// A block was freed.
    pub(crate) fn free(&mut self, address: u64) {
        self.take(address);
    }

    /// Thread `tid` is about to resize a block: the block is removed, unless [`Labels::refuse`] brings it back.
    pub(crate) fn resize(&mut self, address: u64, tid: u32) {
        if self.blocks.is_empty() && self.resizing.is_empty() {
            return;
        }
        self.resizing.remove(&tid);
        if let Some(block) = self.take(address)
            && self.resizing.len() < MOST_RESIZING
        {
            self.resizing.insert(tid, (address, block));
        }
    }

    /// The allocator refused to resize the block of thread `tid`: the block is live again.
    pub(crate) fn refuse(&mut self, address: u64, tid: u32) {
        if let Some((_, block)) = self.resizing.remove(&tid).filter(|(of, _)| *of == address) {
            self.keep(address, block);
        }
    }

    /// A mapping is about to be unmapped: its block is removed, unless [`Labels::put_back`] brings it back.
    pub(crate) fn unmap(&mut self, address: u64) {
        if let Some(block) = self.take(address) {
            if self.unmapped.len() == MOST_UNMAPPED {
                self.unmapped.pop_front();
            }
            self.unmapped.push_back((address, block));
        }
    }

    /// The kernel refused to unmap a mapping: its block is live again.
    pub(crate) fn put_back(&mut self, address: u64) {
        if let Some(at) = self.unmapped.iter().rposition(|(of, _)| *of == address)
            && let Some((_, block)) = self.unmapped.remove(at)
        {
            self.keep(address, block);
        }
    }

    /// The interpreter begins its teardown.
    pub(crate) fn tear_down(&mut self) {
        self.over = true;
    }

    /// A piece of work ended: a request, whose number means its route from now on, or a block with a label.
    pub(crate) fn end(&mut self, span: &wire::Span) {
        if span.name == 0 {
            return;
        }
        if span.label != span.name && span.label != 0 && !self.pairs_by_label.contains_key(&span.label) {
            self.end_request(span.label, span.name);
        }
        if let Some(sums) = self.of(span.name) {
            let cpu_ns = Some(span.cpu_ns).filter(|&ns| ns != wire::UNKNOWN_NS);
            sums.ended(span.wall_ns, cpu_ns);
        }
    }

    fn end_request(&mut self, request: u32, route: u32) {
        let sums = self.sums.remove(&request).unwrap_or_default();
        let blocks = sums.blocks;
        if let Some(all) = self.of(route) {
            all.add(sums);
            all.blocks -= blocks;
        }
        if self.ended.insert(request, Ended { route, blocks, old: false }).is_none() {
            self.latest.push_back(request);
        }
        if self.latest.len() > MOST_ENDED
            && let Some(oldest) = self.latest.pop_front()
            && let Some(ended) = self.ended.get_mut(&oldest)
        {
            ended.old = true;
            if ended.blocks == 0 {
                self.ended.remove(&oldest);
            }
        }
    }

    /// Books the sums of all labels.
    pub(crate) fn settle(&mut self, book: &mut Book) {
        let mut numbers: Vec<u32> = self.sums.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let Some(sums) = self.sums.remove(&number) else { continue };
            let pairs = self.pairs_by_label.get(&number).cloned();
            book.add_label(pairs, sums);
        }
    }

    /// The sums of a label, or of the route if the label is an ended request. `None` for label 0, and for a new number
    /// beyond [`MOST_NUMBERS`].
    fn of(&mut self, label: u32) -> Option<&mut LabelRecord> {
        let label = self.ended.get(&label).map_or(label, |ended| ended.route);
        if label == 0 || (self.sums.len() >= MOST_NUMBERS && !self.sums.contains_key(&label)) {
            return None;
        }
        Some(self.sums.entry(label).or_default())
    }

    /// Counts a live block.
    fn keep(&mut self, address: u64, block: Block) {
        self.count(block, 1);
        self.blocks.insert(address, block);
    }

    /// Stops counting a live block.
    fn take(&mut self, address: u64) -> Option<Block> {
        if self.over || self.blocks.is_empty() {
            return None;
        }
        let block = self.blocks.remove(&address)?;
        self.count(block, -1);
        Some(block)
    }

    fn count(&mut self, block: Block, change: i64) {
        let number = if let Some(ended) = self.ended.get_mut(&block.label) {
            ended.blocks = ended.blocks.saturating_add_signed(change);
            let (route, done) = (ended.route, ended.old && ended.blocks == 0);
            if done {
                self.ended.remove(&block.label);
            }
            route
        } else {
            let sums = self.sums.entry(block.label).or_default();
            sums.blocks = sums.blocks.saturating_add_signed(change);
            block.label
        };
        self.sums.entry(number).or_default().kept += block.bytes * change as f64;
    }
}

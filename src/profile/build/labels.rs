//! Labels: what threads did for a request, a task, or any block that the program named.
//!
//! Job: add up the samples and allocations of each label, and the work that ended under it. Invariant: a request bears a
//! number of its own while it runs; its end names the route, and everything under the number then moves there. What is
//! kept singly is live blocks, open requests, and the last requests that ended, whose threads may still bear the number.
//! Neighbours: `process` says what happens, `book::labels` adds processes up.

use std::collections::VecDeque;

use rscalene_wire as wire;
use rustc_hash::FxHashMap;

use crate::profile::book::Book;
use crate::profile::book::intern::FrameId;
use crate::profile::book::labels::{LabelRecord, Pairs};

/// Labels of a process that are told apart.
const MOST_TEXTS: usize = 4_096;
/// Numbers with figures: requests that run at a time.
const MOST_NUMBERS: usize = 1 << 16;
/// Requests that ended and are remembered.
const MOST_ENDED: usize = 1_024;
/// Threads whose last resize is remembered.
const MOST_RESIZING: usize = 1 << 16;

/// The labels of one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    texts: FxHashMap<u32, Pairs>,
    sums: FxHashMap<u32, LabelRecord>,
    /// Live blocks by address.
    blocks: FxHashMap<u64, Block>,
    /// Blocks that went into a resize last, by thread: a refusal brings them back.
    resizing: FxHashMap<u32, (u64, Block)>,
    ended: FxHashMap<u32, Ended>,
    latest: VecDeque<u32>,
    /// The interpreter tears itself down: what is freed now was kept to the end.
    over: bool,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    label: u32,
    bytes: f64,
}

/// A request that ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    /// The number of its route.
    route: u32,
    /// Its live blocks.
    blocks: u64,
    /// It is no longer among the latest: without blocks it is forgotten.
    old: bool,
}

impl Labels {
    /// A copy with the sums alone.
    pub(crate) fn sums(&self) -> Self {
        Self { texts: self.texts.clone(), sums: self.sums.clone(), over: self.over, ..Self::default() }
    }

    /// The meanings that a forked child takes over.
    pub(crate) fn texts(&self) -> &FxHashMap<u32, Pairs> {
        &self.texts
    }

    /// Takes over the meanings of the process that forked this one, where it has none of its own.
    pub(crate) fn inherit(&mut self, texts: &FxHashMap<u32, Pairs>) {
        for (&label, pairs) in texts {
            if self.texts.len() < MOST_TEXTS {
                self.texts.entry(label).or_insert_with(|| pairs.clone());
            }
        }
    }

    /// Says what a label means.
    pub(crate) fn define(&mut self, label: u32, pairs: &[(String, String)]) {
        if self.texts.len() < MOST_TEXTS {
            self.texts.insert(label, pairs.iter().cloned().collect());
        }
    }

    /// A CPU sample.
    pub(crate) fn sampled(&mut self, label: u32, owner: FrameId, weight_ns: u64) {
        if let Some(sums) = self.of(label) {
            sums.passed.sampled_ns += weight_ns as f64;
            if owner.some().is_some() {
                sums.passed.lines.entry(owner).or_default().0 += weight_ns as f64;
            }
        }
    }

    /// An allocation that stands for `bytes`.
    pub(crate) fn allocated(&mut self, label: u32, owner: FrameId, address: u64, bytes: f64) {
        // The end of a block that was here before did not reach us.
        self.free(address);
        let Some(sums) = self.of(label) else { return };
        sums.allocated += bytes;
        if owner.some().is_some() {
            sums.passed.lines.entry(owner).or_default().1 += bytes;
        }
        self.keep(address, Block { label, bytes });
    }

    /// A block went.
    pub(crate) fn free(&mut self, address: u64) {
        self.take(address);
    }

    /// Thread `tid` is about to resize a block: it goes, unless [`Labels::refuse`] brings it back.
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

    /// The allocator refused to resize the block of thread `tid`: it lives on.
    pub(crate) fn refuse(&mut self, address: u64, tid: u32) {
        if let Some((_, block)) = self.resizing.remove(&tid).filter(|(of, _)| *of == address) {
            self.keep(address, block);
        }
    }

    /// The interpreter begins to tear itself down.
    pub(crate) fn tear_down(&mut self) {
        self.over = true;
    }

    /// A piece of work ended: a request, whose number then means its route, or a block with a label.
    pub(crate) fn end(&mut self, span: &wire::Span) {
        if span.name == 0 {
            return;
        }
        if span.label != span.name && span.label != 0 && !self.texts.contains_key(&span.label) {
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

    /// Books what the labels came to.
    pub(crate) fn settle(&mut self, book: &mut Book) {
        let mut numbers: Vec<u32> = self.sums.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let Some(sums) = self.sums.remove(&number) else { continue };
            let pairs = self.texts.get(&number).cloned();
            book.add_label(pairs, sums);
        }
    }

    /// The sums under a number; `None` for none.
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

    /// Counts a live block no more.
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

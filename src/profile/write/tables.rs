//! The small tables of the profile: totals, threads, processes, stacks.
//!
//! Job: turn the rows of the book, except lines, into the model. Invariant: stacks keep at most [`MOST_NODES`] nodes;
//! the cost of each omitted node goes to its nearest kept caller. Neighbours: `lines`, `functions`.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::functions::subtrees;
use super::lines::{Files, Known, LineKey};
use crate::profile::book::Book;
use crate::profile::book::intern::{FrameId, Names};
use crate::profile::book::labels::{LabelRecord, Pairs};
use crate::profile::book::records::ThreadRecord;
use crate::profile::book::shares::NodeShares;
use crate::profile::book::sums::{NodeDetails, NodeSums, SYSTEM, Sums, sorted, sum};
use crate::profile::book::tree::Tree;
use crate::profile::model::{
    Label, Process, ProcessStack, Section, SectionLine, StackFrame, StackNode, Stacks, Thread, ThreadStack, Time,
    Totals,
};

/// Most nodes of the stacks in a profile.
const MOST_NODES: usize = 50_000;

/// The totals, except for the counts that only the builder knows.
pub(crate) fn totals(book: &Book, totals: &FxHashMap<FrameId, Sums>, known: Known, start_ns: u64) -> Totals {
    let mut all = Sums::default();
    for (_, sums) in sorted(totals) {
        all.add(sums);
    }
    let outside = totals.get(&FrameId::NONE).copied().unwrap_or_default();
    let highest = &book.highest;
    let at_peak = &highest.footprint;
    let alone = book.processes.len() <= 1;
    let largest = book.processes.iter().filter_map(|process| process.row.peak_rss_bytes).max();
    let whole = |value: f64| known.memory.then_some(value.max(0.0).round() as u64);
    let clock = book.threads.iter().fold(None, |clock, thread| sum(clock, thread.clock_s));
    let mut memory = known.memory(&all.bytes);
    let mut outside_memory = known.memory(&outside.bytes);
    (memory.mem_usage_bytes, outside_memory.mem_usage_bytes) = (None, None);
    Totals {
        time: Time { core_wait_s: core_wait_s(book.threads.iter()), ..known.time(&all.time) },
        memory,
        peak_rss_bytes: largest,
        // For a single process, the kernel's own mark is exact.
        footprint_peak_bytes: highest.bytes.max(largest.filter(|_| alone)),
        footprint_peak_at_s: highest.time_ns.map(|ns| ns.saturating_sub(start_ns) as f64 / 1e9),
        most_allocated_bytes: whole(highest.most_tracked),
        resident_files_peak_bytes: {
            let largest = book.processes.iter().max_by_key(|process| process.row.peak_rss_bytes);
            largest.and_then(|process| Some(process.resident?.1))
        },
        cpu_clock_s: clock.filter(|_| known.cpu).map(|_| all.time.cpu_s()),
        sampled_cpu_s: known.cpu.then_some((all.time.cpu_s() - book.unsampled_s).max(0.0)),
        unsampled_s: known.cpu.then_some(book.unsampled_s),
        outside_scope: known.time(&outside.time),
        outside_scope_memory: outside_memory,
        tracked_peak_bytes: whole(at_peak.tracked - at_peak.untouched),
        untouched_peak_bytes: whole(at_peak.untouched),
        mapped_files_peak_bytes: whole(at_peak.files),
        arenas_peak_bytes: whole(at_peak.arenas),
        ..Totals::default()
    }
}

/// The known seconds in which these threads were ready to run without a core.
fn core_wait_s<'a>(threads: impl Iterator<Item = &'a ThreadRecord>) -> Option<f64> {
    threads.fold(None, |all, thread| sum(all, thread.core_wait_s))
}

/// The threads.
pub(crate) fn threads(book: &Book, known: Known) -> Vec<Thread> {
    let row = |thread: &ThreadRecord| Thread {
        pid: thread.pid,
        tid: thread.tid,
        name: thread.name.clone(),
        time: Time {
            core_wait_s: thread.core_wait_s,
            ..known.without_waits_if(thread.hidden_waits).time(&thread.amount)
        },
        cpu_clock_s: thread.clock_s,
    };
    book.threads.iter().map(row).collect()
}

/// The processes.
pub(crate) fn processes(book: &Book, known: Known) -> Vec<Process> {
    let mut rows = Vec::with_capacity(book.processes.len());
    for (number, process) in book.processes.iter().enumerate() {
        let mut row = process.row.clone();
        if book.keeps_shares(number) {
            let mut all = Sums::default();
            for (_, sums) in sorted(&process.lines) {
                all.add(sums);
            }
            all.bytes.usage = 0;
            row.time = known.without_waits_if(process.hidden_waits).time(&all.time);
            let of_it = |thread: &&ThreadRecord| thread.pid == row.pid && row.pid != 0;
            row.time.core_wait_s = core_wait_s(book.threads.iter().filter(of_it));
            row.memory = known.memory(&all.bytes);
        }
        rows.push(row);
    }
    rows
}

/// The sections, with their lines in order.
pub(crate) fn sections(names: &Names, book: &Book, files: &Files, known: Known, start_ns: u64) -> Vec<Section> {
    let seconds = |ns: u64| ns as f64 / 1e9;
    let since = |time_ns: u64| seconds(time_ns.saturating_sub(start_ns));
    let whole = |bytes: f64| bytes.max(0.0).round() as u64;
    let mut rows = Vec::with_capacity(book.sections.len());
    for record in &book.sections {
        let process = &book.processes[record.process];
        let cpu_s = record.cpu_ns.map(seconds).filter(|_| known.cpu);
        // Samples give the lines, the clock gives the amount.
        let scale = cpu_s.map_or(0.0, |s| s / record.passed.sampled_ns.max(1.0));
        let mut lines: BTreeMap<LineKey, (f64, f64)> = BTreeMap::new();
        for (owner, &(ns, bytes)) in sorted(&record.passed.lines) {
            // Lines of a process whose frames were refused are in no file.
            if process.lines.contains_key(&owner) {
                let line = lines.entry(files.line_of(names, owner)).or_default();
                *line = (line.0 + ns, line.1 + bytes);
            }
        }
        let lines = lines.into_iter().map(|((file, line), (ns, bytes))| SectionLine {
            file,
            line,
            cpu_s: cpu_s.map(|_| ns * scale),
            alloc_bytes: known.memory.then(|| whole(bytes)),
        });
        rows.push(Section {
            name: record.name.clone(),
            pid: process.row.pid,
            count: record.count,
            start_s: since(record.start_ns),
            end_s: since(record.end_ns),
            elapsed_s: seconds(record.elapsed_ns),
            cpu_s,
            alloc_bytes: known.memory.then(|| whole(record.allocated)),
            increment_bytes: known.memory.then(|| record.increment.round() as i64),
            lines: lines.collect(),
        });
    }
    rows.sort_by(|left, right| left.start_s.total_cmp(&right.start_s));
    rows
}

/// Work with labels, most CPU first.
pub(crate) fn labels(names: &Names, book: &Book, files: &Files, known: Known) -> Vec<Label> {
    let seconds = |ns: f64| ns / 1e9;
    let whole = |bytes: f64| known.memory.then_some(bytes.max(0.0).round() as u64);
    let trusted = |owner: FrameId| book.processes.iter().any(|process| process.lines.contains_key(&owner));
    let row = |(pairs, record): (&Pairs, &LabelRecord)| {
        let clocked = record.count > 0 && record.clocks == record.count;
        let cpu_ns = if clocked { record.cpu_ns as f64 } else { record.passed.sampled_ns };
        let mut lines: BTreeMap<LineKey, (f64, f64)> = BTreeMap::new();
        for (owner, &(ns, bytes)) in sorted(&record.passed.lines) {
            // Lines of a process whose frames were refused are in no file.
            if trusted(owner) {
                let line = lines.entry(files.line_of(names, owner)).or_default();
                *line = (line.0 + ns, line.1 + bytes);
            }
        }
        let lines = lines.into_iter().map(|((file, line), (ns, bytes))| SectionLine {
            file,
            line,
            cpu_s: known.cpu.then_some(seconds(ns)),
            alloc_bytes: whole(bytes),
        });
        Label {
            labels: pairs.clone(),
            count: record.count,
            elapsed_s: seconds(record.elapsed_ns as f64),
            median_s: record.quantile_s(0.5),
            p95_s: record.quantile_s(0.95),
            longest_s: (record.count > 0).then(|| seconds(record.longest_ns as f64)),
            cpu_s: (known.cpu || clocked).then(|| seconds(cpu_ns)),
            alloc_bytes: whole(record.allocated),
            kept_bytes: whole(record.kept),
            lines: lines.collect(),
        }
    };
    let mut rows: Vec<Label> = book.labels.iter().map(row).collect();
    rows.sort_by(|left, right| right.cpu_s.unwrap_or(0.0).total_cmp(&left.cpu_s.unwrap_or(0.0)));
    rows
}

/// The stacks.
pub(crate) fn stacks(names: &Names, book: &Book, tree: &Tree, files: &Files) -> Stacks {
    let keep = kept(book, tree);
    let mut own = book.nodes.clone();
    own.resize(tree.nodes().len(), NodeSums::default());
    let mut details = book.node_details.clone();
    details.resize(tree.nodes().len(), NodeDetails::default());
    for node in (0..own.len()).rev().filter(|&node| !keep[node]) {
        if let Some(parent) = tree.nodes()[node].0.index() {
            let (lost, more) = (own[node], details[node]);
            own[parent].add(&lost);
            details[parent].add(&more);
        }
    }
    let mut stacks = Stacks::default();
    let mut other_files: FxHashMap<u32, usize> = FxHashMap::default();
    let mut frames: FxHashMap<FrameId, usize> = FxHashMap::default();
    let mut places: Vec<Option<usize>> = vec![None; own.len()];
    for (node, &(parent, frame)) in tree.nodes().iter().enumerate() {
        let above = parent.index().and_then(|parent| places[parent]);
        if !keep[node] {
            places[node] = above;
            continue;
        }
        let frame = *frames.entry(frame).or_insert_with(|| {
            let at = names.frame_at(frame);
            let function = names.function_name(at.function);
            let file = files.index.get(&function.file.0).copied().unwrap_or_else(|| {
                *other_files.entry(function.file.0).or_insert_with(|| {
                    stacks.other_files.push(names.path(function.file).to_string());
                    files.files.len() + stacks.other_files.len() - 1
                })
            });
            stacks.frames.push(StackFrame { file, function: function.qualname.to_string(), line: at.line });
            stacks.frames.len() - 1
        });
        places[node] = Some(stacks.nodes.len());
        let sums = own[node];
        stacks.nodes.push(StackNode {
            parent: above,
            frame,
            cpu_s: sums.cpu_s,
            wall_s: sums.cpu_s + sums.wait_s,
            alloc_bytes: whole(sums.alloc),
            peak_bytes: whole(sums.peak),
            cpu_samples: sums.samples,
            python_s: details[node].s[0],
            native_s: details[node].s[1],
            system_s: details[node].s[SYSTEM],
            alloc_count: whole(details[node].blocks),
            live_bytes: whole(details[node].live),
        });
    }
    if book.threads.len() > 1 {
        stacks.by_thread = merged(&book.thread_nodes, &places)
            .map(|((node, thread), sums)| ThreadStack {
                node,
                thread,
                cpu_s: sums.cpu_s,
                wall_s: sums.cpu_s + sums.wait_s,
                alloc_bytes: whole(sums.alloc),
            })
            .collect();
    }
    if book.processes.len() > 1 {
        stacks.by_process = merged(&book.process_nodes, &places)
            .map(|((node, process), sums)| ProcessStack {
                node,
                process,
                cpu_s: sums.cpu_s,
                wall_s: sums.cpu_s + sums.wait_s,
                alloc_bytes: whole(sums.alloc),
                peak_bytes: whole(sums.peak),
            })
            .collect();
    }
    stacks
}

/// Shares in the kept nodes, in the order of nodes. Shares in omitted nodes count for their callers.
fn merged(shares: &NodeShares, places: &[Option<usize>]) -> impl Iterator<Item = ((usize, usize), NodeSums)> {
    let mut merged: BTreeMap<(usize, usize), NodeSums> = BTreeMap::new();
    for (node, sharer, sums) in shares.sorted() {
        if let Some(place) = node.index().and_then(|node| places[node]) {
            merged.entry((place, sharer)).or_default().add(sums);
        }
    }
    merged.into_iter()
}

fn whole(amount: f64) -> u64 {
    amount.max(0.0).round() as u64
}

/// Selects the kept nodes: nodes with any cost below, the largest if there are too many. A caller's subtree is never
/// smaller than its callee's, so the callers of a kept node are kept too.
fn kept(book: &Book, tree: &Tree) -> Vec<bool> {
    let subtrees = subtrees(book, tree);
    let most = |of: fn(&crate::profile::book::sums::NodeSums) -> f64| {
        subtrees.iter().map(of).fold(f64::MIN_POSITIVE, f64::max)
    };
    let (seconds, bytes) = (most(|sums| sums.cpu_s + sums.wait_s), most(|sums| sums.alloc));
    let sizes: Vec<f64> =
        subtrees.iter().map(|sums| ((sums.cpu_s + sums.wait_s) / seconds).max(sums.alloc / bytes)).collect();
    let mut sorted: Vec<f64> = sizes.iter().copied().filter(|&size| size > 0.0).collect();
    let least = if sorted.len() > MOST_NODES {
        sorted.sort_unstable_by(|left, right| right.total_cmp(left));
        sorted[MOST_NODES - 1]
    } else {
        0.0
    };
    let mut left = MOST_NODES;
    // Nodes of equal size may not all fit. Parents come first, so an omitted node is never a caller of a kept node.
    sizes
        .iter()
        .map(|&size| {
            let keep = size > 0.0 && (size > least || (size == least && left > 0));
            left = left.saturating_sub(usize::from(keep));
            keep
        })
        .collect()
}

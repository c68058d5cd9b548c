//! Starts and ends of processes.
//!
//! Job: open a process at its start, an exec or a fork, and settle a process once none of its records can arrive any
//! more. Invariant: each program is settled once. Neighbours: the builder calls this module for each event, `settled`
//! takes the sums.

use rscalene_wire as wire;
use rustc_hash::FxHashMap;
use wire::{EndedBy, ProcessFlags};

use super::ProfileBuilder;
use crate::profile::build::interpreter::Python;
use crate::profile::build::process::Process;
use crate::profile::model::{Exit, Process as ProcessRow};
use crate::transport::event::ProcessExit;

/// Most ended processes kept open for late records.
const LEAVING: usize = 16;

impl ProfileBuilder {
    pub(super) fn start_process(&mut self, pid: u32, start: &wire::ProcessStart) {
        self.now_ns = self.now_ns.max(start.time_ns);
        self.pythons.entry(pid).or_insert(Python {
            version: start.python_version,
            free_threaded: start.flags.has(ProcessFlags::FREE_THREADED),
            refused: start.flags.has(ProcessFlags::NO_FRAMES),
        });
        self.first_python.get_or_insert(pid);
        self.gone.remove(&pid);
        let row = ProcessRow { pid, parent: start.parent, ..ProcessRow::default() };
        let mut next = match self.running.get(&pid) {
            // The launcher observed the process before the shim armed the process.
            Some(known) if !known.armed && !known.ended => self.running.remove(&pid).expect("it is there"),
            // An exec: the same process runs another program.
            Some(known) if !known.ended => self.settle_program(pid, false).expect("it is there").after_exec(),
            // The kernel gave the process id of an ended process to a new process.
            Some(_) => {
                self.settle(pid);
                self.gone.remove(&pid);
                Process::new(pid, self.settled.book.add_process(row))
            }
            None => Process::new(pid, self.settled.book.add_process(row)),
        };
        next.armed = true;
        next.forked_from = start.flags.has(ProcessFlags::FORKED).then_some(start.parent);
        next.refused = start.flags.has(ProcessFlags::NO_FRAMES);
        if let Some(parent) = next.forked_from.and_then(|parent| self.running.get(&parent)) {
            next.labels.inherit(parent.labels.pairs_by_label());
        }
        next.forked_program = next
            .forked_from
            .map(|parent| self.running.get(&parent).and_then(|process| process.forked_program).unwrap_or(parent));
        self.settled.book.processes[next.row].row.parent = start.parent;
        self.running.insert(pid, next);
    }

    pub(super) fn end_process(&mut self, pid: u32, end: &wire::ProcessEnd) {
        self.now_ns = self.now_ns.max(end.time_ns);
        let Some(process) = self.running.get_mut(&pid) else { return };
        process.cpu_ns = Some(end.cpu_ns);
        process.orderly = end.how == EndedBy::EXIT;
        process.most = end.peak_rss;
        let row = &mut self.settled.book.processes[process.row].row;
        row.peak_rss_bytes = row.peak_rss_bytes.max(Some(end.peak_rss).filter(|&bytes| bytes > 0));
        if end.how == EndedBy::EXEC {
            process.left_ns = Some(end.time_ns);
        } else {
            row.exit = Exit { code: end.status.code(), signal: None };
            process.go(end.time_ns, &mut self.peak);
            self.leave(pid, end.time_ns);
        }
    }

    pub(super) fn exit_process(&mut self, pid: u32, exit: &ProcessExit) {
        self.now_ns = self.now_ns.max(exit.time_ns);
        let Some(process) = self.running.get_mut(&pid) else { return };
        let row = &mut self.settled.book.processes[process.row].row;
        // The launcher observes the end of a child process, but not its exit status.
        if exit.code.or(exit.signal).is_some() {
            row.exit = Exit { code: exit.code, signal: exit.signal };
        }
        row.peak_rss_bytes = row.peak_rss_bytes.max(exit.peak_rss.filter(|&bytes| bytes > 0));
        process.most = process.most.max(exit.peak_rss.unwrap_or(0));
        self.dying.push_back((exit.time_ns, pid));
        self.leave(pid, exit.time_ns);
    }

    /// The process has ended; records in its ring may still arrive.
    pub(super) fn leave(&mut self, pid: u32, time_ns: u64) {
        let Some(process) = self.running.get_mut(&pid) else { return };
        if !std::mem::replace(&mut process.ended, true) {
            let (row, bytes) = (process.row, process.counted);
            self.leaving.push_back(pid);
            self.release(bytes, time_ns);
            let parent = self.settled.book.processes[row].row.parent;
            let outlived = self.running.get(&parent).is_some_and(|parent| !parent.ended);
            self.running.entry(pid).and_modify(|process| process.outlived = outlived);
            // Pages that children shared with this process count as the children's own from now on.
            for child in self.running.values_mut().filter(|child| child.forked_from == Some(pid)) {
                (child.orphaned, child.shared) = (true, 0);
            }
        }
        if self.leaving.len() > LEAVING
            && let Some(oldest) = self.leaving.pop_front()
        {
            self.settle(oldest);
        }
    }

    /// Subtracts the resident `bytes` of an ended process.
    pub(super) fn release(&mut self, bytes: u64, time_ns: u64) {
        if bytes > 0 {
            self.rss_bytes = self.rss_bytes.saturating_sub(bytes);
            if self.cut_ns.is_none_or(|cut_ns| time_ns <= cut_ns) {
                self.rss.push(time_ns, self.rss_bytes);
            }
        }
    }

    /// Takes in observations up to `until_ns`, which have waited long enough for earlier records. Their readings count
    /// now, and ended processes hold no memory from their end on.
    pub(super) fn take_late(&mut self, until_ns: u64) {
        while let Some(&(time_ns, pid)) = self.waiting.front().filter(|(time_ns, _)| *time_ns <= until_ns) {
            self.waiting.pop_front();
            if let Some(process) = self.running.get_mut(&pid) {
                process.catch_up(time_ns.saturating_add(1), &mut self.peak);
            }
        }
        while let Some(&(time_ns, pid)) = self.dying.front().filter(|(time_ns, _)| *time_ns <= until_ns) {
            self.dying.pop_front();
            if let Some(process) = self.running.get_mut(&pid).filter(|process| process.ended) {
                process.go(time_ns, &mut self.peak);
            }
        }
    }

    pub(super) fn settle(&mut self, pid: u32) {
        if self.running.contains_key(&pid) {
            self.settle_program(pid, true);
            self.leaving.retain(|&leaving| leaving != pid);
            self.gone.insert(pid);
        }
    }

    pub(super) fn settle_program(&mut self, pid: u32, last: bool) -> Option<Process> {
        inherit(&mut self.running, pid);
        let mut process = self.running.remove(&pid)?;
        process.go(self.now_ns, &mut self.peak);
        self.settled.settle(&mut process, last, self.now_ns, &self.peak);
        if !process.ended {
            self.release(process.counted, self.now_ns);
        }
        Some(process)
    }
}

/// Gives a forked process the label definitions of its parent. If the process ended before the launcher could read its
/// mappings, the process also gets the mappings of its parent.
pub(super) fn inherit(running: &mut FxHashMap<u32, Process>, pid: u32) {
    let parent = running.get(&pid).and_then(|process| running.get(&process.forked_from?));
    let inherited = parent.map(|parent| parent.labels.pairs_by_label()).filter(|pairs| !pairs.is_empty()).cloned();
    if let (Some(inherited), Some(process)) = (inherited, running.get_mut(&pid)) {
        process.labels.inherit(&inherited);
    }
    let Some(mut process) = running.get(&pid).filter(|process| process.native.unmapped()) else { return };
    // The number of processes limits the number of ancestors: a longer chain would be a circle.
    for _ in 0..running.len() {
        let parent = process.forked_from.and_then(|parent| running.get(&parent));
        let Some(parent) = parent else { return };
        process = parent;
        if !process.native.map().is_empty() {
            break;
        }
    }
    let map = process.native.map().clone();
    if let Some(process) = running.get_mut(&pid) {
        *process.native.map_mut() = map;
    }
}

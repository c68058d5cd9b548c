//! Lines: from the book to the files of the report.
//!
//! Job: gather the owners' sums by file and line, with source, native places and shares. Invariant: a figure that was
//! not measured is `None`; the sums of all lines and of the figures outside scope are the totals. Neighbours:
//! `functions` and `tables` fill the rest of the profile.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use sha2::{Digest as _, Sha256};

use crate::profile::book::Book;
use crate::profile::book::intern::{FrameId, FunctionId, Names};
use crate::profile::book::sums::SYSTEM;
use crate::profile::book::sums::{Amount, Bytes, Sums, ThreadSums, sorted};
use crate::profile::model::{
    File, HeldBytes, Line, LineCourse, Memory, NativeSymbol, NearLimit, ProcessShare, ThreadShare, Time,
};
use crate::transport::event::Limit;

/// The kinds of figures that were measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    pub(crate) cpu: bool,
    pub(crate) system: bool,
    pub(crate) wait: bool,
    pub(crate) gil: bool,
    pub(crate) memory: bool,
    pub(crate) copies: bool,
}

impl Known {
    /// A copy in which waits are unknown if `hidden`.
    pub(crate) fn without_waits_if(self, hidden: bool) -> Self {
        Self { wait: self.wait && !hidden, gil: self.gil && !hidden, ..self }
    }

    /// A copy in which CPU time is unknown if `pooled` with the time of other threads.
    fn without_cpu_if(self, pooled: bool) -> Self {
        Self { cpu: self.cpu && !pooled, system: self.system && !pooled, ..self }
    }

    /// Time as the model's type.
    pub(crate) fn time(self, amount: &Amount) -> Time {
        // CPU time without a split into kinds gives no zeros.
        let is_split = amount.unsplit_s == 0.0 || amount.s[0] + amount.s[1] > 0.0;
        let cpu = |kind: usize| (self.cpu && (is_split || kind == SYSTEM)).then_some(amount.s[kind]);
        Time {
            python_s: cpu(0),
            native_s: cpu(1),
            system_s: cpu(SYSTEM).filter(|_| self.system),
            wait_s: self.wait.then_some(amount.wait_s),
            gil_wait_s: self.gil.then_some(amount.gil_s),
            idle_s: (self.wait && amount.idle_s > 0.0).then_some(amount.idle_s),
            helpers_s: (self.cpu && amount.helpers_s > 0.0).then_some(amount.helpers_s),
            gc_s: (self.cpu && amount.gc_s > 0.0).then_some(amount.gc_s),
            core_wait_s: None,
            user_s: (self.cpu && amount.unsplit_s > 0.0).then_some(amount.unsplit_s),
        }
    }

    /// Standard error of the CPU seconds; `None` without samples.
    pub(crate) fn cpu_error(self, amount: &Amount) -> Option<f64> {
        (self.cpu && amount.samples > 0).then(|| amount.variance.sqrt())
    }

    /// Memory as the model's type.
    pub(crate) fn memory(self, bytes: &Bytes) -> Memory {
        if self.memory {
            bytes.memory(self.copies)
        } else {
            Memory { mem_usage_bytes: bytes.usage(), ..Memory::default() }
        }
    }
}

/// The sums of all processes by owner: of a single process its own, since a copy of many lines takes much memory.
pub(crate) fn totals(book: &Book) -> Cow<'_, FxHashMap<FrameId, Sums>> {
    if let [process] = &book.processes[..] {
        return Cow::Borrowed(&process.lines);
    }
    let mut totals: FxHashMap<FrameId, Sums> = FxHashMap::default();
    for process in &book.processes {
        for (owner, sums) in sorted(&process.lines) {
            totals.entry(owner).or_default().add(sums);
        }
    }
    Cow::Owned(totals)
}

/// A file by its number in the profile, and a line.
pub(crate) type LineKey = (usize, u32);

/// The files of the report, and the index of each interned file.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) files: Vec<File>,
    pub(crate) index: BTreeMap<u32, usize>,
}

impl Files {
    /// The files of all owners and of the functions in `listed`, by path, still empty.
    pub(crate) fn of(
        names: &Names,
        totals: &FxHashMap<FrameId, Sums>,
        listed: impl Iterator<Item = FunctionId>,
    ) -> Self {
        let owners = totals.keys().filter_map(|owner| owner.some()).map(|owner| names.frame_at(owner).function);
        let mut ids: Vec<_> = owners.chain(listed).map(|function| names.function_name(function).file).collect();
        ids.sort_unstable_by(|left, right| names.path(*left).cmp(names.path(*right)));
        ids.dedup();
        Self {
            files: ids.iter().map(|&id| File { path: names.path(id).to_string(), ..File::default() }).collect(),
            index: ids.iter().enumerate().map(|(at, id)| (id.0, at)).collect(),
        }
    }

    /// The line of an owner.
    pub(crate) fn line_of(&self, names: &Names, owner: FrameId) -> LineKey {
        let frame = names.frame_at(owner);
        (self.index[&names.function_name(frame.function).file.0], frame.line)
    }

    /// Writes the lines, one after the other: rows are large, and there may be 100,000 of them.
    pub(crate) fn fill(
        &mut self,
        names: &Names,
        book: &Book,
        totals: &FxHashMap<FrameId, Sums>,
        known: Known,
        source: &mut dyn FnMut(&str) -> Option<Vec<String>>,
        mut native: BTreeMap<LineKey, Vec<NativeSymbol>>,
    ) {
        let parts = self.parts(names, book, totals);
        let pooled = |thread: usize| book.threads[thread].pooled;
        for of_file in parts.chunk_by(|left, right| left.line.0 == right.line.0) {
            let file = &mut self.files[of_file[0].line.0];
            let text = source(&file.path);
            file.text_sha256 = text.as_deref().map(digest);
            let lines = || of_file.chunk_by(|left, right| left.line == right.line);
            file.lines.reserve_exact(lines().count());
            for of_line in lines() {
                let line = of_line[0].line;
                let mut draft = Draft::default();
                of_line.iter().for_each(|part| draft.add(part));
                let text = text.as_ref().and_then(|lines| lines.get((line.1 as usize).checked_sub(1)?)).cloned();
                file.lines.push(draft.finish(line.1, text, names, known, native.remove(&line), pooled));
            }
        }
        // Files of which only functions have figures.
        for file in self.files.iter_mut().filter(|file| file.lines.is_empty()) {
            file.text_sha256 = source(&file.path).as_deref().map(digest);
        }
    }

    /// The parts of all lines, in the order of the lines and then of the owners.
    fn parts<'a>(&self, names: &Names, book: &'a Book, totals: &'a FxHashMap<FrameId, Sums>) -> Vec<Part<'a>> {
        let part = |owner, share| Part { line: self.line_of(names, owner), owner, share };
        let mut parts: Vec<Part<'_>> = in_scope(totals).map(|(owner, sums)| part(owner, Share::Whole(sums))).collect();
        if book.processes.len() > 1 {
            let kept = book.processes.iter().enumerate().filter(|(process, _)| book.keeps_shares(*process));
            for (process, record) in kept {
                let shares = in_scope(&record.lines);
                parts.extend(shares.map(|(owner, sums)| part(owner, Share::Process(process, sums))));
            }
        }
        if book.threads.len() > 1 {
            for (thread, record) in book.threads.iter().enumerate() {
                let shares = in_scope(&record.lines);
                parts.extend(shares.map(|(owner, sums)| part(owner, Share::Thread(thread, sums))));
            }
        }
        parts.sort_unstable_by_key(|part| (part.line, part.owner));
        parts
    }
}

/// The sums of an owner, as a part of its line.
#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    line: LineKey,
    owner: FrameId,
    share: Share<'a>,
}

/// The sums of all processes together, of one process, or of one thread.
#[derive(Clone, Copy, Debug)]
enum Share<'a> {
    Whole(&'a Sums),
    Process(usize, &'a Sums),
    Thread(usize, &'a ThreadSums),
}

/// The limits that processes came near, in the order of time, with the lines in scope with most live bytes.
pub(crate) fn near_limits(names: &Names, book: &Book, files: &Files, start_ns: u64) -> Vec<NearLimit> {
    let mut moments: Vec<NearLimit> = book
        .near_limits
        .iter()
        .map(|moment| {
            let mut held: BTreeMap<LineKey, f64> = BTreeMap::new();
            for (owner, bytes) in &moment.owners {
                let Some(owner) = owner.some() else { continue };
                let frame = names.frame_at(owner);
                let file = files.index.get(&names.function_name(frame.function).file.0);
                if let Some(&file) = file {
                    *held.entry((file, frame.line)).or_default() += bytes;
                }
            }
            let mut lines: Vec<HeldBytes> = held
                .into_iter()
                .map(|((file, line), bytes)| HeldBytes { file, line, live_bytes: bytes.round() as u64 })
                .collect();
            lines.sort_by_key(|line| std::cmp::Reverse(line.live_bytes));
            lines.truncate(NAMED);
            let limit = match moment.what.limit {
                Limit::AddressSpace => "address space",
                Limit::Cgroup => "cgroup",
                Limit::Machine => "machine",
            };
            NearLimit {
                limit: limit.to_owned(),
                at_s: moment.what.time_ns.saturating_sub(start_ns) as f64 / 1e9,
                process: moment.process,
                used_bytes: moment.what.used_bytes,
                limit_bytes: moment.what.limit_bytes,
                lines,
            }
        })
        .collect();
    moments.sort_by(|left, right| left.at_s.total_cmp(&right.at_s).then(left.process.cmp(&right.process)));
    moments
}

/// Most lines in a moment near a limit.
const NAMED: usize = 5;

/// The digest of a file's source, by which merging separates files: SHA-256 of the lines, joined by newlines.
fn digest(lines: &[String]) -> String {
    let mut digest = Sha256::new();
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            digest.update(b"\n");
        }
        digest.update(line);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn in_scope<V>(lines: &FxHashMap<FrameId, V>) -> impl Iterator<Item = (FrameId, &V)> {
    lines.iter().map(|(&owner, sums)| (owner, sums)).filter(|(owner, _)| owner.some().is_some())
}

/// An unfinished line.
#[derive(Debug, Default)]
struct Draft {
    sums: Sums,
    /// The owner with the largest figures, which names the function.
    first: Option<(FrameId, f64, f64)>,
    processes: BTreeMap<usize, Sums>,
    threads: BTreeMap<usize, ThreadSums>,
}

impl Draft {
    fn add(&mut self, part: &Part<'_>) {
        match part.share {
            Share::Whole(sums) => {
                self.sums.add(sums);
                let size = (sums.time.cpu_s() + sums.time.wait_s, sums.bytes.alloc);
                if self.first.is_none_or(|(_, seconds, bytes)| size > (seconds, bytes)) {
                    self.first = Some((part.owner, size.0, size.1));
                }
            }
            Share::Process(process, sums) => self.processes.entry(process).or_default().add(sums),
            Share::Thread(thread, share) => {
                let sums = self.threads.entry(thread).or_default();
                sums.time.add(&share.time);
                sums.alloc += share.alloc;
            }
        }
    }

    fn finish(
        self,
        number: u32,
        source: Option<String>,
        names: &Names,
        known: Known,
        native: Option<Vec<NativeSymbol>>,
        pooled: impl Fn(usize) -> bool,
    ) -> Line {
        let function = self.first.map(|(owner, _, _)| names.function_name(names.frame_at(owner).function));
        let native_s = self.sums.time.s[1];
        Line {
            line: number,
            function: function.map(|function| function.qualname.to_string()).unwrap_or_default(),
            source,
            time: known.time(&self.sums.time),
            cpu_samples: self.sums.time.samples,
            cpu_s_se: known.cpu_error(&self.sums.time),
            memory: known.memory(&self.sums.bytes),
            native: native.into_iter().flatten().map(|place| NativeSymbol { s: place.s * native_s, ..place }).collect(),
            by_process: self
                .processes
                .into_iter()
                .map(|(process, sums)| ProcessShare {
                    process,
                    time: known.time(&sums.time),
                    memory: known.memory(&sums.bytes),
                })
                .collect(),
            by_thread: self
                .threads
                .into_iter()
                .map(|(thread, sums)| ThreadShare {
                    thread,
                    time: known.without_cpu_if(pooled(thread)).time(&sums.time),
                    alloc_bytes: known.memory.then(|| sums.alloc.max(0.0).round() as u64),
                })
                .collect(),
            ..Line::default()
        }
    }
}

/// Live bytes over time of the lines with most live bytes.
pub(crate) fn courses(names: &Names, book: &Book, files: &Files, start_ns: u64) -> Vec<LineCourse> {
    let line = |owner: FrameId| {
        let frame = names.frame_at(owner.some()?);
        let file = *files.index.get(&names.function_name(frame.function).file.0)?;
        files.files[file].lines.iter().any(|row| row.line == frame.line).then_some((file, frame.line))
    };
    let seconds = |at_ns: u64| at_ns.saturating_sub(start_ns) as f64 / 1e9;
    let row = |((file, line), course): ((usize, u32), Vec<(u64, u64)>)| LineCourse {
        file,
        line,
        live: course.into_iter().map(|(at, bytes)| (seconds(at), bytes)).collect(),
    };
    book.courses.by_line(line).into_iter().map(row).collect()
}

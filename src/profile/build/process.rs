//! One running program: collects its events and books the sums.
//!
//! Job: sum up the definitions and samples of one program of a process, and book the sums at the program's end. An exec
//! starts a new program. Invariant: a forked child, like any new program, starts with no definitions. Neighbours:
//! `builder` routes events here.

mod memory;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rscalene_wire as wire;
use rustc_hash::{FxHashMap, FxHashSet};
use wire::{CpuFlags, CpuKind, SectionMark};

use super::cpu::{Booking, Forks, Pools, ThreadAccount};
use super::heap::{Heap, Moment};
use super::helpers::{Helpers, Library};
use super::labels::Labels;
use super::native::NativeSamples;
use super::operators::Operators;
use super::peak::{Numbers, Part, Reading};
use super::queries::Queries;
use super::repeats::Repeats;
use super::resident::Resident;
use super::scope::Scope;
use super::sections::{Open, Standing};
use super::stacks::Definitions;
use super::stretch::{Engine, unseen};
use crate::profile::book::Book;
use crate::profile::book::intern::{Frame, FrameId, FunctionId, Names};
use crate::profile::book::labels::Pairs;
use crate::profile::book::tree::{NodeId, Place, Tree};
use crate::transport::event::{Counters, Event, ThreadClock, Ticks, Wait};

/// An ended thread is kept open for this long, because the launcher's observations of a thread arrive after its end
/// (the launcher sums up 200 ms, and rests for two seconds at most).
const LATE_NS: u64 = 3_000_000_000;
/// Most ended threads that are kept open.
const LEAVING: usize = 16_384;

/// CPU nanoseconds that the programs before an exec booked: the kernel's CPU clocks run on through an exec.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Earlier {
    main_ns: f64,
    all_ns: f64,
}

/// Ranges of memory: first address and bytes.
type Ranges = Box<[(u64, u64)]>;

/// A running program.
#[derive(Debug, Default)]
pub(crate) struct Process {
    /// Row in the book.
    pub(crate) row: usize,
    /// Process id.
    pub(crate) pid: u32,
    /// The process that forked this one.
    pub(crate) forked_from: Option<u32>,
    /// For a forked child: the ancestor from which all processes of the program descend by forks alone.
    pub(crate) forked_program: Option<u32>,
    /// True if the shim in the process sent its start record. Otherwise all events of the process come from the
    /// launcher.
    pub(crate) armed: bool,
    /// True once the process ended, or became another program.
    pub(crate) ended: bool,
    /// Time at which the program called exec; `None` again once a later record shows that the call failed.
    pub(crate) left_ns: Option<u64>,
    /// The launcher's observations since `left_ns`. They belong to the next program, unless the exec failed.
    pub(crate) beyond: Vec<Event>,
    /// True if the process exited by itself, with a teardown of its interpreter.
    pub(crate) orderly: bool,
    /// True if the frames that the shim read cannot be trusted: no figure then goes to a line.
    pub(crate) refused: bool,
    /// True if neither shim nor launcher can observe the waits of the threads.
    pub(crate) hidden_waits: bool,
    /// Name of the program's source text from the command line (`-c`), made by [`super::inline`].
    pub(crate) text: Option<Arc<str>>,
    /// Stacks and code objects.
    pub(crate) definitions: Definitions,
    /// Counters of the segment of this process.
    pub(crate) counters: Option<Counters>,
    /// Memory.
    pub(crate) heap: Heap,
    /// Labels.
    pub(crate) labels: Labels,
    /// Queries of databases.
    pub(crate) queries: Queries,
    /// Footprint.
    pub(crate) resident: Resident,
    /// Native samples.
    pub(crate) native: NativeSamples,
    /// Samples under instructions that make no call.
    operators: Operators,
    /// CPU nanoseconds of the whole process, from the record of its end.
    pub(crate) cpu_ns: Option<u64>,
    /// CPU time that earlier programs of this process booked.
    pub(crate) earlier: Earlier,
    /// CPU and allocation samples.
    pub(crate) samples: (u64, u64),
    threads: FxHashMap<u32, ThreadAccount>,
    /// Ended threads for which observations may still arrive, oldest first, with the time of their end.
    leaving: VecDeque<(u32, u64)>,
    gone: FxHashSet<u32>,
    pools: Pools,
    booked_ns: f64,
    /// Allocated bytes by thread and place.
    allocated: FxHashMap<u32, FxHashMap<Place, f64>>,
    /// `allocated` of ended threads, by their rows in the book. The sums are booked at the end, because only then is
    /// settled whether the frames are trusted.
    ended_allocated: BTreeMap<Option<usize>, FxHashMap<Place, f64>>,
    /// The sum of `allocated`, over ended threads too.
    allocated_bytes: f64,
    sections: Open,
    repeats: Repeats,
    helpers: Helpers,
    /// Readings of the footprint that wait for earlier records, each with the untouched ranges of memory.
    readings: VecDeque<(Reading, Option<Ranges>)>,
    /// The untouched ranges of memory that belong to the next reading.
    untouched: Option<Ranges>,
    /// The part of this process in the footprint of all processes.
    part: Part,
    /// The kernel's high-water mark of the footprint at the end; 0: unknown.
    pub(crate) most: u64,
    /// Numbers of the moments that may be the peak, as of the last record.
    peaks: Numbers,
    /// The last moment at which the process held memory; `None` while the process runs.
    last_moment: Option<u64>,
    /// Resident bytes that are counted for the parent, the process that forked this process.
    pub(crate) shared: u64,
    /// True once the parent has ended.
    pub(crate) orphaned: bool,
    /// The part of its resident bytes that is included in the sum of all processes.
    pub(crate) counted: u64,
    /// True if the process ended before its parent.
    pub(crate) outlived: bool,
}

impl Process {
    /// A program of process `pid` with a row of the book.
    pub(crate) fn new(pid: u32, row: usize) -> Self {
        Self { pid, row, ..Self::default() }
    }

    /// A copy for settling. The copy leaves out data that only further events need: definitions, live blocks, mappings,
    /// and the ids of ended threads.
    pub(crate) fn sums(&self) -> Self {
        Self {
            row: self.row,
            pid: self.pid,
            forked_from: self.forked_from,
            forked_program: self.forked_program,
            armed: self.armed,
            ended: self.ended,
            left_ns: self.left_ns,
            beyond: Vec::new(),
            orderly: self.orderly,
            refused: self.refused,
            hidden_waits: self.hidden_waits,
            text: None,
            definitions: Definitions::default(),
            counters: self.counters,
            heap: self.heap.sums(),
            labels: self.labels.sums(),
            queries: self.queries.clone(),
            repeats: self.repeats.clone(),
            resident: self.resident.clone(),
            native: self.native.clone(),
            operators: self.operators.clone(),
            cpu_ns: self.cpu_ns,
            earlier: self.earlier,
            samples: self.samples,
            threads: self.threads.clone(),
            leaving: VecDeque::new(),
            gone: FxHashSet::default(),
            pools: self.pools.clone(),
            booked_ns: self.booked_ns,
            allocated: self.allocated.clone(),
            ended_allocated: self.ended_allocated.clone(),
            allocated_bytes: self.allocated_bytes,
            sections: self.sections.clone(),
            helpers: self.helpers.clone(),
            readings: self.readings.clone(),
            untouched: None,
            part: self.part,
            most: self.most,
            peaks: self.peaks,
            last_moment: self.last_moment,
            outlived: self.outlived,
            shared: self.shared,
            orphaned: self.orphaned,
            counted: self.counted,
        }
    }

    /// The program that follows by an exec. Observations of threads that ended with the old program may still arrive.
    pub(crate) fn after_exec(self) -> Self {
        Self { earlier: self.earlier, gone: self.gone, ..Self::new(self.pid, self.row) }
    }

    /// The account of a thread.
    pub(crate) fn thread(&mut self, tid: u32) -> &mut ThreadAccount {
        self.threads.entry(tid).or_insert_with(|| ThreadAccount::new(tid))
    }

    /// A thread began. An earlier thread with the same id is settled first.
    pub(crate) fn start_thread(&mut self, start: &wire::ThreadStart, book: &mut Book) {
        // An account without an engine comes from the launcher: the launcher read the clock of this same thread before
        // the shim sent the thread's start record.
        if self.threads.get(&start.tid).is_some_and(|known| known.engine() != Engine::None) {
            self.leaving.retain(|&(tid, _)| tid != start.tid);
            self.retire(start.tid, book);
        }
        self.gone.remove(&start.tid);
        self.thread(start.tid).start(start.source, start.cpu_ns, start.interval_ns);
    }

    /// A thread ended. The account of the main thread stays open, because its clock runs on through the teardown.
    pub(crate) fn end_thread(&mut self, end: &wire::ThreadEnd, book: &mut Book) {
        self.thread(end.tid).end(end.time_ns, end.cpu_ns, end.system_ns);
        // The clock of the main thread runs on through the teardown.
        if end.tid == self.pid {
            return;
        }
        self.leaving.push_back((end.tid, end.time_ns));
        let is_late = |&(_, ended_ns): &(u32, u64)| end.time_ns.saturating_sub(ended_ns) > LATE_NS;
        while self.leaving.len() > LEAVING || self.leaving.front().is_some_and(is_late) {
            let Some((tid, _)) = self.leaving.pop_front() else { break };
            self.retire(tid, book);
        }
    }

    /// The launcher read the clock of a thread.
    pub(crate) fn read_clock(&mut self, clock: &ThreadClock) {
        if self.gone.contains(&clock.tid) {
            return;
        }
        let thread = self.thread(clock.tid);
        thread.read_clock(clock.time_ns, clock.cpu_ns);
        if !clock.name.is_empty() {
            thread.name.clone_from(&clock.name);
        }
    }

    /// The launcher read how long a thread was ready to run without a core.
    pub(crate) fn read_delay(&mut self, tid: u32, delay_ns: u64) {
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.read_delay(delay_ns);
        }
    }

    /// Adds a CPU sample.
    pub(crate) fn cpu_sample(&mut self, sample: &wire::CpuSample, flags: CpuFlags) {
        self.samples.0 += 1;
        let place = self.definitions.place(sample.stack);
        self.note_line(sample.tid, sample.stack, place.owner, sample.time_ns);
        self.sections.sampled(place.owner, sample.weight_ns);
        self.labels.sampled(sample.label, place.owner, sample.weight_ns);
        if sample.stack != 0 {
            self.heap.python_ran(sample.time_ns);
        }
        if let Some(owner) = place.owner.some() {
            self.resident.ran(owner, sample.time_ns);
            if sample.kind == CpuKind::NATIVE && sample.pc != 0 {
                self.native.sample(owner, sample.pc, sample.weight_ns);
            }
        }
        let kind = sample.kind.index();
        let outside = sample.kind == CpuKind::PYTHON && flags.has(CpuFlags::OUTSIDE);
        let leaf = self.definitions.leaf(sample.stack);
        if sample.kind == CpuKind::PYTHON && leaf != FrameId::NONE {
            self.operators.sample(leaf, outside);
            if outside && place.owner != FrameId::NONE {
                self.native.sample_outside(leaf, place.owner, sample.pc, sample.weight_ns);
            }
        }
        let module = self.native.map().find(sample.pc);
        let library = module.map_or(Library::default(), |module| Library::of(module.start, &module.path));
        let python = sample.stack != 0 || sample.tid == self.pid;
        self.helpers.sample(sample.tid, python, place, kind, (sample.time_ns, sample.weight_ns), library);
        let thread = self.thread(sample.tid);
        thread.sample(place, kind, sample.weight_ns, sample.time_ns, flags);
        if outside {
            thread.outside(place, leaf, sample.weight_ns);
        }
    }

    /// Adds the ticks in the stretch of time that a sample covers.
    pub(crate) fn ticks(&mut self, ticks: &Ticks) {
        let owner = self.definitions.place(ticks.stack).owner;
        self.thread(ticks.tid).ticks(
            owner,
            usize::from(ticks.kind.number().min(CpuKind::NATIVE.number())),
            ticks.user_ns,
            ticks.kernel_ns,
        );
    }

    /// Adds time off the CPU.
    pub(crate) fn wait(&mut self, wait: &Wait) {
        let place = self.definitions.place(wait.stack);
        self.note_line(wait.tid, wait.stack, place.owner, wait.time_ns);
        if let Some(owner) = place.owner.some() {
            self.resident.ran(owner, wait.time_ns);
        }
        let idle = self.definitions.is_idle(wait.stack);
        let beside_gil_ns = wait.wait_ns.saturating_sub(wait.gil_ns.unwrap_or(0));
        self.helpers.wait(wait.tid, place, !idle, beside_gil_ns, wait.time_ns);
        self.thread(wait.tid).wait(place, wait.wait_ns, wait.gil_ns.unwrap_or(0), idle);
    }

    /// Thread `tid` was seen in the line `owner`, the owner of `stack`.
    pub(super) fn note_line(&mut self, tid: u32, stack: u64, owner: FrameId, time_ns: u64) {
        self.repeats.ran(tid, owner, self.definitions.instruction(stack), time_ns);
    }

    /// A section begins or ends.
    pub(crate) fn section(&mut self, mark: &wire::Section, name: &str, book: &mut Book) {
        let at = Standing { allocated: self.allocated_bytes, tracked: self.heap.tracked().asked };
        if mark.mark == SectionMark::BEGIN {
            book.sections_left_out += u64::from(!self.sections.begin(mark, name, at));
        } else {
            self.sections.end(mark, at, self.row, book);
        }
    }

    /// Ends the sections that the program never ended.
    pub(crate) fn end_sections(&mut self, time_ns: u64, book: &mut Book) {
        let at = Standing { allocated: self.allocated_bytes, tracked: self.heap.tracked().asked };
        self.sections.end_all(time_ns, self.cpu_ns, at, self.row, book);
    }

    /// Adds the record of a query. The line comes from the stack, else from the query's own label.
    pub(crate) fn query(&mut self, query: &wire::Query, tree: &Tree, names: &mut Names, scope: &Scope) {
        let Place { node, owner } = self.definitions.place(query.stack);
        let pairs_by_label = self.labels.pairs_by_label();
        // A running request has a number without key-value pairs. The pairs arrive when the request ends.
        let unit = if pairs_by_label.contains_key(&query.label) { 0 } else { query.label };
        let owner =
            owner.some().or_else(|| said_place(pairs_by_label.get(&query.name)?, names, scope)).unwrap_or(owner);
        let callers = || callers(node, owner, tree, names);
        self.queries.record(query, unit, owner, callers);
    }

    /// A piece of work ended.
    pub(crate) fn span(&mut self, span: &wire::Span) {
        if span.label != span.name && span.label != 0 {
            self.queries.end_request(span.label, self.labels.pairs_by_label());
        }
        self.labels.end(span);
    }

    /// Number of lost records and frames of this program.
    pub(crate) fn lost(&self) -> u64 {
        self.counters.as_ref().map_or(0, |counters| {
            let records = counters.lost.iter().fold(0u64, |sum, &lost| sum.saturating_add(lost));
            records.saturating_add(counters.malformed).saturating_add(counters.frames_rejected)
        })
    }

    /// Books all sums. `last`: the process itself is over, so its own clock also covers threads that no sample and no
    /// observation met.
    pub(crate) fn settle(&mut self, last: bool, book: &mut Book, forks: &mut Forks) {
        let mut tids: Vec<u32> = self.threads.keys().copied().collect();
        tids.sort_unstable();
        for tid in tids {
            self.retire(tid, book);
        }
        self.pools.move_outside(&self.operators);
        if let Some(program) = self.forked_program {
            let booking = self.booking();
            forks.take(program, &mut self.pools, booking);
        }
        self.pools.settle(self.booking(), book);
        self.earlier.all_ns += self.booked_ns;
        if let Some(cpu_ns) = self.cpu_ns.filter(|_| last) {
            let unknown = (cpu_ns as f64 - self.earlier.all_ns).max(0.0);
            book.add_unseen(self.row, self.booking().rest(unseen(unknown, None)));
        }
        if !self.refused {
            for (place, ns) in self.helpers.settle() {
                book.give_to_line(self.row, place, ns.map(|ns| ns / 1e9));
            }
        }
        self.settle_memory(last, book);
        self.queries.settle(self.row, !self.refused, self.labels.pairs_by_label(), book);
        self.labels.settle(book);
        if !self.refused {
            self.native.settle(&self.operators, book);
        }
    }

    fn retire(&mut self, tid: u32, book: &mut Book) {
        self.repeats.forget(tid);
        let Some(thread) = self.threads.remove(&tid) else { return };
        let main = tid == self.pid;
        let earlier_ns = if main { self.earlier.main_ns } else { 0.0 };
        let (booked_ns, row) = self.pools.retire(thread, earlier_ns, self.booking(), &self.operators, book);
        self.end_allocated(tid, row);
        self.booked_ns += booked_ns;
        if main {
            self.earlier.main_ns += booked_ns;
        } else {
            self.gone.insert(tid);
        }
    }

    fn booking(&self) -> Booking {
        let lost = self.counters.as_ref().map_or(0, |counters| counters.lost[wire::Kind::CpuSample as usize]);
        let lost = lost as f64 / self.samples.0.max(1) as f64;
        let (process, hidden_waits) = (self.row, self.hidden_waits);
        Booking { process, pid: self.pid, refused: self.refused, hidden_waits, lost }
    }

    fn running(&mut self, time_ns: u64, stack: u64) -> (Moment, Place) {
        let place = self.definitions.place(stack);
        if let Some(owner) = place.owner.some() {
            self.resident.ran(owner, time_ns);
        }
        (Moment { time_ns, python: stack != 0, peaks: self.peaks }, place)
    }
}

/// The functions in scope on the stack of `node`, from `owner` outwards.
fn callers(node: NodeId, owner: FrameId, tree: &Tree, names: &Names) -> Arc<[FunctionId]> {
    let mut functions = Vec::new();
    functions.extend(owner.some().map(|owner| names.frame_at(owner).function));
    let mut next = node;
    while let Some(&(parent, frame)) = next.index().and_then(|at| tree.nodes().get(at)) {
        let function = names.frame_at(frame).function;
        if names.in_scope(frame) && !functions.contains(&function) {
            functions.push(function);
        }
        next = parent;
    }
    functions.into()
}

/// The line that the process itself sent with a query, in the keys `file`, `function` and `line` of a label. A query
/// that begins in a greenlet needs it, because no frame of the thread's stack is in scope then.
fn said_place(pairs: &Pairs, names: &mut Names, scope: &Scope) -> Option<FrameId> {
    let (file, function) = (scope.absolute(pairs.get("file")?).into_owned(), pairs.get("function")?);
    let line: u32 = pairs.get("line")?.parse().ok()?;
    if !scope.holds(&file, function, line) {
        return None;
    }
    let file = names.file(&file);
    let function = names.function(file, function, line, || true);
    let frame = names.frame(Frame { function, line });
    names.let_own(frame);
    Some(frame)
}

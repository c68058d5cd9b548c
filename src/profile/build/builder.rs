//! [`ProfileBuilder`]: turns events into profiles.
//!
//! Job: route each event to its process, settle processes as they end, and write the profile. Invariant: no I/O and no
//! clock (data from outside comes in through [`Context`]), and the same events give the same profile, byte for byte.
//! Only live blocks are kept singly: memory is bounded by the number of distinct lines, stacks, threads and live blocks
//! of the program, not by its run time. Neighbours: `transport` feeds events, `commands` finishes the builder.

use std::collections::VecDeque;

use rscalene_wire as wire;
use rustc_hash::{FxHashMap, FxHashSet};
use wire::{EndedBy, ProcessFlags, Source, Verdict};

use super::code::{self, Codes};
use super::cpu::Forks;
use super::distance::Distances;
use super::executed::Executed;
use super::inline::{self, Inline};
use super::interpreter::{Python, Refused};
use super::native;
use super::notices;
use super::own_allocators::OwnAllocators;
use super::peak::{LATE_NS, Peak, Reading, Share};
use super::process::Process;
use super::scope::Scope;
use super::stretch::Engine;
use super::symbolize::Lookup;
use super::text_of;
use super::timeline::Series;
use crate::profile::book::Book;
use crate::profile::book::intern::Names;
use crate::profile::book::tree::Tree;
use crate::profile::model::{Clock, Exit, Notice, Process as ProcessRow, Profile, Settings, Target, Timeline, Tool};
use crate::profile::write::functions;
use crate::profile::write::leaks;
use crate::profile::write::lines::{self, Known};
use crate::profile::write::queries;
use crate::profile::write::tables;
use crate::transport::event::{Body, CodeDef, Event, ProcessExit};

/// Most ended processes that are kept open for records that arrive late.
const LEAVING: usize = 16;
/// Most observations that are kept of a process after its exec call, in case the call fails.
const MOST_BEYOND: usize = 4_096;
/// Most notices that are kept.
const MOST_NOTICES: usize = 64;

/// The time of the launcher's observation; `None` for a record that the program itself sent.
fn observed_ns(body: &Body) -> Option<u64> {
    match body {
        Body::ThreadClock(clock) => Some(clock.time_ns),
        Body::Wait(wait) => Some(wait.time_ns),
        Body::Rss { time_ns, .. } | Body::Untouched { time_ns, .. } | Body::Shared { time_ns, .. } => Some(*time_ns),
        Body::NearLimit(moment) => Some(moment.time_ns),
        _ => None,
    }
}

/// True for records that only a running program sends.
fn goes_on(body: &Body) -> bool {
    matches!(
        body,
        Body::CpuSample { .. } | Body::Alloc { .. } | Body::Free(_) | Body::ThreadStart(_) | Body::ProcessEnd(_)
    )
}

/// Facts about the recording.
#[derive(Clone, Debug, Default)]
pub struct BuilderSettings {
    /// Settings for the profile. The builder replaces the CPU source and both intervals by the values that were used.
    pub settings: Settings,
    /// `CLOCK_MONOTONIC` nanoseconds at which the timeline starts.
    pub start_ns: u64,
    /// True if off-CPU time was observed.
    pub waits: bool,
    /// True if the process recorded itself, as `Profiler` does. Copies were then not observed. The footprint includes
    /// the profiler's own memory, and its high-water mark includes code that ran before. The peak is then the moment
    /// with most tracked bytes.
    pub in_process: bool,
}

/// Data from outside that the builder needs after the last event.
pub struct Context<'a> {
    /// The tool that writes the profile.
    pub tool: Tool,
    /// The profiled program; the builder fills in Python's version and build if they are unknown here.
    pub target: Target,
    /// Start and length of the run.
    pub clock: Clock,
    /// Notices for the report beside those that came with the events.
    pub notices: Vec<Notice>,
    /// Reads the lines of a source file, without their newlines; `None`: no source.
    pub source: &'a mut dyn FnMut(&str) -> Option<Vec<String>>,
    /// Finds the native function at an offset of a file.
    pub lookup: &'a mut Lookup<'a>,
}

/// Events on their way to a profile.
#[derive(Debug)]
pub struct ProfileBuilder {
    settings: BuilderSettings,
    scope: Scope,
    names: Names,
    codes: Codes,
    inline: Inline,
    /// Source strings that programs execute.
    executed: Executed,
    tree: Tree,
    settled: Settled,
    running: FxHashMap<u32, Process>,
    leaving: VecDeque<u32>,
    /// Processes whose end the launcher observed, and the time. Their records may still arrive.
    dying: VecDeque<(u64, u32)>,
    /// Readings of footprints that wait for earlier records: the time, and the process.
    waiting: VecDeque<(u64, u32)>,
    gone: FxHashSet<u32>,
    rss: Series,
    live: Series,
    rss_bytes: u64,
    peak: Peak,
    /// Time of the latest record about memory.
    record_ns: u64,
    now_ns: u64,
    /// Time at which the recording was cut off.
    cut_ns: Option<u64>,
    gil_known: bool,
    ticked: bool,
    engines: FxHashSet<Engine>,
    distances: Distances,
    memory_interval: Option<u64>,
    pythons: FxHashMap<u32, Python>,
    first_python: Option<u32>,
    allocator: Option<String>,
    own_allocators: OwnAllocators,
}

/// Sums of ended programs.
#[derive(Clone, Debug, Default)]
struct Settled {
    book: Book,
    /// Threads with few samples, of forked children.
    forks: Forks,
    /// CPU and allocation samples.
    samples: (u64, u64),
    /// Records and frames that were lost.
    lost: u64,
    /// Memory of ended programs at the moments that may be the peak.
    shares: Vec<Share>,
    notices: Vec<Notice>,
    /// Notices beyond the limit of `notices`.
    more_notices: u64,
}

impl ProfileBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new(settings: BuilderSettings, scope: Scope) -> Self {
        let start_ns = settings.start_ns;
        Self {
            settings,
            scope,
            names: Names::default(),
            codes: Codes::default(),
            inline: Inline::default(),
            executed: Executed::default(),
            tree: Tree::default(),
            settled: Settled::default(),
            running: FxHashMap::default(),
            leaving: VecDeque::new(),
            dying: VecDeque::new(),
            waiting: VecDeque::new(),
            gone: FxHashSet::default(),
            rss: Series::new(start_ns),
            live: Series::new(start_ns),
            rss_bytes: 0,
            peak: Peak::default(),
            record_ns: 0,
            now_ns: start_ns,
            cut_ns: None,
            gil_known: false,
            ticked: false,
            engines: FxHashSet::default(),
            distances: Distances::default(),
            memory_interval: None,
            pythons: FxHashMap::default(),
            first_python: None,
            allocator: None,
            own_allocators: OwnAllocators::default(),
        }
    }

    /// The scope, for callers that add library folders of interpreters as they appear.
    pub fn scope_mut(&mut self) -> &mut Scope {
        &mut self.scope
    }

    /// The path of a code object's file, if its lines are reported.
    #[must_use]
    pub fn reported(&self, code: &CodeDef) -> Option<String> {
        let path = self.scope.absolute(&code.filename);
        self.scope.holds(&path, &code.qualname, code.def.first_line.max(1)).then(|| path.into_owned())
    }

    /// `CLOCK_MONOTONIC` nanoseconds of the latest event.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Takes in one event.
    pub fn feed(&mut self, event: &Event) {
        let pid = event.pid;
        if let Body::Cut { time_ns } = event.body {
            self.cut_ns.get_or_insert(time_ns);
            return;
        }
        if self.is_behind_the_cut(&event.body) {
            return;
        }
        if let Body::ProcessStart(start) = &event.body {
            self.start_process(pid, start);
            return;
        }
        if self.gone.contains(&pid) {
            return;
        }
        let book = &mut self.settled.book;
        let process = self.running.entry(pid).or_insert_with(|| {
            let row = book.add_process(ProcessRow { pid, ..ProcessRow::default() });
            Process::new(pid, row)
        });
        if let Some(left_ns) = process.left_ns {
            match observed_ns(&event.body) {
                Some(time_ns) if time_ns > left_ns => {
                    if process.beyond.len() < MOST_BEYOND {
                        process.beyond.push(event.clone());
                    }
                    return;
                }
                Some(_) => {}
                // The program runs on, so its exec has failed.
                None if goes_on(&event.body) => {
                    process.left_ns = None;
                    let seen = std::mem::take(&mut process.beyond);
                    seen.iter().for_each(|event| self.feed(event));
                    return self.feed(event);
                }
                None => {}
            }
        }
        match &event.body {
            Body::ProcessStart(_) | Body::Cut { .. } => {}
            Body::ThreadStart(start) => {
                match start.source {
                    Source::PERF_AND_TIMER | Source::PERF => drop(self.engines.insert(Engine::Perf)),
                    Source::TIMER => drop(self.engines.insert(Engine::Timer)),
                    Source::LOOKS => drop(self.engines.insert(Engine::Looks)),
                    Source::PERF_WHOLE => drop(self.engines.insert(Engine::PerfWhole)),
                    _ => {}
                }
                process.start_thread(start, book);
            }
            Body::ThreadEnd(end) => process.end_thread(end, book),
            Body::CodeDef(code) => {
                let program = process.text.as_deref().filter(|_| code.filename == inline::STRING);
                let own = program.filter(|text| *text != inline::HELPER);
                let own = own.filter(|text| self.inline.defines(text, &code.qualname, code.def.first_line));
                let file = match program {
                    Some(inline::HELPER) => inline::HELPER,
                    Some(_) => inline::EXEC,
                    None => &code.filename,
                };
                let executed =
                    (own.is_none() && text_of::is_text(file) && file != code::SENT && file != inline::HELPER)
                        .then(|| self.executed.name(file, code));
                let name = own.or(executed.as_deref()).unwrap_or(file);
                let id = self.codes.define(&mut self.names, &self.scope, code, name, own.is_some());
                self.codes.user_makes_code |= own.is_some_and(|text| self.inline.makes_code(text));
                process.definitions.define_code(code.def.code, id);
                if own.is_some() && code.qualname == "<module>" {
                    let text = self.executed.name(inline::EXEC, code);
                    let executed = self.codes.define(&mut self.names, &self.scope, code, &text, false);
                    process.definitions.define_executed(code.def.code, executed);
                }
                if code.table.is_empty() && code.def.table_bytes > 0 {
                    self.say(notices::unread_lines(code));
                }
            }
            Body::StackDef(stack) => {
                process.definitions.define_stack(&mut self.tree, &mut self.codes, &mut self.names, stack);
                if stack.entries.len() >= notices::MOST_FRAMES {
                    self.say(notices::deep_stacks());
                }
            }
            Body::CpuSample { sample, flags } => {
                self.distances.sample(sample.weight_ns);
                process.cpu_sample(sample, *flags);
            }
            Body::SelfTest(test) => {
                if test.verdict == Verdict::FAILED && !process.refused {
                    process.refused = true;
                    self.say(notices::refused_frames(pid));
                }
            }
            Body::ProcessEnd(end) => self.end_process(pid, end),
            Body::Alloc { alloc, flags } => self.heap(pid, alloc.time_ns, |process| process.alloc(alloc, *flags)),
            Body::Free(free) => self.heap(pid, free.time_ns, |process| process.free(free)),
            Body::Copy(copy) => self.heap(pid, copy.time_ns, |process| process.copy(copy)),
            Body::Map { map, flags } => {
                // In this case no observer reads the page tables.
                let whole = self.settings.in_process;
                let flags =
                    if whole { wire::MapFlags::of(flags.bits() & !wire::MapFlags::LAZY.bits()) } else { *flags };
                self.heap(pid, map.time_ns, |process| process.map(map, flags));
            }
            Body::Label { label, pairs } => process.labels.define(*label, pairs),
            Body::Span(span) => process.span(span),
            Body::Query(query) => process.query(query, &self.tree, &mut self.names, &self.scope),
            Body::Section { section, name } => {
                self.now_ns = self.now_ns.max(section.time_ns);
                process.section(section, name, book);
            }
            Body::Notice(notice) => {
                process.hidden_waits |= notices::hides_waits(notice);
                book.processes[process.row].hidden_waits |= process.hidden_waits;
                self.say(notices::message(pid, notice));
            }
            Body::Teardown(teardown) => {
                process.catch_up(teardown.time_ns, &mut self.peak);
                process.heap.tear_down();
                process.labels.tear_down();
            }
            Body::Allocator(library) => drop(self.allocator.get_or_insert_with(|| notices::allocator(library))),
            Body::Counters(counters) => {
                if counters.memory_interval_bytes > 0 && self.first_python.is_none_or(|first| first == pid) {
                    self.memory_interval = Some(counters.memory_interval_bytes);
                }
                process.counters = Some(**counters);
            }
            Body::ThreadClock(clock) => process.read_clock(clock),
            Body::CoreWait { tid, delay_ns } => process.read_delay(*tid, *delay_ns),
            Body::Ticks(ticks) => {
                self.ticked = true;
                process.ticks(ticks);
            }
            Body::Wait(wait) => {
                self.gil_known |= wait.gil_ns.is_some();
                process.wait(wait);
            }
            Body::ProcessExit(exit) => self.exit_process(pid, exit),
            Body::Command(command) => {
                process.text = self.inline.name(command);
                book.processes[process.row].row.command.clone_from(command);
            }
            Body::Rss { time_ns, bytes, files, most } => {
                self.now_ns = self.now_ns.max(*time_ns);
                if !process.ended {
                    let alone = bytes.saturating_sub(process.shared);
                    let before = std::mem::replace(&mut process.counted, alone);
                    self.rss_bytes = self.rss_bytes.saturating_sub(before).saturating_add(alone);
                    self.rss.push(*time_ns, self.rss_bytes);
                }
                process.resident.read(*time_ns, *bytes, *files);
                process.heap.alive(*time_ns);
                if !self.settings.in_process {
                    let reading = Reading { time_ns: *time_ns, bytes: *bytes, shared: process.shared, most: *most };
                    process.read_footprint(reading, &mut self.peak);
                    self.waiting.push_back((*time_ns, pid));
                }
                self.take_late(self.record_ns.saturating_sub(LATE_NS));
            }
            Body::Shared { bytes, .. } => process.shared = if process.orphaned { 0 } else { *bytes },
            Body::Untouched { .. } if self.settings.in_process => {}
            Body::Untouched { ranges, .. } => process.read_untouched(ranges),
            Body::NearLimit(moment) => process.near_limit(moment, book),
            Body::Modules(modules) => {
                self.own_allocators.see(modules);
                process.native.map_mut().update(modules);
            }
        }
    }

    /// The profile of all events.
    #[must_use]
    pub fn finish(mut self, context: Context<'_>) -> Profile {
        let (running, settled) = (std::mem::take(&mut self.running), std::mem::take(&mut self.settled));
        self.write(running, settled, context)
    }

    /// The profile of the events so far, as [`ProfileBuilder::finish`] would return now. The builder itself stays
    /// unchanged.
    ///
    /// The cost is a copy of the sums (by line, stack and thread), never of the live blocks.
    #[must_use]
    pub fn snapshot(&self, context: Context<'_>) -> Profile {
        let running = self.running.iter().map(|(&pid, process)| (pid, process.sums())).collect();
        self.write(running, self.settled.clone(), context)
    }

    /// Settles the running programs, and writes the profile.
    fn write(&self, mut running: FxHashMap<u32, Process>, mut settled: Settled, context: Context<'_>) -> Profile {
        let mut pids: Vec<u32> = running.keys().copied().collect();
        pids.sort_unstable();
        pids.iter().for_each(|&pid| inherit(&mut running, pid));
        let mut peak = self.peak.clone();
        for (time_ns, pid) in &self.dying {
            running
                .get_mut(pid)
                .filter(|process| process.ended)
                .into_iter()
                .for_each(|gone| gone.go(*time_ns, &mut peak));
        }
        for pid in &pids {
            running.get_mut(pid).into_iter().for_each(|process| process.catch_up(u64::MAX, &mut peak));
        }
        for pid in pids {
            if let Some(mut process) = running.remove(&pid) {
                settled.settle(&mut process, true, self.now_ns, &peak);
            }
        }
        let book = &mut settled.book;
        std::mem::take(&mut settled.forks).settle(book);
        peak.settle(&settled.shares, book);
        book.name_overflow();
        let memory = !matches!(self.settings.settings.memory.mode.as_str(), "off" | "");
        let cpu = !matches!(self.settings.settings.cpu.source.as_str(), "off" | "");
        let copies = memory && !self.settings.in_process;
        let hidden = !book.processes.is_empty() && book.processes.iter().all(|process| process.hidden_waits);
        let waits = self.settings.waits && !hidden;
        // Sampling by looks alone does not separate kernel time.
        let system = cpu && (self.ticked || !self.engines.contains(&Engine::Looks));
        let known = Known { cpu, system, wait: waits, gil: waits && self.gil_known, memory, copies };
        let (names, book) = (&self.names, &settled.book);
        let sums = lines::totals(book);
        let with_callees = functions::cumulative(names, book, &self.tree);
        let mut files = lines::Files::of(names, &sums, functions::listed(names, &with_callees));
        let native_places = native::shares(book, context.lookup, |owner| files.line_of(names, owner));
        let mut source = |path: &str| self.inline.lines(path).or_else(|| (context.source)(path));
        files.fill(names, book, &sums, known, &mut source, native_places);
        functions::fill(&mut files, names, &with_callees, &sums, known);
        let sql = queries::write(names, book, &mut files);
        let mut totals = tables::totals(book, &sums, known, self.settings.start_ns);
        totals.cpu_samples = settled.samples.0;
        totals.alloc_samples = settled.samples.1;
        totals.lost_records = settled.lost;
        let leaks = memory.then(|| leaks::leaks(names, book, &self.tree, &files));
        let sections = tables::sections(names, book, &files, known, self.settings.start_ns);
        let labels = tables::labels(names, book, &files, known);
        let near_limits = lines::near_limits(names, book, &files, self.settings.start_ns);
        let stacks = tables::stacks(names, book, &self.tree, &files);
        let courses = if memory { lines::courses(names, book, &files, self.settings.start_ns) } else { Vec::new() };
        let mut profile = Profile {
            target: self.target(book, context.target),
            settings: self.used_settings(known),
            tool: context.tool,
            clock: self.clock(context.clock),
            totals,
            threads: tables::threads(book, known),
            processes: tables::processes(book, known),
            stacks,
            sections,
            labels,
            sql,
            leaks,
            near_limits,
            notices: [
                &settled.notices[..],
                &context.notices,
                &notices::left_out(book, (self.tree.folded, self.inline.left_out), settled.more_notices),
            ]
            .concat(),
            timeline: Timeline { rss: self.rss.points(), live: self.live.points(), lines: courses },
            files: files.files,
            ..Profile::default()
        };
        self.executed.number_again(&mut profile);
        let unseen = self.own_allocators.notices(&profile);
        profile.notices.extend(unseen);
        profile
    }

    /// True if the event happened after the recording was cut off. Events about how the program ends still pass.
    fn is_behind_the_cut(&self, body: &Body) -> bool {
        let Some(cut_ns) = self.cut_ns else { return false };
        match body {
            Body::ProcessExit(_) => false,
            Body::Counters(_) | Body::Command(_) => self.running.is_empty(),
            body => body.time_ns().is_some_and(|time_ns| time_ns > cut_ns),
        }
    }

    /// The wall time of the recording. If the recording was cut off, the wall time of the program is added as
    /// `program_s`.
    fn clock(&self, clock: Clock) -> Clock {
        let Some(cut_ns) = self.cut_ns else { return clock };
        let recorded_s = cut_ns.saturating_sub(self.settings.start_ns) as f64 / 1e9;
        Clock { elapsed_s: recorded_s.min(clock.elapsed_s), program_s: Some(clock.elapsed_s), ..clock }
    }

    fn start_process(&mut self, pid: u32, start: &wire::ProcessStart) {
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
            // The launcher observed the process before its shim armed it.
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
            next.labels.inherit(parent.labels.texts());
        }
        next.forked_program = next
            .forked_from
            .map(|parent| self.running.get(&parent).and_then(|process| process.forked_program).unwrap_or(parent));
        self.settled.book.processes[next.row].row.parent = start.parent;
        self.running.insert(pid, next);
    }

    fn end_process(&mut self, pid: u32, end: &wire::ProcessEnd) {
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

    fn exit_process(&mut self, pid: u32, exit: &ProcessExit) {
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
    fn leave(&mut self, pid: u32, time_ns: u64) {
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

    /// Subtracts `bytes` resident bytes of a process that has ended.
    fn release(&mut self, bytes: u64, time_ns: u64) {
        if bytes > 0 {
            self.rss_bytes = self.rss_bytes.saturating_sub(bytes);
            if self.cut_ns.is_none_or(|cut_ns| time_ns <= cut_ns) {
                self.rss.push(time_ns, self.rss_bytes);
            }
        }
    }

    /// Takes in observations up to `until_ns`, which have waited long enough for earlier records. Their readings count
    /// now, and processes that ended hold no memory from their end on.
    fn take_late(&mut self, until_ns: u64) {
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

    fn settle(&mut self, pid: u32) {
        if self.running.contains_key(&pid) {
            self.settle_program(pid, true);
            self.leaving.retain(|&leaving| leaving != pid);
            self.gone.insert(pid);
        }
    }

    fn settle_program(&mut self, pid: u32, last: bool) -> Option<Process> {
        inherit(&mut self.running, pid);
        let mut process = self.running.remove(&pid)?;
        process.go(self.now_ns, &mut self.peak);
        self.settled.settle(&mut process, last, self.now_ns, &self.peak);
        if !process.ended {
            self.release(process.counted, self.now_ns);
        }
        Some(process)
    }

    fn heap(&mut self, pid: u32, time_ns: u64, change: impl FnOnce(&mut Process)) {
        let Some(process) = self.running.get_mut(&pid) else { return };
        self.record_ns = self.record_ns.max(time_ns);
        process.catch_up(time_ns, &mut self.peak);
        let before = self.peak.asked();
        change(process);
        process.changed(time_ns, &mut self.peak);
        self.now_ns = self.now_ns.max(time_ns);
        let after = self.peak.asked();
        if after != before {
            self.live.push(time_ns, after.max(0.0).round() as u64);
        }
    }

    /// Adds a notice for the report.
    pub fn say(&mut self, notice: Notice) {
        self.settled.say(notice);
    }

    /// The interpreter of the target, if its frames cannot be read.
    #[must_use]
    pub fn refused(&self, target: u32) -> Option<Refused> {
        self.python(target)?.refused()
    }

    fn python(&self, target: u32) -> Option<&Python> {
        self.pythons.get(&target).or_else(|| self.pythons.get(&self.first_python?))
    }

    fn target(&self, book: &Book, mut target: Target) -> Target {
        if let Some(&Python { version, free_threaded, .. }) = self.python(target.pid) {
            target.free_threaded |= free_threaded;
            if target.python.is_none() && version != 0 {
                target.python = Some(notices::version(version));
            }
        }
        if target.exit == Exit::default()
            && let Some(process) = book.processes.iter().rfind(|process| process.row.pid == target.pid)
        {
            target.exit = process.row.exit;
        }
        target.allocator.clone_from(&self.allocator);
        target
    }

    fn used_settings(&self, known: Known) -> Settings {
        let mut settings = self.settings.settings.clone();
        let perf = self.engines.contains(&Engine::Perf) || self.engines.contains(&Engine::PerfWhole);
        let timer = self.engines.contains(&Engine::Timer) || self.engines.contains(&Engine::Looks);
        let used = match (perf, timer) {
            (true, true) => Some("mixed"),
            (true, false) => Some("perf"),
            (false, true) => Some("timer"),
            (false, false) => None,
        };
        if let Some(used) = used.filter(|_| known.cpu) {
            used.clone_into(&mut settings.cpu.source);
        }
        if let Some(median_ns) = self.distances.median_ns().filter(|_| known.cpu) {
            settings.cpu.interval_s = median_ns / 1e9;
        }
        if known.memory && settings.memory.mode == "sampled" {
            settings.memory.interval_bytes = self.memory_interval.or(settings.memory.interval_bytes);
        }
        settings
    }
}

impl Settled {
    /// Books all sums of a program. `last`: its process has ended too.
    fn settle(&mut self, process: &mut Process, last: bool, now_ns: u64, peak: &Peak) {
        process.end_sections(now_ns, &mut self.book);
        process.settle(last, &mut self.book, &mut self.forks);
        let peaks = peak.numbers();
        self.shares.retain(|share| peaks.contains(&share.number));
        self.shares.extend(process.shares(peaks));
        self.samples.0 += process.samples.0;
        self.samples.1 += process.samples.1;
        self.lost = self.lost.saturating_add(process.lost());
        let losses = process.counters.iter().filter_map(|counters| notices::losses(process.pid, counters));
        losses.for_each(|notice| self.say(notice));
        let record = &mut self.book.processes[process.row];
        record.resident = record.resident.max(process.resident.peak());
        record.row.peak_rss_bytes = record.row.peak_rss_bytes.max(record.resident.map(|(bytes, _)| bytes));
    }

    fn say(&mut self, notice: Notice) {
        if self.notices.contains(&notice) {
            return;
        }
        if self.notices.len() < MOST_NOTICES {
            self.notices.push(notice);
        } else {
            self.more_notices += 1;
        }
    }
}

/// Gives a forked process the label definitions of its parent. If the process ended before the launcher could read its
/// mappings, it also gets the mappings of its parent.
fn inherit(running: &mut FxHashMap<u32, Process>, pid: u32) {
    let parent = running.get(&pid).and_then(|process| running.get(&process.forked_from?));
    let texts = parent.map(|parent| parent.labels.texts()).filter(|texts| !texts.is_empty()).cloned();
    if let (Some(texts), Some(process)) = (texts, running.get_mut(&pid)) {
        process.labels.inherit(&texts);
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

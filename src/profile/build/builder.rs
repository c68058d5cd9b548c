//! [`ProfileBuilder`]: turns events into profiles.
//!
//! Job: route each event to its process, settle processes as they end, and write the profile. Invariant: no I/O and no
//! clock (data from outside comes in through [`Context`]), and the same events give the same profile, byte for byte.
//! Only live blocks are kept singly: memory is bounded by the number of distinct lines, stacks, threads and live blocks
//! of the program, not by its run time. Neighbours: `transport` feeds events, `commands` finishes the builder.

mod finish;
mod life;
mod settled;

use std::collections::VecDeque;

use rscalene_wire as wire;
use rustc_hash::{FxHashMap, FxHashSet};
use wire::{Source, Verdict};

use self::settled::Settled;
use super::code::{self, Codes};
use super::distance::Distances;
use super::executed::Executed;
use super::inline::{self, Inline};
use super::interpreter::{Python, Refused};
use super::notices;
use super::own_allocators::OwnAllocators;
use super::peak::{LATE_NS, Peak, Reading};
use super::process::Process;
use super::scope::Scope;
use super::stretch::Engine;
use super::symbolize::Lookup;
use super::text_of;
use super::timeline::Series;
use crate::profile::book::intern::Names;
use crate::profile::book::tree::Tree;
use crate::profile::model::{Clock, Notice, Process as ProcessRow, Settings, Target, Tool};
use crate::transport::event::{Body, CodeDef, Event};

/// Most observations that are kept of a process after its exec call, in case the call fails.
const MOST_BEYOND: usize = 4_096;

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

    /// True if the event happened after the recording was cut off. Events about how the program ends still pass.
    fn is_behind_the_cut(&self, body: &Body) -> bool {
        let Some(cut_ns) = self.cut_ns else { return false };
        match body {
            Body::ProcessExit(_) => false,
            Body::Counters(_) | Body::Command(_) => self.running.is_empty(),
            body => body.time_ns().is_some_and(|time_ns| time_ns > cut_ns),
        }
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
}

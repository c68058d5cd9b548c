//! CPU samples of a process, taken without changing the process.
//!
//! Job: open a kernel event for each of its threads, which records the program counter after every interval of CPU
//! time; read the Python frames when a record arrives. If the kernel gives no events, look at the threads at random
//! moments. Invariant: the process is only read. Every sample stands for CPU time that the thread has used, at the
//! stack in which the thread ran. If the thread has gone to sleep before the frames are read, the record is dropped,
//! and the thread's clock stretches the other samples. Neighbours: `mod` calls at each look, `perf` has the events,
//! `remote` observes the waits of the same threads.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::Range;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use rscalene_interp::opcodes::{Op, op_kind};
use rscalene_interp::{Layout, Memory, walk};
use rscalene_wire as wire;
use wire::{CpuFlags, CpuKind};

use super::perf::{Event as PerfEvent, Hit};
use super::refused::Refused;
use crate::observe::jitter::Jitter;
use crate::observe::locate::Runtime;
use crate::observe::modules;
use crate::observe::proc::{self, Activity, Schedstat, SyscallFile, Times};
use crate::observe::remote::Target;
use crate::observe::remote::memory::ProcessMemory;
use crate::observe::remote::stacks::{CODE_BIT, Stacks};
use crate::observe::remote::states::States;
use crate::transport::event::{Body, Event, Ticks};

/// Most frames of a stack that are read.
const MAX_DEPTH: u32 = 1_024;
/// Separates these stacks from the stacks that the remote reader defines for the same process.
const STACK_BIT: u64 = 1 << 62;
/// CPU time since the last look below this number of nanoseconds is left to the next look.
const LEAST_NS: u64 = 1_000;
/// Records of a thread between two changes of its period. Without changes, samples of a program that repeats a cycle of
/// constant length would always hit the same phase.
const RECORDS_A_PERIOD: u32 = 8;

/// The source of a thread's CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The kernel records user and kernel time.
    Perf,
    /// The kernel records user time; the clock's ticks show kernel time.
    PerfUser,
    /// Looks at random moments; the clock's ticks show kernel time.
    Looks,
}

impl Engine {
    /// The value for [`wire::ThreadStart::source`].
    fn source(self) -> wire::Source {
        match self {
            Self::Perf => wire::Source::PERF_WHOLE,
            Self::PerfUser => wire::Source::PERF_AND_TIMER,
            Self::Looks => wire::Source::LOOKS,
        }
    }
}

/// An observed process.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) target: Target,
    executable: Option<PathBuf>,
    layout: Layout,
    memory: ProcessMemory,
    stacks: Stacks,
    states: States,
    /// Address ranges of the code of the interpreter and of the libraries that the interpreter itself calls.
    interpreter: Vec<Range<u64>>,
    threads: HashMap<u32, Thread>,
    interval: Duration,
    /// True unless perf events are known to be unavailable.
    perf: bool,
    jitter: Jitter,
    hits: Vec<Hit>,
    /// Number of records that arrived too late for their frames, or that the kernel lost because the ring was full.
    pub(super) dropped: u64,
}

#[derive(Debug)]
struct Thread {
    schedstat: Schedstat,
    syscall: Option<SyscallFile>,
    event: Option<PerfEvent>,
    /// The thread's clock at the last reading.
    run_ns: u64,
    /// Time on the clock that no sample covers yet.
    pending_ns: u64,
    times: Times,
    kernel_ns: u64,
    stack: u64,
    kind: CpuKind,
    records: u32,
    alive: bool,
}

impl Watched {
    /// Begins to observe process `pid`: finds and checks its interpreter.
    ///
    /// # Errors
    /// The reason why the process cannot be observed.
    pub(super) fn new(pid: u32, interval: Duration, perf: bool) -> Result<Self, Refused> {
        Refused::check(pid)?;
        let found = Runtime::locate(pid).map_err(|error| Refused::located(pid, &error))?;
        let memory = ProcessMemory::new(pid);
        let target =
            Target { pid, runtime: found.runtime, code_type: found.code_type, version: found.version, forked: None };
        let layout = Layout::of(target.version, target.runtime, target.code_type, &memory);
        let layout = layout.map_err(|why| Refused::unsupported(pid, why))?;
        if layout.free_threaded {
            return Err(Refused::unsupported(pid, rscalene_interp::Unsupported::FreeThreaded(target.version)));
        }
        Ok(Self {
            target,
            executable: executable(pid),
            layout,
            memory,
            stacks: Stacks::default(),
            states: States::new(pid),
            interpreter: interpreter(pid, &found),
            threads: HashMap::new(),
            interval,
            perf,
            jitter: Jitter::new(),
            hits: Vec::new(),
            dropped: 0,
        })
    }

    /// True if the process is alive and still runs the same program.
    pub(super) fn lives(&self) -> bool {
        let pid = self.target.pid;
        let ended = proc::stat(pid).is_ok_and(|stat| matches!(stat.state, 'Z' | 'X'))
            && proc::thread_count(pid).unwrap_or(0) <= 1;
        let now = executable(pid);
        !ended && now.is_some() && now == self.executable
    }

    /// The event with which the process begins in a profile.
    pub(super) fn start(&self) -> Event {
        let Target { pid, runtime, code_type, version, .. } = self.target;
        let start = wire::ProcessStart {
            time_ns: proc::monotonic_ns(),
            pid,
            parent: proc::stat(pid).map(|stat| stat.parent).unwrap_or(0),
            python_version: version,
            flags: wire::ProcessFlags::NONE,
            runtime,
            code_type,
            cpu_ns: 0,
        };
        Event { pid, body: Body::ProcessStart(start) }
    }

    /// The descriptors of the perf events, each with its thread.
    pub(super) fn events(&self) -> impl Iterator<Item = (RawFd, u32)> {
        self.threads.iter().filter_map(|(&tid, thread)| Some((thread.event.as_ref()?.fd(), tid)))
    }

    /// True if some threads need looks, because perf does not record all of their time.
    pub(super) fn wants_looks(&self) -> bool {
        self.threads.values().any(|thread| !matches!(thread.engine(), Engine::Perf))
    }

    /// The least exact source among the sources of its threads.
    pub(super) fn engine(&self) -> Engine {
        let engines = || self.threads.values().map(Thread::engine);
        [Engine::Looks, Engine::PerfUser]
            .into_iter()
            .find(|&one| engines().any(|other| other == one))
            .unwrap_or(Engine::Perf)
    }

    /// Brings the threads up to date; true if a thread began or ended.
    pub(super) fn list(&mut self, keep: bool, out: &mut Vec<Event>) -> bool {
        let pid = self.target.pid;
        let Ok(tids) = proc::threads(pid) else { return false };
        let tids: HashSet<u32> = tids.into_iter().collect();
        let mut bodies = Vec::new();
        let lost: Vec<u32> = self.threads.keys().filter(|tid| !tids.contains(tid)).copied().collect();
        let mut changed = !lost.is_empty();
        for tid in lost {
            if let Some(thread) = self.threads.remove(&tid) {
                self.states.forget(tid);
                thread.end(tid, &mut bodies);
            }
        }
        for tid in tids {
            if self.threads.contains_key(&tid) {
                continue;
            }
            let Ok(schedstat) = Schedstat::open(pid, tid, keep) else { continue };
            let Ok(clock) = schedstat.read() else { continue };
            let event =
                if self.perf && keep { PerfEvent::open(tid, self.jitter.around(self.interval)).ok() } else { None };
            let thread = Thread {
                schedstat,
                syscall: SyscallFile::open(pid, tid, keep).ok(),
                event,
                run_ns: clock.run_ns,
                pending_ns: 0,
                times: proc::times(pid, tid).unwrap_or_default(),
                kernel_ns: 0,
                stack: 0,
                kind: CpuKind::PYTHON,
                records: 0,
                alive: true,
            };
            bodies.push(Body::ThreadStart(wire::ThreadStart {
                time_ns: proc::monotonic_ns(),
                tid,
                source: thread.engine().source(),
                cpu_ns: clock.run_ns,
                interval_ns: u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX),
            }));
            self.threads.insert(tid, thread);
            changed = true;
        }
        self.deliver(bodies, out);
        changed
    }

    /// Reads the records of a thread's event; `ended`: the thread has ended.
    pub(super) fn record(&mut self, tid: u32, ended: bool, out: &mut Vec<Event>) {
        let Some(mut thread) = self.threads.remove(&tid) else { return };
        let mut bodies = Vec::new();
        if let Some(event) = &mut thread.event {
            let mut hits = std::mem::take(&mut self.hits);
            self.dropped += event.take(&mut hits);
            if !hits.is_empty() {
                self.sample(tid, &mut thread, &hits, &mut bodies);
            }
            hits.clear();
            self.hits = hits;
        }
        if ended {
            // The clock of the thread ended with the thread. The next list removes the thread; until then, no
            // descriptor wakes for it.
            thread.event = None;
            thread.alive = false;
        } else {
            thread.records += 1;
            if let Some(event) = thread.event.as_mut().filter(|_| thread.records % RECORDS_A_PERIOD == 0) {
                event.set_period(self.jitter.around(self.interval));
            }
        }
        self.threads.insert(tid, thread);
        self.deliver(bodies, out);
    }

    /// Makes samples of the kernel's records, at the current stack of the thread.
    fn sample(&mut self, tid: u32, thread: &mut Thread, hits: &[Hit], bodies: &mut Vec<Body>) {
        if !thread.runs() {
            self.dropped += hits.len() as u64;
            return;
        }
        let (stack, opcode) = self.frames(tid, bodies).unwrap_or((0, None));
        thread.stack = stack;
        let calls_native = opcode.is_some_and(|opcode| op_kind(self.layout.minor, opcode) == Op::CallsC);
        for hit in hits {
            let kind = match () {
                () if hit.kernel => CpuKind::SYSTEM,
                () if stack == 0 || calls_native || !self.interpreter.iter().any(|text| text.contains(&hit.pc)) => {
                    CpuKind::NATIVE
                }
                () => CpuKind::PYTHON,
            };
            thread.kind = kind;
            thread.kernel_ns += if hit.kernel { hit.weight_ns } else { 0 };
            let pc = if hit.kernel { 0 } else { hit.pc };
            bodies.push(sampled(tid, thread, (hit.weight_ns, pc), CpuFlags::NONE));
        }
    }

    /// Looks at every thread that has no event, or an event without kernel time.
    pub(super) fn look(&mut self, out: &mut Vec<Event>) {
        let mut bodies = Vec::new();
        let tids: Vec<u32> = self.threads.keys().copied().collect();
        for tid in tids {
            let Some(mut thread) = self.threads.remove(&tid) else { continue };
            match thread.engine() {
                Engine::Perf => {}
                Engine::PerfUser => self.look_for_kernel(tid, &mut thread, &mut bodies),
                Engine::Looks => self.look_at(tid, &mut thread, &mut bodies),
            }
            self.threads.insert(tid, thread);
        }
        self.deliver(bodies, out);
    }

    fn look_at(&mut self, tid: u32, thread: &mut Thread, bodies: &mut Vec<Body>) {
        let Ok(clock) = thread.schedstat.read() else { return };
        thread.pending_ns += clock.run_ns.saturating_sub(thread.run_ns);
        thread.run_ns = thread.run_ns.max(clock.run_ns);
        if thread.pending_ns < LEAST_NS {
            return;
        }
        if !thread.runs() {
            // The thread ran and is blocked now, so its stack is unknown: the clock gives the amount of time, the other
            // samples its place.
            thread.pending_ns = 0;
            thread.times = proc::times(self.target.pid, tid).unwrap_or(thread.times);
            return;
        }
        let Some((stack, opcode)) = self.frames(tid, bodies) else { return };
        thread.stack = stack;
        let native = stack == 0 || opcode.is_some_and(|opcode| op_kind(self.layout.minor, opcode) == Op::CallsC);
        thread.kind = if native { CpuKind::NATIVE } else { CpuKind::PYTHON };
        bodies.push(sampled(tid, thread, (thread.pending_ns, 0), CpuFlags::TIMER));
        thread.pending_ns = 0;
        let passed = self.passed(tid, thread);
        if passed.user_ns + passed.kernel_ns > 0 {
            let Times { user_ns, kernel_ns } = passed;
            bodies.push(Body::Ticks(Ticks { tid, stack: thread.stack, kind: thread.kind, user_ns, kernel_ns }));
        }
    }

    /// Charges the kernel time that the clock's ticks counted since the last look to the line that runs now.
    fn look_for_kernel(&mut self, tid: u32, thread: &mut Thread, bodies: &mut Vec<Body>) {
        let Ok(clock) = thread.schedstat.read() else { return };
        if clock.run_ns <= thread.run_ns + LEAST_NS {
            return;
        }
        thread.run_ns = clock.run_ns;
        let kernel_ns = self.passed(tid, thread).kernel_ns;
        if kernel_ns == 0 || !thread.runs() {
            return;
        }
        let Some((stack, _)) = self.frames(tid, bodies) else { return };
        (thread.stack, thread.kind) = (stack, CpuKind::SYSTEM);
        bodies.push(sampled(tid, thread, (kernel_ns, 0), CpuFlags::TIMER));
    }

    /// Ticks in user mode and in the kernel since the last call.
    fn passed(&self, tid: u32, thread: &mut Thread) -> Times {
        let Some(now) = proc::times(self.target.pid, tid) else { return Times::default() };
        let before = std::mem::replace(&mut thread.times, now);
        let passed = Times {
            user_ns: now.user_ns.saturating_sub(before.user_ns),
            kernel_ns: now.kernel_ns.saturating_sub(before.kernel_ns),
        };
        thread.kernel_ns += passed.kernel_ns;
        passed
    }

    /// The current stack of a thread, and the opcode at its leaf; stack 0 for a thread without Python frames, `None` if
    /// the frames could not be read.
    fn frames(&mut self, tid: u32, bodies: &mut Vec<Body>) -> Option<(u64, Option<u8>)> {
        self.memory.forget();
        let Some((tstate, _)) = self.states.of(tid, None, &self.memory, &self.layout) else { return Some((0, None)) };
        let mut opcode = None;
        walk(&self.memory, &self.layout, tstate, 1, |frame| {
            let mut byte = [0];
            if frame.offset_bytes != u32::MAX && self.memory.bytes(frame.instruction, &mut byte) {
                opcode = Some(byte[0]);
            }
            false
        });
        let draft = self.stacks.read(&self.memory, &self.layout, tstate, MAX_DEPTH)?;
        let mut defined = Vec::new();
        let stack = self.stacks.commit(draft, &mut defined);
        bodies.extend(defined.into_iter().map(ours));
        Some((if stack == 0 { 0 } else { stack ^ STACK_BIT }, opcode))
    }

    /// Ends all threads, with the last readings of their clocks.
    pub(super) fn finish(&mut self, out: &mut Vec<Event>) {
        let mut bodies = Vec::new();
        for (tid, mut thread) in std::mem::take(&mut self.threads) {
            if let Ok(clock) = thread.schedstat.read() {
                thread.run_ns = thread.run_ns.max(clock.run_ns);
            }
            thread.end(tid, &mut bodies);
        }
        self.deliver(bodies, out);
    }

    fn deliver(&self, bodies: Vec<Body>, out: &mut Vec<Event>) {
        out.extend(bodies.into_iter().map(|body| Event { pid: self.target.pid, body }));
    }
}

impl Thread {
    fn engine(&self) -> Engine {
        match &self.event {
            Some(event) if event.kernel => Engine::Perf,
            Some(_) => Engine::PerfUser,
            // A thread that has ended, and whose event was closed at its end, was sampled by perf.
            None if !self.alive => Engine::Perf,
            None => Engine::Looks,
        }
    }

    /// True if the thread runs or is ready to run.
    fn runs(&self) -> bool {
        self.syscall.as_ref().is_none_or(|file| matches!(file.read(), Ok(Activity::Running)))
    }

    fn end(self, tid: u32, bodies: &mut Vec<Body>) {
        let (time_ns, cpu_ns, system_ns) = (proc::monotonic_ns(), self.run_ns, self.kernel_ns);
        bodies.push(Body::ThreadEnd(wire::ThreadEnd { time_ns, tid, reserved: 0, cpu_ns, system_ns }));
    }
}

fn sampled(tid: u32, thread: &Thread, (weight_ns, pc): (u64, u64), flags: CpuFlags) -> Body {
    let sample = wire::CpuSample {
        time_ns: proc::monotonic_ns(),
        stack: thread.stack,
        weight_ns,
        tid,
        kind: thread.kind,
        pc,
        ..wire::CpuSample::default()
    };
    Body::CpuSample { sample, flags }
}

/// Changes the numbers of a definition, so that they differ from the numbers of the remote reader.
fn ours(mut body: Body) -> Body {
    match &mut body {
        Body::CodeDef(code) => code.def.code &= !CODE_BIT,
        Body::StackDef(stack) => {
            stack.def.stack ^= STACK_BIT;
            stack.entries.iter_mut().for_each(|entry| entry.code &= !CODE_BIT);
        }
        _ => {}
    }
    body
}

fn executable(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// Address ranges of the interpreter's own code: its image, libc and the loader, and the vDSO. Time there counts as the
/// interpreter's, unless the opcode calls C code.
fn interpreter(pid: u32, found: &Runtime) -> Vec<Range<u64>> {
    const KIN: [&str; 8] = ["libc.so", "libc-2", "ld-linux", "ld-2", "libpthread", "libm.so", "libm-2", "[vdso]"];
    let image = found.image.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let own = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        name.starts_with(image.as_str()) || KIN.iter().any(|kin| name.starts_with(kin))
    };
    let mappings = modules::executable(pid).unwrap_or_default();
    let own = mappings.into_iter().map(|mapping| mapping.module).filter(|module| own(&module.path));
    own.map(|module| module.start..module.end).collect()
}

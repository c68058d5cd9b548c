//! CPU samples of the own process, taken by a thread that needs no GIL.
//!
//! Job: serve the sampling API where no shim is preloaded. The question of a reader: *on which lines did the threads
//! use their CPU time?* Invariant: no signal is sent, no function is hooked. Every nanosecond that a thread's CPU clock
//! advances between two ticks goes to exactly one stack: the stack in which the thread is next seen running. A thread
//! that is ready to run and waits for a core is not seen running, because its stack may be the stack in which the
//! thread slept, for example in a query. The looks cannot separate kernel time, but the scheduler's ticks can: each
//! sample comes with the ticks counted meanwhile. Neighbours: `remote` supplies the waits of the same threads,
//! `profile` merges both, `inprocess::sampler` calls at each tick.

use std::collections::{HashMap, HashSet};

use rscalene_interp::opcodes::{Op, jumps_back, op_kind};
use rscalene_interp::{ContextVariable, Layout, Memory, Unsupported, collects, threads, walk};
use rscalene_wire as wire;
use wire::CpuKind;

use super::dwell::Operators;
use super::proc::{self, Activity, SyscallFile};
use super::remote::Target;
use super::remote::memory::ProcessMemory;
use super::remote::stacks::{CODE_BIT, Stacks};
use crate::transport::event::{Body, Event, Ticks};

/// Number of ticks between two lists of the threads.
const LIST_TICKS: u32 = 8;
/// CPU time since the last tick below this number of nanoseconds is left to the next tick.
const LEAST_NS: u64 = 1_000;
/// Most frames that are read of a stack.
const MAX_DEPTH: u32 = 1_024;
/// Separates these stacks from the stacks that the remote reader defines for the same process.
const STACK_BIT: u64 = 1 << 62;

/// Offsets of an object's type, and of the first digit of an `int`, in 3.11 to 3.15.
const OB_TYPE: u64 = 8;
const DIGIT: u64 = 24;

/// The sampler, without its thread.
#[derive(Debug)]
pub struct Inside {
    target: Target,
    layout: Layout,
    memory: ProcessMemory,
    stacks: Stacks,
    operators: Operators,
    seen: HashMap<u32, Seen>,
    states: HashMap<u32, u64>,
    keep_out: HashSet<u32>,
    /// The context variable that holds threads' labels; `None` before the program uses labels.
    label: Option<wire::LabelVariable>,
    interval_ns: u64,
    ticks: u32,
    /// The thread with most CPU time between the last two ticks, and its CPU nanoseconds.
    busiest: (u32, u64),
    /// True if the process may use several processors, so that a thread can have a core during a look.
    several_cores: bool,
}

#[derive(Debug)]
struct Seen {
    syscall: Option<SyscallFile>,
    cpu_ns: u64,
    /// Number of times that the thread had gone to sleep by the last sample; `None`: unknown.
    sleeps: Option<u64>,
    pending_ns: u64,
    counted: Counted,
    kernel_ns: u64,
    stack: u64,
    label: u32,
    kind: CpuKind,
    /// True if the garbage collector ran at the last look.
    collecting: bool,
}

/// The ticks of a thread in user code and in the kernel so far, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    user_ns: u64,
    kernel_ns: u64,
}

impl Counted {
    fn of(tid: u32) -> Self {
        let user_ns = clock_ns(thread_clock(tid, CPUCLOCK_VIRT));
        let kernel_ns = clock_ns(thread_clock(tid, CPUCLOCK_PROF)).saturating_sub(user_ns);
        Self { user_ns, kernel_ns }
    }
}

impl Inside {
    /// Begins to sample the own process; the profile shows `interval_ns` as the interval.
    ///
    /// # Errors
    /// The interpreter's layout is unknown.
    pub fn new(target: Target, interval_ns: u64, out: &mut Vec<Event>) -> Result<Self, Unsupported> {
        let memory = ProcessMemory::new(target.pid);
        let layout = Layout::of(target.version, target.runtime, target.code_type, &memory)?;
        let start = wire::ProcessStart {
            time_ns: proc::monotonic_ns(),
            pid: target.pid,
            parent: std::os::unix::process::parent_id(),
            python_version: target.version,
            flags: wire::ProcessFlags::NONE,
            runtime: target.runtime,
            code_type: target.code_type,
            cpu_ns: clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID),
        };
        out.push(Event { pid: target.pid, body: Body::ProcessStart(start) });
        out.extend(proc::command_line(target.pid).map(|words| Event { pid: target.pid, body: Body::Command(words) }));
        Ok(Self {
            target,
            layout,
            memory,
            stacks: Stacks::default(),
            operators: Operators::default(),
            seen: HashMap::new(),
            states: HashMap::new(),
            keep_out: HashSet::new(),
            label: None,
            interval_ns,
            ticks: 0,
            busiest: (0, 0),
            several_cores: several_cores(),
        })
    }

    /// Excludes a thread of the profiler from the samples.
    pub fn keep_out(&mut self, tid: u32) {
        self.keep_out.insert(tid);
    }

    /// From now on, each sample carries the label number that this context variable has in its thread.
    pub fn follow(&mut self, variable: wire::LabelVariable) {
        self.label = Some(variable);
    }

    /// Looks at every Python thread. The sampler calls it at each tick.
    pub fn tick(&mut self, out: &mut Vec<Event>) {
        let mut bodies = Vec::new();
        if self.ticks.is_multiple_of(LIST_TICKS) {
            self.list(&mut bodies);
        }
        self.ticks = self.ticks.wrapping_add(1);
        self.busiest = (0, 0);
        let tids: Vec<u32> = self.seen.keys().copied().collect();
        for tid in tids {
            self.look(tid, &mut bodies);
        }
        self.deliver(bodies, out);
    }

    /// The thread with most CPU time between the last two ticks; `None`: no thread used any.
    #[must_use]
    pub fn busiest(&self) -> Option<u32> {
        Some(self.busiest.0).filter(|&tid| tid != 0)
    }

    /// Sampling pauses: the pending time of each thread goes to the thread's last stack.
    pub fn rest(&mut self, out: &mut Vec<Event>) {
        let mut bodies = Vec::new();
        for (tid, seen) in &mut self.seen {
            let cpu_ns = thread_cpu_ns(*tid).max(seen.cpu_ns);
            seen.pending_ns += cpu_ns - seen.cpu_ns;
            seen.cpu_ns = cpu_ns;
            if seen.pending_ns > 0 && seen.stack != 0 {
                seen.sample(*tid, &mut bodies);
            }
        }
        self.deliver(bodies, out);
    }

    /// Sampling resumes: the CPU time that passed during the pause belongs to no sample.
    pub fn skip(&mut self) {
        for (tid, seen) in &mut self.seen {
            seen.cpu_ns = thread_cpu_ns(*tid);
            seen.counted = Counted::of(*tid);
        }
    }

    /// Sampling ends: the pending time of each thread goes to the thread's last stack.
    pub fn finish(mut self, out: &mut Vec<Event>) {
        let mut bodies = Vec::new();
        for (tid, mut seen) in std::mem::take(&mut self.seen) {
            let cpu_ns = thread_cpu_ns(tid).max(seen.cpu_ns);
            seen.pending_ns += cpu_ns - seen.cpu_ns;
            seen.cpu_ns = cpu_ns;
            seen.end(tid, &mut bodies);
        }
        self.deliver(bodies, out);
    }

    fn deliver(&self, bodies: Vec<Body>, out: &mut Vec<Event>) {
        out.extend(bodies.into_iter().map(|body| Event { pid: self.target.pid, body }));
    }

    fn list(&mut self, bodies: &mut Vec<Body>) {
        self.memory.forget();
        let states = &mut self.states;
        states.clear();
        threads(&self.memory, &self.layout, |thread| {
            if let Ok(tid) = u32::try_from(thread.native_thread_id) {
                states.entry(tid).or_insert(thread.tstate);
            }
            true
        });
        let Ok(tids) = proc::threads(self.target.pid) else { return };
        let alive: HashSet<u32> = tids.iter().copied().filter(|tid| !self.keep_out.contains(tid)).collect();
        let ended: Vec<u32> = self.seen.keys().filter(|tid| !alive.contains(tid)).copied().collect();
        for tid in ended {
            if let Some(seen) = self.seen.remove(&tid) {
                seen.end(tid, bodies);
            }
        }
        for tid in alive {
            if self.states.contains_key(&tid) && !self.seen.contains_key(&tid) {
                let cpu_ns = thread_cpu_ns(tid);
                let time_ns = proc::monotonic_ns();
                let start = wire::ThreadStart {
                    time_ns,
                    tid,
                    source: wire::Source::LOOKS,
                    cpu_ns,
                    interval_ns: self.interval_ns,
                };
                bodies.push(Body::ThreadStart(start));
                let syscall = SyscallFile::open(self.target.pid, tid, true).ok();
                let (counted, kernel_ns) = (Counted::of(tid), 0);
                self.seen.insert(
                    tid,
                    Seen {
                        syscall,
                        cpu_ns,
                        sleeps: None,
                        pending_ns: 0,
                        counted,
                        kernel_ns,
                        stack: 0,
                        label: 0,
                        kind: CpuKind::PYTHON,
                        collecting: false,
                    },
                );
            }
        }
    }

    fn look(&mut self, tid: u32, bodies: &mut Vec<Body>) {
        let Some(seen) = self.seen.get_mut(&tid) else { return };
        let cpu_ns = thread_cpu_ns(tid).max(seen.cpu_ns);
        let passed = cpu_ns - seen.cpu_ns;
        if passed < LEAST_NS {
            return;
        }
        seen.cpu_ns = cpu_ns;
        seen.pending_ns += passed;
        if passed > self.busiest.1 {
            self.busiest = (tid, passed);
        }
        // A thread that is blocked now used its CPU time at another place before.
        let runs = seen.syscall.as_ref().is_none_or(|file| matches!(file.read(), Ok(Activity::Running)));
        let Some(&tstate) = self.states.get(&tid) else { return };
        if !runs {
            return;
        }
        self.memory.forget();
        let before_ns = thread_cpu_ns(tid);
        let mut opcode = [0];
        walk(&self.memory, &self.layout, tstate, 1, |frame| {
            if frame.offset_bytes != u32::MAX {
                self.memory.bytes(frame.instruction, &mut opcode);
            }
            false
        });
        let Some(draft) = self.stacks.read(&self.memory, &self.layout, tstate, MAX_DEPTH) else { return };
        // The clock of a thread advances while the thread has a core, and only then.
        let has_core = thread_cpu_ns(tid) > before_ns;
        let sleeps = proc::blocks(self.target.pid, tid);
        // A thread that lost its core and has not slept since the last sample is still at the place where it ran.
        let ran_here = has_core || !self.several_cores || (sleeps.is_some() && sleeps == seen.sleeps);
        if !ran_here {
            return;
        }
        seen.sleeps = sleeps;
        let mut defined = Vec::new();
        let stack = self.stacks.commit(draft, &mut defined);
        bodies.extend(defined.into_iter().map(ours));
        if stack == 0 {
            return;
        }
        seen.stack = stack ^ STACK_BIT;
        seen.label = self.label.and_then(|variable| label(&self.memory, &variable, tstate)).unwrap_or(0);
        let native = match op_kind(self.layout.minor, opcode[0]) {
            Op::CallsC => true,
            // An empty loop stays at its jump, and is the interpreter's own work.
            Op::Other if jumps_back(self.layout.minor, opcode[0]) => false,
            Op::Other => self.operators.is_long(&self.memory, &self.layout, tstate, || thread_cpu_ns(tid)),
            Op::CallsPython | Op::Hidden => false,
        };
        seen.kind = if native { CpuKind::NATIVE } else { CpuKind::PYTHON };
        seen.collecting = collects(&self.memory, &self.layout, tstate);
        seen.sample(tid, bodies);
    }
}

impl Seen {
    /// Turns the pending time into a sample.
    fn sample(&mut self, tid: u32, bodies: &mut Vec<Body>) {
        let sample = wire::CpuSample {
            time_ns: proc::monotonic_ns(),
            stack: self.stack,
            weight_ns: self.pending_ns,
            tid,
            kind: self.kind,
            label: self.label,
            ..wire::CpuSample::default()
        };
        let flags = wire::CpuFlags::TIMER.and_if(self.collecting, wire::CpuFlags::COLLECTING);
        bodies.push(Body::CpuSample { sample, flags });
        self.pending_ns = 0;
        let now = Counted::of(tid);
        let user_ns = now.user_ns.saturating_sub(self.counted.user_ns);
        let kernel_ns = now.kernel_ns.saturating_sub(self.counted.kernel_ns);
        // A thread that has ended reads as 0; its ticks so far stay.
        if user_ns + kernel_ns > 0 {
            self.counted = now;
            self.kernel_ns += kernel_ns;
            bodies.push(Body::Ticks(Ticks { tid, stack: self.stack, kind: self.kind, user_ns, kernel_ns }));
        }
    }

    fn end(mut self, tid: u32, bodies: &mut Vec<Body>) {
        if self.pending_ns > 0 && self.stack != 0 {
            self.sample(tid, bodies);
        }
        let (time_ns, cpu_ns, system_ns) = (proc::monotonic_ns(), self.cpu_ns, self.kernel_ns);
        bodies.push(Body::ThreadEnd(wire::ThreadEnd { time_ns, tid, reserved: 0, cpu_ns, system_ns }));
    }
}

/// The label number of a thread. The thread may change its context during the reading, so the value must be an `int`.
fn label(memory: &ProcessMemory, variable: &wire::LabelVariable, tstate: u64) -> Option<u32> {
    let &wire::LabelVariable { context, hash, variable, bitmap, array, int } = variable;
    let value = ContextVariable { context, hash, variable, bitmap, array }.value(memory, tstate)?;
    let kind = memory.u64(value.wrapping_add(OB_TYPE))?;
    if kind == int { memory.u32(value.wrapping_add(DIGIT)) } else { None }
}

/// True if this thread may use more than one processor.
fn several_cores() -> bool {
    // SAFETY: all bytes zero is an empty set.
    let mut all: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a local variable, as large as stated; 0 is the calling thread.
    let known = unsafe { libc::sched_getaffinity(0, size_of_val(&all), &raw mut all) } == 0;
    // SAFETY: counts the bits of the local set.
    known && unsafe { libc::CPU_COUNT(&all) } > 1
}

/// Maps the numbers of code objects and stacks to a range of their own, because the remote reader numbers the same
/// objects.
fn ours(mut body: Body) -> Body {
    match &mut body {
        Body::CodeDef(code) => code.def.code &= !CODE_BIT,
        Body::StackDef(stack) => {
            stack.def.stack ^= STACK_BIT;
            for entry in &mut stack.entries {
                entry.code &= !CODE_BIT;
            }
        }
        _ => {}
    }
    body
}

/// The kernel's CPU clocks of a thread: user and kernel ticks, user ticks alone, and the exact clock.
const CPUCLOCK_PROF: u32 = 0;
const CPUCLOCK_VIRT: u32 = 1;
const CPUCLOCK_SCHED: u32 = 2;

/// CPU nanoseconds of a thread of this process; 0 once it is gone.
pub fn thread_cpu_ns(tid: u32) -> u64 {
    clock_ns(thread_clock(tid, CPUCLOCK_SCHED))
}

/// The kernel's own encoding of a per-thread CPU clock.
fn thread_clock(tid: u32, which: u32) -> libc::clockid_t {
    const CPUCLOCK_PERTHREAD: u32 = 4;
    (!tid << 3 | CPUCLOCK_PERTHREAD | which) as libc::clockid_t
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a local variable; the kernel refuses clocks that do not exist.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return 0;
    }
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

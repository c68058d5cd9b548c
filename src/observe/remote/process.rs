//! A profiled process, watched from outside.
//!
//! Job: find the threads of a process, read their scheduler clocks, prove where blocked threads are blocked, and sum up
//! their waits. Invariant: a stack is trusted only if the thread did not run between the looks before and after the
//! read. Nothing is written to the process, and none of its threads is stopped. Neighbours: `balance` does the sums,
//! `stacks` the frames, `clocks` and `modules` the rest; `Reader` calls at ticks.
//!
//! A thread that has not run since the last look is still in the same place: such a look costs a single read of the
//! clock, and looks at a thread that has been blocked for long are rare. Threads that never had a Python frame (the
//! idle workers of C libraries) have no waiting line, so their waits are left out.

mod inspect;

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use rscalene_interp::{Layout, Unsupported};
use rscalene_wire as wire;

use super::balance::{Balance, Blocks, Credit};
use super::memory::ProcessMemory;
use super::names::Names;
use super::stacks::Stacks;
use super::states::States;
use super::target::Target;
use super::tasks::Tasks;
use crate::observe::clocks::Ledger;
use crate::observe::limits::Limits;
use crate::observe::modules::ModuleWatch;
use crate::observe::proc::{self, Schedstat, SyscallFile};
use crate::observe::punctual::Looks;
use crate::transport::event::{Body, Event, Wait};

/// A thread that has been blocked for a time `t` is looked at again after `t / PATIENCE`.
const PATIENCE: u64 = 16;
/// Longest time between two looks at a blocked thread of a process with few threads.
const LONGEST_NS: u64 = 40_000_000;
/// [`LONGEST_NS`] grows by this for every thread of the process.
const LONGEST_EACH_NS: u64 = 250_000;
/// Time between two full lists of the threads while their number does not change.
const LIST_NS: u64 = 100_000_000;
/// [`LIST_NS`] grows by this for every thread.
const LIST_EACH_NS: u64 = 100_000;
/// After this time without a running thread, memory and libraries need no further reading.
const SETTLED_NS: u64 = 2_000_000_000;
/// Time between two deliveries of waits and clocks.
const TELL_NS: u64 = 200_000_000;

/// A watched process.
#[derive(Debug)]
pub(super) struct Process {
    target: Target,
    /// Start time of the process in ticks; set by the first list of its threads.
    start_ticks: Option<u64>,
    command: Option<Vec<String>>,
    memory: ProcessMemory,
    /// `None`: frames cannot be read, and waits are unknown.
    layout: Option<Layout>,
    stacks: Stacks,
    tasks: Tasks,
    ledger: Ledger,
    names: Names,
    limits: Limits,
    modules: ModuleWatch,
    threads: HashMap<u32, Thread>,
    /// Number of threads that are left out.
    others: usize,
    states: States,
    waits: HashMap<(u32, u64, bool), Waited>,
    credits: Vec<Credit>,
    bodies: Vec<Body>,
    counted_ns: u64,
    list_due_ns: u64,
    tell_due_ns: u64,
    /// Time of the last look that found a thread had run.
    ran_ns: u64,
    /// True if the resident memory was read after `ran_ns`.
    rss_read: bool,
    /// Counts of the reader's looks when it began to watch.
    looks: Looks,
}

/// Waits that are not delivered yet.
#[derive(Debug, Default)]
struct Waited {
    wait_ns: u64,
    gil_ns: u64,
    /// Time at which a look last found the thread there; 0: no look did.
    seen_ns: u64,
}

#[derive(Debug)]
struct Thread {
    schedstat: Schedstat,
    syscall: Option<SyscallFile>,
    balance: Balance,
    blocked_since_ns: u64,
    due_ns: u64,
    /// True if the thread has had a Python frame.
    python: bool,
    /// True if its thread state or its greenlets are unknown, because both had been listed too recently to list them
    /// again.
    unsure: bool,
    /// True if the name was read a second time.
    named: bool,
}

impl Process {
    /// Begins to watch.
    pub(super) fn new(target: Target, now_ns: u64) -> Self {
        let memory = ProcessMemory::new(target.pid);
        let layout = match memory.probe(target.runtime) {
            Ok(()) => Layout::of(target.version, target.runtime, target.code_type, &memory),
            Err(_) => Err(Unsupported::Unreadable),
        };
        // A process that is ending has no memory left, whatever its Python was.
        let gone = || memory.probe(target.runtime).is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH));
        let notice = (layout.is_err() && !gone()).then(|| {
            let code =
                if memory.denied() { wire::NoticeCode::MEMORY_UNREADABLE } else { wire::NoticeCode::LAYOUT_UNKNOWN };
            Body::Notice(wire::Notice { time_ns: now_ns, code, detail: target.version })
        });
        let command = proc::command_line(target.pid);
        let limits = Limits::new(target.pid);
        let mut process = Self::begin(target, (memory, layout.ok()), command, limits, now_ns);
        process.bodies.extend(notice);
        process
    }

    /// A watch of a child that this process forked at `time_ns`; `None` if the child has called exec by now.
    pub(super) fn child(&self, target: Target, time_ns: u64, now_ns: u64) -> Option<Self> {
        let same = (target.runtime, target.version) == (self.target.runtime, self.target.version);
        let layout = self.layout.filter(|_| same)?;
        let limits = self.limits.of_child(target.pid, now_ns);
        let read = (ProcessMemory::new(target.pid), Some(layout));
        let child = Self::begin(target, read, self.command.clone(), limits, now_ns);
        Some(Self { modules: ModuleWatch::later(target.pid, Instant::now()), counted_ns: time_ns.min(now_ns), ..child })
    }

    fn begin(
        target: Target,
        (memory, layout): (ProcessMemory, Option<Layout>),
        command: Option<Vec<String>>,
        limits: Limits,
        now_ns: u64,
    ) -> Self {
        Self {
            start_ticks: None,
            memory,
            layout,
            stacks: Stacks::default(),
            tasks: Tasks::default(),
            ledger: Ledger::new(target.pid),
            names: Names::default(),
            limits,
            modules: ModuleWatch::new(target.pid),
            threads: HashMap::new(),
            others: 0,
            states: States::new(target.pid),
            waits: HashMap::new(),
            credits: Vec::new(),
            bodies: command.clone().map(Body::Command).into_iter().collect(),
            command,
            counted_ns: now_ns,
            list_due_ns: 0,
            tell_due_ns: now_ns + TELL_NS,
            ran_ns: now_ns,
            rss_read: false,
            looks: Looks::default(),
            target,
        }
    }

    /// Counts missed looks from `looks` on, the reader's counts when it began to watch.
    pub(super) fn count_looks_from(&mut self, looks: Looks) {
        self.looks = looks;
    }

    pub(super) fn pid(&self) -> u32 {
        self.target.pid
    }

    /// Number of files that are kept open.
    pub(super) fn open_files(&self) -> usize {
        self.threads.len() * 2 + 1
    }

    /// The time of the next look at a thread.
    pub(super) fn due_ns(&self) -> u64 {
        self.threads.values().map(|thread| thread.due_ns).min().unwrap_or(0)
    }

    pub(super) fn inodes(&self) -> &HashMap<String, u64> {
        self.modules.inodes()
    }

    /// Makes a tick; false once the process has ended. `keep`: more files may be kept open.
    pub(super) fn tick(&mut self, keep: bool, left_out: &HashSet<u32>, looks: Looks, out: &mut Vec<Event>) -> bool {
        let now_ns = proc::monotonic_ns();
        let unseen_ns = now_ns - self.counted_ns;
        self.counted_ns = now_ns;
        let mut alive = self.find_threads((now_ns, unseen_ns), keep, left_out);
        if alive {
            let due: Vec<u32> =
                self.threads.iter().filter(|(_, thread)| thread.due_ns <= now_ns).map(|(&tid, _)| tid).collect();
            for &tid in &due {
                self.look(tid);
            }
            // A thread has ended and another began, so their number is the same.
            if due.iter().any(|tid| !self.threads.contains_key(tid)) {
                alive = self.find_threads((now_ns, unseen_ns), keep, left_out);
            }
        }
        self.notice_refusal(now_ns);
        if alive && self.may_have_changed(now_ns) {
            self.rss_read |= self.ledger.rss(now_ns, &mut self.bodies);
            self.bodies.extend(self.modules.poll(Instant::now()).map(Body::Modules));
        }
        // Another process of its cgroup may fill the memory while this process sleeps; its children need not all watch.
        if alive && (self.target.forked.is_none() || self.may_have_changed(now_ns)) {
            self.bodies.extend(self.limits.look(now_ns).into_iter().map(Body::NearLimit));
        }
        if !alive {
            self.close_all(now_ns);
            self.bodies.extend(looks.notice_since(self.looks, now_ns).map(Body::Notice));
            self.bodies.push(self.ledger.exit(now_ns));
        } else if now_ns >= self.tell_due_ns {
            self.tell_due_ns = now_ns + TELL_NS;
            if self.may_have_changed(now_ns) {
                self.ledger.read_peak();
            }
            self.tell(now_ns);
        }
        self.deliver(out);
        alive
    }

    /// Handles a refusal by the kernel since the last tick (the process dropped its rights, or disabled core dumps):
    /// waits are unknown from then on, and the report says so.
    fn notice_refusal(&mut self, time_ns: u64) {
        if self.memory.denied() && self.layout.take().is_some() {
            let (code, detail) = (wire::NoticeCode::MEMORY_UNREADABLE, self.target.version);
            self.bodies.push(Body::Notice(wire::Notice { time_ns, code, detail }));
        }
    }

    /// True if the memory or the libraries may have changed since the last look. Both change only while a thread runs,
    /// so a process that sleeps needs no further reading after [`SETTLED_NS`].
    fn may_have_changed(&self, now_ns: u64) -> bool {
        !self.rss_read || now_ns.saturating_sub(self.ran_ns) < SETTLED_NS
    }

    /// Notes that a thread has run.
    fn has_run(&mut self, now_ns: u64) {
        self.ran_ns = now_ns;
        self.rss_read = false;
    }

    /// Ends the watch, with a last look at all threads.
    pub(super) fn finish(&mut self, looks: Looks, out: &mut Vec<Event>) {
        let tids: Vec<u32> = self.threads.keys().copied().collect();
        for tid in tids {
            self.look(tid);
        }
        let now_ns = proc::monotonic_ns();
        self.notice_refusal(now_ns);
        self.bodies.extend(self.modules.refresh().map(Body::Modules));
        self.ledger.read_peak();
        // Live threads were looked at just now, so their waiting is complete.
        self.close_all(now_ns);
        self.bodies.extend(looks.notice_since(self.looks, now_ns).map(Body::Notice));
        self.deliver(out);
    }

    fn deliver(&mut self, out: &mut Vec<Event>) {
        let pid = self.target.pid;
        out.extend(self.bodies.drain(..).map(|body| Event { pid, body }));
    }

    fn close_all(&mut self, now_ns: u64) {
        let tids: Vec<u32> = self.threads.keys().copied().collect();
        for tid in tids {
            self.close(tid, now_ns);
        }
        self.tell(now_ns);
    }

    /// Delivers the sums.
    fn tell(&mut self, now_ns: u64) {
        for ((tid, stack, gil_known), Waited { wait_ns, gil_ns, seen_ns }) in self.waits.drain() {
            let gil_ns = gil_known.then_some(gil_ns);
            // Memory and helper threads are compared with the moment of the wait, not of its delivery.
            let time_ns = if seen_ns == 0 { now_ns } else { seen_ns };
            self.bodies.push(Body::Wait(Wait { time_ns, tid, stack, wait_ns, gil_ns, label: 0 }));
        }
        self.ledger.tell(&mut self.bodies);
        self.tasks.forget(self.threads.values().filter_map(|thread| Some(thread.balance.place()?.stack)));
    }

    /// Brings the set of threads up to date; false once the process has ended.
    fn find_threads(&mut self, (now_ns, unseen_ns): (u64, u64), keep: bool, left_out: &HashSet<u32>) -> bool {
        let pid = self.target.pid;
        let Ok(count) = proc::thread_count(pid) else { return false };
        if count == (self.threads.len() + self.others) as u64 && now_ns < self.list_due_ns {
            return true;
        }
        self.list_due_ns = now_ns + LIST_NS + LIST_EACH_NS * count;
        let gone = match proc::stat(pid) {
            Ok(stat) => {
                let started = *self.start_ticks.get_or_insert(stat.start_ticks);
                stat.start_ticks != started || matches!(stat.state, 'Z' | 'X') && count <= 1
            }
            Err(_) => true,
        };
        let Ok(tids) = proc::threads(pid) else { return false };
        if gone {
            return false;
        }
        let all = tids.len();
        let tids: HashSet<u32> = tids.into_iter().filter(|tid| !left_out.contains(tid)).collect();
        self.others = all - tids.len();
        let lost: Vec<u32> = self.threads.keys().filter(|tid| !tids.contains(tid)).copied().collect();
        for tid in lost {
            self.close(tid, now_ns);
        }
        for tid in tids {
            match self.threads.get_mut(&tid) {
                // The first thread existed all the time; any other thread, on average, for half of the time.
                None => self.open(tid, (now_ns, if tid == pid { unseen_ns } else { unseen_ns / 2 }), keep),
                Some(thread) if !thread.named => {
                    thread.named = true;
                    self.ledger.refresh_name(tid);
                    self.names.wanted();
                }
                Some(_) => {}
            }
        }
        self.name_threads(now_ns);
        true
    }

    /// Reads from the interpreter the thread names that the kernel does not know.
    fn name_threads(&mut self, now_ns: u64) {
        let Some(layout) = &self.layout else { return };
        let Some(interp) = self.states.oldest() else { return };
        self.memory.forget();
        let (threads, states) = (&self.threads, &self.states);
        let known = |number| states.thread(number).is_some_and(|tid| threads.contains_key(&tid));
        for (number, name) in self.names.look(now_ns, &self.memory, layout, interp, known) {
            if let Some(tid) = self.states.thread(number) {
                self.ledger.rename(tid, &name);
            }
        }
    }

    /// Begins to watch a thread. `listed_ns`: the time of the list that contains the thread. `before_ns`: the assumed
    /// age of the thread.
    fn open(&mut self, tid: u32, (listed_ns, before_ns): (u64, u64), keep: bool) {
        let pid = self.target.pid;
        // A thread that ended after it was listed has no clock left to read.
        let Ok(schedstat) = Schedstat::open(pid, tid, keep) else { return };
        let Ok(clock) = schedstat.read() else { return };
        let now_ns = proc::monotonic_ns();
        let syscall = SyscallFile::open(pid, tid, keep).ok();
        let place = self.inspect(tid, &schedstat, syscall.as_ref(), clock);
        let before_ns = before_ns + (now_ns - listed_ns);
        // This thread was watched from its beginning, so the clock gives the part of its life without waits.
        let ran_ns = if tid == pid { clock.run_ns + clock.delay_ns } else { 0 };
        let before_ns = before_ns.saturating_sub(ran_ns);
        let balance = Balance::open(now_ns, clock, place, before_ns, &mut self.credits);
        let python = place.is_some_and(|place| place.stack != 0);
        self.ledger.note(tid, now_ns, clock);
        let thread = Thread {
            schedstat,
            syscall,
            balance,
            blocked_since_ns: now_ns,
            due_ns: 0,
            python,
            unsure: self.states.too_soon() || self.tasks.look_again(),
            named: false,
        };
        self.threads.insert(tid, thread);
        self.has_run(now_ns);
        self.settle(tid, python);
    }

    fn look(&mut self, tid: u32) {
        let Some(mut thread) = self.threads.remove(&tid) else { return };
        let Ok(clock) = thread.schedstat.read() else {
            self.threads.insert(tid, thread);
            self.close(tid, proc::monotonic_ns());
            return;
        };
        let now_ns = proc::monotonic_ns();
        self.ledger.note(tid, now_ns, clock);
        let before = thread.balance.clock();
        if (clock.run_ns, clock.slices) != (before.run_ns, before.slices) {
            self.has_run(now_ns);
        }
        let idle = clock.slices == before.slices && !thread.unsure;
        let stays = thread.balance.blocked().filter(|_| idle);
        let same = stays.filter(|place| !self.tasks.is_choice(place.stack));
        let place = match same {
            Some(place) => Some(place),
            None => {
                let place = self.inspect(tid, &thread.schedstat, thread.syscall.as_ref(), clock);
                thread.unsure = self.states.too_soon() || self.tasks.look_again();
                place
            }
        };
        if stays.is_none() {
            thread.blocked_since_ns = now_ns;
        }
        let (pid, schedstat) = (self.target.pid, &thread.schedstat);
        let blocks = || {
            let count = proc::blocks(pid, tid)?;
            Some(Blocks { count, clock: schedstat.read().ok()?, now_ns: proc::monotonic_ns() })
        };
        thread.balance.look(now_ns, clock, place, blocks, &mut self.credits);
        thread.python |= place.is_some_and(|place| place.stack != 0);
        let longest = LONGEST_NS + LONGEST_EACH_NS * self.threads.len() as u64;
        thread.due_ns = match self.layout {
            Some(_) => now_ns + ((now_ns - thread.blocked_since_ns) / PATIENCE).min(longest),
            // Only the clock is useful.
            None => now_ns + longest,
        };
        let python = thread.python;
        self.threads.insert(tid, thread);
        self.settle(tid, python);
    }

    fn close(&mut self, tid: u32, now_ns: u64) {
        let Some(thread) = self.threads.remove(&tid) else { return };
        self.states.forget(tid);
        thread.balance.close(now_ns, &mut self.credits);
        self.settle(tid, thread.python);
    }

    /// Moves the credits to the sums.
    fn settle(&mut self, tid: u32, python: bool) {
        let counts = self.layout.is_some() && (python || tid == self.target.pid);
        for Credit { place, wait_ns, seen_ns } in self.credits.drain(..) {
            if counts {
                self.tasks.divide(place.stack, wait_ns, |stack, wait_ns| {
                    let sum = self.waits.entry((tid, stack, place.gil.is_some())).or_default();
                    sum.wait_ns += wait_ns;
                    sum.gil_ns += if place.gil == Some(true) { wait_ns } else { 0 };
                    sum.seen_ns = sum.seen_ns.max(seen_ns);
                });
            }
        }
        if counts {
            // A thread that never waits has a known waiting time of zero.
            self.waits.entry((tid, 0, true)).or_default();
        }
    }
}

//! The launcher's view of the profiled processes from outside.
//!
//! Job: a thread of the launcher reports, for every Python thread, the places and lengths of its waits, the part of
//! them for the GIL, its CPU time, and the memory of its process over time. Invariant: nothing in the target is
//! stopped, signalled or written. The reader takes at most about 2 % of a core, however many threads there are: with
//! more threads, looks are rarer. Neighbours: `locate` and the shim's `ProcessStart` give [`Target`]s, `profile` takes
//! the events.

pub mod balance;
mod calls;
mod generated;
mod greenlets;
pub mod memory;
mod names;
mod process;
pub mod stacks;
pub(in crate::observe) mod states;
mod target;
mod tasks;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};

pub use self::generated::GeneratedTexts;
pub use self::target::{Forked, Target};

use self::process::Process;
use super::jitter::Jitter;
use super::proc;
use super::punctual::Looks;
use super::turns;
use crate::transport::event::{Batch, Event};

/// Mean time between two ticks when there is little to do.
const TICK: Duration = Duration::from_millis(10);
/// Share of a core that the reader may use.
const SHARE: f64 = 0.014;
/// CPU seconds that the reader may use in advance: the first looks at a process read all of its code.
const SAVINGS_S: f64 = 0.02;
/// Longest pause between ticks.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The reader keeps at most a part of 1 / `FILE_SHARE` of the process' file descriptors open.
const FILE_SHARE: usize = 2;

/// The reader without its thread, for callers that call [`Reader::tick`] themselves.
#[derive(Debug)]
pub struct Reader {
    processes: Vec<Process>,
    inodes: HashMap<String, u64>,
    file_limit: usize,
    left_out: HashSet<u32>,
    looks: Looks,
}

/// The reader's thread.
#[derive(Debug)]
pub struct Remote {
    watch: Mutex<Watch>,
    /// True if the thread has CPU budget left to look at a forked process at once. Otherwise `watch` does not wake the
    /// thread for a fork.
    spare: Arc<AtomicBool>,
}

/// The running thread, or its result.
#[derive(Debug)]
enum Watch {
    Running { commands: Sender<Target>, thread: JoinHandle<HashMap<String, u64>> },
    Ended { inodes: HashMap<String, u64> },
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// A reader without processes.
    #[must_use]
    pub fn new() -> Self {
        let file_limit = descriptor_limit() / FILE_SHARE;
        Self {
            processes: Vec::new(),
            inodes: HashMap::new(),
            file_limit,
            left_out: HashSet::new(),
            looks: Looks::default(),
        }
    }

    /// Sets the profiler's own threads, which the reader does not look at.
    pub fn leave_out(&mut self, tids: &[u32]) {
        if tids.len() != self.left_out.len() || !tids.iter().all(|tid| self.left_out.contains(tid)) {
            self.left_out = tids.iter().copied().collect();
        }
    }

    /// Begins to watch a process, with a first look. If a process with the same id is still watched, because it called
    /// exec, that watch ends first. Without `spare` CPU budget, the first look at a forked process waits for the next
    /// tick: the process still resembles its parent.
    pub fn watch(&mut self, target: Target, spare: bool, out: &mut Vec<Event>) {
        if let Some(place) = self.processes.iter().position(|process| process.pid() == target.pid) {
            self.end(place, out);
        }
        let now_ns = proc::monotonic_ns();
        let parent = |forked: Forked| self.processes.iter().find(|process| process.pid() == forked.parent);
        let child = target.forked.and_then(|forked| parent(forked)?.child(target, forked.time_ns, now_ns));
        let at_once = spare || child.is_none();
        let mut process = child.unwrap_or_else(|| Process::new(target, now_ns));
        process.count_looks_from(self.looks);
        let open: usize = self.processes.iter().map(Process::open_files).sum();
        if !at_once || process.tick(open < self.file_limit, &self.left_out, self.looks, out) {
            self.processes.push(process);
        } else {
            self.inodes.extend(process.inodes().clone());
        }
    }

    /// The next tick comes `late` after its due time.
    pub fn comes_late(&mut self, late: Duration) {
        self.looks.came(late, TICK);
    }

    /// Looks at all threads whose look is due.
    pub fn tick(&mut self, out: &mut Vec<Event>) {
        let mut open: usize = self.processes.iter().map(Process::open_files).sum();
        let mut place = 0;
        while let Some(process) = self.processes.get_mut(place) {
            let before = process.open_files();
            if process.tick(open < self.file_limit, &self.left_out, self.looks, out) {
                open += process.open_files().saturating_sub(before);
                place += 1;
            } else {
                let process = self.processes.swap_remove(place);
                self.inodes.extend(process.inodes().clone());
            }
        }
    }

    /// Time from now until the next look at a thread is due. Looks at threads that have been blocked for long are rare.
    #[must_use]
    pub fn rest(&self) -> Duration {
        let due_ns = self.processes.iter().map(Process::due_ns).min().unwrap_or(0);
        Duration::from_nanos(due_ns.saturating_sub(proc::monotonic_ns()))
    }

    /// Ends the watch over all processes. Returns the inode of every library seen, by path.
    pub fn finish(mut self, out: &mut Vec<Event>) -> HashMap<String, u64> {
        while !self.processes.is_empty() {
            self.end(0, out);
        }
        self.inodes
    }

    fn end(&mut self, place: usize, out: &mut Vec<Event>) {
        let mut process = self.processes.swap_remove(place);
        process.finish(self.looks, out);
        self.inodes.extend(process.inodes().clone());
    }
}

impl Remote {
    /// Starts the thread, which sends its observations to `events`.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start(events: Sender<Batch>) -> std::io::Result<Self> {
        let (commands, targets) = unbounded();
        let spare = Arc::new(AtomicBool::new(true));
        let shared = Arc::clone(&spare);
        let thread = std::thread::Builder::new()
            .name("rscalene-remote".into())
            .spawn(move || run(&targets, &shared, &events))?;
        Ok(Self { watch: Mutex::new(Watch::Running { commands, thread }), spare })
    }

    /// Begins to watch a process; has no effect after [`Remote::stop`].
    pub fn watch(&self, target: Target) {
        let Watch::Running { commands, thread } = &*self.lock() else { return };
        // Sending fails only if the thread has ended early, because the receiver of its events is gone.
        let _ = commands.send(target);
        if target.forked.is_none() || self.spare.load(Ordering::SeqCst) {
            thread.thread().unpark();
        }
    }

    /// Takes a last look, ends the thread, and returns the inode of every library seen, by path. On return, all events
    /// of the watch have been sent; a second call returns the same.
    pub fn stop(&self) -> HashMap<String, u64> {
        let mut watch = self.lock();
        let ended = Watch::Ended { inodes: HashMap::new() };
        if let Watch::Running { commands, thread } = std::mem::replace(&mut *watch, ended) {
            drop(commands);
            thread.thread().unpark();
            *watch = Watch::Ended { inodes: thread.join().unwrap_or_default() };
        }
        match &*watch {
            Watch::Ended { inodes } => inodes.clone(),
            Watch::Running { .. } => HashMap::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(targets: &Receiver<Target>, spare: &AtomicBool, events: &Sender<Batch>) -> HashMap<String, u64> {
    turns::ask_for_short_ones();
    let mut reader = Reader::new();
    let mut out = Vec::new();
    let mut budget = Budget::new();
    let mut due = Instant::now();
    loop {
        let cpu = proc::own_cpu();
        // Store before receiving: a caller of `watch` that sends after this `try_recv` sees the value, and wakes the
        // thread.
        spare.store(budget.spare() || reader.processes.is_empty(), Ordering::SeqCst);
        match targets.try_recv() {
            Ok(target) => {
                let first = reader.processes.is_empty();
                reader.watch(target, budget.spare(), &mut out);
                // Processes that are due later do not wait for the new process, nor the new process for them.
                let next = Instant::now() + budget.pause();
                due = if first { next } else { due.min(next) };
            }
            Err(TryRecvError::Empty) if reader.processes.is_empty() => std::thread::park(),
            Err(TryRecvError::Empty) if Instant::now() < due => {
                // Parks the thread instead of waiting on the channel, because the channel's wait spins first, which is
                // most of the cost of a tick.
                std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
            }
            Err(TryRecvError::Empty) => {
                reader.comes_late(due.elapsed());
                reader.tick(&mut out);
                due = Instant::now() + budget.pause().max(reader.rest());
            }
            Err(TryRecvError::Disconnected) => {
                let inodes = reader.finish(&mut out);
                let _ = events.send(out);
                return inodes;
            }
        }
        if !out.is_empty() && events.send(std::mem::take(&mut out)).is_err() {
            return HashMap::new();
        }
        budget.spend(proc::own_cpu().saturating_sub(cpu));
    }
}

/// The CPU time that the reader may use: a share of the wall time, and a little in advance.
#[derive(Debug)]
struct Budget {
    left_s: f64,
    filled: Instant,
    jitter: Jitter,
}

impl Budget {
    fn new() -> Self {
        Self { left_s: SAVINGS_S, filled: Instant::now(), jitter: Jitter::new() }
    }

    fn spend(&mut self, cost: Duration) {
        self.left_s -= cost.as_secs_f64();
    }

    /// True if some of the budget is left.
    fn spare(&mut self) -> bool {
        self.fill();
        self.left_s > 0.0
    }

    fn fill(&mut self) {
        let passed = self.filled.elapsed().as_secs_f64();
        self.filled += Duration::from_secs_f64(passed);
        self.left_s = (self.left_s + passed * SHARE).min(SAVINGS_S);
    }

    /// The pause to the next tick: between half and one and a half times [`TICK`], so that no periodic work of the
    /// target keeps step with the reader. The pause is longer while the budget is overdrawn.
    fn pause(&mut self) -> Duration {
        self.fill();
        let pause = self.jitter.around(TICK);
        let owed = Duration::from_secs_f64((-self.left_s).max(0.0) / SHARE);
        pause.max(owed).min(LONGEST_PAUSE)
    }
}

/// The limit on the file descriptors of this process.
fn descriptor_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if status == 0 { usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX) } else { 256 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expensive_tick_makes_the_pauses_longer() {
        let mut budget = Budget::new();
        let mean = (0..1_000).map(|_| budget.pause()).sum::<Duration>().as_secs_f64() / 1_000.0;
        assert!((mean - TICK.as_secs_f64()).abs() < 0.001, "{mean}");
        budget.spend(Duration::from_secs_f64(SAVINGS_S));
        assert!(budget.pause() < TICK * 2, "savings are there to be spent");
        budget.spend(Duration::from_millis(3));
        let pause = budget.pause().as_secs_f64();
        assert!((pause - 0.003 / SHARE).abs() < 0.02, "{pause}");
    }
}

//! The launcher's outside view of the profiled processes.
//!
//! Job: a thread of the launcher that says, for every Python thread, where it waits and for how long, how much of that is
//! for the GIL, how much CPU it used, and what memory its process holds over time. Invariant: nothing in the target is
//! stopped, signalled or written, and the reader takes at most about 2 % of one core, however many threads it watches: it
//! looks more rarely instead. Neighbours: `locate` and the shim's `ProcessStart` give [`Target`]s, `profile` takes the
//! events.

pub mod balance;
pub mod memory;
mod process;
pub mod stacks;

use std::collections::HashMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use self::process::Process;
use super::proc;
use crate::transport::event::Event;

/// [`Notice`](rscalene_wire::Notice) code: the launcher may not read the process, so its waiting is unknown.
pub const NOTICE_READ_DENIED: u32 = 32;
/// [`Notice`](rscalene_wire::Notice) code: the launcher does not know this interpreter's layout, so its waiting is
/// unknown; the detail is its `PY_VERSION_HEX`.
pub const NOTICE_LAYOUT: u32 = 33;

/// Mean time between two ticks when there is little to do.
const TICK: Duration = Duration::from_millis(10);
/// The pause after a tick is at least this many times the CPU time that the tick took: 1.4 % of a core.
const PAUSE_PER_COST: u32 = 70;
/// Longest pause between ticks.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Frames of a stack that are read.
const MAX_DEPTH: u32 = 1_024;
/// Share of the file descriptors that may be kept open.
const FILE_SHARE: usize = 2;

/// A process to watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Process id.
    pub pid: u32,
    /// Address of `_PyRuntime`.
    pub runtime: u64,
    /// Address of `PyCode_Type`.
    pub code_type: u64,
    /// `PY_VERSION_HEX`.
    pub version: u32,
}

/// The reader without its thread: for callers that keep time themselves.
#[derive(Debug)]
pub struct Reader {
    processes: Vec<Process>,
    inodes: HashMap<String, u64>,
    file_limit: usize,
}

/// The reader's thread.
#[derive(Debug)]
pub struct Remote {
    commands: Option<Sender<Target>>,
    thread: Option<JoinHandle<HashMap<String, u64>>>,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// Watches nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { processes: Vec::new(), inodes: HashMap::new(), file_limit: descriptor_limit() / FILE_SHARE }
    }

    /// Begins to watch a process. One with the same number that is still watched (it called exec) ends first.
    pub fn watch(&mut self, target: Target, out: &mut Vec<Event>) {
        if let Some(place) = self.processes.iter().position(|process| process.pid() == target.pid) {
            self.end(place, out);
        }
        self.processes.push(Process::new(target, proc::monotonic_ns()));
    }

    /// Looks at everything that is due.
    pub fn tick(&mut self, out: &mut Vec<Event>) {
        let mut open: usize = self.processes.iter().map(Process::open_files).sum();
        let mut place = 0;
        while let Some(process) = self.processes.get_mut(place) {
            let before = process.open_files();
            if process.tick(open < self.file_limit, out) {
                open += process.open_files().saturating_sub(before);
                place += 1;
            } else {
                let process = self.processes.swap_remove(place);
                self.inodes.extend(process.inodes().clone());
            }
        }
    }

    /// Ends the watch over all processes; the answer is the inode of every library seen, by path.
    pub fn finish(mut self, out: &mut Vec<Event>) -> HashMap<String, u64> {
        while !self.processes.is_empty() {
            self.end(0, out);
        }
        self.inodes
    }

    fn end(&mut self, place: usize, out: &mut Vec<Event>) {
        let mut process = self.processes.swap_remove(place);
        process.finish(out);
        self.inodes.extend(process.inodes().clone());
    }
}

impl Remote {
    /// Starts the thread; what it sees goes to `events`.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(events: Sender<Event>) -> std::io::Result<Self> {
        let (commands, targets) = unbounded();
        let thread =
            std::thread::Builder::new().name("rscalene-remote".into()).spawn(move || run(&targets, &events))?;
        Ok(Self { commands: Some(commands), thread: Some(thread) })
    }

    /// Begins to watch a process.
    pub fn watch(&self, target: Target) {
        if let Some(commands) = &self.commands {
            // The thread ends early only if nobody takes its events any more.
            let _ = commands.send(target);
        }
    }

    /// Takes a last look, ends the thread, and answers the inode of every library seen, by path.
    pub fn stop(mut self) -> HashMap<String, u64> {
        self.commands = None;
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(targets: &Receiver<Target>, events: &Sender<Event>) -> HashMap<String, u64> {
    let mut reader = Reader::new();
    let mut out = Vec::new();
    let mut jitter = Jitter::new();
    let mut due = Instant::now();
    loop {
        let cpu = proc::own_cpu();
        let target = if reader.processes.is_empty() {
            targets.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            targets.recv_deadline(due)
        };
        match target {
            Ok(target) => {
                reader.watch(target, &mut out);
                // A new process is looked at once it exists, whenever the others are due.
                due = Instant::now();
            }
            Err(RecvTimeoutError::Timeout) => {
                reader.tick(&mut out);
                let cost = proc::own_cpu().saturating_sub(cpu);
                due = Instant::now() + pause(cost, &mut jitter);
            }
            Err(RecvTimeoutError::Disconnected) => {
                let inodes = reader.finish(&mut out);
                for event in out {
                    let _ = events.send(event);
                }
                return inodes;
            }
        }
        for event in out.drain(..) {
            if events.send(event).is_err() {
                return HashMap::new();
            }
        }
    }
}

/// Between half and one and a half times the tick, so that nothing periodic in the target keeps step with it; longer where
/// the last tick was dear.
fn pause(cost: Duration, jitter: &mut Jitter) -> Duration {
    TICK.max(cost * PAUSE_PER_COST).min(LONGEST_PAUSE).mul_f64(0.5 + jitter.next())
}

/// Random numbers from 0 to 1 (xorshift64*): only the evenness of ticks is at stake.
#[derive(Debug)]
struct Jitter(u64);

impl Jitter {
    fn new() -> Self {
        Self(proc::monotonic_ns() | 1)
    }

    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(u32::MAX)
    }
}

/// File descriptors that this process may have.
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
    fn a_dear_tick_is_followed_by_a_pause_that_makes_it_cheap() {
        let mut jitter = Jitter::new();
        let mean = |cost: Duration, jitter: &mut Jitter| {
            (0..1_000).map(|_| pause(cost, jitter)).sum::<Duration>().as_secs_f64() / 1_000.0
        };
        assert!((mean(Duration::ZERO, &mut jitter) - 0.010).abs() < 0.001);
        assert!(0.010 / mean(Duration::from_millis(10), &mut jitter) < 0.02);
    }
}

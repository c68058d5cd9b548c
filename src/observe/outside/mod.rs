//! Any running Python process, observed from outside: no code is injected, no thread is stopped or signalled, no memory
//! is written.
//!
//! Job: observe a process (and, if wanted, its children), and report the CPU time, the waits and the memory of its
//! threads as the events of a profile. The question of a reader: *what does this process do, now that it already runs?*
//! Invariant: the process is only read, and every clock counts from the moment of the attach. Neighbours: `watched`
//! samples the CPU, `remote` observes waits and memory; `commands::{attach, top}` make profiles and screens of the
//! events.

mod calls;
mod frame;
mod native;
pub mod now;
mod perf;
mod refused;
mod watched;
pub mod window;

use std::collections::{HashMap, HashSet};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};

pub use self::refused::Refused;
pub use self::watched::Engine;
use self::watched::Watched;
use super::jitter::Jitter;
use super::proc;
use super::remote::Remote;
use super::turns;
use crate::transport::event::{Batch, Body, Event};

/// Time between two lists of the threads.
const LIST: Duration = Duration::from_millis(50);
/// Time between two searches for children.
const CHILDREN: Duration = Duration::from_millis(100);
/// File descriptors of a thread.
const FILES_EACH: usize = 6;

/// Settings of the observation.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// CPU time between two samples of a thread.
    pub interval: Duration,
    /// True to observe its children too.
    pub children: bool,
    /// True to use the kernel's perf events, if the kernel allows them.
    pub perf: bool,
}

/// The observed processes.
#[derive(Debug)]
pub struct Outside {
    settings: Settings,
    first: u32,
    watched: HashMap<u32, Watched>,
    /// Descendants without readable Python: the program of each at the time of the check.
    others: HashMap<u32, String>,
    remote: Remote,
    events: Receiver<Batch>,
    /// CPU nanoseconds that each thread had used before the observation.
    before: HashMap<(u32, u32), u64>,
    polled: Vec<libc::pollfd>,
    owners: HashMap<RawFd, (u32, u32)>,
    jitter: Jitter,
    look_due: Instant,
    list_due: Instant,
    children_due: Instant,
    begun_ticks: u64,
    dropped: u64,
    file_limit: usize,
    engine: Engine,
}

impl Outside {
    /// Begins to observe process `pid`.
    ///
    /// # Errors
    /// The reason why the process cannot be observed.
    pub fn attach(pid: u32, settings: Settings, out: &mut Vec<Event>) -> Result<Self, Refused> {
        let file_limit = proc::raise_file_limit();
        let watched = Watched::new(pid, settings.interval, settings.perf)?;
        turns::ask_for_short_ones();
        let (to_us, events) = unbounded();
        let remote = Remote::start(to_us).map_err(|error| Refused {
            message: format!("cannot start a thread: {error}"),
            hint: "see `ulimit -u`".to_owned(),
        })?;
        let now = Instant::now();
        let mut outside = Self {
            settings,
            first: pid,
            watched: HashMap::new(),
            others: HashMap::new(),
            remote,
            events,
            before: HashMap::new(),
            polled: Vec::new(),
            owners: HashMap::new(),
            jitter: Jitter::new(),
            look_due: now,
            list_due: now + LIST,
            children_due: now,
            begun_ticks: proc::clock_ticks_since_boot(),
            dropped: 0,
            file_limit,
            engine: Engine::Perf,
        };
        outside.take(watched, false, out);
        outside.poll_anew();
        Ok(outside)
    }

    /// The source of the CPU time of the first process.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Ids of the observed processes.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.watched.keys().copied()
    }

    /// Number of observed threads that perf samples.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.owners.len()
    }

    /// Number of dropped records of CPU time: their threads had gone to sleep before the frames were read.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped + self.watched.values().map(|watched| watched.dropped).sum::<u64>()
    }

    /// Waits until a look is due, for `longest` at most, and looks; false once no process is left.
    pub fn step(&mut self, longest: Duration, out: &mut Vec<Event>) -> bool {
        let mut due = self.list_due.min(Instant::now() + longest);
        if self.watched.values().any(Watched::wants_looks) {
            due = due.min(self.look_due);
        }
        let mut ready = Vec::new();
        perf::wait(&mut self.polled, due.saturating_duration_since(Instant::now()), |fd, ended| {
            ready.push((fd, ended))
        });
        let mut seen = Vec::new();
        let mut anew = false;
        for (fd, ended) in ready {
            let Some(&(pid, tid)) = self.owners.get(&fd) else { continue };
            anew |= ended;
            if let Some(watched) = self.watched.get_mut(&pid) {
                watched.record(tid, ended, &mut seen);
            }
        }
        let now = Instant::now();
        if now >= self.look_due {
            self.look_due = now + self.jitter.around(self.settings.interval);
            self.watched
                .values_mut()
                .filter(|watched| watched.wants_looks())
                .for_each(|watched| watched.look(&mut seen));
        }
        if now >= self.list_due {
            self.list_due = now + LIST;
            anew |= self.list(&mut seen);
        }
        if self.settings.children && now >= self.children_due {
            self.children_due = now + CHILDREN;
            anew |= self.find_children(out);
        }
        if anew {
            self.poll_anew();
        }
        while let Ok(batch) = self.events.try_recv() {
            seen.extend(batch);
        }
        out.extend(seen.into_iter().map(|event| self.since(event)));
        !self.watched.is_empty()
    }

    /// Ends the observation. Returns the inode of every library seen, by path.
    pub fn finish(self, out: &mut Vec<Event>) -> HashMap<String, u64> {
        let Self { mut watched, remote, events, before, .. } = self;
        let mut seen = Vec::new();
        watched.values_mut().for_each(|watched| watched.finish(&mut seen));
        let inodes = remote.stop();
        while let Ok(batch) = events.try_recv() {
            seen.extend(batch);
        }
        out.extend(seen.into_iter().map(|event| since(&before, event)));
        inodes
    }

    fn since(&self, event: Event) -> Event {
        since(&self.before, event)
    }

    /// Begins to observe a process; `fresh`: the process began after the attach, so its whole life counts.
    fn take(&mut self, mut watched: Watched, fresh: bool, out: &mut Vec<Event>) {
        let pid = watched.target.pid;
        if !fresh {
            for tid in proc::threads(pid).unwrap_or_default() {
                let clock = proc::Schedstat::open(pid, tid, false).and_then(|file| file.read());
                self.before.insert((pid, tid), clock.map(|clock| clock.run_ns).unwrap_or(0));
            }
        }
        out.push(watched.start());
        out.extend(proc::command_line(pid).map(|words| Event { pid, body: Body::Command(words) }));
        let mut seen = Vec::new();
        watched.list(self.files_left(), &mut seen);
        out.extend(seen.into_iter().map(|event| self.since(event)));
        if pid == self.first {
            self.engine = watched.engine();
        }
        self.remote.watch(watched.target);
        self.watched.insert(pid, watched);
    }

    fn files_left(&self) -> bool {
        self.owners.len() * FILES_EACH < self.file_limit / 2
    }

    fn list(&mut self, seen: &mut Vec<Event>) -> bool {
        let keep = self.files_left();
        let mut changed = false;
        let pids: Vec<u32> = self.watched.keys().copied().collect();
        for pid in pids {
            let Some(watched) = self.watched.get_mut(&pid) else { continue };
            if watched.lives() {
                changed |= watched.list(keep, seen);
            } else if let Some(mut watched) = self.watched.remove(&pid) {
                watched.finish(seen);
                self.dropped += watched.dropped;
                changed = true;
            }
        }
        changed
    }

    fn find_children(&mut self, out: &mut Vec<Event>) -> bool {
        let mut pending: Vec<u32> = vec![self.first];
        let mut met: HashSet<u32> = HashSet::new();
        let mut changed = false;
        while let Some(parent) = pending.pop() {
            for child in proc::children(parent) {
                if child == std::process::id() || !met.insert(child) {
                    continue;
                }
                pending.push(child);
                if self.watched.contains_key(&child) {
                    continue;
                }
                // A process without readable Python may run another program by now.
                let runs = std::fs::read_link(format!("/proc/{child}/exe")).unwrap_or_default();
                let runs = runs.to_string_lossy().into_owned();
                if self.others.get(&child) == Some(&runs) {
                    continue;
                }
                match Watched::new(child, self.settings.interval, self.settings.perf) {
                    Ok(watched) => {
                        let fresh = proc::stat(child).is_ok_and(|stat| stat.start_ticks >= self.begun_ticks);
                        self.take(watched, fresh, out);
                        changed = true;
                    }
                    Err(_) => drop(self.others.insert(child, runs)),
                }
            }
        }
        self.others.retain(|pid, _| met.contains(pid));
        changed
    }

    fn poll_anew(&mut self) {
        self.owners.clear();
        for (&pid, watched) in &self.watched {
            self.owners.extend(watched.events().map(|(fd, tid)| (fd, (pid, tid))));
        }
        self.polled = self.owners.keys().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    }
}

/// Makes the clocks in an event count from the moment at which the observation of their thread began.
fn since(before: &HashMap<(u32, u32), u64>, mut event: Event) -> Event {
    let pid = event.pid;
    let less = |tid: u32, cpu_ns: u64| cpu_ns.saturating_sub(before.get(&(pid, tid)).copied().unwrap_or(0));
    match &mut event.body {
        Body::ThreadClock(clock) => clock.cpu_ns = less(clock.tid, clock.cpu_ns),
        Body::ThreadStart(start) => start.cpu_ns = less(start.tid, start.cpu_ns),
        Body::ThreadEnd(end) => end.cpu_ns = less(end.tid, end.cpu_ns),
        _ => {}
    }
    event
}

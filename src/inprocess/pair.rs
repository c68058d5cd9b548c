//! The two threads of a sampler: each runs on its own half of the processors, and one of them looks.
//!
//! Job: let the sampler look from a processor other than the processor of the busiest thread of the program. A sampler
//! on the same core runs when the observed thread has released the core. So it would see system calls far more often
//! than their share of the time: 44 % of the samples for 1 % of the time, measured with both threads on one of two busy
//! cores, and 2 % with one thread on each core.
//!
//! On a busy kernel, a thread that is moved to another core while ready to run may not run for seconds. So no thread is
//! ever moved: each gets half of the processors before it begins, and the two threads take turns.
//!
//! Invariant: the caller of [`Pair::stop`] waits at most [`PATIENCE`] for a thread to take its turn, and then does the
//! work itself. Neighbours: `looking` makes the looks, `other_samplers` keeps the threads out of all profiles.

use std::fs;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::looking::Looking;
use super::other_samplers;
use crate::observe::looks::thread_cpu_ns;
use crate::observe::turns;
use crate::profile::model::Profile;

/// Longest wait for a thread that the kernel does not run.
const PATIENCE: Duration = Duration::from_millis(100);
/// Looks between two checks of the busiest thread's processor. Threads rarely move.
const PLACE_LOOKS: u32 = 4;

/// The threads of a running sampler.
pub(super) struct Pair {
    shared: Arc<Shared>,
    member: u64,
    threads: Vec<(JoinHandle<()>, u32)>,
}

struct Shared {
    /// `None` after a thread has taken the value to make the profile.
    looking: Mutex<Option<Looking>>,
    made: Mutex<Option<Profile>>,
    /// Index of the looking thread.
    turn: AtomicUsize,
    /// Handles for waking both threads.
    sleepers: Mutex<Vec<thread::Thread>>,
    /// Asks the threads to end and to keep `looking`.
    leave: AtomicBool,
    /// Asks the looking thread to make the profile.
    stop: AtomicBool,
    /// CPU nanoseconds used by the threads.
    own_ns: Arc<AtomicU64>,
}

/// Processors that a thread may use.
type Processors = libc::cpu_set_t;

impl Pair {
    /// Starts the threads. `member` is the sampler's number in [`other_samplers`]. The threads add their CPU time to
    /// `own_ns`.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(super) fn start(looking: Looking, member: u64, own_ns: Arc<AtomicU64>) -> io::Result<Self> {
        let shared = Shared {
            looking: Mutex::new(Some(looking)),
            made: Mutex::new(None),
            turn: AtomicUsize::new(0),
            sleepers: Mutex::new(Vec::new()),
            leave: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            own_ns,
        };
        let mut pair = Self { shared: Arc::new(shared), member, threads: Vec::new() };
        pair.begin()?;
        Ok(pair)
    }

    /// Starts the threads. They continue the work of the threads that [`Pair::leave`] ended.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.shared.leave.store(false, Relaxed);
        let halves = halves();
        let count = if halves.is_some() { 2 } else { 1 };
        self.shared.turn.store(0, Relaxed);
        let (tell, told) = std::sync::mpsc::channel();
        for index in 0..count {
            let (shared, tell) = (Arc::clone(&self.shared), tell.clone());
            let own = halves.map(|halves| halves[index]);
            let work = move || {
                let _ = tell.send(this_thread());
                if let Some(own) = own {
                    keep_to(&own);
                }
                run(&shared, index, own);
            };
            let begun = other_samplers::enlist(self.member, || {
                let thread = thread::Builder::new().name("rscalene-sampler".to_owned()).spawn(work)?;
                let tid = told.recv().unwrap_or(0);
                Ok(((thread, tid), tid))
            });
            match begun {
                Ok(thread) => self.threads.push(thread),
                // The first thread is enough, because the first turn is its own.
                Err(error) if index == 0 => return Err(error),
                Err(_) => {}
            }
        }
        // A thread that passed its turn on before this line only loses a little time: the other thread wakes by its
        // timeout.
        *self.shared.sleepers() = self.threads.iter().map(|(thread, _)| thread.thread().clone()).collect();
        self.shared.wake();
        Ok(())
    }

    /// Returns a function that begins or ends a pause. The pause has taken effect when the function returns.
    pub(super) fn pausing(&self, paused: bool) -> impl FnOnce() + Send + use<> {
        let shared = Arc::clone(&self.shared);
        move || {
            if let Some(looking) = shared.looking().as_mut() {
                looking.pause(paused);
            }
            shared.wake();
        }
    }

    /// Returns a function that makes the profile so far, between two looks. The function returns `None` if a thread
    /// failed.
    pub(super) fn snapshotting(&self) -> impl FnOnce() -> Option<Profile> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.looking().as_mut().map(|looking| looking.snapshot(true))
    }

    /// Access to the looks of this sampler, for the thread of `rscalene.push`, which takes profiles at intervals.
    pub(super) fn view(&self) -> View {
        View { shared: Arc::clone(&self.shared), member: self.member }
    }

    /// Ends the threads before a fork and keeps the looks so far for [`Pair::begin`]. Returns true if both threads have
    /// ended.
    pub(super) fn leave(&mut self) -> bool {
        self.shared.leave.store(true, Relaxed);
        self.shared.wake();
        let all = join(mem::take(&mut self.threads));
        // The kernel counts a thread for a moment after its end.
        let end = Instant::now() + PATIENCE / 10;
        let there = |tid: &u32| fs::exists(format!("/proc/self/task/{tid}")).unwrap_or(false);
        while all.iter().any(there) && Instant::now() < end {
            thread::yield_now();
        }
        !all.iter().any(there)
    }

    /// Ends the threads and returns the profile; `None` if a thread failed.
    pub(super) fn stop(mut self) -> Option<Profile> {
        let shared = Arc::clone(&self.shared);
        shared.stop.store(true, Relaxed);
        shared.wake();
        let end = Instant::now() + PATIENCE;
        // Prefer the looking thread: its CPU time is in no profile, the time of this thread is.
        while Instant::now() < end && shared.try_looking().is_none_or(|looking| looking.is_some()) {
            thread::sleep(Duration::from_micros(50));
        }
        let taken = shared.looking().take();
        if let Some(looking) = taken {
            return Some(looking.finish());
        }
        let made = loop {
            if let Some(profile) = shared.made().take() {
                break Some(profile);
            }
            if self.threads.iter().all(|(thread, _)| thread.is_finished()) {
                break shared.made().take();
            }
            thread::sleep(Duration::from_micros(100));
        };
        shared.wake();
        join(mem::take(&mut self.threads));
        made
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // The threads end without being joined, because the profile is not needed.
        self.shared.leave.store(true, Relaxed);
        self.shared.wake();
    }
}

/// Access to a running sampler for a thread that takes profiles at intervals.
pub(super) struct View {
    shared: Arc<Shared>,
    /// Number of the sampler in [`other_samplers`].
    pub(super) member: u64,
}

impl View {
    /// The profile so far, without source text; `None` if the sampler has stopped.
    pub(super) fn snapshot(&self) -> Option<Profile> {
        self.shared.looking().as_mut().map(|looking| looking.snapshot(false))
    }

    /// Keeps the allocations of the calling thread out of the recording.
    pub(super) fn keep_thread_out(&self) {
        if let Some(looking) = self.shared.looking().as_ref() {
            looking.keep_thread_out();
        }
    }
}

impl Shared {
    fn looking(&self) -> MutexGuard<'_, Option<Looking>> {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_looking(&self) -> Option<MutexGuard<'_, Option<Looking>>> {
        match self.looking.try_lock() {
            Ok(held) => Some(held),
            Err(TryLockError::Poisoned(held)) => Some(held.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn made(&self) -> MutexGuard<'_, Option<Profile>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleepers(&self) -> MutexGuard<'_, Vec<thread::Thread>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.sleepers().iter().for_each(thread::Thread::unpark);
    }
}

/// Waits for ending threads, [`PATIENCE`] in all. Returns their ids.
fn join(threads: Vec<(JoinHandle<()>, u32)>) -> Vec<u32> {
    let end = Instant::now() + PATIENCE;
    let tids = threads.iter().map(|(_, tid)| *tid).collect();
    for (thread, _) in threads {
        while !thread.is_finished() && Instant::now() < end {
            thread::sleep(Duration::from_micros(50));
        }
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
    tids
}

/// The main loop of one of the two threads.
fn run(shared: &Shared, index: usize, own: Option<Processors>) {
    turns::ask_for_short_ones();
    let tid = this_thread();
    if let Some(looking) = shared.looking().as_ref() {
        looking.keep_thread_out();
    }
    let (mut looks, mut spent_ns) = (0_u32, 0);
    while !shared.leave.load(Relaxed) {
        if shared.turn.load(Relaxed) != index {
            if shared.stop.load(Relaxed) && shared.try_looking().is_some_and(|looking| looking.is_none()) {
                return;
            }
            thread::park_timeout(PATIENCE * 5);
            if !shared.stop.load(Relaxed) {
                continue;
            }
        }
        let mut looking = shared.looking();
        if shared.stop.load(Relaxed) {
            let taken = looking.take();
            drop(looking);
            if let Some(looking) = taken {
                let profile = looking.finish();
                shared.made().replace(profile);
            }
            return;
        }
        let Some(now) = looking.as_mut() else { return };
        let pause = now.look();
        let busiest = now.busiest();
        drop(looking);
        let used_ns = thread_cpu_ns(tid);
        shared.own_ns.fetch_add(used_ns.saturating_sub(spent_ns), Relaxed);
        spent_ns = used_ns;
        looks = looks.wrapping_add(1);
        if let (Some(own), Some(busiest), true) = (own, busiest, looks % PLACE_LOOKS == 1)
            && processor(busiest).is_some_and(|processor| holds(&own, processor))
        {
            shared.turn.store(1 - index, Relaxed);
            shared.wake();
            continue;
        }
        thread::park_timeout(pause);
    }
}

/// The processors that this thread may use, in two halves; `None` if there is only one, or if they are unknown.
fn halves() -> Option<[Processors; 2]> {
    // SAFETY: all bytes zero is an empty set.
    let (mut all, empty): (Processors, Processors) = unsafe { (mem::zeroed(), mem::zeroed()) };
    // SAFETY: the set is a local of the stated size; 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&all), &raw mut all) } != 0 {
        return None;
    }
    let allowed: Vec<usize> = (0..libc::CPU_SETSIZE as usize).filter(|&processor| holds(&all, processor)).collect();
    let mut halves = [empty; 2];
    let (lower, upper) = allowed.split_at(allowed.len() / 2);
    for (half, processors) in halves.iter_mut().zip([lower, upper]) {
        // SAFETY: the numbers are below the set's size.
        processors.iter().for_each(|&processor| unsafe { libc::CPU_SET(processor, half) });
    }
    (allowed.len() > 1).then_some(halves)
}

fn holds(set: &Processors, processor: usize) -> bool {
    // SAFETY: the number is below the set's size.
    processor < libc::CPU_SETSIZE as usize && unsafe { libc::CPU_ISSET(processor, set) }
}

/// Binds the calling thread to these processors, before the thread does any other work.
fn keep_to(processors: &Processors) {
    // SAFETY: the set has the stated size; 0 is the calling thread. If the kernel refuses, the thread may run on any
    // processor.
    let _ = unsafe { libc::sched_setaffinity(0, size_of_val(processors), processors) };
}

fn this_thread() -> u32 {
    // SAFETY: gettid takes nothing.
    (unsafe { libc::gettid() }).cast_unsigned()
}

/// The processor on which a thread of this process ran last.
fn processor(tid: u32) -> Option<usize> {
    // Read bytes, because a thread's name need not be UTF-8.
    parse_processor(&String::from_utf8_lossy(&fs::read(format!("/proc/self/task/{tid}/stat")).ok()?))
}

/// Field 39. The name in parentheses may contain any character, so fields are counted from the end of the name, where
/// field 3 begins.
fn parse_processor(stat: &str) -> Option<usize> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(36)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_read_behind_any_name() {
        let tail: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
        assert_eq!(parse_processor(&format!("7 (a) b ) (c) S {}", tail.join(" "))), Some(39));
        assert_eq!(parse_processor("7 (a"), None);
        assert!(processor(std::process::id()).is_some());
    }

    #[test]
    fn the_halves_share_no_processor_and_leave_none_out() {
        let Some([lower, upper]) = halves() else { return };
        // SAFETY: all bytes zero is an empty set.
        let mut all: Processors = unsafe { mem::zeroed() };
        // SAFETY: the set is a local of the stated size.
        assert_eq!(unsafe { libc::sched_getaffinity(0, size_of_val(&all), &raw mut all) }, 0);
        for processor in 0..libc::CPU_SETSIZE as usize {
            assert!(!(holds(&lower, processor) && holds(&upper, processor)));
            assert_eq!(holds(&lower, processor) || holds(&upper, processor), holds(&all, processor));
        }
    }
}

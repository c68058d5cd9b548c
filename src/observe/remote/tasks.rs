//! Lines that own the waiting of an idle event loop.
//!
//! Job: when a thread is an event loop without ready work (asyncio's own, uvloop's, trio's or gevent's), charge the
//! lines that await instead of the selector: the stacks of its waiting tasks, each with an equal part. Invariant: a
//! task that only waits for other tasks (`gather`, a task group) leaves the waiting to them; a loop without tasks keeps
//! the waiting. Neighbours: `rscalene_interp` reads tasks, `stacks` frames, `greenlets` gevent's greenlets, `process`
//! divides.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use rscalene_interp::{
    Layout, Task, TaskSource, await_chain, called_loop, first_local, hub, stands_for_trio, tasks, trio_tasks,
};

use super::greenlets::Greenlets;
use super::memory::ProcessMemory;
use super::stacks::{Draft, IdleLoop, Stacks};
use crate::observe::jitter::Jitter;
use crate::observe::locate;
use crate::observe::proc;
use crate::transport::event::Body;

/// Most tasks whose stacks are read at a look; of more tasks, as many at random. A loop keeps its tasks in the order of
/// their creation, so every n-th task would favour some kinds of tasks.
const MOST_TASKS: usize = 100;
/// Above this number of groups, groups in which no thread waits are forgotten.
const MOST_GROUPS: usize = 1_024;
/// Time between two searches for asyncio's list of tasks.
const SEARCH_NS: u64 = 500_000_000;

/// The stacks of the tasks that wait in an idle loop.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    stacks: Vec<Draft>,
    /// True if they are a random choice among more.
    chosen: bool,
}

impl Waiters {
    /// True if no task waits.
    pub(super) fn is_empty(&self) -> bool {
        self.stacks.is_empty()
    }
}

/// Tasks of a process.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    source: Option<TaskSource>,
    searched_ns: u64,
    /// Stacks that share waiting, by the hash of the group.
    groups: HashMap<u64, Vec<u64>>,
    /// Groups that are a random choice among more tasks.
    chosen: HashSet<u64>,
    jitter: Jitter,
    greenlets: Greenlets,
}

impl Tasks {
    /// Drafts of the stacks of the tasks that wait in the idle loop of `draft`, which is a stack of the thread state
    /// `thread` (given with its interpreter). Empty if the thread is no idle loop, or the loop has no tasks. `polls`:
    /// the thread waits for the system's events.
    pub(super) fn read(
        &mut self,
        pid: u32,
        stacks: &Stacks,
        (memory, layout): (&ProcessMemory, &Layout),
        thread: (u64, u64),
        (draft, polls): (&Draft, bool),
    ) -> Waiters {
        self.greenlets.is_old = false;
        if let Some(IdleLoop::Gevent(frame)) = draft.idle_loop() {
            return self.greenlets_of(stacks, (memory, layout), thread.1, (draft, frame));
        }
        let mut waiting = match draft.idle_loop() {
            Some(IdleLoop::Trio(frame)) => trios(memory, layout, frame),
            Some(IdleLoop::Asyncio(frame)) => {
                let event_loop = first_local(memory, layout, frame);
                self.all(pid, (memory, layout), thread, |_| event_loop)
            }
            None if polls && draft.innermost() != 0 => self.all(pid, (memory, layout), thread, |tasks| {
                let of = |object| tasks.iter().find(|task| task.task == object || task.event_loop == object);
                called_loop(memory, layout, draft.innermost(), |object| of(object).map(|task| task.event_loop))
            }),
            Some(IdleLoop::Gevent(_)) | None => Vec::new(),
        };
        let trio = matches!(draft.idle_loop(), Some(IdleLoop::Trio(_)));
        let chosen = waiting.len() > MOST_TASKS;
        choose(&mut waiting, &mut self.jitter);
        let mut own = Vec::new();
        let mut indirect = Vec::new();
        for task in waiting {
            let mut frames = Vec::new();
            let awaited = await_chain(memory, layout, task, |frame| {
                frames.push(frame);
                true
            });
            if frames.is_empty() {
                continue;
            }
            let for_others = trio && frames.iter().any(|frame| stands_for_trio(memory, layout, frame.code));
            frames.reverse();
            let stack = draft.of_task(stacks.draft(memory, layout, &frames));
            if awaited.for_tasks || for_others { &mut indirect } else { &mut own }.push(stack);
        }
        Waiters { stacks: if own.is_empty() { indirect } else { own }, chosen }
    }

    /// True if the thread needs another look, even if it has not run since: the last look may have missed greenlets.
    pub(super) fn look_again(&self) -> bool {
        self.greenlets.is_old
    }

    /// The greenlets that wait in the hub of the frame at `frame`, in the stack `draft`.
    fn greenlets_of(
        &mut self,
        stacks: &Stacks,
        (memory, layout): (&ProcessMemory, &Layout),
        interp: u64,
        (draft, frame): (&Draft, u64),
    ) -> Waiters {
        let Some(hub) = hub(memory, layout, frame) else { return Waiters { stacks: Vec::new(), chosen: false } };
        let mut waiting = self.greenlets.waiting((memory, layout), (interp, hub));
        let chosen = waiting.len() > MOST_TASKS;
        choose(&mut waiting, &mut self.jitter);
        let of = |frame| draft.of_task(stacks.draft(memory, layout, &Greenlets::frames(memory, layout, frame)));
        Waiters { stacks: waiting.into_iter().map(of).collect(), chosen }
    }

    /// asyncio's waiting tasks of a single event loop, which `choose` finds among all tasks.
    fn all(
        &mut self,
        pid: u32,
        (memory, layout): (&ProcessMemory, &Layout),
        thread: (u64, u64),
        choose: impl FnOnce(&[Task]) -> Option<u64>,
    ) -> Vec<Task> {
        let Some(source) = self.source(pid, memory, layout, thread.1) else { return Vec::new() };
        let mut waiting: Vec<Task> = Vec::new();
        tasks(memory, layout, source, thread, |task| {
            waiting.push(task);
            true
        });
        let event_loop = choose(&waiting);
        waiting.retain(|task| Some(task.event_loop) == event_loop);
        waiting
    }

    /// Defines the stacks and returns a hash for their group.
    pub(super) fn commit(&mut self, waiters: Waiters, stacks: &mut Stacks, out: &mut Vec<Body>) -> u64 {
        let mut members: Vec<u64> = waiters.stacks.into_iter().map(|draft| stacks.commit(draft, out)).collect();
        members.sort_unstable();
        if let [only] = members[..] {
            return only;
        }
        let mut hasher = DefaultHasher::new();
        members.hash(&mut hasher);
        let group = hasher.finish().max(1);
        self.groups.insert(group, members);
        if waiters.chosen {
            self.chosen.insert(group);
        }
        group
    }

    /// True if the stack stands for a random choice of tasks. The next look then chooses anew, even if the loop has
    /// been idle since, so that a long idle time is divided among all tasks.
    pub(super) fn is_choice(&self, stack: u64) -> bool {
        self.chosen.contains(&stack)
    }

    /// Divides waiting in `stack` evenly among the stacks of its group.
    pub(super) fn divide(&self, stack: u64, wait_ns: u64, mut part: impl FnMut(u64, u64)) {
        let Some(members) = self.groups.get(&stack) else { return part(stack, wait_ns) };
        let count = members.len() as u64;
        for (index, &member) in (0..).zip(members) {
            // The remaining nanoseconds go to the first stacks.
            part(member, wait_ns / count + u64::from(index < wait_ns % count));
        }
    }

    /// Forgets groups if there are many, except those in `used`.
    pub(super) fn forget(&mut self, used: impl Iterator<Item = u64>) {
        if self.groups.len() > MOST_GROUPS {
            let used: Vec<u64> = used.collect();
            self.groups.retain(|group, _| used.contains(group));
            self.chosen.retain(|group| used.contains(group));
        }
    }

    fn source(&mut self, pid: u32, memory: &ProcessMemory, layout: &Layout, interp: u64) -> Option<TaskSource> {
        let now_ns = proc::monotonic_ns();
        if self.source.is_none() && now_ns - self.searched_ns >= SEARCH_NS {
            self.searched_ns = now_ns;
            self.source = TaskSource::find(memory, layout, interp, locate::asyncio_section(pid));
        }
        self.source
    }
}

/// Keeps [`MOST_TASKS`] of the tasks, each with the same chance.
fn choose<T>(tasks: &mut Vec<T>, jitter: &mut Jitter) {
    if tasks.len() <= MOST_TASKS {
        return;
    }
    for place in 0..MOST_TASKS {
        let other = place + jitter.below(tasks.len() - place);
        tasks.swap(place, other);
    }
    tasks.truncate(MOST_TASKS);
}

/// The waiting tasks of the trio loop that the frame runs.
fn trios(memory: &ProcessMemory, layout: &Layout, frame: u64) -> Vec<Task> {
    let mut waiting = Vec::new();
    trio_tasks(memory, layout, frame, |task| {
        waiting.push(task);
        true
    });
    waiting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_many_tasks_is_chosen_as_often_wherever_it_stands() {
        let mut jitter = Jitter::new();
        let mut times = vec![0_u32; 1_000];
        for _ in 0..2_000 {
            let mut tasks: Vec<usize> = (0..1_000).collect();
            choose(&mut tasks, &mut jitter);
            assert_eq!(tasks.len(), MOST_TASKS);
            tasks.iter().for_each(|&task| times[task] += 1);
        }
        // 200 times each, with a standard error of 13.4; halves and every tenth alike.
        assert!(times.iter().all(|&times| (110..290).contains(&times)), "{times:?}");
        let tenth: u32 = times.iter().step_by(10).sum();
        assert!((19_000..21_000).contains(&tenth), "{tenth}");
        let mut few = vec![1, 2, 3];
        choose(&mut few, &mut jitter);
        assert_eq!(few, [1, 2, 3]);
    }

    #[test]
    fn waiting_is_divided_to_the_nanosecond() {
        let mut tasks = Tasks::default();
        tasks.groups.insert(9, vec![1, 2, 3]);
        let mut parts = Vec::new();
        tasks.divide(9, 11, |stack, wait_ns| parts.push((stack, wait_ns)));
        tasks.divide(4, 5, |stack, wait_ns| parts.push((stack, wait_ns)));
        assert_eq!(parts, [(1, 4), (2, 4), (3, 3), (4, 5)]);
    }
}

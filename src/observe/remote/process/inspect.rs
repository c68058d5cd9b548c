//! A look at a blocked thread: the line that waits, and whether it waits for the GIL.
//!
//! Invariant: a stack counts only if the thread did not run between the reading of its clock before the look and the
//! reading after the look. Neighbours: `process` chooses the threads, `states` finds thread states, `stacks` reads
//! frames.

use rscalene_interp::gil;

use super::Process;
use crate::observe::proc::{self, Activity, Clock, Schedstat, SyscallFile};
use crate::observe::remote::balance::Place;
use crate::observe::remote::calls::{polls, waits_by_itself};
use crate::observe::remote::stacks::Draft;
use crate::observe::remote::target::MAX_DEPTH;
use crate::observe::remote::tasks::Waiters;

impl Process {
    /// The place where the thread is blocked; `None` if the thread runs, or ran during the look.
    pub(super) fn inspect(
        &mut self,
        tid: u32,
        schedstat: &Schedstat,
        syscall: Option<&SyscallFile>,
        clock: Clock,
    ) -> Option<Place> {
        self.states.begin();
        self.layout.as_ref()?;
        let mut before = clock;
        for _ in 0..2 {
            let activity = match syscall.map(SyscallFile::read) {
                Some(Ok(Activity::Running)) => return None,
                // A signal stopped this thread while it computed: its line has no wait.
                Some(Ok(activity)) if !waits_by_itself(activity) && self.is_stopped(tid) => {
                    return Some(Place { stack: 0, gil: None });
                }
                Some(Ok(activity)) => Some(activity),
                // Without that file, the state letter shows that the thread is blocked, but not in which system call.
                _ => match proc::thread_state(self.target.pid, tid) {
                    Some('S' | 'D') => None,
                    _ => return None,
                },
            };
            self.memory.forget();
            let state = self.state(tid, activity.and_then(Activity::stack_pointer));
            let draft = state.and_then(|state| self.stack(state, activity.is_some_and(polls)));
            let after = schedstat.read().ok()?;
            if after.slices == before.slices {
                let gil = activity.map(|activity| self.waits_for_gil(state, activity));
                let stack = match draft {
                    Some((_, tasks)) if !tasks.is_empty() => {
                        self.tasks.commit(tasks, &mut self.stacks, &mut self.bodies)
                    }
                    Some((draft, _)) => self.stacks.commit(draft, &mut self.bodies),
                    None => 0,
                };
                return Some(Place { stack, gil });
            }
            before = after;
        }
        None
    }

    /// True if a signal (or a debugger) has stopped the thread.
    fn is_stopped(&self, tid: u32) -> bool {
        matches!(proc::thread_state(self.target.pid, tid), Some('T' | 't'))
    }

    /// The thread state of the thread with the stack pointer `sp`, and its interpreter; `None` for a thread without
    /// Python.
    fn state(&mut self, tid: u32, sp: Option<u64>) -> Option<(u64, u64)> {
        self.states.of(tid, sp, &self.memory, self.layout.as_ref()?)
    }

    /// Reads the Python stack of a thread state, and the stacks of the tasks that wait in its event loop.
    fn stack(&mut self, state: (u64, u64), polls: bool) -> Option<(Draft, Waiters)> {
        let layout = self.layout.as_ref()?;
        let draft = self.stacks.read(&self.memory, layout, state.0, MAX_DEPTH)?;
        let tasks = self.tasks.read(self.target.pid, &self.stacks, (&self.memory, layout), state, (&draft, polls));
        Some((draft, tasks))
    }

    fn waits_for_gil(&mut self, state: Option<(u64, u64)>, activity: Activity) -> bool {
        let Activity::Syscall { number, arguments: [word, ..], .. } = activity else { return false };
        let futex = u64::try_from(libc::SYS_futex).is_ok_and(|futex| futex == number);
        let (Some(layout), Some((_, interp)), true) = (&self.layout, state, futex) else { return false };
        let memory = &self.memory;
        let range = self.states.gil(interp, || gil(memory, layout, interp).map(|gil| (gil.start, gil.end)));
        range.is_some_and(|(start, end)| (start..end).contains(&word))
    }
}

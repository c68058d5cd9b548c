//! The activity of every thread of a process at this moment.
//!
//! Job: look once at all threads: their Python frames, the system calls in which they wait, the holder of the GIL, the
//! tasks of their event loops, and, if asked for, the native frames between. Invariant: without native frames no thread
//! is stopped, and a stack that may be torn (its thread ran during the read) is marked as approximate; with native
//! frames each thread is stopped for a single read. Neighbours: `native` unwinds, `commands::dump` prints.

use std::collections::HashMap;

use rscalene_interp::linetable::line_at;
use rscalene_interp::{
    Frame, Identity, Layout, Memory, TaskSource, await_chain, first_local, gil, running_threads, tasks, text,
    thread_names, walk,
};

pub use super::frame::FrameNow;
use super::native::{self, Unwinders};
use super::refused::Refused;
use crate::observe::locate::{self, Runtime};
use crate::observe::proc::{self, Activity, Schedstat, SyscallFile};
use crate::observe::remote::memory::ProcessMemory;
use crate::observe::remote::states::States;

/// Most frames of a stack, and most tasks of a loop, that are shown.
const MAX_DEPTH: u32 = 1_024;
const MAX_TASKS: usize = 1_000;
/// Number of looks at a thread that keeps running, before its stack is shown as approximate.
const LOOKS: usize = 3;
/// Most bytes of a line table that are read.
const LONGEST: usize = 1 << 16;

/// A process at a moment.
#[derive(Clone, Debug)]
pub struct Now {
    /// Process id.
    pub pid: u32,
    /// `PY_VERSION_HEX`.
    pub version: u32,
    /// Its threads, the main thread first.
    pub threads: Vec<ThreadNow>,
}

/// A thread at a moment.
#[derive(Clone, Debug, Default)]
pub struct ThreadNow {
    /// Thread id.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// The activity of the thread: `runs`, `waits for the GIL`, `waits in SYSCALL`.
    pub doing: String,
    /// True if the thread has the GIL.
    pub holds_gil: bool,
    /// True if the thread waits for the GIL.
    pub waits_for_gil: bool,
    /// True if the thread ran while its stack was read.
    pub approximate: bool,
    /// Its frames, innermost first.
    pub frames: Vec<FrameNow>,
    /// The tasks of the thread's event loop, while the loop is idle.
    pub tasks: Vec<Vec<FrameNow>>,
}

/// Looks at process `pid`; `with_native` stops each thread for a moment to read its native frames.
///
/// # Errors
/// The reason why the process cannot be observed.
pub fn now(pid: u32, with_native: bool) -> Result<Now, Refused> {
    Refused::check(pid)?;
    let found = Runtime::locate(pid).map_err(|error| Refused::located(pid, &error))?;
    let memory = ProcessMemory::new(pid);
    let layout = Layout::of(found.version, found.runtime, found.code_type, &memory);
    let layout = layout.map_err(|why| Refused::unsupported(pid, why))?;
    let mut unwinders = if with_native { Some(Unwinders::of(pid)?) } else { None };
    let mut look = Look { pid, memory, layout, states: States::new(pid) };
    let mut tids = proc::threads(pid).map_err(|_| Refused::denied(pid))?;
    tids.sort_unstable_by_key(|&tid| (tid != pid, tid));
    let mut threads: Vec<ThreadNow> = tids.iter().map(|&tid| look.thread(tid, unwinders.as_mut())).collect();
    look.name(&mut threads);
    Ok(Now { pid, version: found.version, threads })
}

struct Look {
    pid: u32,
    memory: ProcessMemory,
    layout: Layout,
    states: States,
}

impl Look {
    fn thread(&mut self, tid: u32, unwinders: Option<&mut Unwinders>) -> ThreadNow {
        let pid = self.pid;
        let mut thread = ThreadNow { tid, name: proc::comm(pid, tid).unwrap_or_default(), ..ThreadNow::default() };
        let syscall = SyscallFile::open(pid, tid, true).ok();
        let activity = || syscall.as_ref().and_then(|file| file.read().ok());
        if let Some(unwinders) = unwinders {
            let activity = activity();
            let unwound = native::stopped(pid, tid, unwinders, || self.python(tid, activity, &mut thread));
            match unwound {
                Ok(frames) => thread.frames = merge(std::mem::take(&mut thread.frames), frames),
                Err(_) => self.python(tid, activity, &mut thread),
            }
            return thread;
        }
        let clock = || Schedstat::open(pid, tid, false).and_then(|file| file.read()).map(|clock| clock.slices).ok();
        for _ in 0..LOOKS {
            let (before, activity) = (clock(), activity());
            self.python(tid, activity, &mut thread);
            thread.approximate = matches!(activity, Some(Activity::Running)) || clock() != before;
            if !thread.approximate {
                break;
            }
        }
        thread
    }

    /// Reads the Python side of a thread: its frames and tasks, and whether the thread has the GIL or waits for the
    /// GIL.
    fn python(&mut self, tid: u32, activity: Option<Activity>, thread: &mut ThreadNow) {
        self.memory.forget();
        let (memory, layout) = (&self.memory, &self.layout);
        let state = self.states.of(tid, activity.and_then(Activity::stack_pointer), memory, layout);
        (thread.frames, thread.tasks) = (Vec::new(), Vec::new());
        (thread.holds_gil, thread.waits_for_gil) = (false, false);
        let mut raw: Vec<Frame> = Vec::new();
        if let Some((tstate, interp)) = state {
            walk(memory, layout, tstate, MAX_DEPTH, |frame| {
                raw.push(frame);
                true
            });
            if let Some(gil) = gil(memory, layout, interp) {
                thread.holds_gil = gil.locked && gil.last_holder == tstate;
                thread.waits_for_gil = waits_in(activity).is_some_and(|word| (gil.start..gil.end).contains(&word));
            }
            thread.frames = raw.iter().filter_map(|frame| self.frame(frame)).collect();
            thread.tasks = self.tasks((tstate, interp), &raw, &thread.frames);
        }
        thread.doing = match activity {
            _ if thread.waits_for_gil => "waits for the GIL".to_owned(),
            Some(Activity::Running) => "runs".to_owned(),
            Some(Activity::Syscall { number, .. }) => format!("waits in {}", super::calls::name(number)),
            Some(Activity::Blocked { .. }) => "waits for memory".to_owned(),
            None => "".to_owned(),
        };
    }

    fn frame(&self, frame: &Frame) -> Option<FrameNow> {
        let (memory, layout) = (&self.memory, &self.layout);
        let identity = Identity::read(memory, layout, frame.code)?;
        let string = |address| {
            let mut buffer = [0; 4096];
            let length = text(memory, layout, address, &mut buffer)?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        let (address, length) = identity.linetable(layout);
        let mut table = vec![0; usize::try_from(length).unwrap_or(0).min(LONGEST)];
        let line = if memory.bytes(address, &mut table) {
            line_at(&table, identity.first_line, frame.offset_bytes)
        } else {
            None
        };
        Some(FrameNow {
            function: string(identity.qualname)?,
            file: string(identity.filename)?,
            line: Some(line.unwrap_or(identity.first_line)),
            entry: self.entered_from_c(frame.frame),
        })
    }

    /// True if C code began the evaluation of this frame. 3.11 marks such a frame; later versions put a frame of C code
    /// before the frame.
    fn entered_from_c(&self, frame: u64) -> bool {
        /// Owners from this number on are no frames of Python code.
        const OF_C: u8 = 3;
        let byte = |address: u64| {
            let mut byte = [0];
            self.memory.bytes(address, &mut byte).then_some(byte[0])
        };
        if self.layout.minor == 11 {
            return byte(frame + 68) == Some(1);
        }
        let owner = if self.layout.minor < 14 { 70 } else { 74 };
        let previous = self.memory.u64(frame + 8).unwrap_or(0);
        previous == 0 || byte(previous + owner).is_none_or(|owner| owner >= OF_C)
    }

    fn tasks(&self, state: (u64, u64), raw: &[Frame], frames: &[FrameNow]) -> Vec<Vec<FrameNow>> {
        let (memory, layout) = (&self.memory, &self.layout);
        let of_loop = frames.iter().position(|frame| frame.function == "BaseEventLoop.run_forever");
        let Some(event_loop) = of_loop.and_then(|place| first_local(memory, layout, raw.get(place)?.frame)) else {
            return Vec::new();
        };
        let section = locate::asyncio_section(self.pid);
        let Some(source) = TaskSource::find(memory, layout, state.1, section) else { return Vec::new() };
        let mut waiting = Vec::new();
        tasks(memory, layout, source, state, |task| {
            if task.event_loop == event_loop {
                waiting.push(task);
            }
            waiting.len() < MAX_TASKS
        });
        let chain = |task| {
            let mut frames = Vec::new();
            await_chain(memory, layout, task, |frame| {
                frames.extend(self.frame(&frame));
                true
            });
            frames.reverse();
            frames
        };
        waiting.into_iter().map(chain).filter(|frames: &Vec<FrameNow>| !frames.is_empty()).collect()
    }

    /// Sets the thread names that only the interpreter knows.
    fn name(&self, threads: &mut [ThreadNow]) {
        if let Some(main) = threads.iter_mut().find(|thread| thread.tid == self.pid) {
            main.name = "MainThread".to_owned();
        }
        let Some(interp) = self.states.oldest() else { return };
        let Some(running) = running_threads(&self.memory, &self.layout, interp) else { return };
        let mut names: HashMap<u32, String> = HashMap::new();
        let known = |number| self.states.thread(number).is_some();
        thread_names(&self.memory, &self.layout, running, known, |number, name| {
            if let Some(tid) = self.states.thread(number) {
                names.insert(tid, String::from_utf8_lossy(name).into_owned());
            }
        });
        for thread in threads {
            if let Some(name) = names.remove(&thread.tid) {
                thread.name = name;
            }
        }
    }
}

/// The address of the futex in which a thread waits.
fn waits_in(activity: Option<Activity>) -> Option<u64> {
    let Some(Activity::Syscall { number, arguments: [word, ..], .. }) = activity else { return None };
    u64::try_from(libc::SYS_futex).is_ok_and(|futex| futex == number).then_some(word)
}

/// Puts the native frames between the Python frames: each evaluation loop stands for the frames up to the frame that C
/// code entered.
fn merge(python: Vec<FrameNow>, native: Vec<FrameNow>) -> Vec<FrameNow> {
    let mut python = python.into_iter();
    let mut merged = Vec::new();
    for frame in native {
        if !frame.function.contains("_PyEval_EvalFrameDefault") {
            merged.push(frame);
            continue;
        }
        for own in python.by_ref() {
            let entry = own.entry;
            merged.push(own);
            if entry {
                break;
            }
        }
    }
    merged.extend(python);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_loop_stands_for_the_frames_up_to_its_entry() {
        let python =
            |function: &str, entry| FrameNow { function: function.into(), entry, line: Some(1), ..FrameNow::default() };
        let native = |function: &str| FrameNow::native(function.into(), "libpython".into());
        let stack = merge(
            vec![python("key", true), python("inner", false), python("main", true)],
            vec![
                native("_PyEval_EvalFrameDefault"),
                native("list_sort"),
                native("_PyEval_EvalFrameDefault.cold"),
                native("main"),
            ],
        );
        let names: Vec<&str> = stack.iter().map(|frame| frame.function.as_str()).collect();
        assert_eq!(names, ["key", "list_sort", "inner", "main", "main"]);
    }
}

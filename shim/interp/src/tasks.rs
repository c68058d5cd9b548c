//! The waiting tasks of an idle event loop, and the coroutines in which each task is suspended.
//!
//! Job: while a thread waits in `epoll_wait`, find the lines at which the program's tasks await. From 3.14 on, every
//! thread has a list of its tasks; the `_asyncio` module describes the list in a section `.AsyncioDebug`. Before 3.14,
//! `asyncio.tasks` keeps all tasks in a weak set. Invariant: a task is shown only if its coroutine is suspended; every
//! list has a bound. This file also finds asyncio's tasks in other libraries' event loops (uvloop); `trio` finds the
//! tasks of trio. Neighbours: `dict` finds the weak set, `walk` reads frames. Callers: the launcher's observer.

use crate::dict;
use crate::fields::Layout;
use crate::memory::{Memory, at, unaligned};
use crate::text::text;
use crate::walk::{Frame, TAG, single};

/// Most links or set entries that are followed.
const LIMIT: u32 = 1 << 16;
/// If a chain of awaited objects is longer than this, its links form a cycle.
const CHAIN_LIMIT: u32 = 256;
/// `PyWeakReference.wr_object`. Also the first field of the objects between an awaiting and an awaited object
/// (`coroutine_wrapper`, `async_generator_asend`, `FutureIter`).
const FIRST_FIELD: u32 = 16;
/// `fut_loop`, the first field of every future and task.
const EVENT_LOOP: u32 = 16;
/// `PySetObject`: `mask` and `table`.
const SET_MASK: u32 = 32;
const SET_TABLE: u32 = 40;
/// `tp_name` follows the head of a variable-size object.
pub(crate) const TYPE_NAME: u32 = 24;
/// `PyCFunctionObject.m_self`: the object of a bound method of a C type.
const BOUND_TO: u32 = 24;
/// Number of a frame's local variables and temporary values in which [`called_loop`] searches.
const FRAME_WORDS: u32 = 48;

/// The place of a process' tasks: search for it once and keep the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskSource {
    /// 3.11 to 3.13: a weak set of tasks.
    Set {
        /// Address of the `WeakSet`.
        weak_set: u64,
        /// Offset of `task_coro`.
        coroutine: u32,
    },
    /// 3.14 and 3.15: circular lists of tasks.
    Lists {
        /// Offset of `task_coro`.
        coroutine: u32,
        /// Offset of `task_node` in a task.
        node: u32,
        /// Offset of the list's head in `PyThreadState`.
        thread_head: u32,
        /// Offset of the head of the list of tasks that outlived their thread, in `PyInterpreterState`.
        interp_head: u32,
    },
}

/// A waiting task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Address of the task.
    pub task: u64,
    /// Address of the task's event loop: [`first_local`](crate::first_local) of the frame of
    /// `BaseEventLoop.run_forever`.
    pub event_loop: u64,
    /// Address of the task's outermost coroutine.
    pub coroutine: u64,
}

/// The end of a chain of coroutines, as [`await_chain`] found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Number of frames passed to the visitor.
    pub frames: u32,
    /// Address of the future that the innermost coroutine awaits; 0 if the coroutine awaits another kind of object.
    pub future: u64,
    /// True if the coroutine waits for other tasks (awaits a task, `gather`, a task group or `wait`). Then the wait
    /// belongs to the lines of the other tasks.
    pub for_tasks: bool,
}

impl TaskSource {
    /// Finds the tasks of the interpreter at `interp`. `debug` is the address of the section `.AsyncioDebug`; 3.14 and
    /// later need this address. Returns `None` until the program has imported `asyncio`.
    ///
    /// Slow, because it searches dictionaries.
    pub fn find<M: Memory>(mem: &M, layout: &Layout, interp: u64, debug: Option<u64>) -> Option<Self> {
        if layout.free_threaded {
            return None;
        }
        if layout.minor >= 14 {
            return Self::described(mem, debug?);
        }
        // 3.11 has a single set. 3.12 and 3.13 have a set of tasks that have been suspended before: all waiting tasks.
        let name: &[u8] = if layout.minor == 11 { b"_all_tasks" } else { b"_scheduled_tasks" };
        let weak_set = dict::module_attribute(mem, layout, interp, b"asyncio.tasks", name)?;
        // Offsets measured on 3.11.7, 3.12.1, 3.13.0 and 3.13.18. `show` checks that the object there is a coroutine.
        Some(Self::Set { weak_set, coroutine: if layout.minor == 13 { 120 } else { 136 } })
    }

    /// Reads `Py_AsyncioModuleDebugOffsets`. For a task: size, name, awaited-by, two flags, coroutine and node. For an
    /// interpreter: size and list. For a thread: size, running loop, running task and list.
    fn described<M: Memory>(mem: &M, debug: u64) -> Option<Self> {
        let word = |index: u64| mem.u64(debug.wrapping_add(index.wrapping_mul(8)));
        let field = |size, index| {
            let (limit, offset) = (word(size)?, word(index)?);
            let fits = limit < 1 << 22 && !unaligned(offset) && offset < limit;
            fits.then(|| u32::try_from(offset).ok()).flatten()
        };
        Some(Self::Lists {
            coroutine: field(0, 5)?,
            node: field(0, 6)?,
            interp_head: field(7, 8)?,
            thread_head: field(9, 12)?,
        })
    }
}

/// Calls `visit` with the waiting tasks of the thread state at `tstate` of the interpreter at `interp`, until `visit`
/// returns false. Returns true if all tasks were visited.
///
/// Before 3.14 the tasks of all threads are visited; the caller selects the thread's tasks by [`Task::event_loop`].
pub fn tasks<M: Memory>(
    mem: &M,
    layout: &Layout,
    source: TaskSource,
    (tstate, interp): (u64, u64),
    mut visit: impl FnMut(Task) -> bool,
) -> bool {
    match source {
        TaskSource::Set { weak_set, coroutine } => {
            set_members(mem, layout, weak_set, |task| show(mem, layout, task, coroutine, &mut visit))
        }
        TaskSource::Lists { coroutine, node, thread_head, interp_head } => {
            [at(tstate, thread_head), at(interp, interp_head)].into_iter().all(|head| {
                list_members(mem, head, |link| {
                    show(mem, layout, link.wrapping_sub(u64::from(node)), coroutine, &mut visit)
                })
            })
        }
    }
}

/// The event loop that the innermost frame at `frame` calls. For loops with functions in C, without frames (uvloop).
/// `known` maps the address of a loop, or of a task, to its loop. Searches the frame's values for such an object, or
/// for a method bound to such an object.
pub fn called_loop<M: Memory>(mem: &M, layout: &Layout, frame: u64, known: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    (0..FRAME_WORDS).find_map(|index| {
        let place = at(frame, layout.frame.locals).wrapping_add(u64::from(index).wrapping_mul(8));
        let object = mem.u64(place)? & !TAG;
        if object == 0 || unaligned(object) {
            return None;
        }
        known(object).or_else(|| known(mem.u64(at(object, BOUND_TO))?))
    })
}

/// Calls `visit` with the frames in which `task` is suspended, outermost first, until `visit` returns false.
pub fn await_chain<M: Memory>(mem: &M, layout: &Layout, task: Task, mut visit: impl FnMut(Frame) -> bool) -> Awaited {
    let mut awaited = Awaited { frames: 0, future: 0, for_tasks: false };
    let mut object = task.coroutine;
    let mut innermost = 0;
    for _ in 0..CHAIN_LIMIT {
        let behind = mem.u64(at(object, FIRST_FIELD)).unwrap_or(0);
        let Some(suspended) = suspended(mem, layout, object).or_else(|| suspended(mem, layout, behind)) else {
            awaited.future = behind;
            break;
        };
        awaited.frames = awaited.frames.saturating_add(1);
        innermost = suspended.frame.code;
        if !visit(suspended.frame) {
            return awaited;
        }
        object = suspended.awaits;
        if object == 0 {
            break;
        }
    }
    awaited.for_tasks = stands_for_tasks(mem, layout, task.task, awaited.future) || gathers(mem, layout, innermost);
    awaited
}

/// A suspended coroutine or generator: its frame, and the awaited object (0: none).
struct Suspended {
    frame: Frame,
    awaits: u64,
}

/// Is the object at `object` a coroutine or generator that is suspended?
pub(crate) fn is_suspended<M: Memory>(mem: &M, layout: &Layout, object: u64) -> bool {
    suspended(mem, layout, object).is_some()
}

/// Reads the generator at `object`; `None` if the object is no generator, or is not suspended.
fn suspended<M: Memory>(mem: &M, layout: &Layout, object: u64) -> Option<Suspended> {
    if object == 0 || unaligned(object) {
        return None;
    }
    let place = at(object, layout.generator.frame);
    // 1: owned by a generator.
    if mem.u8(at(place, layout.frame.owner))? != 1 {
        return None;
    }
    let frame = single(mem, layout, place)?;
    let state = i8::from_ne_bytes([mem.u8(at(object, layout.generator.state))?]);
    let delegates = match (layout.minor, state) {
        // A single state covers yield and await. The next instruction is RESUME; its argument is 2 or 3 after an await.
        (11 | 12, -1) => mem.u8(frame.instruction.wrapping_add(3))? & 3 >= 2,
        (13 | 14, -1) | (15, 2 | 3) => true,
        (13 | 14, -2) | (15, 1) => false,
        _ => return None,
    };
    let awaits = if delegates { stack_peek(mem, layout, place)? } else { 0 };
    Some(Suspended { frame, awaits })
}

/// The object on top of a suspended frame's stack; 3.15 has another word above the object.
fn stack_peek<M: Memory>(mem: &M, layout: &Layout, frame: u64) -> Option<u64> {
    let top = at(frame, layout.frame.stack_top);
    let end = if layout.minor <= 13 {
        let count = i64::from(i32::from_ne_bytes(mem.u32(top)?.to_ne_bytes()));
        at(frame, layout.frame.locals).wrapping_add_signed(count.wrapping_mul(8))
    } else {
        mem.u64(top)?
    };
    let depth = if layout.minor >= 15 { 16 } else { 8 };
    Some(mem.u64(end.wrapping_sub(depth))? & !TAG)
}

/// Calls `visit` with the task if the task waits. Returns true to continue.
fn show<M: Memory>(mem: &M, layout: &Layout, task: u64, coroutine: u32, visit: &mut impl FnMut(Task) -> bool) -> bool {
    let read = || Some((mem.u64(at(task, coroutine))?, mem.u64(at(task, EVENT_LOOP))?));
    match read() {
        Some((coroutine, event_loop)) if suspended(mem, layout, coroutine).is_some() => {
            visit(Task { task, event_loop, coroutine })
        }
        _ => true,
    }
}

/// Calls `visit` with the live members of the weak set at `weak_set`. Returns true if all were visited.
fn set_members<M: Memory>(mem: &M, layout: &Layout, weak_set: u64, mut visit: impl FnMut(u64) -> bool) -> bool {
    let Some(set) = dict::weak_set_data(mem, layout, weak_set) else { return false };
    set_entries(mem, set, |reference| {
        let task = mem.u64(at(reference, FIRST_FIELD)).unwrap_or(0);
        task == 0 || unaligned(task) || visit(task)
    })
}

/// Calls `visit` with the members of the set at `set`. Returns true if all were visited.
pub(crate) fn set_entries<M: Memory>(mem: &M, set: u64, mut visit: impl FnMut(u64) -> bool) -> bool {
    let read = || Some((mem.u64(at(set, SET_TABLE))?, mem.u64(at(set, SET_MASK))?));
    let Some((mut entry, mask)) = read() else { return false };
    let Ok(last) = u32::try_from(mask) else { return false };
    if last >= LIMIT {
        return false;
    }
    for _ in 0..=last {
        let Some(member) = mem.u64(entry) else { return false };
        if member != 0 && !visit(member) {
            return false;
        }
        entry = entry.wrapping_add(16);
    }
    true
}

/// Calls `visit` with the links of the circular list at `head`, without the head. Returns true if all were visited.
fn list_members<M: Memory>(mem: &M, head: u64, mut visit: impl FnMut(u64) -> bool) -> bool {
    let Some(mut link) = mem.u64(head) else { return false };
    for _ in 0..LIMIT {
        // Zero: the thread has not run an event loop.
        if link == head || link == 0 {
            return true;
        }
        if !visit(link) {
            return false;
        }
        let Some(next) = mem.u64(link) else { return false };
        link = next;
    }
    false
}

/// Is the future at `future` a task of the same type as `task`, or the result of `gather`?
fn stands_for_tasks<M: Memory>(mem: &M, layout: &Layout, task: u64, future: u64) -> bool {
    let type_of = |object: u64| mem.u64(at(object, layout.object.ob_type)).filter(|_| object != 0);
    let Some(kind) = type_of(future) else { return false };
    let mut name = [0; 17];
    let named = mem.u64(at(kind, TYPE_NAME)).is_some_and(|text| mem.bytes(text, &mut name));
    type_of(task) == Some(kind) || (named && &name == b"_GatheringFuture\0")
}

/// Does the code object at `code` belong to a function of asyncio that waits for tasks through a plain future?
fn gathers<M: Memory>(mem: &M, layout: &Layout, code: u64) -> bool {
    let (mut file, mut name) = ([0; 512], [0; 32]);
    let read = |field, out: &mut [u8]| text(mem, layout, mem.u64(at(code, field))?, out);
    let Some(file) = read(layout.code.filename, &mut file).and_then(|len| file.get(..len)) else { return false };
    let Some(name) = read(layout.code.qualname, &mut name).and_then(|len| name.get(..len)) else { return false };
    file.ends_with(b"/asyncio/taskgroups.py")
        || (file.ends_with(b"/asyncio/tasks.py") && matches!(name, b"_wait" | b"wait_for" | b"_cancel_and_wait"))
}

//! What an idle event loop is waiting for: its tasks and the coroutines that each is suspended in.
//!
//! Job: a thread in `epoll_wait` says nothing about the program; the lines that await do. The reader's question:
//! *where do the tasks stand?* From 3.14 on every thread keeps a list of its tasks, whose shape the `_asyncio` module
//! describes in a section `.AsyncioDebug`; before, `asyncio.tasks` keeps them in a weak set. Invariant: a task whose
//! coroutine is not suspended is never shown; every list has a bound. Tasks of other libraries' event loops are seen
//! where they are asyncio's (uvloop); `trio` finds trio's. Neighbours: `dict` finds the weak set, `walk` reads frames.

use crate::dict;
use crate::fields::Layout;
use crate::memory::{Memory, at, unaligned};
use crate::text::text;
use crate::walk::{Frame, TAG, single};

/// More links or set entries than this are not followed.
const LIMIT: u32 = 1 << 16;
/// A coroutine that awaits itself through more objects than this is a circle.
const CHAIN_LIMIT: u32 = 256;
/// `PyWeakReference.wr_object`, and the first field of the objects that stand between awaiter and awaited
/// (`coroutine_wrapper`, `async_generator_asend`, `FutureIter`).
const FIRST_FIELD: u32 = 16;
/// `fut_loop`, the first field of every future and task.
const EVENT_LOOP: u32 = 16;
/// `PySetObject`: `mask` and `table`.
const SET_MASK: u32 = 32;
const SET_TABLE: u32 = 40;
/// `tp_name` follows the head of a variable-size object.
pub(crate) const TYPE_NAME: u32 = 24;
/// `PyCFunctionObject.m_self`: the object that a method of a C type is bound to.
const BOUND_TO: u32 = 24;
/// Local variables and temporary values of a frame that are searched for its event loop.
const FRAME_WORDS: u32 = 48;

/// Where one process keeps its tasks: found once, used often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskSource {
    /// 3.11 to 3.13: a weak set, and where a task keeps its coroutine.
    Set {
        /// Address of the `WeakSet`.
        weak_set: u64,
        /// Offset of `task_coro`.
        coroutine: u32,
    },
    /// 3.14 and 3.15: circular lists through the tasks.
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

/// One task that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Address of the task.
    pub task: u64,
    /// Address of its event loop: [`first_local`](crate::first_local) of the frame of `BaseEventLoop.run_forever`.
    pub event_loop: u64,
    /// Address of its outermost coroutine.
    pub coroutine: u64,
}

/// What stands at the end of a chain of coroutines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Frames shown.
    pub frames: u32,
    /// Address of the future that the innermost coroutine awaits; 0 where it awaits something else.
    pub future: u64,
    /// Whether that stands for other tasks (a task, `gather`, a task group, `wait`), so that those tell what is
    /// awaited.
    pub for_tasks: bool,
}

impl TaskSource {
    /// Finds the tasks of the interpreter at `interp`. `debug` is the address of the section `.AsyncioDebug`, which
    /// 3.14 and later need. `None` until `asyncio` is imported.
    ///
    /// Searches dictionaries: call it seldom.
    pub fn find<M: Memory>(mem: &M, layout: &Layout, interp: u64, debug: Option<u64>) -> Option<Self> {
        if layout.free_threaded {
            return None;
        }
        if layout.minor >= 14 {
            return Self::described(mem, debug?);
        }
        // 3.11 knows one set; 3.12 and 3.13 one for tasks that have been suspended, which are all that wait.
        let name: &[u8] = if layout.minor == 11 { b"_all_tasks" } else { b"_scheduled_tasks" };
        let weak_set = dict::module_attribute(mem, layout, interp, b"asyncio.tasks", name)?;
        // Measured on 3.11.7, 3.12.1, 3.13.0 and 3.13.18: what lies there is checked to be a coroutine anyway.
        Some(Self::Set { weak_set, coroutine: if layout.minor == 13 { 120 } else { 136 } })
    }

    /// `Py_AsyncioModuleDebugOffsets`: of a task its size, name, awaited-by, two flags, coroutine and node; of an
    /// interpreter its size and list; of a thread its size, running loop, running task and list.
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

/// Shows the waiting tasks of the thread state at `tstate` of the interpreter at `interp` until `visit` answers false;
/// answers whether all were seen.
///
/// Before 3.14 the tasks of all threads are shown: tell them apart by [`Task::event_loop`].
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

/// The event loop that the innermost frame at `frame` calls, among those that `known` tells: the loop that one of its
/// values is, is bound to, or belongs to (as a task does). For loops whose own functions have no frames (uvloop).
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

/// Shows the frames that `task` is suspended in, outermost first, until `visit` answers false.
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

/// A coroutine or generator that is not running: its frame, and the object that it awaits (0: none).
struct Suspended {
    frame: Frame,
    awaits: u64,
}

/// Is the object at `object` a coroutine or generator that is suspended?
pub(crate) fn is_suspended<M: Memory>(mem: &M, layout: &Layout, object: u64) -> bool {
    suspended(mem, layout, object).is_some()
}

/// Reads the generator at `object`; `None` where that is none, or is not suspended.
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
        // One state for both: the instruction behind is RESUME, and its argument says after what (2, 3: await).
        (11 | 12, -1) => mem.u8(frame.instruction.wrapping_add(3))? & 3 >= 2,
        (13 | 14, -1) | (15, 2 | 3) => true,
        (13 | 14, -2) | (15, 1) => false,
        _ => return None,
    };
    let awaits = if delegates { stack_peek(mem, layout, place)? } else { 0 };
    Some(Suspended { frame, awaits })
}

/// The object on top of a suspended frame's stack; 3.15 keeps one word more above it.
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

/// Hands a waiting task on; true to go on.
fn show<M: Memory>(mem: &M, layout: &Layout, task: u64, coroutine: u32, visit: &mut impl FnMut(Task) -> bool) -> bool {
    let read = || Some((mem.u64(at(task, coroutine))?, mem.u64(at(task, EVENT_LOOP))?));
    match read() {
        Some((coroutine, event_loop)) if suspended(mem, layout, coroutine).is_some() => {
            visit(Task { task, event_loop, coroutine })
        }
        _ => true,
    }
}

/// The referents of the weak set at `weak_set`.
fn set_members<M: Memory>(mem: &M, layout: &Layout, weak_set: u64, mut visit: impl FnMut(u64) -> bool) -> bool {
    let Some(set) = dict::weak_set_data(mem, layout, weak_set) else { return false };
    set_entries(mem, set, |reference| {
        let task = mem.u64(at(reference, FIRST_FIELD)).unwrap_or(0);
        task == 0 || unaligned(task) || visit(task)
    })
}

/// The members of the set at `set`.
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

/// The links of the circular list whose head lies at `head`, the head itself left out.
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

/// Whether the future at `future` is a task like `task`, or what `gather` returns.
fn stands_for_tasks<M: Memory>(mem: &M, layout: &Layout, task: u64, future: u64) -> bool {
    let type_of = |object: u64| mem.u64(at(object, layout.object.ob_type)).filter(|_| object != 0);
    let Some(kind) = type_of(future) else { return false };
    let mut name = [0; 17];
    let named = mem.u64(at(kind, TYPE_NAME)).is_some_and(|text| mem.bytes(text, &mut name));
    type_of(task) == Some(kind) || (named && &name == b"_GatheringFuture\0")
}

/// Whether the code object at `code` is one of asyncio's own that wait for tasks through a plain future.
fn gathers<M: Memory>(mem: &M, layout: &Layout, code: u64) -> bool {
    let (mut file, mut name) = ([0; 512], [0; 32]);
    let read = |field, out: &mut [u8]| text(mem, layout, mem.u64(at(code, field))?, out);
    let Some(file) = read(layout.code.filename, &mut file).and_then(|len| file.get(..len)) else { return false };
    let Some(name) = read(layout.code.qualname, &mut name).and_then(|len| name.get(..len)) else { return false };
    file.ends_with(b"/asyncio/taskgroups.py")
        || (file.ends_with(b"/asyncio/tasks.py") && matches!(name, b"_wait" | b"wait_for" | b"_cancel_and_wait"))
}

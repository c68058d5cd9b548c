//! The frames of one thread, leaf first.
//!
//! Job: follow the links `previous` from the current frame, and give code object and instruction of each frame. The
//! thread may run during the walk. So every load can fail, a frame without a valid code object is skipped, and the
//! number of steps is bounded. Skipped frames are counted, except for innermost frames: these have returned (3.11 and
//! 3.12 release the code object before they unlink the frame). Invariant: at most `2 * max + 64` frames are visited or
//! skipped. Neighbours: `fields` (offsets of the fields), `identity` and `linetable` (translate the pair of code and
//! offset). Callers: the shim's `python::stack`, the launcher's observer.

use crate::fields::Layout;
use crate::memory::{Memory, at, unaligned};

/// From 3.14 on, the two low bits of `f_executable` are a tag. Before, these bits are zero, because code objects are
/// aligned.
pub(crate) const TAG: u64 = 3;
/// `FRAME_CREATED_BY_INTERPRETER` and C-stack frames are the interpreter's own: 3 and 4, in 3.12 to 3.15.
const OWNER_INTERPRETER: u8 = 3;
/// `CO_NO_MONITORING_EVENTS`, which the compiler never sets: the code object is the interpreter's own (3.13 to 3.15).
const OWN_CODE_FLAG: u32 = 0x0200_0000;
/// Most bytes of bytecode of such a code object: four instructions in 3.13 to 3.15, doubled.
const OWN_CODE_LIMIT: u32 = 16;
/// Bytes from a `_PyCFrame`'s frame to the `_PyCFrame` before it.
const PREVIOUS: u32 = 8;
/// Bytes from a frame's `is_entry` to its owner, in 3.11.
const IS_ENTRY: u32 = 1;
/// Most callers of a frame that [`in_loop`] follows.
const LOOP_FRAMES: u32 = 1024;
/// An unaligned address, so no frame has it: a walk that reaches this address ends as broken.
const NOWHERE: u64 = 1;
/// Extra steps of a walk for skipped frames.
const SKIP_ALLOWANCE: u32 = 64;

/// A Python frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Address of the code object.
    pub code: u64,
    /// Byte offset of the instruction in the code object's bytecode. `u32::MAX` if the instruction lies outside of the
    /// bytecode: the frame has not begun (3.11, 3.12), or the interpreter was changing the frame.
    pub offset_bytes: u32,
    /// Address of the instruction. If `offset_bytes` is known, the first byte there is the opcode.
    pub instruction: u64,
    /// Address of the `_PyInterpreterFrame`.
    pub frame: u64,
}

/// The reason for the end of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkEnd {
    /// The walk reached the outermost frame.
    Complete,
    /// The walk reached `max` frames or the bound on steps, and there were more frames.
    Cut,
    /// The visitor returned false.
    Stopped,
    /// A frame could not be read. The visited frames are the innermost ones; the others are unknown.
    Broken,
}

/// Result of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The reason for the end.
    pub end: WalkEnd,
    /// Number of frames passed to the visitor.
    pub frames: u32,
    /// Number of frames skipped for want of a valid code object. If any frame was visited, the skipped frames before
    /// the first visited frame do not count.
    pub rejected: u32,
}

/// Calls `visit` with the frames of the thread state at `tstate`, leaf first, at most `max`, until `visit` returns
/// false.
///
/// A thread state that runs no Python code gives no frames and [`WalkEnd::Complete`].
#[inline]
pub fn walk<M: Memory>(mem: &M, layout: &Layout, tstate: u64, max: u32, visit: impl FnMut(Frame) -> bool) -> Walk {
    walk_interrupted(mem, layout, tstate, &[], max, visit)
}

/// The address of a thread's pointer to its innermost frame, and the address of this frame's instruction pointer.
/// `None` if the thread has no frame.
pub fn innermost<M: Memory>(mem: &M, layout: &Layout, tstate: u64) -> Option<(u64, u64)> {
    let root = at(tstate, layout.thread.frame_root);
    let pointer = match layout.thread.cframe_frame {
        Some(offset) => at(mem.u64(root)?, offset),
        None => root,
    };
    let frame = mem.u64(pointer).filter(|&frame| frame != 0)?;
    Some((pointer, at(frame, layout.frame.instruction)))
}

/// As [`walk`], for a thread that a signal has interrupted. `registers`: the thread's registers at the interruption.
#[inline]
pub fn walk_interrupted<M: Memory>(
    mem: &M,
    layout: &Layout,
    tstate: u64,
    registers: &[u64],
    max: u32,
    mut visit: impl FnMut(Frame) -> bool,
) -> Walk {
    let broken = Walk { end: WalkEnd::Broken, frames: 0, rejected: 0 };
    if tstate == 0 {
        return Walk { end: WalkEnd::Complete, ..broken };
    }
    let Some(root) = mem.u64(at(tstate, layout.thread.frame_root)) else { return broken };
    let Some(offset) = layout.thread.cframe_frame else { return walk_from(mem, layout, root, max, visit) };
    if root == 0 {
        return Walk { end: WalkEnd::Complete, ..broken };
    }
    let outer = || {
        let before = mem.u64(at(root, offset.saturating_add(PREVIOUS))).filter(|&before| before != 0)?;
        mem.u64(at(before, offset))
    };
    let walked = match mem.u64(at(root, offset)) {
        Some(frame) => {
            let caller = unlinked(mem, layout, frame, registers, outer);
            follow(mem, layout, frame, caller, max, &mut visit)
        }
        None => broken,
    };
    // 3.11 and 3.12 link a `_PyCFrame` on the C stack before they store its frame. Until then, its memory holds old
    // bytes, and the calling frame is in the `_PyCFrame` before.
    if walked.end == WalkEnd::Broken
        && walked.frames == 0
        && let Some(frame) = outer()
    {
        return walk_from(mem, layout, frame, max, visit);
    }
    walked
}

/// As [`walk`], from the `_PyInterpreterFrame` at `frame` outwards.
#[inline]
pub fn walk_from<M: Memory>(mem: &M, layout: &Layout, frame: u64, max: u32, visit: impl FnMut(Frame) -> bool) -> Walk {
    follow(mem, layout, frame, None, max, visit)
}

/// Walks from `frame` outwards. `caller`: the caller of the first frame, if the frame's own link is not valid yet.
#[inline]
fn follow<M: Memory>(
    mem: &M,
    layout: &Layout,
    mut frame: u64,
    mut caller: Option<u64>,
    max: u32,
    mut visit: impl FnMut(Frame) -> bool,
) -> Walk {
    let mut walk = Walk { end: WalkEnd::Complete, frames: 0, rejected: 0 };
    let mut steps = max.saturating_mul(2).saturating_add(SKIP_ALLOWANCE);
    while frame != 0 {
        if steps == 0 {
            return Walk { end: WalkEnd::Cut, ..walk };
        }
        steps = steps.saturating_sub(1);
        let Some(link) = read_link(mem, layout, frame) else {
            return Walk { end: WalkEnd::Broken, ..walk };
        };
        if link.owner < OWNER_INTERPRETER {
            match read_frame(mem, layout, frame, link) {
                Reading::Python(_) if walk.frames >= max => return Walk { end: WalkEnd::Cut, ..walk },
                Reading::Python(shown) => {
                    if walk.frames == 0 {
                        walk.rejected = 0;
                    }
                    walk.frames = walk.frames.saturating_add(1);
                    if !visit(shown) {
                        return Walk { end: WalkEnd::Stopped, ..walk };
                    }
                }
                Reading::Interpreter => {}
                Reading::Garbage => walk.rejected = walk.rejected.saturating_add(1),
            }
        }
        let previous = caller.take().unwrap_or(link.previous);
        if previous == frame {
            return Walk { end: WalkEnd::Broken, ..walk };
        }
        frame = previous;
    }
    walk
}

/// The caller of the current frame `frame`, if the frame's link is not set yet or is left from an earlier frame at the
/// same address. `None`: the frame's own link is valid. [`NOWHERE`]: no register holds the caller.
///
/// In 3.11 and 3.12, compilers order two stores so that a called function or resumed generator becomes the current
/// frame before the interpreter links the frame to its caller. Between the stores, the caller's address is in a
/// register. A register holds the caller if its links lead to the entry frame of the evaluation loop, and from there to
/// `outer`, the current frame of the enclosing loop.
fn unlinked<M: Memory>(
    mem: &M,
    layout: &Layout,
    frame: u64,
    registers: &[u64],
    outer: impl FnOnce() -> Option<u64>,
) -> Option<u64> {
    if registers.is_empty() {
        return None;
    }
    let link = read_link(mem, layout, frame)?;
    let (start, _) = code_bytes(mem, layout, link.executable)?;
    let begun = link.instruction.wrapping_add(2) != start;
    if begun && link.previous != 0 || is_entry(mem, layout, frame, link)? {
        return None;
    }
    let outer = outer()?;
    if in_loop(mem, layout, link.previous, outer) != Some(false) {
        return None;
    }
    let is_caller = |&&register: &&u64| {
        register != frame
            && single(mem, layout, register).is_some()
            && in_loop(mem, layout, register, outer) == Some(true)
    };
    registers.iter().find(is_caller).copied().or(Some(NOWHERE))
}

/// Does the frame at `frame` run in the evaluation loop that was entered from `outer`? `None` if the frame's callers do
/// not decide.
fn in_loop<M: Memory>(mem: &M, layout: &Layout, mut frame: u64, outer: u64) -> Option<bool> {
    for _ in 0..LOOP_FRAMES {
        if frame == outer || frame == 0 {
            return Some(false);
        }
        let link = read_link(mem, layout, frame)?;
        if is_entry(mem, layout, frame, link)? {
            return Some(link.previous == outer);
        }
        frame = link.previous;
    }
    None
}

/// Did C code enter an evaluation loop with this frame? In 3.11 such a frame is the program's; in 3.12 the
/// interpreter's.
fn is_entry<M: Memory>(mem: &M, layout: &Layout, frame: u64, link: Link) -> Option<bool> {
    match layout.minor {
        11 => Some(mem.u8(at(frame, layout.frame.owner.saturating_sub(IS_ENTRY)))? != 0),
        _ => Some(link.owner >= OWNER_INTERPRETER),
    }
}

/// Address and size in bytes of the bytecode of the code object at `code`. `None` if no code object is there.
#[inline]
pub fn code_bytes<M: Memory>(mem: &M, layout: &Layout, code: u64) -> Option<(u64, u32)> {
    if code == 0 || mem.u64(at(code, layout.object.ob_type))? != layout.code_type {
        return None;
    }
    let units = mem.u64(at(code, layout.object.ob_size))?;
    // A code unit has two bytes. Sizes beyond 31 bits are garbage.
    let size = u32::try_from(units).ok()?.checked_mul(2)?;
    Some((at(code, layout.code.bytecode), size))
}

/// The first local variable of the frame at `frame`: a method's `self`. 0 if the variable is not set.
pub fn first_local<M: Memory>(mem: &M, layout: &Layout, frame: u64) -> Option<u64> {
    Some(mem.u64(at(frame, layout.frame.locals))? & !TAG)
}

/// The frame at `frame`, if it runs a code object of the program.
pub(crate) fn single<M: Memory>(mem: &M, layout: &Layout, frame: u64) -> Option<Frame> {
    match read_frame(mem, layout, frame, read_link(mem, layout, frame)?) {
        Reading::Python(shown) => Some(shown),
        Reading::Interpreter | Reading::Garbage => None,
    }
}

/// Four fields of a frame; together they lie in one or two cache lines.
#[derive(Clone, Copy)]
struct Link {
    previous: u64,
    executable: u64,
    instruction: u64,
    owner: u8,
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "measured: a walk takes a sixth less")]
fn read_link<M: Memory>(mem: &M, layout: &Layout, frame: u64) -> Option<Link> {
    if unaligned(frame) {
        return None;
    }
    Some(Link {
        executable: mem.u64(at(frame, layout.frame.code))?,
        previous: mem.u64(at(frame, layout.frame.previous))?,
        instruction: mem.u64(at(frame, layout.frame.instruction))?,
        owner: mem.u8(at(frame, layout.frame.owner))?,
    })
}

/// The kind of a frame, as read.
enum Reading {
    Python(Frame),
    /// A frame of the interpreter itself, for example to call a class' `__init__` and drop its result (3.13 and later).
    Interpreter,
    /// A frame without a valid code object.
    Garbage,
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "measured: a walk takes a sixth less")]
fn read_frame<M: Memory>(mem: &M, layout: &Layout, frame: u64, link: Link) -> Reading {
    let code = link.executable & !TAG;
    let Some((main, size)) = code_bytes(mem, layout, code) else { return Reading::Garbage };
    // Few functions are as short as the interpreter's own code objects, so `is_own` runs for few frames.
    if size <= OWN_CODE_LIMIT && is_own(mem, layout, code).unwrap_or(false) {
        return Reading::Interpreter;
    }
    let start = if layout.free_threaded { thread_bytecode(mem, layout, code, frame).unwrap_or(main) } else { main };
    let offset = link.instruction.wrapping_sub(start);
    let offset_bytes = match u32::try_from(offset) {
        Ok(offset) if offset < size => offset,
        _ => u32::MAX,
    };
    Reading::Python(Frame { code, offset_bytes, instruction: link.instruction, frame })
}

/// Is the short code object at `code` the interpreter's own?
///
/// In versions with an owner mark in the frame, the caller has already skipped such frames. Then this function finds
/// only frames that the interpreter was changing.
fn is_own<M: Memory>(mem: &M, layout: &Layout, code: u64) -> Option<bool> {
    if layout.minor == 12 {
        // 3.12 sets no flag. But such code has no lines, so its line table has at most a single byte.
        let table = mem.u64(at(code, layout.code.linetable))?;
        return Some(mem.u64(at(table, layout.object.ob_size))? <= 1);
    }
    Some(mem.u32(at(code, layout.code.flags))? & OWN_CODE_FLAG != 0)
}

/// Free-threaded builds give each thread a copy of the bytecode: `co_tlbc->entries[tlbc_index]`.
fn thread_bytecode<M: Memory>(mem: &M, layout: &Layout, code: u64, frame: u64) -> Option<u64> {
    let copies = mem.u64(at(code, layout.code.tlbc)).filter(|copies| *copies != 0)?;
    let index = u64::from(mem.u32(at(frame, layout.frame.tlbc_index))?);
    if index >= mem.u64(copies)? {
        return None;
    }
    mem.u64(copies.wrapping_add(index.wrapping_mul(8)).wrapping_add(8)).filter(|start| *start != 0)
}

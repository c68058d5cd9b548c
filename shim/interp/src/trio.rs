//! The tasks of a trio loop.
//!
//! Job: find the tasks and their coroutines from the frame of `trio.run`, which has the runner in a local variable.
//! Classes with slots have different layouts in different versions of trio. So this file searches in each object: in a
//! runner for a set of objects of class `Task`, in a task for a suspended coroutine. Invariant: a task without such a
//! coroutine is left out. Neighbours: `tasks` reads coroutines and sets.

use crate::fields::Layout;
use crate::memory::{Memory, at, unaligned};
use crate::tasks::{TYPE_NAME, Task, is_suspended, set_entries};
use crate::text::text;
use crate::walk::TAG;

/// Words of an object in which this file searches: a runner has 20 slots, a task 17.
const SEARCHED_WORDS: u32 = 40;
/// The first slot of an object.
const FIRST_SLOT: u32 = 16;

/// Calls `visit` with the waiting tasks of the loop in the frame at `frame`, until `visit` returns false.
pub fn trio_tasks<M: Memory>(mem: &M, layout: &Layout, frame: u64, mut visit: impl FnMut(Task) -> bool) {
    let locals = words_from(mem, at(frame, layout.frame.locals)).map(|word| word & !TAG);
    let Some(runner) =
        locals.filter(|word| *word != 0 && !unaligned(*word)).find(|&object| is_a(mem, layout, object, b"Runner\0"))
    else {
        return;
    };
    let set = slots(mem, runner).find(|&object| {
        let mut found = false;
        let is_set = is_a(mem, layout, object, b"set\0");
        is_set && {
            set_entries(mem, object, |member| {
                // A removed member leaves a mark, which is no task.
                found = is_a(mem, layout, member, b"Task\0");
                !found
            });
            found
        }
    });
    let Some(set) = set else { return };
    set_entries(mem, set, |task| {
        let coroutine = slots(mem, task).find(|&object| is_suspended(mem, layout, object));
        match coroutine.filter(|_| is_a(mem, layout, task, b"Task\0")) {
            Some(coroutine) => visit(Task { task, event_loop: runner, coroutine }),
            None => true,
        }
    });
}

/// Does the code object at `code` wait for other tasks, or does it belong to a task of trio itself?
pub fn stands_for_trio<M: Memory>(mem: &M, layout: &Layout, code: u64) -> bool {
    let (mut file, mut name) = ([0; 512], [0; 40]);
    let read = |field, out: &mut [u8]| text(mem, layout, mem.u64(at(code, field))?, out);
    let Some(file) = read(layout.code.filename, &mut file).and_then(|len| file.get(..len)) else { return false };
    let Some(name) = read(layout.code.qualname, &mut name).and_then(|len| name.get(..len)) else { return false };
    (file.ends_with(b"/trio/_core/_run.py") && name == b"Nursery._nested_child_finished")
        || (file.ends_with(b"/trio/_core/_entry_queue.py") && name == b"EntryQueue.task")
}

/// The objects in the slots of the object at `object`.
fn slots<M: Memory>(mem: &M, object: u64) -> impl Iterator<Item = u64> {
    words_from(mem, at(object, FIRST_SLOT)).filter(|&slot| slot != 0 && !unaligned(slot))
}

/// The words from an address on.
fn words_from<M: Memory>(mem: &M, from: u64) -> impl Iterator<Item = u64> {
    (0..SEARCHED_WORDS).map_while(move |index| mem.u64(from.wrapping_add(u64::from(index).wrapping_mul(8))))
}

/// Does the class of the object have this name? `name` ends with NUL.
fn is_a<M: Memory>(mem: &M, layout: &Layout, object: u64, name: &[u8]) -> bool {
    let mut found = [0; 8];
    let Some(found) = found.get_mut(..name.len()) else { return false };
    let text = mem.u64(at(object, layout.object.ob_type)).and_then(|kind| mem.u64(at(kind, TYPE_NAME)));
    text.is_some_and(|text| mem.bytes(text, found)) && found == name
}

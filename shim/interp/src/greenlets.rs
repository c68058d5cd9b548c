//! The waiting greenlets of an idle gevent hub, and the line at which each waits.
//!
//! Job: find the hub from the frame of `Hub.run`; find the greenlets, and the watchers that wake them, from the garbage
//! collector's lists. greenlet's C++ objects and libev's watchers have different layouts in different versions. So this
//! file recognises a field by its target: an object of a known class, or an object that points back. Invariant: objects
//! without such a field are left out; every list has a bound. Neighbours: `walk` reads the frames; `tasks` and `trio`
//! do the same for asyncio and trio. Callers: the launcher's observer.

use crate::fields::Layout;
use crate::memory::{Memory, at, unaligned};
use crate::tasks::TYPE_NAME;
use crate::walk::{Frame, first_local, single};

/// Words of `PyInterpreterState` in which [`collector_lists`] searches for the heads of the collector's lists.
const STATE_WORDS: u32 = 4_096;
/// Bytes from one `gc_generation` to the next: two links, a threshold and a count.
const GENERATION: u32 = 24;
/// The collector's lists: the youngest objects are in the first.
const GENERATIONS: u32 = 3;
/// Bytes of `PyGC_Head`, which stands before the object; its second word is the link to the object before.
const HEAD: u32 = 16;
const BEFORE: u32 = 8;
/// The low bits of a link are flags of the collector.
const FLAGS: u64 = 3;
/// `PyTypeObject.tp_base`, and the most base classes that are followed.
const BASE: u32 = 256;
const BASES: u32 = 16;
/// `PyGreenlet.pimpl`: greenlet's C++ object, whose second word is the greenlet again.
const IMPLEMENTATION: u32 = 32;
const SELF: u32 = 8;
/// Words of the C++ object in which this file searches.
const SEARCHED_WORDS: u32 = 32;
/// `PyFrameObject.f_frame`.
const F_FRAME: u32 = 24;
/// Words of a watcher in which its callback and the callback's arguments can be.
const WATCHER_WORDS: core::ops::Range<u32> = 2..7;
/// Offset of the object of a bound method.
const BOUND_TO: u32 = 24;
/// Words of a `Waiter` in which [`woken_by`] searches for its greenlet.
const WAITER_WORDS: u32 = 7;

/// The kind of an object in the collector's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collected {
    /// A greenlet.
    Greenlet,
    /// A watcher of libev, which calls a function when the system has an event for it.
    Watcher,
    /// Anything else.
    Other,
}

/// A hub, and the offset at which its greenlets name their parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hub {
    /// Address of the hub.
    pub hub: u64,
    /// Address of the main greenlet of the hub's thread, in which the thread began.
    pub main: u64,
    /// Offset of the parent in the C++ object.
    parent: u32,
}

/// The address of the first head of the collector's three lists in the interpreter at `interp`. Slow: keep the result.
pub fn collector_lists<M: Memory>(mem: &M, layout: &Layout, interp: u64) -> Option<u64> {
    if layout.free_threaded {
        return None;
    }
    let is_head = |head: u64| {
        let read = || {
            let (next, before) = (mem.u64(head)? & !FLAGS, mem.u64(at(head, BEFORE))? & !FLAGS);
            let plausible = next != 0 && before != 0 && !unaligned(next) && !unaligned(before);
            Some(plausible && mem.u64(at(next, BEFORE))? & !FLAGS == head && mem.u64(before)? & !FLAGS == head)
        };
        read() == Some(true)
    };
    (1..STATE_WORDS)
        .map(|index| at(interp, index.wrapping_mul(8)))
        .find(|&first| (0..GENERATIONS).all(|nth| is_head(at(first, nth.wrapping_mul(GENERATION)))))
}

/// Calls `visit` with each object of the collector's lists at `lists` and its class, the newest of each list first,
/// until `visit` returns false. `limit`: most objects of all lists together. Returns the number of visited objects.
pub fn collected<M: Memory>(
    mem: &M,
    layout: &Layout,
    lists: u64,
    limit: u32,
    mut visit: impl FnMut(u64, u64) -> bool,
) -> u32 {
    let mut shown = 0u32;
    for nth in 0..GENERATIONS {
        let head = at(lists, nth.wrapping_mul(GENERATION));
        let mut link = head;
        while shown < limit {
            let Some(before) = mem.u64(at(link, BEFORE)).map(|before| before & !FLAGS) else { break };
            // The two links disagree, because the program is changing the list.
            if before == 0 || unaligned(before) || mem.u64(before).map(|next| next & !FLAGS) != Some(link) {
                break;
            }
            if before == head {
                break;
            }
            link = before;
            let object = at(link, HEAD);
            let Some(class) = mem.u64(at(object, layout.object.ob_type)) else { break };
            shown = shown.saturating_add(1);
            if !visit(object, class) {
                return shown;
            }
        }
    }
    shown
}

/// The kind of the objects of the class at `class`.
pub fn collected_as<M: Memory>(mem: &M, mut class: u64) -> Collected {
    for _ in 0..BASES {
        if class == 0 || unaligned(class) {
            break;
        }
        let mut name = [0; 32];
        if !mem.u64(at(class, TYPE_NAME)).is_some_and(|text| readable_text(mem, text, &mut name)) {
            break;
        }
        if name.starts_with(b"greenlet.greenlet\0") {
            return Collected::Greenlet;
        }
        if name.starts_with(b"gevent.libev.corecext.watcher\0") {
            return Collected::Watcher;
        }
        class = mem.u64(at(class, BASE)).unwrap_or(0);
    }
    Collected::Other
}

/// The hub of the frame at `frame`, a frame of `Hub.run`. `None` if the hub has another layout than in greenlet 3.
pub fn hub<M: Memory>(mem: &M, layout: &Layout, frame: u64) -> Option<Hub> {
    let hub = first_local(mem, layout, frame)?;
    let state = implementation(mem, hub)?;
    // A greenlet refers to the main greenlet of its thread, to its function, and to its parent, in this order. The
    // parent of a hub is the main greenlet.
    (2..SEARCHED_WORDS).find_map(|index| {
        let (main, parent) = (index.wrapping_mul(8), index.wrapping_add(2).wrapping_mul(8));
        let named = mem.u64(at(state, main)).filter(|&named| named != 0 && !unaligned(named) && named != hub)?;
        let same = mem.u64(at(state, parent))? == named && implementation(mem, named).is_some();
        same.then_some(Hub { hub, main: named, parent })
    })
}

/// Is the object at `greenlet` a greenlet of this hub, or the main greenlet of the hub's thread?
pub fn is_of_hub<M: Memory>(mem: &M, hub: Hub, greenlet: u64) -> bool {
    if greenlet == hub.main {
        return true;
    }
    implementation(mem, greenlet).and_then(|state| mem.u64(at(state, hub.parent))) == Some(hub.hub)
}

/// The innermost frame of the greenlet at `greenlet`; `None` if the greenlet runs, has ended, or has not begun.
pub fn parked_frame<M: Memory>(mem: &M, layout: &Layout, greenlet: u64) -> Option<Frame> {
    let state = implementation(mem, greenlet)?;
    (2..SEARCHED_WORDS).find_map(|index| {
        let object = mem.u64(at(state, index.wrapping_mul(8)))?;
        if !is_named(mem, layout, object, b"frame\0") {
            return None;
        }
        single(mem, layout, mem.u64(at(object, F_FRAME))?)
    })
}

/// Calls `visit` with the objects that the watcher at `watcher` calls or passes as arguments; greenlets are among them.
pub fn woken_by<M: Memory>(mem: &M, layout: &Layout, watcher: u64, mut visit: impl FnMut(u64)) {
    for index in WATCHER_WORDS {
        let Some(object) = mem.u64(at(watcher, index.wrapping_mul(8))) else { return };
        let names: [(&[u8], u32); 3] =
            [(b"tuple\0", layout.tuple_items()), (b"method\0", BOUND_TO), (b"builtin_function_or_method\0", BOUND_TO)];
        let first = names.into_iter().find(|(name, _)| is_named(mem, layout, object, name)).map(|(_, first)| first);
        let called = first.and_then(|first| mem.u64(at(object, first)));
        let Some(called) = called.filter(|&called| called != 0 && !unaligned(called)) else { continue };
        visit(called);
        for word in 2..WAITER_WORDS {
            let Some(held) = mem.u64(at(called, word.wrapping_mul(8))) else { break };
            visit(held);
        }
    }
}

/// The C++ object of the greenlet at `greenlet`, if the C++ object points back to the greenlet.
fn implementation<M: Memory>(mem: &M, greenlet: u64) -> Option<u64> {
    if greenlet == 0 || unaligned(greenlet) {
        return None;
    }
    let state = mem.u64(at(greenlet, IMPLEMENTATION)).filter(|&state| state != 0 && !unaligned(state))?;
    (mem.u64(at(state, SELF))? == greenlet).then_some(state)
}

/// Does the class of the object have this name? `name` ends with NUL.
fn is_named<M: Memory>(mem: &M, layout: &Layout, object: u64, name: &[u8]) -> bool {
    if object == 0 || unaligned(object) {
        return false;
    }
    let mut found = [0; 32];
    let text = mem.u64(at(object, layout.object.ob_type)).and_then(|kind| mem.u64(at(kind, TYPE_NAME)));
    text.is_some_and(|text| readable_text(mem, text, &mut found)) && found.starts_with(name)
}

/// Reads a text of unknown length byte by byte up to its NUL, because the memory behind the text may be unmapped.
fn readable_text<M: Memory>(mem: &M, text: u64, into: &mut [u8]) -> bool {
    let mut addr = text;
    for byte in into.iter_mut() {
        let Some(read) = mem.u8(addr) else { return false };
        *byte = read;
        if read == 0 {
            return true;
        }
        addr = addr.wrapping_add(1);
    }
    true
}

//! The allocator's entry points: the program's allocations and frees, sampled by bytes.
//!
//! Job: see every call that allocates, decide cheaply whether a block is a sample, and record the samples. The sampling
//! model: blocks of at least four mean intervals, or 256 KiB, are all recorded, with their size as weight. A smaller
//! block of `n` bytes is a sample with probability `1 - exp(-n / T)`, and has the weight `n / (1 - exp(-n / T))` bytes.
//! After every sample, an exponential gap of mean `T` bytes is drawn; gaps are memoryless, so the rest of a gap can
//! simply be dropped. The estimate is unbiased for any mix of sizes in any order. Each sample carries its `T`.
//! Invariant: the fast path of an allocation is a countdown in the thread's block; the fast path of a free is one byte
//! of a counting filter. The end of a recorded block is recorded before the allocator frees the block, so no other
//! thread can get the block's address in between. Neighbours: `libc`, `cxx`, `pymem`, `maps`, `copies` (the entry
//! points), `interval`, `live`.
//!
//! ```text
//!  malloc family --> libc ---\                       /--> live (addresses of recorded blocks)
//!  new, delete  --> cxx -----\
//!  PyMem, PyObject -> pymem ---> interval: a sample? --> record (stack, ring)
//!  mmap family  --> maps ----/
//!  memcpy       --> copies
//! ```

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rscalene_wire as wire;
use wire::{AllocFlags, FreeHow, Kind};

use crate::arena::ring::Segment;
use crate::arena::segment;
use crate::cpu::threads;
use crate::ground::guard::Guarded;
use crate::ground::slot::Slot;
use crate::ground::tls::{Busy, tls};
use crate::ground::{quiet, sys};
use crate::memory::{interval, live};
use crate::python::interpreter;
use crate::python::labels;
use crate::python::selftest;
use crate::python::stack;

/// Has the extension module directed the tables of the loaded libraries here?
static TAPPED: AtomicBool = AtomicBool::new(false);

/// Does this process sample allocations that come through the libraries' tables?
#[inline(always)]
pub(crate) fn tapped() -> bool {
    TAPPED.load(Relaxed)
}

/// Runs the allocator itself, marked so that its mappings are not recorded: they hold blocks that are counted one by
/// one.
#[inline(always)]
pub(crate) fn within<T>(real: impl FnOnce() -> T) -> T {
    let before = tls().inside.replace(1);
    let answer = real();
    tls().inside.set(before);
    answer
}

/// Starts (`begun`) or stops to sample allocations that come through the libraries' tables.
pub(crate) fn set_tapped(begun: bool) {
    TAPPED.store(begun, Relaxed);
}

/// The function that runs with the GIL held once the interpreter is up and tested: it installs the hooks of the
/// interpreter's allocators.
static WHEN_UP: AtomicUsize = AtomicUsize::new(0);

/// Registers `then`, to be called with the GIL held once the interpreter is up. Called once, before sampling begins.
pub(crate) fn when_python_is_up(then: fn()) {
    WHEN_UP.store(then as usize, Relaxed);
}

fn when_up() -> fn() {
    let then = WHEN_UP.load(Relaxed);
    // SAFETY: `when_python_is_up` stored a function of this type.
    if then == 0 { || {} } else { unsafe { core::mem::transmute::<usize, fn()>(then) } }
}

/// Stops sampling. The hooks stay installed and forward every call unchanged.
pub(crate) fn stop() {
    TAPPED.store(false, Relaxed);
    interval::stop();
}

/// Has this process recorded that the interpreter finalizes?
static TEARDOWN: AtomicBool = AtomicBool::new(false);

/// The hash of the running stack, and whether the launcher knows the stack.
pub(crate) fn running_stack(segment: &Segment) -> (u64, bool) {
    let python = interpreter::python();
    if !TEARDOWN.load(Relaxed) && python.finalizing() && !TEARDOWN.swap(true, Relaxed) {
        segment.emit(&wire::Teardown { time_ns: sys::now_ns() });
    }
    let tstate = python.thread_state();
    if segment::lent() {
        threads::adopt();
    }
    let slot: *mut Slot = tls().slot.get();
    let (Some(layout), false, false) = (python.layout(), tstate == 0, slot.is_null()) else { return (0, true) };
    if tls().generation.get() != segment::generation() {
        return (0, true);
    }
    // SAFETY: the slot is this thread's own; the scratch space is used only under `Busy`, so by one hook at a time.
    let scratch = unsafe { (*slot).scratch(false) };
    let memory = Guarded::here();
    // The address of any local variable serves as the stack pointer.
    let tstate = python.running_state(layout, &memory, (&raw const memory) as u64);
    // In a build without the GIL, other threads free and allocate blocks during the walk, so a frame may be older than
    // the code object at its address.
    let all_seen = interval::exact() && !layout.free_threaded;
    let walked = stack::capture(segment, layout, &memory, tstate, &[], all_seen, scratch);
    (walked.stack, walked.sent)
}

/// Writes the record of an allocation and remembers its address; the caller is `Busy`.
fn record(address: u64, size: u64, interval: u64, flags: AllocFlags) {
    let Some(segment) = segment::segment() else { return };
    let exact = interval == 0;
    if exact {
        wait_for_room(&segment);
    }
    let (stack, sent) = running_stack(&segment);
    if exact {
        stack::handed_out(address);
    }
    if !sent {
        segment.lose(Kind::Alloc, 1);
        return;
    }
    let (tid, label) = (thread(), labels::current());
    let block = wire::Alloc { time_ns: sys::now_ns(), stack, address, size, interval, tid, label };
    // Exact mode records every free, so it needs no table of addresses.
    if exact || live::insert(address) {
        if !segment.emit_whole(&block, flags, &[]) && !exact {
            live::remove(address);
        }
    } else {
        segment.lose(Kind::Alloc, 1);
    }
}

/// Writes the record of the end of a recorded block (see [`wire::Free::how`]); the caller is `Busy`.
fn record_free(address: u64, how: FreeHow) {
    let Some(segment) = segment::segment() else { return };
    if interval::exact() {
        wait_for_room(&segment);
    }
    let (stack, sent) = running_stack(&segment);
    let record = wire::Free {
        time_ns: sys::now_ns(),
        stack: if sent { stack } else { 0 },
        address,
        tid: thread(),
        how,
        label: labels::current(),
        reserved: 0,
    };
    segment.emit(&record);
}

/// Exact mode: waits until the ring has room, so the program slows down to the pace of the drain and loses no block.
/// Does not wait if the launcher has ended. If the launcher frees no room, waits only once, for about two seconds.
fn wait_for_room(segment: &Segment) {
    for round in 0..20_000 {
        if segment.has_room() {
            GIVEN_UP.store(false, Relaxed);
            return;
        }
        if GIVEN_UP.load(Relaxed) || quiet::is_on() || segment::stopped() {
            return;
        }
        if round % 100 == 99 && segment::launcher_gone() {
            break;
        }
        segment.wake();
        sys::sleep_ns(100_000);
    }
    GIVEN_UP.store(true, Relaxed);
}

/// Set when the drain made no room for two seconds: until it does, exact mode loses records instead of waiting.
static GIVEN_UP: AtomicBool = AtomicBool::new(false);

pub(crate) fn thread() -> u32 {
    let slot = tls().slot.get();
    // SAFETY: a non-null slot is this thread's own, mapped for good.
    if slot.is_null() { sys::tid() } else { unsafe { (*slot).tid.get() } }
}

/// Decision of [`chosen`] to record a block, made before the block is allocated.
#[derive(Clone, Copy)]
pub(crate) struct Choice {
    /// Mean bytes between samples; 0: exact mode.
    pub(crate) interval: u64,
    pub(crate) flags: AllocFlags,
}

/// Is the next block of `bytes` a sample? Called if the countdown ran out or the block is large.
#[cold]
#[inline(never)]
pub(crate) fn chosen(bytes: usize) -> Option<Choice> {
    let block = tls();
    let _errno = sys::KeepErrno::new();
    let _using = segment::using()?;
    if !interval::running() {
        if segment::lent() {
            return None;
        }
        interval::wait(block);
        if interpreter::ready() && interpreter::pending() {
            let _busy = Busy::enter()?;
            selftest::ask(when_up());
        } else if interpreter::ready() && !interval::wanted() {
            interval::never(block);
        }
        return None;
    }
    if block.busy.get() != 0 || block.inside.get() != 0 {
        block.countdown.set(block.countdown.get().saturating_add(bytes as i64).max(0));
        return None;
    }
    if interval::exact() {
        block.countdown.set(-1);
        return Some(Choice { interval: 0, flags: AllocFlags::CERTAIN.and(block.via_python.get()) });
    }
    interval::choose(block, bytes).map(|(interval, certain)| Choice {
        interval,
        flags: block.via_python.get().and_if(certain, AllocFlags::CERTAIN),
    })
}

/// Records a block that is a sample.
#[cold]
#[inline(never)]
pub(crate) fn keep(address: u64, size: usize, choice: Choice) {
    if address == 0 {
        return;
    }
    let _errno = sys::KeepErrno::new();
    if let (Some(_using), Some(_busy)) = (segment::using(), Busy::enter()) {
        let begun = interval::costs_begin(size as u64);
        record(address, size as u64, choice.interval, choice.flags);
        if let Some(begun) = begun {
            interval::spent(begun);
        }
    }
}

/// Records the end of a block whose address passed the filter. Returns false if the block was not recorded.
#[cold]
#[inline(never)]
pub(crate) fn forget(address: u64, how: FreeHow) -> bool {
    if interval::exact() {
        let _errno = sys::KeepErrno::new();
        if let Some(_busy) = Busy::enter() {
            record_free(address, how);
            return true;
        }
        return false;
    }
    if !live::remove(address) {
        return false;
    }
    let _errno = sys::KeepErrno::new();
    let Some(_using) = segment::using() else { return true };
    let busy = Busy::enter();
    record_free(address, how);
    drop(busy);
    true
}

/// Cancels the end that [`forget`] recorded before a resize: the resize failed, and the old block lives on.
#[cold]
#[inline(never)]
pub(crate) fn remember(address: u64) {
    let _errno = sys::KeepErrno::new();
    let (Some(_using), Some(_busy)) = (segment::using(), Busy::enter()) else { return };
    if interval::exact() || live::insert(address) {
        record_free(address, FreeHow::REFUSED);
    }
}

/// In a forked child: forgets the parent's blocks.
pub(crate) fn forget_all() {
    live::forget_all();
    if interval::exact() {
        live::suspect_all();
    }
    interval::begin_child();
    TEARDOWN.store(false, Relaxed);
}

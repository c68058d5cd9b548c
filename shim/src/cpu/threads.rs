//! Threads: each thread gets a slot; sampling is armed at its start, and its exact CPU clock is recorded at its end.
//!
//! Invariant: the memory of slots is never unmapped, so a pointer to a slot is always readable; a slot is in use while
//! its bit is set. Each thread arms its own sources. Neighbours: `pthread` (where threads are made), `clock` (the
//! sources), `handler` (uses the slot), `fork_and_exit` (fork, end).

use core::ffi::{c_int, c_void};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32};

use rscalene_wire as wire;
use wire::Source;

use crate::arena::ring::Segment;
use crate::arena::segment;
use crate::cpu::sources::{arm_sources, stop_sources};
use crate::ground::mask;
use crate::ground::random::mix;
use crate::ground::slot::Slot;
use crate::ground::tls::tls;
use crate::ground::weak::{Weak, weak};
use crate::ground::{quiet, sys};

const CHUNK: usize = 32;
const CHUNKS: usize = 512;
static SLOTS: [AtomicPtr<Slot>; CHUNKS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; CHUNKS];
static USED: [AtomicU32; CHUNKS] = [const { AtomicU32::new(0) }; CHUNKS];
static KEY: AtomicU32 = AtomicU32::new(u32::MAX);
static ARMED: AtomicBool = AtomicBool::new(false);

/// Takes a free slot; null if there is no memory for one.
pub(crate) fn acquire() -> *mut Slot {
    for (used, chunk) in USED.iter().zip(&SLOTS) {
        let mut bits = used.load(Relaxed);
        while bits != u32::MAX {
            let free = (!bits).trailing_zeros();
            match used.compare_exchange_weak(bits, bits | 1 << free, AcqRel, Relaxed) {
                Ok(_) => {
                    let base = chunk_memory(chunk);
                    if base.is_null() {
                        used.fetch_and(!(1 << free), Release);
                        return base;
                    }
                    return base.wrapping_add(free as usize);
                }
                Err(now) => bits = now,
            }
        }
    }
    core::ptr::null_mut()
}

fn chunk_memory(chunk: &AtomicPtr<Slot>) -> *mut Slot {
    let known = chunk.load(Acquire);
    if !known.is_null() {
        return known;
    }
    let bytes = CHUNK * size_of::<Slot>();
    let fresh = sys::map_private(bytes).cast::<Slot>();
    if fresh.is_null() {
        return fresh;
    }
    match chunk.compare_exchange(core::ptr::null_mut(), fresh, AcqRel, Acquire) {
        Ok(_) => fresh,
        Err(theirs) => {
            // SAFETY: another thread published its mapping first; no other thread has seen this one.
            unsafe { sys::unmap(fresh.cast(), bytes) };
            theirs
        }
    }
}

/// Marks the slot as free.
pub(crate) fn release(slot: *mut Slot) {
    for (used, chunk) in USED.iter().zip(&SLOTS) {
        let base = chunk.load(Acquire);
        if base.is_null() {
            continue;
        }
        let at = (slot as usize).wrapping_sub(base as usize) / size_of::<Slot>();
        if at < CHUNK {
            used.fetch_and(!(1 << at), Release);
            return;
        }
    }
}

/// Begins to sample: makes the key whose destructor runs at a thread's end, and arms the current thread.
pub(crate) fn start() {
    make_key();
    ARMED.store(true, Release);
    arm_current();
}

/// Has sampling begun?
pub(crate) fn armed() -> bool {
    ARMED.load(Acquire)
}

/// Makes the key whose destructor runs at a thread's end, once.
pub(crate) fn make_key() {
    let create = weak(Weak::KeyCreate);
    if create != 0 && KEY.load(Relaxed) == u32::MAX {
        let mut key: libc::pthread_key_t = 0;
        // SAFETY: the entry is libc's pthread_key_create, whose type this is.
        let create: unsafe extern "C" fn(*mut libc::pthread_key_t, unsafe extern "C" fn(*mut c_void)) -> c_int =
            unsafe { core::mem::transmute(create) };
        // SAFETY: `key` is a local variable.
        if unsafe { create(&raw mut key, thread_ends) } == 0 {
            KEY.store(key, Relaxed);
        }
    }
}

/// Gives the current thread, which was never armed, a slot without sources: enough to walk its frames.
pub(crate) fn adopt() {
    let block = tls();
    if block.generation.get() == segment::generation() && !block.slot.get().is_null() {
        return;
    }
    let slot = acquire();
    if slot.is_null() {
        return;
    }
    // SAFETY: `acquire` gave a slot that is mapped for good and that no other thread uses.
    let this = unsafe { &*slot };
    clear(this, sys::tid());
    block.generation.set(segment::generation());
    block.slot.set(slot);
    on_thread_exit(slot);
}

/// Is this a vfork child? The child runs in the memory of its parent, so the child finds the slot of the parent's thread.
/// False where this process records nothing.
pub(crate) fn is_vfork_child() -> bool {
    segment::segment().is_some() && own_slot().is_some_and(|slot| slot.tid.get() != sys::tid())
}

fn clear(slot: &Slot, tid: u32) {
    slot.tid.set(tid);
    slot.perf_fd.set(-1);
    slot.former_fd.set(-1);
    slot.opening.set(-1);
    slot.perf_page.set(core::ptr::null_mut());
    slot.timer.set(-1);
    slot.source.set(Source::NONE);
    slot.ending.set(0);
    slot.trials.set(0);
}

fn on_thread_exit(slot: *mut Slot) {
    let key = KEY.load(Relaxed);
    let set = weak(Weak::SetSpecific);
    if key != u32::MAX && set != 0 {
        // SAFETY: the entry is libc's pthread_setspecific, whose type this is.
        let set: unsafe extern "C" fn(libc::pthread_key_t, *const c_void) -> c_int =
            unsafe { core::mem::transmute(set) };
        // SAFETY: `make_key` created the key.
        unsafe { set(key, slot.cast()) };
    }
}

/// Gives the current thread a slot and arms its sources.
pub(crate) fn arm_current() {
    mask::adopt_mask(0);
    let slot = acquire();
    if !slot.is_null() {
        arm(slot);
    }
}

/// Arms the sources of the current thread, gives it `slot`, and records its start.
pub(crate) fn arm(slot: *mut Slot) {
    let Some(segment) = segment::segment() else { return };
    // SAFETY: `acquire` gave a slot that is mapped for good and that no other thread uses.
    let this = unsafe { &*slot };
    let settings = segment::settings();
    let tid = sys::tid();
    clear(this, tid);
    this.last_usage.set(sys::usage(libc::RUSAGE_THREAD));
    let block = tls();
    block.generation.set(segment::generation());
    if block.random.get() == 0 {
        block.random.set(mix(settings.seed ^ sys::now_ns() ^ u64::from(tid) << 32) | 1);
    }
    block.slot.set(slot);
    on_thread_exit(slot);
    arm_sources(this, &settings, block);
    let record = wire::ThreadStart {
        time_ns: sys::now_ns(),
        tid,
        source: this.source.get(),
        cpu_ns: sys::thread_cpu_ns(tid),
        interval_ns: this.interval_ns.get(),
    };
    segment.emit(&record);
}

/// Runs when a thread ends, by return, `pthread_exit` or cancellation. Runs among the last of the thread's key
/// destructors, so that the work of the other destructors is still counted.
unsafe extern "C" fn thread_ends(slot: *mut c_void) {
    let _errno = sys::KeepErrno::new();
    let slot = slot.cast::<Slot>();
    // SAFETY: the key's value is this thread's slot.
    let this = unsafe { &*slot };
    let block = tls();
    if block.generation.get() != segment::generation() || block.slot.get() != slot {
        return;
    }
    let rounds = this.ending.get();
    this.ending.set(rounds + 1);
    // POSIX promises at least four rounds of destructors; this library leaves the first two rounds to the program.
    if rounds < 2 && weak(Weak::SetSpecific) != 0 {
        on_thread_exit(slot);
        return;
    }
    stop_sources(this);
    // If the arena is lent, the code that lent it reads the clocks of threads.
    if !segment::lent()
        && let Some(segment) = segment::segment()
    {
        write_ledger(&segment, this.tid.get(), true);
    }
    block.slot.set(core::ptr::null_mut());
    release(slot);
}

/// This thread's slot, if the thread has one that belongs to this process.
fn own_slot() -> Option<&'static Slot> {
    let block = tls();
    let slot = block.slot.get();
    if slot.is_null() || block.generation.get() != segment::generation() {
        return None;
    }
    // SAFETY: a slot of this generation is this thread's own, mapped for good.
    Some(unsafe { &*slot })
}

/// Stops this thread's sources; [`resume`] arms them again.
pub(crate) fn silence() {
    if let Some(slot) = own_slot() {
        stop_sources(slot);
    }
}

/// Arms this thread's sources again.
pub(crate) fn resume() {
    if let Some(slot) = own_slot() {
        rearm(slot);
    }
}

/// Stops the sources of all threads; [`resume_all`] arms them again. No thread may be taking a sample: this process
/// records nothing.
pub(crate) fn silence_all() {
    for_each(stop_sources);
}

/// Arms the sources of all threads again, after [`silence_all`].
pub(crate) fn resume_all() {
    for_each(rearm);
}

fn rearm(slot: &Slot) {
    if segment::segment().is_some() && !segment::stopped() {
        let _errno = sys::KeepErrno::new();
        slot.source.set(Source::NONE);
        arm_sources(slot, &segment::settings(), tls());
    }
}

/// Calls `act` with the slot of every thread of this process.
fn for_each(mut act: impl FnMut(&Slot)) {
    for (used, chunk) in USED.iter().zip(&SLOTS) {
        let (bits, base) = (used.load(Acquire), chunk.load(Acquire));
        if base.is_null() {
            break;
        }
        for at in (0..CHUNK).filter(|at| bits & 1 << at != 0) {
            // SAFETY: the chunk holds `CHUNK` slots, mapped for good; all fields are cells of plain values.
            let slot = unsafe { &*base.add(at) };
            if slot.tid.get() != 0 {
                act(slot);
            }
        }
    }
}

fn write_ledger(segment: &Segment, tid: u32, own: bool) {
    // System calls are off: the report then uses the clock that the launcher read last.
    if quiet::is_on() {
        return;
    }
    let record = wire::ThreadEnd {
        time_ns: sys::now_ns(),
        tid,
        reserved: 0,
        cpu_ns: sys::thread_cpu_ns(tid),
        system_ns: if own { sys::usage(libc::RUSAGE_THREAD).1 } else { 0 },
    };
    segment.emit(&record);
}

/// Records the CPU clock of every thread that still runs.
pub(crate) fn write_ledgers(segment: &Segment) {
    let own = sys::tid();
    // At worst, a torn thread id makes this function miss a clock.
    for_each(|slot| write_ledger(segment, slot.tid.get(), slot.tid.get() == own));
}

/// In a forked child: marks all slots as free. No source runs in the child (timers and perf pages are not inherited).
pub(crate) fn forget_all() {
    for (used, chunk) in USED.iter().zip(&SLOTS) {
        let base = chunk.load(Acquire);
        if base.is_null() {
            break;
        }
        used.store(0, Release);
        for at in 0..CHUNK {
            // SAFETY: the chunk holds `CHUNK` slots, and only this thread is left.
            let slot = unsafe { &*base.add(at) };
            // `opening` is zero in a slot that was never used.
            let opening = slot.opening.replace(-1);
            if opening > 0 {
                sys::close(opening);
            }
            slot.tid.set(0);
        }
    }
    let block = tls();
    block.slot.set(core::ptr::null_mut());
    block.busy.set(0);
}

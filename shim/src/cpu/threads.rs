//! Threads: a slot each, sampling armed at their start, the exact ledger at their end.
//!
//! Invariant: slots are never given back to the kernel, so a pointer to one is always readable; a slot is in use while
//! its bit is set. Each thread arms its own sources. Neighbours: `pthread` (where threads are made), `clock` (the
//! sources), `handler` (uses the slot), `process` (fork, end).

use core::cell::{Cell, UnsafeCell};
use core::ffi::{c_int, c_void};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32};

use rscalene_wire as wire;
use wire::{Kind, StackEntry};

use crate::arena::ring::Segment;
use crate::arena::segment;
use crate::cpu::clock;
use crate::cpu::pace;
use crate::ground::real::{Weak, weak};
use crate::ground::sys;
use crate::ground::tls::{Tls, tls};
use crate::signals::actions as signals;

/// Frames that one walk keeps; `Settings::max_depth` may ask for fewer.
pub(crate) const DEPTH: usize = 1024;
/// Bytes for the text of one filename or qualified name.
pub(crate) const TEXT: usize = 4096;

/// Room for one walk.
pub(crate) struct Scratch {
    /// Frames, leaf first.
    pub(crate) entries: [StackEntry; DEPTH],
    /// Text on its way into a record.
    pub(crate) text: [u8; TEXT],
}

/// What is kept of a thread.
pub(crate) struct Slot {
    /// Kernel thread id.
    pub(crate) tid: Cell<u32>,
    /// As `wire::ThreadStart::source`.
    pub(crate) source: Cell<u32>,
    /// Number of the descriptor that the perf event had; -1 without one.
    pub(crate) perf_fd: Cell<i32>,
    /// The same of the event before it, of which a last signal may come.
    pub(crate) former_fd: Cell<i32>,
    /// Descriptor of an event that is just being made; -1 at all other times.
    opening: Cell<i32>,
    perf_page: Cell<*mut u8>,
    /// Its timer; negative without one.
    pub(crate) timer: Cell<i32>,
    /// CPU nanoseconds between the timer's signals.
    pub(crate) timer_ns: Cell<u64>,
    /// Nanoseconds from the last tick that the timer was seen at to its signal: of the next one's time they are the first.
    pub(crate) late_ns: Cell<u64>,
    /// Signals of the timer since the last that met the kernel.
    pub(crate) quiet: Cell<u32>,
    /// User and kernel time at the last timer sample.
    pub(crate) last_usage: Cell<(u64, u64, u64)>,
    /// CPU nanoseconds between its samples, on average.
    pub(crate) interval_ns: Cell<u64>,
    /// CPU nanoseconds that the next sample stands for (at least, where the timer takes it).
    pub(crate) gap_ns: Cell<u64>,
    /// CPU nanoseconds of the timer's signals that no sample stands for yet; less than the gap.
    pub(crate) owed_ns: Cell<u64>,
    /// CPU nanoseconds since the perf event was made, as far as its own and the timer's signals tell.
    pub(crate) perf_age_ns: Cell<u64>,
    ending: Cell<u32>,
    /// What the thread is made for: its function, the argument, and what the program believes of its mask.
    pub(crate) task: Cell<Task>,
    /// One for the signal handler, one for the hooks that it may interrupt.
    scratch: [UnsafeCell<Scratch>; 2],
}

/// First function of a thread.
pub(crate) type Entry = unsafe extern "C" fn(*mut c_void) -> *mut c_void;

/// What a thread is made for.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    /// Its first function.
    pub(crate) entry: Option<Entry>,
    /// What that is given.
    pub(crate) argument: *mut c_void,
    /// The signals of ours that it believes to block.
    pub(crate) masked: u32,
}

impl Slot {
    /// Room for a walk: `handler` says who asks.
    ///
    /// # Safety
    /// Only the slot's own thread, and not twice at a time for the same asker.
    #[expect(clippy::mut_from_ref, reason = "the two rooms are handed out to one asker each, as the caller vouches")]
    pub(crate) unsafe fn scratch(&self, handler: bool) -> &mut Scratch {
        let [in_handler, in_hook] = &self.scratch;
        let cell = if handler { in_handler } else { in_hook };
        // SAFETY: the caller is the only user of this room.
        unsafe { &mut *cell.get() }
    }
}

const CHUNK: usize = 32;
const CHUNKS: usize = 512;
static SLOTS: [AtomicPtr<Slot>; CHUNKS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; CHUNKS];
static USED: [AtomicU32; CHUNKS] = [const { AtomicU32::new(0) }; CHUNKS];
static KEY: AtomicU32 = AtomicU32::new(u32::MAX);
static ARMED: AtomicBool = AtomicBool::new(false);

/// A slot that nobody uses; null where there is no memory for one.
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
            // SAFETY: ours lost the race; nobody has seen it.
            unsafe { sys::unmap(fresh.cast(), bytes) };
            theirs
        }
    }
}

/// Nobody uses the slot any more.
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

/// Begins to sample: the key that tells of a thread's end, and the current thread.
pub(crate) fn start() {
    make_key();
    ARMED.store(true, Release);
    arm_current();
}

/// Does sampling run?
pub(crate) fn armed() -> bool {
    ARMED.load(Acquire)
}

/// Makes the key that tells of a thread's end, once.
pub(crate) fn make_key() {
    let create = weak(Weak::KeyCreate);
    if create != 0 && KEY.load(Relaxed) == u32::MAX {
        let mut key: libc::pthread_key_t = 0;
        // SAFETY: the entry is libc's pthread_key_create, whose type this is.
        let create: unsafe extern "C" fn(*mut libc::pthread_key_t, unsafe extern "C" fn(*mut c_void)) -> c_int =
            unsafe { core::mem::transmute(create) };
        // SAFETY: `key` is ours.
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
    hear_of_the_end(slot);
}

fn clear(slot: &Slot, tid: u32) {
    slot.tid.set(tid);
    slot.perf_fd.set(-1);
    slot.former_fd.set(-1);
    slot.opening.set(-1);
    slot.perf_page.set(core::ptr::null_mut());
    slot.timer.set(-1);
    slot.source.set(0);
    slot.ending.set(0);
}

fn hear_of_the_end(slot: *mut Slot) {
    let key = KEY.load(Relaxed);
    let set = weak(Weak::SetSpecific);
    if key != u32::MAX && set != 0 {
        // SAFETY: the entry is libc's pthread_setspecific, whose type this is.
        let set: unsafe extern "C" fn(libc::pthread_key_t, *const c_void) -> c_int =
            unsafe { core::mem::transmute(set) };
        // SAFETY: the key is ours.
        unsafe { set(key, slot.cast()) };
    }
}

/// Gives the current thread a slot and arms its sources.
pub(crate) fn arm_current() {
    signals::adopt_mask(0);
    let slot = acquire();
    if !slot.is_null() {
        arm(slot);
    }
}

/// Arms the sources of the current thread, whose slot this is.
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
    hear_of_the_end(slot);
    arm_sources(this, &settings, block);
    let record = wire::ThreadStart {
        time_ns: sys::now_ns(),
        tid,
        source: this.source.get(),
        cpu_ns: sys::thread_cpu_ns(tid),
        interval_ns: this.interval_ns.get(),
    };
    segment.emit(Kind::ThreadStart, 0, &record, &[]);
}

fn arm_sources(slot: &Slot, settings: &wire::Settings, block: &Tls) {
    let interval = settings.cpu_interval_ns.max(20_000);
    slot.interval_ns.set(interval);
    if settings.cpu_mode == 0 {
        return;
    }
    slot.begin_gaps(block);
    if settings.cpu_mode != 3 {
        match clock::start_perf(slot.tid.get(), slot.first_period(), &slot.opening) {
            Ok(perf) => {
                slot.perf_fd.set(perf.fd);
                slot.perf_page.set(perf.page);
                slot.source.set(1);
            }
            Err(error) if settings.cpu_mode == 2 => segment::notice(3, error.unsigned_abs()),
            Err(_) => {}
        }
    }
    if slot.source.get() == 0 && settings.cpu_mode == 2 {
        return;
    }
    let apart = interval.min(pace::often());
    slot.timer_ns.set(apart);
    slot.quiet.set(0);
    slot.begin_ticks();
    let first = 1 + next_random(block) % apart.max(1);
    match clock::start_timer(slot.tid.get(), core::ptr::from_ref(slot) as usize, first, apart) {
        Ok(id) => {
            slot.timer.set(id);
            if slot.source.get() == 0 {
                slot.source.set(2);
            }
        }
        Err(error) => {
            if slot.source.get() == 1 {
                slot.source.set(3);
            }
            segment::notice(4, error.unsigned_abs());
        }
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// The next random number of this thread (xorshift64*).
pub(crate) fn next_random(block: &Tls) -> u64 {
    let mut x = block.random.get();
    if x == 0 {
        // A thread that was never armed.
        x = mix(sys::now_ns() ^ u64::from(sys::tid()) << 32) | 1;
    }
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    block.random.set(x);
    x.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// Runs when a thread ends, by return, `pthread_exit` or cancellation: among the last of its key destructors, so that
/// what the others do is still counted.
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
    // POSIX promises at least four rounds of destructors; two of them are the program's.
    if rounds < 2 && weak(Weak::SetSpecific) != 0 {
        hear_of_the_end(slot);
        return;
    }
    stop_sources(this);
    // Where the arena is lent, others tell the clocks of threads.
    if !segment::lent()
        && let Some(segment) = segment::segment()
    {
        write_ledger(&segment, this.tid.get(), true);
    }
    block.slot.set(core::ptr::null_mut());
    release(slot);
}

fn stop_sources(slot: &Slot) {
    if slot.timer.get() >= 0 {
        clock::stop_timer(slot.timer.replace(-1));
    }
    let page = slot.perf_page.replace(core::ptr::null_mut());
    if !page.is_null() {
        // SAFETY: the page came from `start_perf` in this process and was not ended before.
        unsafe { clock::stop_perf(page) };
    }
}

/// Makes the current thread's perf event, if it has one, fire every `period_ns` from now on.
pub(crate) fn replace_perf(slot: &Slot, period_ns: u64) {
    let page = slot.perf_page.get();
    if page.is_null() {
        return;
    }
    // SAFETY: the page came from `start_perf` on this thread, and has not been ended.
    match unsafe { clock::replace_perf(page, slot.tid.get(), period_ns, &slot.opening) } {
        clock::Replaced::By(fd) => {
            slot.former_fd.set(slot.perf_fd.replace(fd));
            slot.gap_ns.set(period_ns);
            slot.perf_age_ns.set(0);
        }
        clock::Replaced::Not => {}
        clock::Replaced::Gone => {
            slot.perf_page.set(core::ptr::null_mut());
            stop_sources(slot);
            slot.source.set(0);
            arm_sources(slot, &segment::settings(), tls());
        }
    }
}

/// This thread's slot, where it has one of this process.
fn own_slot() -> Option<&'static Slot> {
    let block = tls();
    let slot = block.slot.get();
    if slot.is_null() || block.generation.get() != segment::generation() {
        return None;
    }
    // SAFETY: a slot of this generation is this thread's own, mapped for good.
    Some(unsafe { &*slot })
}

/// Stops this thread's sources for a while.
pub(crate) fn silence() {
    if let Some(slot) = own_slot() {
        stop_sources(slot);
    }
}

/// Arms this thread's sources again.
pub(crate) fn resume() {
    if let Some(slot) = own_slot().filter(|_| segment::segment().is_some() && !segment::stopped()) {
        let _errno = sys::KeepErrno::new();
        slot.source.set(0);
        arm_sources(slot, &segment::settings(), tls());
    }
}

fn write_ledger(segment: &Segment, tid: u32, own: bool) {
    let record = wire::ThreadEnd {
        time_ns: sys::now_ns(),
        tid,
        reserved: 0,
        cpu_ns: sys::thread_cpu_ns(tid),
        system_ns: if own { sys::usage(libc::RUSAGE_THREAD).1 } else { 0 },
    };
    segment.emit(Kind::ThreadEnd, 0, &record, &[]);
}

/// Writes the ledger of every thread that still runs.
pub(crate) fn write_ledgers(segment: &Segment) {
    let own = sys::tid();
    for (used, chunk) in USED.iter().zip(&SLOTS) {
        let (bits, base) = (used.load(Acquire), chunk.load(Acquire));
        if base.is_null() {
            break;
        }
        for at in (0..CHUNK).filter(|at| bits & 1 << at != 0) {
            // SAFETY: the chunk holds `CHUNK` slots; a torn thread id only misses a clock.
            let tid = unsafe { (*base.add(at)).tid.get() };
            if tid != 0 {
                write_ledger(segment, tid, tid == own);
            }
        }
    }
}

/// In a forked child: all slots are free again, and no source runs (timers and perf pages are not inherited).
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
            // Zero in a slot that was never used.
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

//! The interpreter's allocator domains, counted exactly.
//!
//! Job: wrap the domains raw, mem and object while counting is on. Invariant: only function pointers change, never a
//! context. So a thread that reads a domain during a change (raw needs no GIL) gets functions and a context that work
//! together in any mixture. Neighbour: `memory::tables::libc` counts the calls that do not come through the
//! interpreter.

use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rscalene_wire::ExactCounters;

use crate::count::counters::{self, count_new, inside, outermost};
use crate::count::sizes;
use crate::ground::allocators::{self, Allocator, NOTHING};
use crate::ground::sys;

/// The original allocator of each domain. Written with the GIL held, before this file's functions are installed above
/// it.
struct Below([UnsafeCell<Allocator>; 3]);

// SAFETY: `install` writes an entry only while none of this file's functions is in the domain; all other code only
// reads.
unsafe impl Sync for Below {}

static BELOW: Below = Below([const { UnsafeCell::new(NOTHING) }; 3]);

/// Installs this file's functions in all three domains. The GIL is held.
pub(crate) fn install() {
    install_in::<0>();
    install_in::<1>();
    install_in::<2>();
}

/// Are this file's functions installed in the first domain, on top or below another allocator?
pub(crate) fn in_place() -> bool {
    IN_PLACE[0].load(Relaxed) != 0
}

/// Removes this file's functions from each domain in which no other code has put functions above them.
pub(crate) fn remove() {
    remove_from::<0>();
    remove_from::<1>();
    remove_from::<2>();
}

/// Are this file's functions on top in the object domain, so that the interpreter calls them directly?
pub(crate) fn on_top() -> bool {
    allocators::found() && is_ours::<2>(&get(2))
}

fn install_in<const DOMAIN: usize>() {
    if IN_PLACE[DOMAIN].swap(1, Relaxed) == 1 {
        return;
    }
    let current = get(DOMAIN);
    // SAFETY: none of this file's functions is in the domain, so only a call that is about to return may still read;
    // the GIL is held.
    unsafe { *BELOW.0[DOMAIN].get() = current };
    set(DOMAIN, &ours::<DOMAIN>(current.context));
}

fn remove_from<const DOMAIN: usize>() {
    if is_ours::<DOMAIN>(&get(DOMAIN)) {
        let below = below::<DOMAIN>();
        set(DOMAIN, &below);
        IN_PLACE[DOMAIN].store(0, Relaxed);
    }
}

/// 1 while this file's functions are in the domain, on top or below another allocator.
static IN_PLACE: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

fn is_ours<const DOMAIN: usize>(allocator: &Allocator) -> bool {
    allocator.malloc as usize == malloc::<DOMAIN> as *const () as usize
}

fn ours<const DOMAIN: usize>(context: *mut c_void) -> Allocator {
    Allocator {
        context,
        malloc: malloc::<DOMAIN>,
        calloc: calloc::<DOMAIN>,
        realloc: realloc::<DOMAIN>,
        free: free::<DOMAIN>,
    }
}

fn get(domain: usize) -> Allocator {
    allocators::get(domain as c_int)
}

fn set(domain: usize, allocator: &Allocator) {
    allocators::set(domain as c_int, allocator);
}

fn below<const DOMAIN: usize>() -> Allocator {
    // SAFETY: the entry is written before this file's functions can be called, and not while they may be called.
    unsafe { *BELOW.0[DOMAIN].get() }
}

unsafe extern "C" fn malloc<const DOMAIN: usize>(context: *mut c_void, bytes: usize) -> *mut c_void {
    let real = below::<DOMAIN>().malloc;
    // SAFETY: the arguments are the caller's own, here and below.
    let Some(mine) = outermost() else { return unsafe { real(context, bytes) } };
    // SAFETY: as above.
    let block = inside(mine, || unsafe { real(context, bytes) });
    count_new(mine, block, bytes);
    block
}

unsafe extern "C" fn calloc<const DOMAIN: usize>(context: *mut c_void, count: usize, each: usize) -> *mut c_void {
    let real = below::<DOMAIN>().calloc;
    // SAFETY: the arguments are the caller's own, here and below.
    let Some(mine) = outermost() else { return unsafe { real(context, count, each) } };
    // SAFETY: as above.
    let block = inside(mine, || unsafe { real(context, count, each) });
    count_new(mine, block, count.wrapping_mul(each));
    block
}

unsafe extern "C" fn realloc<const DOMAIN: usize>(context: *mut c_void, old: *mut c_void, bytes: usize) -> *mut c_void {
    let real = below::<DOMAIN>().realloc;
    // SAFETY: the arguments are the caller's own, here and below.
    let Some(mine) = outermost() else { return unsafe { real(context, old, bytes) } };
    let known = if old.is_null() { Some(0) } else { sizes::take(old as usize) };
    let guess = if known.is_none() { watch(mine, old) } else { 0 };
    // SAFETY: as above.
    let block = inside(mine, || unsafe { real(context, old, bytes) });
    let before = known.unwrap_or_else(|| unwatch(mine, guess));
    if block.is_null() {
        // The interpreter's realloc never frees, so the old block stays.
        if let Some(known) = known
            && !old.is_null()
        {
            sizes::record(old as usize, known);
        }
        return block;
    }
    // SAFETY: the thread's own block.
    unsafe { counters::freed(mine, before) };
    count_new(mine, block, bytes);
    block
}

unsafe extern "C" fn free<const DOMAIN: usize>(context: *mut c_void, block: *mut c_void) {
    let real = below::<DOMAIN>().free;
    let Some(mine) = outermost() else {
        // SAFETY: the arguments are the caller's own, here and below.
        return unsafe { real(context, block) };
    };
    if block.is_null() {
        // SAFETY: as above.
        return unsafe { real(context, block) };
    }
    if let Some(bytes) = sizes::take(block as usize) {
        // SAFETY: the thread's own block.
        unsafe { counters::freed(mine, bytes) };
        // SAFETY: as above.
        inside(mine, || unsafe { real(context, block) });
    } else {
        let guess = watch(mine, block);
        // SAFETY: as above.
        inside(mine, || unsafe { real(context, block) });
        let bytes = unwatch(mine, guess);
        // SAFETY: the thread's own block.
        unsafe { counters::freed(mine, bytes) };
    }
}

/// Called before a block of unknown size is freed or moved. Asks `memory::tables::libc` to note the block's size if the
/// block passes there. Returns the bytes of the block's size class, for the case that it does not.
#[cold]
fn watch(mine: *mut ExactCounters, block: *mut c_void) -> usize {
    // SAFETY: the thread's own block.
    let counters = unsafe { &mut *mine };
    counters.unknown = counters.unknown.wrapping_add(1);
    counters.watched = block as usize;
    counters.usable = 0;
    class_bytes(block as usize)
}

#[cold]
fn unwatch(mine: *mut ExactCounters, guess: usize) -> usize {
    // SAFETY: the thread's own block.
    let counters = unsafe { &mut *mine };
    counters.watched = 0;
    if counters.usable == 0 { guess } else { counters.usable - 1 }
}

/// Bytes of a pool of the object allocator: 16 KiB since 3.10. The size class lies at a fixed offset in the pool's
/// header.
const POOL_BYTES: usize = 16 * 1024;
const POOL_CLASS: usize = 36;
const CLASS_BYTES: usize = 16;
const CLASSES: u32 = 32;
const PAGE_BYTES: usize = 4096;

/// Bytes of a block's size class, if the block lies in a pool. Any number if it does not; `memory::tables::libc` then
/// sees the block.
fn class_bytes(block: usize) -> usize {
    let pool = block & !(POOL_BYTES - 1);
    if pool & !(PAGE_BYTES - 1) != block & !(PAGE_BYTES - 1) && !readable(pool + POOL_CLASS - 4) {
        return 0;
    }
    // SAFETY: the word lies on the block's own page, or on a page that the kernel has just read; safety does not depend
    // on its value.
    let class = unsafe { core::ptr::read_volatile((pool + POOL_CLASS) as *const u32) };
    if class < CLASSES { (class as usize + 1) * CLASS_BYTES } else { 0 }
}

/// Can eight bytes be read at `address`? The kernel reads the new mask first, and only then refuses the invalid
/// operation.
fn readable(address: usize) -> bool {
    const NO_SUCH_OPERATION: usize = usize::MAX;
    // SAFETY: the call always fails, and changes nothing.
    let answer = unsafe { sys::call6(libc::SYS_rt_sigprocmask, NO_SUCH_OPERATION, address, 0, 8, 0, 0) };
    answer != -(libc::EFAULT as isize)
}

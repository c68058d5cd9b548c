//! The malloc family.
//!
//! Invariant: the allocator behind us does the work, always: calloc stays lazy, realloc grows in place, a failure stays
//! a failure with the old block intact, alignment and usable size are its own. What is counted is what was asked for.
//! Neighbours: `hooks` (decides and records).

use core::ffi::{c_int, c_void};

use rscalene_wire as wire;

use super::{Choice, chosen, forget, interval, keep, live, remember};
use crate::real::{Next, Weak, call_next};
use crate::tls::tls;

pub(super) static MALLOC: Next = Next::or_libc(c"malloc", Weak::LibcMalloc);
pub(super) static CALLOC: Next = Next::or_libc(c"calloc", Weak::LibcCalloc);
pub(super) static REALLOC: Next = Next::or_libc(c"realloc", Weak::LibcRealloc);
static REALLOCARRAY: Next = Next::new(c"reallocarray");
pub(super) static FREE: Next = Next::or_libc(c"free", Weak::LibcFree);
pub(super) static POSIX_MEMALIGN: Next = Next::new(c"posix_memalign");
pub(super) static ALIGNED_ALLOC: Next = Next::new(c"aligned_alloc");
pub(super) static MEMALIGN: Next = Next::or_libc(c"memalign", Weak::LibcMemalign);
pub(super) static VALLOC: Next = Next::new(c"valloc");
pub(super) static PVALLOC: Next = Next::new(c"pvalloc");

/// Looks all of them up, before any look-up can fail: a failed one allocates, and what it allocates must come from, and
/// go back to, the same allocator.
pub(super) fn resolve() {
    for next in [&FREE, &MALLOC, &CALLOC, &REALLOC, &MEMALIGN, &POSIX_MEMALIGN, &ALIGNED_ALLOC] {
        next.get();
    }
}

/// A block, or null.
pub(super) type Block = *mut c_void;
const NULL: Block = core::ptr::null_mut();

/// Allocates `bytes` with `real`, as one that may be a sample.
#[inline(always)]
pub(crate) fn allocate(bytes: usize, real: impl FnOnce() -> Block) -> Block {
    let choice = count(bytes);
    let block = real();
    if let Some(choice) = choice {
        keep(block as u64, bytes, choice);
    }
    block
}

/// `block` is about to be freed.
#[inline(always)]
pub(crate) fn release(block: Block) {
    if recorded(block) && !block.is_null() {
        forget(block as u64, wire::FREED);
    }
}

/// Takes `bytes` off this thread's countdown; a choice where the block is a sample.
#[inline(always)]
fn count(bytes: usize) -> Option<Choice> {
    let block = tls();
    let left = block.countdown.get().wrapping_sub(bytes as i64);
    block.countdown.set(left);
    if left < 0 || bytes >= block.certain.get() { chosen(bytes) } else { None }
}

/// Could this block have been recorded?
#[inline(always)]
fn recorded(block: Block) -> bool {
    live::maybe(block as u64) || interval::exact()
}

/// `malloc`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(bytes: usize) -> Block {
    if let Some(choice) = count(bytes) {
        let block = call_next!(MALLOC, fn(usize) -> Block, (bytes), NULL);
        keep(block as u64, bytes, choice);
        return block;
    }
    call_next!(MALLOC, fn(usize) -> Block, (bytes), NULL)
}

/// `calloc`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(items: usize, size: usize) -> Block {
    let bytes = items.checked_mul(size).unwrap_or(0);
    allocate(bytes, || call_next!(CALLOC, fn(usize, usize) -> Block, (items, size), NULL))
}

/// `realloc`: to the accounts the end of one block and the beginning of another, to the allocator one call.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(old: Block, bytes: usize) -> Block {
    resize(old, bytes, || call_next!(REALLOC, fn(Block, usize) -> Block, (old, bytes), NULL))
}

/// `reallocarray`: what the product asks of `realloc`, as libc's own does; only an overflow is left to libc.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn reallocarray(old: Block, items: usize, size: usize) -> Block {
    match items.checked_mul(size) {
        // SAFETY: passed on.
        Some(bytes) => unsafe { realloc(old, bytes) },
        None => call_next!(REALLOCARRAY, fn(Block, usize, usize) -> Block, (old, items, size), NULL),
    }
}

/// Resizes `old` to `bytes` with `real`.
pub(crate) fn resize(old: Block, bytes: usize, real: impl FnOnce() -> Block) -> Block {
    let choice = count(bytes);
    // Said before the allocator may hand the address to another thread, and taken back if it refuses.
    let said = !old.is_null() && recorded(old) && forget(old as u64, wire::RESIZED);
    let new = real();
    if said && new.is_null() && bytes != 0 {
        remember(old as u64);
    }
    if let Some(choice) = choice {
        keep(new as u64, bytes, choice);
    }
    new
}

/// `free`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: Block) {
    release(block);
    call_next!(FREE, fn(Block) -> (), (block), ());
}

/// C23's `free_sized`: libc's `free` does what it promises.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn free_sized(block: Block, _: usize) {
    // SAFETY: passed on.
    unsafe { free(block) };
}

/// C23's `free_aligned_sized`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn free_aligned_sized(block: Block, _: usize, _: usize) {
    // SAFETY: passed on.
    unsafe { free(block) };
}

/// `posix_memalign`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(into: *mut Block, alignment: usize, bytes: usize) -> c_int {
    let mut answer = ::libc::ENOMEM;
    allocate(bytes, || {
        answer =
            call_next!(POSIX_MEMALIGN, fn(*mut Block, usize, usize) -> c_int, (into, alignment, bytes), ::libc::ENOMEM);
        // SAFETY: on success the allocator has stored the block there.
        if answer == 0 { unsafe { *into } } else { NULL }
    });
    answer
}

macro_rules! aligned {
    ($name:ident, $next:ident, $doc:literal) => {
        #[doc = $doc]
        ///
        /// # Safety
        /// As libc's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(alignment: usize, bytes: usize) -> Block {
            allocate(bytes, || call_next!($next, fn(usize, usize) -> Block, (alignment, bytes), NULL))
        }
    };
}
aligned!(aligned_alloc, ALIGNED_ALLOC, "`aligned_alloc`.");
aligned!(memalign, MEMALIGN, "`memalign`.");

macro_rules! paged {
    ($name:ident, $next:ident, $doc:literal) => {
        #[doc = $doc]
        ///
        /// # Safety
        /// As libc's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(bytes: usize) -> Block {
            allocate(bytes, || call_next!($next, fn(usize) -> Block, (bytes), NULL))
        }
    };
}
paged!(valloc, VALLOC, "`valloc`.");
paged!(pvalloc, PVALLOC, "`pvalloc`.");

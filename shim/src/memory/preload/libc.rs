//! The malloc family.
//!
//! Job: count and sample the program's calls of the malloc family. Invariant: the real allocator does all the work:
//! calloc stays lazy, realloc grows in place, a failure stays a failure with the old block intact, alignment and usable
//! size are the allocator's own. Counted are the bytes that the program asked for. Each row of the table
//! below has a function in this file and a stand-in in `tables::libc`; a test compares all three. Neighbours: `hooked`,
//! `sample` (decides and records).

use core::ffi::c_int;

use rscalene_wire::FreeHow;

use crate::ground::real::call_next;
use crate::ground::tls::tls;
use crate::memory::live;
use crate::memory::preload::hooked::{Block, hooked};
use crate::memory::sample::{Choice, chosen, forget, keep, remember};

// The first rows are the functions that a failed look-up calls; the last rows are functions that not every libc has.
hooked! {
    FREE = free(block: Block) -> (), or LibcFree;
    MALLOC = malloc(bytes: usize) -> Block, or LibcMalloc;
    CALLOC = calloc(items: usize, size: usize) -> Block, or LibcCalloc;
    REALLOC = realloc(old: Block, bytes: usize) -> Block, or LibcRealloc;
    MEMALIGN = memalign(alignment: usize, bytes: usize) -> Block, or LibcMemalign;
    POSIX_MEMALIGN = posix_memalign(into: *mut Block, alignment: usize, bytes: usize) -> c_int;
    ALIGNED_ALLOC = aligned_alloc(alignment: usize, bytes: usize) -> Block;
    REALLOCARRAY = reallocarray(old: Block, items: usize, size: usize) -> Block;
    VALLOC = valloc(bytes: usize) -> Block;
    PVALLOC = pvalloc(bytes: usize) -> Block;
}

pub(crate) const NULL: Block = core::ptr::null_mut();

/// Allocates `bytes` with `real`, and records the block if it is a sample.
#[inline(always)]
pub(crate) fn allocate(bytes: usize, real: impl FnOnce() -> Block) -> Block {
    let choice = count(bytes);
    let block = real();
    if let Some(choice) = choice {
        keep(block as u64, bytes, choice);
    }
    block
}

/// Records the end of `block`, which is about to be freed, if the block was recorded.
#[inline(always)]
pub(crate) fn release(block: Block) {
    if live::maybe(block as u64) && !block.is_null() {
        forget(block as u64, FreeHow::FREED);
    }
}

/// Subtracts `bytes` from this thread's countdown; true if the block may be a sample: [`chosen`] then decides.
#[inline(always)]
fn runs_out(bytes: usize) -> bool {
    let block = tls();
    let left = block.countdown.get().wrapping_sub(bytes as i64);
    block.countdown.set(left);
    left < 0 || bytes >= block.certain.get()
}

/// Subtracts `bytes` from this thread's countdown; returns a choice if the block is a sample.
#[inline(always)]
pub(crate) fn count(bytes: usize) -> Option<Choice> {
    if runs_out(bytes) { chosen(bytes) } else { None }
}

/// Calls the function behind an interposer as the interposer's last act, so that the compiler makes the call a jump.
macro_rules! jump {
    ($address:expr, fn($($type:ty),*) -> $ret:ty, ($($argument:expr),*)) => {{
        // SAFETY: a known address is that of the function that the interposer of the same signature hides.
        let function: unsafe extern "C" fn($($type),*) -> $ret = unsafe { core::mem::transmute($address) };
        // SAFETY: the interposer's caller gave these arguments for this function.
        unsafe { function($($argument),*) }
    }};
}
pub(crate) use jump;

/// `malloc`. In this function and its relatives, the path of a block that is no sample is a countdown and a jump. All
/// else lies in a separate function, so that this path saves no register.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(bytes: usize) -> Block {
    let next = MALLOC.known();
    if runs_out(bytes) || next == 0 {
        return malloc_slowly(bytes);
    }
    jump!(next, fn(usize) -> Block, (bytes))
}

#[cold]
#[inline(never)]
fn malloc_slowly(bytes: usize) -> Block {
    let choice = chosen(bytes);
    let block = call_next!(MALLOC, fn(usize) -> Block, (bytes), NULL);
    if let Some(choice) = choice {
        keep(block as u64, bytes, choice);
    }
    block
}

/// `calloc`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(items: usize, size: usize) -> Block {
    let next = CALLOC.known();
    if runs_out(items.wrapping_mul(size)) || next == 0 {
        return calloc_slowly(items, size);
    }
    jump!(next, fn(usize, usize) -> Block, (items, size))
}

#[cold]
#[inline(never)]
fn calloc_slowly(items: usize, size: usize) -> Block {
    let bytes = items.wrapping_mul(size);
    let choice = chosen(bytes);
    let block = call_next!(CALLOC, fn(usize, usize) -> Block, (items, size), NULL);
    if let Some(choice) = choice {
        // If the product overflows, `calloc` returns no block, and nothing is recorded.
        keep(block as u64, bytes, choice);
    }
    block
}

/// `realloc`: one call of the allocator, recorded as the end of one block and the begin of another.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(old: Block, bytes: usize) -> Block {
    let next = REALLOC.known();
    if runs_out(bytes) || live::maybe(old as u64) || next == 0 {
        return realloc_slowly(old, bytes);
    }
    jump!(next, fn(Block, usize) -> Block, (old, bytes))
}

#[cold]
#[inline(never)]
fn realloc_slowly(old: Block, bytes: usize) -> Block {
    let choice = chosen(bytes);
    resized(old, bytes, choice, || call_next!(REALLOC, fn(Block, usize) -> Block, (old, bytes), NULL))
}

/// `reallocarray`: `realloc` of the product, as in libc; only an overflow is left to libc.
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
    resized(old, bytes, count(bytes), real)
}

#[inline(always)]
fn resized(old: Block, bytes: usize, choice: Option<Choice>, real: impl FnOnce() -> Block) -> Block {
    // Emit the `Free` before calling realloc: afterwards another thread may own the address. If realloc fails,
    // `remember` cancels it.
    let said = !old.is_null() && live::maybe(old as u64) && forget(old as u64, FreeHow::RESIZED);
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
    let next = FREE.known();
    if live::maybe(block as u64) || next == 0 {
        return free_slowly(block);
    }
    jump!(next, fn(Block) -> (), (block));
}

#[cold]
#[inline(never)]
fn free_slowly(block: Block) {
    release(block);
    call_next!(FREE, fn(Block) -> (), (block), ());
}

/// C23's `free_sized`: the same as `free`.
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

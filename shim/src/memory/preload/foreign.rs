//! An allocator other than libc's behind the hooks.
//!
//! Job: find the library that serves `malloc` (jemalloc, mimalloc, tcmalloc and others are preloaded or linked), record
//! its name, and hide its inner calls: its mappings hold blocks that are counted singly, and some allocators build an
//! entry point on another. Invariant: with libc's own allocator none of this runs; with another, the functions here
//! replace the hooks' targets, mark the thread and call the allocator's own functions. Neighbours: `libc` (holds the
//! targets), `maps` (does not record while the thread is marked).

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::Relaxed};

use rscalene_wire::{Allocator, NoFlags};

use crate::arena::segment;
use crate::ground::real::{Next, global_symbol};
use crate::ground::sys;
use crate::ground::tls::tls;
use crate::memory::preload::libc::{
    ALIGNED_ALLOC, Block, CALLOC, FREE, MALLOC, MEMALIGN, POSIX_MEMALIGN, PVALLOC, REALLOC, VALLOC,
};

/// File name of the library whose `malloc` the hooks call; null for libc.
static NAME: AtomicPtr<c_char> = AtomicPtr::new(core::ptr::null_mut());
static FOUND: AtomicBool = AtomicBool::new(false);

/// Marks the thread while the allocator works: the hooks do not record its calls, and its own allocations change no
/// countdown.
#[inline(always)]
pub(crate) fn marked<T>(real: impl FnOnce() -> T) -> T {
    let block = tls();
    let (before, left) = (block.inside.replace(1), block.countdown.get());
    let answer = real();
    block.countdown.set(left);
    block.inside.set(before);
    answer
}

macro_rules! stand_in {
    ($real:ident, $name:ident($($argument:ident: $type:ty),*) -> $ret:ty) => {
        static $real: AtomicUsize = AtomicUsize::new(0);

        unsafe extern "C" fn $name($($argument: $type),*) -> $ret {
            // SAFETY: `find` stored the address of the function of this signature before it put this function in its
            // place.
            let real: unsafe extern "C" fn($($type),*) -> $ret = unsafe { core::mem::transmute($real.load(Relaxed)) };
            // SAFETY: the arguments are the caller's own.
            marked(|| unsafe { real($($argument),*) })
        }
    };
}
stand_in!(REAL_MALLOC, marked_malloc(bytes: usize) -> Block);
stand_in!(REAL_CALLOC, marked_calloc(items: usize, size: usize) -> Block);
stand_in!(REAL_REALLOC, marked_realloc(old: Block, bytes: usize) -> Block);
stand_in!(REAL_FREE, marked_free(block: Block) -> ());
stand_in!(REAL_POSIX_MEMALIGN, marked_posix_memalign(into: *mut Block, alignment: usize, bytes: usize) -> c_int);
stand_in!(REAL_ALIGNED_ALLOC, marked_aligned_alloc(alignment: usize, bytes: usize) -> Block);
stand_in!(REAL_MEMALIGN, marked_memalign(alignment: usize, bytes: usize) -> Block);
stand_in!(REAL_VALLOC, marked_valloc(bytes: usize) -> Block);
stand_in!(REAL_PVALLOC, marked_pvalloc(bytes: usize) -> Block);

/// Finds the library that serves `malloc`, and puts the marking functions in between for all but libc.
pub(crate) fn find() {
    let behind = MALLOC.get();
    // Not `__libc_malloc`: some allocators define this name as well.
    let (library, libc) = (library_of(behind), library_of(global_symbol(c"gnu_get_libc_version")));
    if library.is_null() || library == libc || FOUND.swap(true, Relaxed) {
        return;
    }
    NAME.store(library.cast_mut(), Relaxed);
    let functions: [(&Next, &AtomicUsize, *const ()); 9] = [
        (&MALLOC, &REAL_MALLOC, marked_malloc as *const ()),
        (&CALLOC, &REAL_CALLOC, marked_calloc as *const ()),
        (&REALLOC, &REAL_REALLOC, marked_realloc as *const ()),
        (&FREE, &REAL_FREE, marked_free as *const ()),
        (&POSIX_MEMALIGN, &REAL_POSIX_MEMALIGN, marked_posix_memalign as *const ()),
        (&ALIGNED_ALLOC, &REAL_ALIGNED_ALLOC, marked_aligned_alloc as *const ()),
        (&MEMALIGN, &REAL_MEMALIGN, marked_memalign as *const ()),
        (&VALLOC, &REAL_VALLOC, marked_valloc as *const ()),
        (&PVALLOC, &REAL_PVALLOC, marked_pvalloc as *const ()),
    ];
    for (next, real, stand_in) in functions {
        let address = next.get();
        if address != 0 {
            real.store(address, Relaxed);
            next.replace(stand_in as usize);
        }
    }
}

/// Records the name of an allocator other than libc's.
pub(crate) fn announce() {
    let name = NAME.load(Relaxed);
    let Some(segment) = segment::segment().filter(|_| !name.is_null()) else { return };
    // SAFETY: the string belongs to the dynamic linker and lives as long as the library; preloaded libraries are never
    // unloaded.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let record = Allocator { time_ns: sys::now_ns(), bytes: name.len() as u64 };
    segment.emit_whole(&record, NoFlags, name);
}

/// Path of the library that holds an address, as the same pointer for all addresses of the library; null if the dynamic
/// linker does not know the address.
fn library_of(address: usize) -> *const c_char {
    let dladdr = global_symbol(c"dladdr");
    if dladdr == 0 || address == 0 {
        return core::ptr::null();
    }
    // SAFETY: the address is that of libc's dladdr, whose type this is.
    let dladdr: unsafe extern "C" fn(*const c_void, *mut ::libc::Dl_info) -> c_int =
        unsafe { core::mem::transmute(dladdr) };
    // SAFETY: all bytes zero is a valid Dl_info.
    let mut info: ::libc::Dl_info = unsafe { core::mem::zeroed() };
    // SAFETY: `info` has room for the answer.
    if unsafe { dladdr(address as *const c_void, &raw mut info) } == 0 { core::ptr::null() } else { info.dli_fname }
}

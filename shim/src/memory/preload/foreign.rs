//! An allocator other than libc's behind the hooks.
//!
//! Job: find the library that serves `malloc` (jemalloc, mimalloc, tcmalloc and others are preloaded or linked), record
//! its name, and hide its inner calls: its mappings hold blocks that are counted singly, and some allocators build an
//! entry point on another. Invariant: with libc's own allocator none of this runs; with another, the marking functions
//! of `libc` replace the hooks' targets, mark the thread and call the allocator's own functions. Neighbours: `libc`
//! (holds the targets), `maps` (does not record while the thread is marked).

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};

use rscalene_wire::{Allocator, NoFlags};

use crate::arena::segment;
use crate::ground::real::global_symbol;
use crate::ground::sys;
use crate::memory::preload::libc::{MALLOC, rows};

/// File name of the library whose `malloc` the hooks call; null for libc.
static NAME: AtomicPtr<c_char> = AtomicPtr::new(core::ptr::null_mut());
static FOUND: AtomicBool = AtomicBool::new(false);

/// Finds the library that serves `malloc`, and puts the marking functions in between for all but libc.
pub(crate) fn find() {
    let behind = MALLOC.get();
    // Not `__libc_malloc`: some allocators define this name as well.
    let (library, libc) = (library_of(behind), library_of(global_symbol(c"gnu_get_libc_version")));
    if library.is_null() || library == libc || FOUND.swap(true, Relaxed) {
        return;
    }
    NAME.store(library.cast_mut(), Relaxed);
    for row in rows() {
        let address = row.next.get();
        if address != 0 {
            row.real.store(address, Relaxed);
            row.next.replace(row.marking);
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

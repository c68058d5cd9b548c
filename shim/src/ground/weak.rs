//! Functions and variables that a process may lack.
//!
//! Job: one table of weak references, which the dynamic linker fills before any code of ours runs. Invariant: the library
//! loads where none of them is defined. Neighbours: `real`, `symbols` and the rooms above ask by name.

use core::arch::global_asm;

global_asm!(
    ".section .data.rel.ro.rscalene_weak,\"aw\"",
    ".p2align 3",
    ".weak dlsym",
    ".weak pthread_key_create",
    ".weak pthread_setspecific",
    ".weak _dl_find_object",
    ".weak __libc_malloc",
    ".weak __libc_calloc",
    ".weak __libc_realloc",
    ".weak __libc_free",
    ".weak __libc_memalign",
    ".weak rscalene_cxx_look_up",
    ".weak _r_debug",
    ".weak dladdr1",
    ".hidden rscalene_weak",
    ".globl rscalene_weak",
    "rscalene_weak:",
    ".quad dlsym, pthread_key_create, pthread_setspecific, _dl_find_object",
    ".quad __libc_malloc, __libc_calloc, __libc_realloc, __libc_free, __libc_memalign",
    ".quad rscalene_cxx_look_up, _r_debug, dladdr1",
    ".text",
);

unsafe extern "C" {
    static rscalene_weak: [usize; 12];
}

/// A function that may be missing.
#[derive(Clone, Copy)]
#[repr(usize)]
pub(crate) enum Weak {
    Dlsym = 0,
    KeyCreate = 1,
    SetSpecific = 2,
    FindObject = 3,
    LibcMalloc = 4,
    LibcCalloc = 5,
    LibcRealloc = 6,
    LibcFree = 7,
    LibcMemalign = 8,
    CxxLookUp = 9,
    Debug = 10,
    Dladdr1 = 11,
}

/// Address of a weak function; 0 where the process has none.
#[inline]
pub(crate) fn weak(which: Weak) -> usize {
    // SAFETY: the table is ours, and the dynamic linker filled it before any of our code ran.
    let table = unsafe { &rscalene_weak };
    // A volatile read: the linker, not this code, wrote the value.
    // SAFETY: `which` is below the table's length by its definition.
    unsafe { core::ptr::read_volatile(&raw const table[which as usize]) }
}

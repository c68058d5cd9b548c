//! Weak references to functions and variables, because a process may lack them.
//!
//! Job: hold a table of weak references; the dynamic linker fills the table before any code of this library runs.
//! Invariant: the library can be loaded into a process that defines none of the symbols. Callers: `real`, `symbols`,
//! and the modules that use them.

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

/// An index of the table of weak references.
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

/// Address of a weak function; 0 if the process lacks the function.
#[inline]
pub(crate) fn weak(which: Weak) -> usize {
    // SAFETY: the table belongs to this library, and the dynamic linker filled it before any code of this library ran.
    let table = unsafe { &rscalene_weak };
    // A volatile read: the linker, not this code, wrote the value.
    // SAFETY: `which` is below the table's length by its definition.
    unsafe { core::ptr::read_volatile(&raw const table[which as usize]) }
}

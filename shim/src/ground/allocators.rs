//! The interpreter's tables of allocators: copies of the interpreter's structures, and functions that read and set the
//! tables.
//!
//! Invariant: a table is read, changed and set with the GIL held; only function pointers change, contexts stay.
//! Neighbours: `memory::pymem` (samples) and `count::pymem` (counts) put their functions into these tables.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::ground::real::global_symbol;

type Context = *mut c_void;
type Block = *mut c_void;

/// `PYMEM_DOMAIN_MEM`.
pub(crate) const MEM: c_int = 1;
/// `PYMEM_DOMAIN_OBJ`.
pub(crate) const OBJ: c_int = 2;

pub(crate) type Malloc = unsafe extern "C" fn(Context, usize) -> Block;
pub(crate) type Calloc = unsafe extern "C" fn(Context, usize, usize) -> Block;
pub(crate) type Realloc = unsafe extern "C" fn(Context, Block, usize) -> Block;
pub(crate) type Free = unsafe extern "C" fn(Context, Block);
pub(crate) type ArenaFree = unsafe extern "C" fn(Context, Block, usize);

/// `PyMemAllocatorEx`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Allocator {
    pub(crate) context: Context,
    pub(crate) malloc: Malloc,
    pub(crate) calloc: Calloc,
    pub(crate) realloc: Realloc,
    pub(crate) free: Free,
}

/// `PyObjectArenaAllocator`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Arenas {
    pub(crate) context: Context,
    pub(crate) alloc: Malloc,
    pub(crate) free: ArenaFree,
}

/// An allocator that always returns null.
pub(crate) const NOTHING: Allocator = Allocator {
    context: core::ptr::null_mut(),
    malloc: no_malloc,
    calloc: no_calloc,
    realloc: no_realloc,
    free: no_free,
};

// SAFETY of the four: they touch nothing.
unsafe extern "C" fn no_malloc(_: Context, _: usize) -> Block {
    core::ptr::null_mut()
}

unsafe extern "C" fn no_calloc(_: Context, _: usize, _: usize) -> Block {
    core::ptr::null_mut()
}

unsafe extern "C" fn no_realloc(_: Context, _: Block, _: usize) -> Block {
    core::ptr::null_mut()
}

unsafe extern "C" fn no_free(_: Context, _: Block) {}

// SAFETY: touches nothing.
unsafe extern "C" fn no_arena_free(_: Context, _: Block, _: usize) {}

static GET: AtomicUsize = AtomicUsize::new(0);
static SET: AtomicUsize = AtomicUsize::new(0);

/// Looks up the interpreter's functions; false if the process has none.
pub(crate) fn find() -> bool {
    GET.store(global_symbol(c"PyMem_GetAllocator"), Relaxed);
    SET.store(global_symbol(c"PyMem_SetAllocator"), Relaxed);
    found()
}

/// Has [`find`] found the interpreter's functions?
pub(crate) fn found() -> bool {
    GET.load(Relaxed) != 0 && SET.load(Relaxed) != 0
}

/// The table of a domain; [`NOTHING`] before [`find`].
pub(crate) fn get(domain: c_int) -> Allocator {
    let mut allocator = NOTHING;
    let address = GET.load(Relaxed);
    if address != 0 {
        // SAFETY: the address is that of PyMem_GetAllocator.
        let function: unsafe extern "C" fn(c_int, *mut Allocator) = unsafe { core::mem::transmute(address) };
        // SAFETY: the domain exists, and `allocator` is a local variable.
        unsafe { function(domain, &raw mut allocator) };
    }
    allocator
}

/// Sets the table of a domain, after [`find`].
pub(crate) fn set(domain: c_int, allocator: &Allocator) {
    let address = SET.load(Relaxed);
    if address != 0 {
        // SAFETY: the address is that of PyMem_SetAllocator.
        let function: unsafe extern "C" fn(c_int, *const Allocator) = unsafe { core::mem::transmute(address) };
        // SAFETY: the domain exists, and the interpreter copies the table.
        unsafe { function(domain, core::ptr::from_ref(allocator)) };
    }
}

/// Changes the functions that map and unmap arenas, by `change`; the interpreter's table stays if `change` returns
/// false, or if the process has no such table.
pub(crate) fn change_arenas(change: impl FnOnce(&mut Arenas) -> bool) {
    let (get, set) = (global_symbol(c"PyObject_GetArenaAllocator"), global_symbol(c"PyObject_SetArenaAllocator"));
    if get == 0 || set == 0 {
        return;
    }
    // SAFETY: the address is that of the interpreter's function of this name and type.
    let get: unsafe extern "C" fn(*mut Arenas) = unsafe { core::mem::transmute(get) };
    // SAFETY: as above.
    let set: unsafe extern "C" fn(*const Arenas) = unsafe { core::mem::transmute(set) };
    let mut arenas = Arenas { context: core::ptr::null_mut(), alloc: no_malloc, free: no_arena_free };
    // SAFETY: `arenas` is a local variable.
    unsafe { get(&raw mut arenas) };
    if change(&mut arenas) {
        // SAFETY: the interpreter copies the table.
        unsafe { set(&raw const arenas) };
    }
}

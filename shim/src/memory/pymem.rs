//! Python's object allocators.
//!
//! Job: see objects of up to 512 bytes, which the interpreter's allocator cuts from its own arenas. For larger objects
//! it calls `malloc`, where the libc hooks see them. Two ways in:
//!
//! * **escape** (pymalloc, sampled): this file replaces `malloc`, `calloc` and `realloc` of the MEM and OBJ domains,
//!   and takes a block that is a sample from the RAW domain. If pymalloc is asked to free or resize a foreign block, it
//!   passes the call to RAW by itself. There the libc hooks see the end of sampled blocks, and every other free costs
//!   nothing. A resize counts as an end and a new block, in place or not.
//! * **wrap** (exact mode, debug allocators, allocators that other code installed): this file replaces `malloc`,
//!   `calloc`, `realloc` and `free`, and its functions call the originals.
//!
//! Under `PYTHONMALLOC=malloc` neither is needed. Invariant: installed once, with the GIL held; only function pointers
//! change, contexts stay. Neighbours: `pymem_install` (puts these functions in place), `interval`, `libc`.

use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rscalene_wire::{AllocFlags, FreeHow};

use crate::ground::allocators::{self, Allocator, Arenas};
use crate::ground::tls::{Busy, tls};
use crate::memory::interval;
use crate::memory::live;
use crate::memory::sample::{Choice, forget, keep, remember};

type Block = *mut c_void;
type Context = *mut c_void;

/// Largest request that pymalloc serves itself (`SMALL_REQUEST_THRESHOLD`, 3.3 to 3.15).
const SMALL: usize = 512;

/// The functions of a domain that this file replaces.
struct Original {
    malloc: AtomicUsize,
    calloc: AtomicUsize,
    realloc: AtomicUsize,
    free: AtomicUsize,
}

impl Original {
    const fn new() -> Self {
        Self {
            malloc: AtomicUsize::new(0),
            calloc: AtomicUsize::new(0),
            realloc: AtomicUsize::new(0),
            free: AtomicUsize::new(0),
        }
    }

    fn remember(&self, allocator: &Allocator) {
        self.malloc.store(allocator.malloc as usize, Relaxed);
        self.calloc.store(allocator.calloc as usize, Relaxed);
        self.realloc.store(allocator.realloc as usize, Relaxed);
        self.free.store(allocator.free as usize, Relaxed);
    }

    /// The original functions, with the context of `now`.
    fn restored(&self, now: &Allocator) -> Allocator {
        // SAFETY: `remember` stored the addresses of functions of these types.
        unsafe {
            Allocator {
                context: now.context,
                malloc: core::mem::transmute::<usize, allocators::Malloc>(self.malloc.load(Relaxed)),
                calloc: core::mem::transmute::<usize, allocators::Calloc>(self.calloc.load(Relaxed)),
                realloc: core::mem::transmute::<usize, allocators::Realloc>(self.realloc.load(Relaxed)),
                free: core::mem::transmute::<usize, allocators::Free>(self.free.load(Relaxed)),
            }
        }
    }
}

static IN_MEM: Original = Original::new();
static IN_OBJ: Original = Original::new();
static ARENA_ALLOC: AtomicUsize = AtomicUsize::new(0);
static ARENA_FREE: AtomicUsize = AtomicUsize::new(0);
static RAW_MALLOC: AtomicUsize = AtomicUsize::new(0);
static RAW_CALLOC: AtomicUsize = AtomicUsize::new(0);

macro_rules! call {
    ($address:expr, fn($($type:ty),*) -> $ret:ty, ($($argument:expr),*)) => {{
        // SAFETY: the address was stored by `install` from a slot, or looked up under a name, of this very signature.
        let function: unsafe extern "C" fn($($type),*) -> $ret = unsafe { core::mem::transmute($address) };
        // SAFETY: this function's caller gave these arguments for the called function.
        unsafe { function($($argument),*) }
    }};
}

/// Runs `real`, which passes a large request to `malloc`; the mark shows the libc hooks that the request is Python's.
#[inline(always)]
fn marked<T>(real: impl FnOnce() -> T) -> T {
    let block = tls();
    let before = block.via_python.replace(AllocFlags::PYTHON);
    let answer = real();
    block.via_python.set(before);
    answer
}

/// Subtracts a small request from the countdown; true if the block is a sample.
#[inline(always)]
fn runs_out(bytes: usize) -> bool {
    // The GIL is held, so no other thread runs between the load and the store.
    let left = interval::PYTHON_LEFT.load(Relaxed) - bytes.max(1) as i64;
    interval::PYTHON_LEFT.store(left, Relaxed);
    left < 0
}

/// Takes a sampled block from the RAW domain and records it. Null if RAW refuses; the caller then takes the ordinary
/// way.
#[cold]
#[inline(never)]
fn escape(bytes: usize, raw: impl FnOnce() -> Block) -> Block {
    let block = tls();
    let interval = interval::choose_python(block);
    let escaped = match Busy::enter() {
        Some(_busy) => raw(),
        None => return core::ptr::null_mut(),
    };
    keep(escaped as u64, bytes.max(1), Choice { interval, flags: AllocFlags::PYTHON });
    escaped
}

// As in `libc`: the path of a small block that is no sample saves no register.
// SAFETY of these functions: the interpreter calls them as it calls the originals, whose contract they pass on.
macro_rules! escaping {
    (
        $domain:ident,
        $malloc:ident,
        $malloc_slowly:ident,
        $calloc:ident,
        $calloc_slowly:ident,
        $realloc:ident,
        $realloc_slowly:ident
    ) => {
        unsafe extern "C" fn $malloc(context: Context, bytes: usize) -> Block {
            if bytes > SMALL || runs_out(bytes) {
                return $malloc_slowly(context, bytes);
            }
            call!($domain.malloc.load(Relaxed), fn(Context, usize) -> Block, (context, bytes))
        }

        #[inline(never)]
        fn $malloc_slowly(context: Context, bytes: usize) -> Block {
            let real = || call!($domain.malloc.load(Relaxed), fn(Context, usize) -> Block, (context, bytes));
            if bytes > SMALL {
                return marked(real);
            }
            let block = escape(bytes, || call!(RAW_MALLOC.load(Relaxed), fn(usize) -> Block, (bytes)));
            if block.is_null() { real() } else { block }
        }

        unsafe extern "C" fn $calloc(context: Context, items: usize, size: usize) -> Block {
            let bytes = items.saturating_mul(size);
            if bytes > SMALL || runs_out(bytes) {
                return $calloc_slowly(context, items, size);
            }
            call!($domain.calloc.load(Relaxed), fn(Context, usize, usize) -> Block, (context, items, size))
        }

        #[inline(never)]
        fn $calloc_slowly(context: Context, items: usize, size: usize) -> Block {
            let bytes = items.saturating_mul(size);
            let function = || $domain.calloc.load(Relaxed);
            let real = || call!(function(), fn(Context, usize, usize) -> Block, (context, items, size));
            if bytes > SMALL {
                return marked(real);
            }
            let block = escape(bytes, || call!(RAW_CALLOC.load(Relaxed), fn(usize, usize) -> Block, (items, size)));
            if block.is_null() { real() } else { block }
        }

        unsafe extern "C" fn $realloc(context: Context, old: Block, bytes: usize) -> Block {
            if bytes > SMALL || runs_out(bytes) {
                return $realloc_slowly(context, old, bytes);
            }
            call!($domain.realloc.load(Relaxed), fn(Context, Block, usize) -> Block, (context, old, bytes))
        }

        #[inline(never)]
        fn $realloc_slowly(context: Context, old: Block, bytes: usize) -> Block {
            let real =
                || call!($domain.realloc.load(Relaxed), fn(Context, Block, usize) -> Block, (context, old, bytes));
            if bytes > SMALL {
                return marked(real);
            }
            // Only its allocator knows the size of the old block. So the allocator resizes the block, and the result is
            // moved to a block from RAW.
            let resized = real();
            if resized.is_null() {
                return resized;
            }
            let block = escape(bytes, || call!(RAW_MALLOC.load(Relaxed), fn(usize) -> Block, (bytes)));
            if block.is_null() {
                return resized;
            }
            // SAFETY: both blocks hold `bytes`, and they do not overlap: `escape` allocated one of them just now.
            unsafe { core::ptr::copy_nonoverlapping(resized.cast::<u8>(), block.cast::<u8>(), bytes) };
            call!($domain.free.load(Relaxed), fn(Context, Block) -> (), (context, resized));
            block
        }
    };
}
escaping!(
    IN_MEM,
    escaping_mem_malloc,
    mem_malloc_slowly,
    escaping_mem_calloc,
    mem_calloc_slowly,
    escaping_mem_realloc,
    mem_realloc_slowly
);
escaping!(
    IN_OBJ,
    escaping_obj_malloc,
    obj_malloc_slowly,
    escaping_obj_calloc,
    obj_calloc_slowly,
    escaping_obj_realloc,
    obj_realloc_slowly
);

/// Is a wrapped block of `bytes` a sample? pymalloc passes large blocks to `malloc`; those are left to the hook there.
#[inline(always)]
fn wrapped_choice(bytes: usize) -> Option<Choice> {
    if interval::exact() {
        return Some(Choice { interval: 0, flags: AllocFlags::CERTAIN.and(AllocFlags::PYTHON) });
    }
    if runs_out(bytes) {
        return Some(Choice { interval: interval::choose_python(tls()), flags: AllocFlags::PYTHON });
    }
    None
}

/// Allocates with the libc hooks off, so that the `malloc` calls of the wrapped allocator are not counted as well.
fn wrapped(bytes: usize, real: impl FnOnce() -> Block) -> Block {
    let choice = wrapped_choice(bytes);
    let Some(busy) = Busy::enter() else { return real() };
    let block = real();
    drop(busy);
    if let Some(choice) = choice {
        keep(block as u64, bytes.max(1), choice);
    }
    block
}

/// Records the end of a wrapped block; true if the block was recorded.
fn ends(block: Block, how: FreeHow) -> bool {
    !block.is_null()
        && tls().busy.get() == 0
        && (interval::exact() || live::maybe(block as u64))
        && forget(block as u64, how)
}

// SAFETY of these functions: as of the escaping ones.
macro_rules! wrapping {
    ($domain:ident, $malloc:ident, $calloc:ident, $realloc:ident, $free:ident) => {
        unsafe extern "C" fn $malloc(context: Context, bytes: usize) -> Block {
            wrapped(bytes, || call!($domain.malloc.load(Relaxed), fn(Context, usize) -> Block, (context, bytes)))
        }

        unsafe extern "C" fn $calloc(context: Context, items: usize, size: usize) -> Block {
            wrapped(items.saturating_mul(size), || {
                call!($domain.calloc.load(Relaxed), fn(Context, usize, usize) -> Block, (context, items, size))
            })
        }

        unsafe extern "C" fn $realloc(context: Context, old: Block, bytes: usize) -> Block {
            let said = ends(old, FreeHow::RESIZED);
            let choice = wrapped_choice(bytes);
            let Some(busy) = Busy::enter() else {
                return call!($domain.realloc.load(Relaxed), fn(Context, Block, usize) -> Block, (context, old, bytes));
            };
            let new = call!($domain.realloc.load(Relaxed), fn(Context, Block, usize) -> Block, (context, old, bytes));
            drop(busy);
            if said && new.is_null() {
                remember(old as u64);
            }
            if let Some(choice) = choice {
                keep(new as u64, bytes.max(1), choice);
            }
            new
        }

        unsafe extern "C" fn $free(context: Context, block: Block) {
            ends(block, FreeHow::FREED);
            let busy = Busy::enter();
            call!($domain.free.load(Relaxed), fn(Context, Block) -> (), (context, block));
            drop(busy);
        }
    };
}
wrapping!(IN_MEM, wrapping_mem_malloc, wrapping_mem_calloc, wrapping_mem_realloc, wrapping_mem_free);
wrapping!(IN_OBJ, wrapping_obj_malloc, wrapping_obj_calloc, wrapping_obj_realloc, wrapping_obj_free);

/// Maps an arena, marked as one for the hooks of the mmap family.
///
/// # Safety
/// As the interpreter's own function.
unsafe extern "C" fn arena_alloc(context: Context, bytes: usize) -> Block {
    let block = tls();
    block.arena.set(1);
    let arena = call!(ARENA_ALLOC.load(Relaxed), fn(Context, usize) -> Block, (context, bytes));
    block.arena.set(0);
    arena
}

/// Unmaps an arena, with the same mark.
///
/// # Safety
/// As the interpreter's own function.
unsafe extern "C" fn arena_free(context: Context, arena: Block, bytes: usize) {
    let block = tls();
    block.arena.set(1);
    call!(ARENA_FREE.load(Relaxed), fn(Context, Block, usize) -> (), (context, arena, bytes));
    block.arena.set(0);
}

/// The two ways into a domain.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    Escape,
    Wrap,
}

/// The domain's table with this file's functions in place of `now`'s, which they call.
pub(crate) fn hooked_mem(now: Allocator, way: Way) -> Allocator {
    IN_MEM.remember(&now);
    match way {
        Way::Escape => {
            Allocator { malloc: escaping_mem_malloc, calloc: escaping_mem_calloc, realloc: escaping_mem_realloc, ..now }
        }
        Way::Wrap => Allocator {
            malloc: wrapping_mem_malloc,
            calloc: wrapping_mem_calloc,
            realloc: wrapping_mem_realloc,
            free: wrapping_mem_free,
            ..now
        },
    }
}

/// The same for the object domain.
pub(crate) fn hooked_obj(now: Allocator, way: Way) -> Allocator {
    IN_OBJ.remember(&now);
    match way {
        Way::Escape => {
            Allocator { malloc: escaping_obj_malloc, calloc: escaping_obj_calloc, realloc: escaping_obj_realloc, ..now }
        }
        Way::Wrap => Allocator {
            malloc: wrapping_obj_malloc,
            calloc: wrapping_obj_calloc,
            realloc: wrapping_obj_realloc,
            free: wrapping_obj_free,
            ..now
        },
    }
}

fn is_any(function: usize, of: [*const (); 2]) -> bool {
    of.iter().any(|one| *one as usize == function)
}

/// The domain's table without this file's functions; `None` if other functions are on top.
pub(crate) fn unhooked_mem(now: &Allocator) -> Option<Allocator> {
    let ours = [escaping_mem_malloc as *const (), wrapping_mem_malloc as *const ()];
    is_any(now.malloc as usize, ours).then(|| IN_MEM.restored(now))
}

/// The same for the object domain.
pub(crate) fn unhooked_obj(now: &Allocator) -> Option<Allocator> {
    let ours = [escaping_obj_malloc as *const (), wrapping_obj_malloc as *const ()];
    is_any(now.malloc as usize, ours).then(|| IN_OBJ.restored(now))
}

/// Puts the functions that mark arenas into the table; false if they are in place.
pub(crate) fn mark_arenas(arenas: &mut Arenas) -> bool {
    if ARENA_ALLOC.load(Relaxed) != 0 {
        return false;
    }
    ARENA_ALLOC.store(arenas.alloc as usize, Relaxed);
    ARENA_FREE.store(arenas.free as usize, Relaxed);
    (arenas.alloc, arenas.free) = (arena_alloc, arena_free);
    true
}

/// Takes them out again; false if other functions are on top.
pub(crate) fn unmark_arenas(arenas: &mut Arenas) -> bool {
    if arenas.alloc as usize != arena_alloc as *const () as usize {
        return false;
    }
    // SAFETY: `mark_arenas` stored the addresses of functions of these types.
    unsafe {
        arenas.alloc = core::mem::transmute::<usize, allocators::Malloc>(ARENA_ALLOC.load(Relaxed));
        arenas.free = core::mem::transmute::<usize, allocators::ArenaFree>(ARENA_FREE.load(Relaxed));
    }
    ARENA_ALLOC.store(0, Relaxed);
    true
}

/// Notes the RAW domain's functions, from which sampled blocks are taken; false if the process has none.
pub(crate) fn set_raw(malloc: usize, calloc: usize) -> bool {
    RAW_MALLOC.store(malloc, Relaxed);
    RAW_CALLOC.store(calloc, Relaxed);
    malloc != 0 && calloc != 0
}

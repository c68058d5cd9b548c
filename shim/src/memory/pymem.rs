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
//! change, contexts stay. Neighbours: `selftest` (chooses a moment with the GIL), `interval`, `libc`.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};

use rscalene_wire::{AllocFlags, FreeHow, MemoryMode, NoticeCode};

use crate::arena::segment;
use crate::ground::real::global_symbol;
use crate::ground::tls::{Busy, tls};
use crate::memory::interval;
use crate::memory::live;
use crate::memory::sample::{self, Choice, forget, keep, remember};

type Block = *mut c_void;
type Context = *mut c_void;

/// Largest request that pymalloc serves itself (`SMALL_REQUEST_THRESHOLD`, 3.3 to 3.15).
const SMALL: usize = 512;
const MEM: c_int = 1;
const OBJ: c_int = 2;

/// `PyMemAllocatorEx`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Allocator {
    context: Context,
    malloc: usize,
    calloc: usize,
    realloc: usize,
    free: usize,
}

/// `PyObjectArenaAllocator`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arenas {
    context: Context,
    alloc: usize,
    free: usize,
}

/// The functions of one domain that this file replaced.
struct Original {
    malloc: AtomicUsize,
    calloc: AtomicUsize,
    realloc: AtomicUsize,
    free: AtomicUsize,
    /// 1 while this file's functions are installed above these, whether or not other code has put functions above them.
    placed: AtomicUsize,
}

impl Original {
    const fn new() -> Self {
        Self {
            malloc: AtomicUsize::new(0),
            calloc: AtomicUsize::new(0),
            realloc: AtomicUsize::new(0),
            free: AtomicUsize::new(0),
            placed: AtomicUsize::new(0),
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
unsafe extern "C" fn arena_alloc(context: Context, bytes: usize) -> Block {
    let block = tls();
    block.arena.set(1);
    let arena = call!(ARENA_ALLOC.load(Relaxed), fn(Context, usize) -> Block, (context, bytes));
    block.arena.set(0);
    arena
}

/// Unmaps an arena, with the same mark.
unsafe extern "C" fn arena_free(context: Context, arena: Block, bytes: usize) {
    let block = tls();
    block.arena.set(1);
    call!(ARENA_FREE.load(Relaxed), fn(Context, Block, usize) -> (), (context, arena, bytes));
    block.arena.set(0);
}

/// Kinds of the interpreter's allocators.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Kind {
    Other,
    Pymalloc,
    Malloc,
}

/// The kind before exact counting put its own functions above the interpreter's.
static NOTED: AtomicU8 = AtomicU8::new(Kind::Other as u8);

/// Notes the kind before exact counting puts its functions in place: afterwards the interpreter cannot name its own
/// allocators below them.
pub(crate) fn note_kind() {
    NOTED.store(kind() as u8, Relaxed);
}

fn noted() -> Kind {
    match NOTED.load(Relaxed) {
        kind if kind == Kind::Pymalloc as u8 => Kind::Pymalloc,
        kind if kind == Kind::Malloc as u8 => Kind::Malloc,
        _ => Kind::Other,
    }
}

fn kind() -> Kind {
    let name = global_symbol(c"_PyMem_GetCurrentAllocatorName");
    if name == 0 {
        return Kind::Other;
    }
    let name = call!(name, fn() -> *const c_char, ());
    if name.is_null() {
        return Kind::Other;
    }
    // SAFETY: CPython returns a string literal.
    match unsafe { CStr::from_ptr(name) }.to_bytes() {
        b"pymalloc" => Kind::Pymalloc,
        b"malloc" => Kind::Malloc,
        _ => Kind::Other,
    }
}

/// Begins to record allocations, if the launcher wants this; the GIL is held.
pub(crate) fn install() {
    if !interval::wanted() || interval::running() || !live::prepare() {
        return;
    }
    if !replace_all(kind()) {
        segment::notice(NoticeCode::HOOKS_REFUSED, 0);
    }
    interval::begin();
}

/// Begins to sample allocations into the lent arena, and forgets earlier samples. Returns false if this process has no
/// allocators to hook. `counted`: exact counting has put its functions above the interpreter's. The GIL is held.
pub(crate) fn start_in_process(counted: bool) -> bool {
    let begun = live::prepare() && begin_anew(counted);
    sample::set_tapped(begun);
    begun
}

fn begin_anew(counted: bool) -> bool {
    live::forget_all();
    let kind = if counted { noted() } else { kind() };
    let replaced = replace_all(kind);
    if replaced {
        interval::begin();
    }
    replaced
}

/// Puts the interpreter's own functions back if sampling is off and no other code has put functions above this file's.
/// The GIL is held.
pub(crate) fn settle() {
    if interval::running() {
        return;
    }
    for (domain, original) in [(MEM, &IN_MEM), (OBJ, &IN_OBJ)] {
        put_back(domain, original);
    }
    unmark_arenas();
}

fn replace_all(kind: Kind) -> bool {
    let (get, set) = (global_symbol(c"PyMem_GetAllocator"), global_symbol(c"PyMem_SetAllocator"));
    RAW_MALLOC.store(global_symbol(c"PyMem_RawMalloc"), Relaxed);
    RAW_CALLOC.store(global_symbol(c"PyMem_RawCalloc"), Relaxed);
    if get == 0 || set == 0 || RAW_MALLOC.load(Relaxed) == 0 || RAW_CALLOC.load(Relaxed) == 0 {
        return false;
    }
    mark_arenas();
    let exact = segment::settings().memory_mode == MemoryMode::EXACT;
    interval::begin_python(tls());
    if kind != Kind::Malloc {
        let escape = kind == Kind::Pymalloc && !exact;
        for (domain, original) in [(MEM, &IN_MEM), (OBJ, &IN_OBJ)] {
            if original.placed.swap(1, Relaxed) == 0 {
                replace(domain, original, escape, get, set);
            }
        }
    }
    true
}

fn put_back(domain: c_int, original: &'static Original) {
    let (get, set) = (global_symbol(c"PyMem_GetAllocator"), global_symbol(c"PyMem_SetAllocator"));
    if original.placed.load(Relaxed) == 0 || get == 0 || set == 0 {
        return;
    }
    let mut allocator = Allocator { context: core::ptr::null_mut(), malloc: 0, calloc: 0, realloc: 0, free: 0 };
    call!(get, fn(c_int, *mut Allocator) -> (), (domain, &raw mut allocator));
    let ours: [*const (); 2] = if domain == MEM {
        [escaping_mem_malloc as *const (), wrapping_mem_malloc as *const ()]
    } else {
        [escaping_obj_malloc as *const (), wrapping_obj_malloc as *const ()]
    };
    if !ours.map(|function| function as usize).contains(&allocator.malloc) {
        return;
    }
    allocator.malloc = original.malloc.load(Relaxed);
    allocator.calloc = original.calloc.load(Relaxed);
    allocator.realloc = original.realloc.load(Relaxed);
    allocator.free = original.free.load(Relaxed);
    call!(set, fn(c_int, *mut Allocator) -> (), (domain, &raw mut allocator));
    original.placed.store(0, Relaxed);
}

fn replace(domain: c_int, original: &'static Original, escape: bool, get: usize, set: usize) {
    let mut allocator = Allocator { context: core::ptr::null_mut(), malloc: 0, calloc: 0, realloc: 0, free: 0 };
    call!(get, fn(c_int, *mut Allocator) -> (), (domain, &raw mut allocator));
    original.malloc.store(allocator.malloc, Relaxed);
    original.calloc.store(allocator.calloc, Relaxed);
    original.realloc.store(allocator.realloc, Relaxed);
    original.free.store(allocator.free, Relaxed);
    let mem = domain == MEM;
    if escape {
        let functions: [*const (); 3] = if mem {
            [escaping_mem_malloc as *const (), escaping_mem_calloc as *const (), escaping_mem_realloc as *const ()]
        } else {
            [escaping_obj_malloc as *const (), escaping_obj_calloc as *const (), escaping_obj_realloc as *const ()]
        };
        let [malloc, calloc, realloc] = functions.map(|function| function as usize);
        allocator = Allocator { malloc, calloc, realloc, ..allocator };
    } else {
        let functions: [*const (); 4] = if mem {
            [
                wrapping_mem_malloc as *const (),
                wrapping_mem_calloc as *const (),
                wrapping_mem_realloc as *const (),
                wrapping_mem_free as *const (),
            ]
        } else {
            [
                wrapping_obj_malloc as *const (),
                wrapping_obj_calloc as *const (),
                wrapping_obj_realloc as *const (),
                wrapping_obj_free as *const (),
            ]
        };
        let [malloc, calloc, realloc, free] = functions.map(|function| function as usize);
        allocator = Allocator { malloc, calloc, realloc, free, ..allocator };
    }
    call!(set, fn(c_int, *mut Allocator) -> (), (domain, &raw mut allocator));
}

fn mark_arenas() {
    let (get, set) = (global_symbol(c"PyObject_GetArenaAllocator"), global_symbol(c"PyObject_SetArenaAllocator"));
    if get == 0 || set == 0 {
        return;
    }
    let mut arenas = Arenas { context: core::ptr::null_mut(), alloc: 0, free: 0 };
    call!(get, fn(*mut Arenas) -> (), (&raw mut arenas));
    if arenas.alloc == 0 || ARENA_ALLOC.load(Relaxed) != 0 {
        return;
    }
    ARENA_ALLOC.store(arenas.alloc, Relaxed);
    ARENA_FREE.store(arenas.free, Relaxed);
    arenas.alloc = arena_alloc as *const () as usize;
    arenas.free = arena_free as *const () as usize;
    call!(set, fn(*mut Arenas) -> (), (&raw mut arenas));
}

fn unmark_arenas() {
    let (get, set) = (global_symbol(c"PyObject_GetArenaAllocator"), global_symbol(c"PyObject_SetArenaAllocator"));
    if get == 0 || set == 0 {
        return;
    }
    let mut arenas = Arenas { context: core::ptr::null_mut(), alloc: 0, free: 0 };
    call!(get, fn(*mut Arenas) -> (), (&raw mut arenas));
    if arenas.alloc == arena_alloc as *const () as usize {
        arenas.alloc = ARENA_ALLOC.load(Relaxed);
        arenas.free = ARENA_FREE.load(Relaxed);
        call!(set, fn(*mut Arenas) -> (), (&raw mut arenas));
        ARENA_ALLOC.store(0, Relaxed);
    }
}

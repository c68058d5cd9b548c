//! The malloc and mmap families, counted for `@profile` and sampled for `Profiler`.
//!
//! Job: receive the loaded libraries' calls of the malloc and mmap families. Sampling is the outer layer, counting the
//! inner one; while a layer is off, a call costs a load of a word. Invariant: every call returns the real function's
//! answer. A block is recorded after it was allocated, and its record is taken before it is freed, so an address never
//! belongs to two blocks at once. Neighbours: `got` puts these functions in place, and the functions of `count::pymem`
//! call these with `inside` set.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rscalene_wire::ExactCounters;

use crate::count::counters::{self, count_new, counting, inside, outermost};
use crate::count::sizes;
use crate::ground::real;
use crate::memory::preload::hooked::name;
use crate::memory::preload::{libc as preload, maps};
use crate::memory::sample;
use crate::memory::tables::got::{self, Family, Hook};

/// One row a function that is replaced in the libraries' tables: its index, its family, and the stand-in of its name.
macro_rules! hooks {
    ($($index:ident = $family:ident, $function:ident;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Row { $($index),* }
        $(const $index: usize = Row::$index as usize;)*

        /// All hooks.
        static HOOKS: [Hook; [$(Row::$index),*].len()] =
            [$(Hook::new(name!($function), Family::$family, || $function as *const () as usize)),*];
    };
}

hooks! {
    MALLOC = Malloc, malloc;
    CALLOC = Malloc, calloc;
    REALLOC = Malloc, realloc;
    FREE = Malloc, free;
    POSIX_MEMALIGN = Malloc, posix_memalign;
    ALIGNED_ALLOC = Malloc, aligned_alloc;
    MEMALIGN = Malloc, memalign;
    VALLOC = Malloc, valloc;
    PVALLOC = Malloc, pvalloc;
    REALLOCARRAY = Malloc, reallocarray;
    MMAP = Mmap, mmap;
    MMAP64 = Mmap, mmap64;
    MUNMAP = Mmap, munmap;
    MREMAP = Mmap, mremap;
    MPROTECT = Mmap, mprotect;
    // In neither family: libraries that look a function up by name get its replacement. The last row.
    DLSYM = Dlsym, dlsym;
}

static USABLE: AtomicUsize = AtomicUsize::new(0);

/// Looks the real functions up; false if the process has no `malloc`.
pub(crate) fn find() -> bool {
    for hook in &HOOKS {
        if hook.real() == 0 {
            hook.correct(real::global_symbol(hook.name));
        }
    }
    if USABLE.load(Relaxed) == 0 {
        USABLE.store(real::global_symbol(c"malloc_usable_size"), Relaxed);
    }
    real::clear_error();
    [MALLOC, CALLOC, REALLOC, FREE].iter().all(|which| HOOKS[*which].real() != 0)
}

/// Is this library preloaded, so that the program's calls of the malloc family come here without patching? Called after
/// [`find`].
pub(crate) fn preloaded() -> bool {
    got::is_ours(HOOKS[MALLOC].real())
}

/// Redirects the calls of libraries loaded since the last time.
pub(crate) fn patch(keep_out: usize) -> bool {
    got::patch(&HOOKS, keep_out)
}

/// Makes all slots lead to the real functions again.
pub(crate) fn restore() {
    got::restore(&HOOKS);
}

/// Calls the real function with this index and these types.
macro_rules! real {
    ($which:expr, fn($($type:ty),*) -> $ret:ty, $($argument:expr),*) => {{
        // SAFETY: `find` took the address from `dlsym` under the name of this very function; a hook is put in place
        // only where the real function exists.
        let function: unsafe extern "C" fn($($type),*) -> $ret = unsafe { core::mem::transmute(HOOKS[$which].real()) };
        // SAFETY: the arguments are the caller's own.
        unsafe { function($($argument),*) }
    }};
}

/// Usable bytes of a block of the malloc family; 0 if libc has no such function.
fn usable_bytes(block: *mut c_void) -> usize {
    let address = USABLE.load(Relaxed);
    if address == 0 {
        return 0;
    }
    // SAFETY: the address is that of malloc_usable_size.
    let function: unsafe extern "C" fn(*mut c_void) -> usize = unsafe { core::mem::transmute(address) };
    // SAFETY: `block` is a live block: its owner is about to free it.
    unsafe { function(block) }
}

/// Called when an inner call frees or moves `block`: if an outer function watches this block, notes the block's usable
/// bytes for it.
#[inline(always)]
fn notify_watcher(block: *mut c_void) {
    if !counting() {
        return;
    }
    let mine = counters::mine();
    // SAFETY: the thread's own block.
    let mine = unsafe { &mut *mine };
    // A debug allocator's block begins up to 32 bytes before the block that it returned to the program.
    if mine.inside != 0 && mine.watched != 0 && mine.watched.wrapping_sub(block as usize) <= 32 {
        mine.usable = usable_bytes(block) + 1;
    }
}

/// Runs an allocation of `bytes`, as a possible sample if sampling is on.
#[inline(always)]
fn sampled(bytes: usize, call: impl FnOnce() -> *mut c_void) -> *mut c_void {
    if sample::tapped() { preload::allocate(bytes, || sample::within(call)) } else { call() }
}

/// Runs an allocation of `bytes`, and counts the call unless another hook's call encloses it.
#[inline(always)]
fn allocate(bytes: usize, call: impl FnOnce() -> *mut c_void) -> *mut c_void {
    sampled(bytes, || {
        let Some(mine) = outermost() else { return call() };
        let block = inside(mine, call);
        count_new(mine, block, bytes);
        block
    })
}

/// Runs the resize of `old` to `bytes`.
fn reallocate(old: *mut c_void, bytes: usize, call: impl FnOnce() -> *mut c_void) -> *mut c_void {
    let counted = || {
        let Some(mine) = outermost() else {
            notify_watcher(old);
            return call();
        };
        resize(mine, old, bytes, call)
    };
    if sample::tapped() { preload::resize(old, bytes, || sample::within(counted)) } else { counted() }
}

// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn malloc(bytes: usize) -> *mut c_void {
    allocate(bytes, || real!(MALLOC, fn(usize) -> *mut c_void, bytes))
}

// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn calloc(count: usize, each: usize) -> *mut c_void {
    allocate(count.wrapping_mul(each), || real!(CALLOC, fn(usize, usize) -> *mut c_void, count, each))
}

// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn realloc(old: *mut c_void, bytes: usize) -> *mut c_void {
    reallocate(old, bytes, || real!(REALLOC, fn(*mut c_void, usize) -> *mut c_void, old, bytes))
}

// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn reallocarray(old: *mut c_void, count: usize, each: usize) -> *mut c_void {
    reallocate(old, count.wrapping_mul(each), || {
        real!(REALLOCARRAY, fn(*mut c_void, usize, usize) -> *mut c_void, old, count, each)
    })
}

fn resize(mine: *mut ExactCounters, old: *mut c_void, bytes: usize, call: impl FnOnce() -> *mut c_void) -> *mut c_void {
    if old.is_null() {
        let block = inside(mine, call);
        count_new(mine, block, bytes);
        return block;
    }
    let known = sizes::take(old as usize);
    let before = known.unwrap_or_else(|| usable_bytes(old));
    let block = inside(mine, call);
    // Null for 0 bytes means that the old block was freed; null for more bytes means that the old block stays.
    if block.is_null() && bytes != 0 {
        if let Some(known) = known {
            sizes::record(old as usize, known);
        }
        return block;
    }
    // SAFETY: the thread's own block.
    unsafe { counters::freed(mine, before) };
    count_new(mine, block, bytes);
    block
}

// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn free(block: *mut c_void) {
    if sample::tapped() {
        preload::release(block);
        sample::within(|| counted_free(block));
    } else {
        counted_free(block);
    }
}

#[inline(always)]
fn counted_free(block: *mut c_void) {
    let Some(mine) = outermost() else {
        notify_watcher(block);
        return real!(FREE, fn(*mut c_void) -> (), block);
    };
    if !block.is_null() {
        let bytes = sizes::take(block as usize).unwrap_or_else(|| {
            // SAFETY: the thread's own block.
            unsafe { (*mine).unknown = (*mine).unknown.wrapping_add(1) };
            usable_bytes(block)
        });
        // SAFETY: as above.
        unsafe { counters::freed(mine, bytes) };
    }
    inside(mine, || real!(FREE, fn(*mut c_void) -> (), block));
}

// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn posix_memalign(into: *mut *mut c_void, alignment: usize, bytes: usize) -> c_int {
    let mut failed = libc::ENOMEM;
    allocate(bytes, || {
        failed = real!(POSIX_MEMALIGN, fn(*mut *mut c_void, usize, usize) -> c_int, into, alignment, bytes);
        // SAFETY: after success the call has written the block's address.
        if failed == 0 { unsafe { *into } } else { core::ptr::null_mut() }
    });
    failed
}

// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn aligned_alloc(alignment: usize, bytes: usize) -> *mut c_void {
    allocate(bytes, || real!(ALIGNED_ALLOC, fn(usize, usize) -> *mut c_void, alignment, bytes))
}

// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn memalign(alignment: usize, bytes: usize) -> *mut c_void {
    allocate(bytes, || real!(MEMALIGN, fn(usize, usize) -> *mut c_void, alignment, bytes))
}

// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn valloc(bytes: usize) -> *mut c_void {
    allocate(bytes, || real!(VALLOC, fn(usize) -> *mut c_void, bytes))
}

// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn pvalloc(bytes: usize) -> *mut c_void {
    allocate(bytes, || real!(PVALLOC, fn(usize) -> *mut c_void, bytes))
}

/// Maps memory. Anonymous memory that can be touched counts as allocated by the line. The interpreter's own allocator
/// maps its arenas inside of an allocation, so the arenas are not counted in addition to the blocks in them.
fn map(
    which: usize,
    at: *mut c_void,
    bytes: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> *mut c_void {
    let call = || {
        let Some(hook) = HOOKS.get(which) else { return libc::MAP_FAILED };
        // SAFETY: as in `real!`; mmap and mmap64 are the same function where `off_t` has 64 bits.
        let function: unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, c_int, i64) -> *mut c_void =
            unsafe { core::mem::transmute(hook.real()) };
        // SAFETY: the arguments are the caller's own.
        unsafe { function(at, bytes, protection, flags, fd, offset) }
    };
    let mine = outermost();
    let answer = match mine {
        Some(mine) => inside(mine, call),
        None => call(),
    };
    if answer == libc::MAP_FAILED {
        return answer;
    }
    if let Some(mine) = mine
        && flags & libc::MAP_ANONYMOUS != 0
        && protection != libc::PROT_NONE
    {
        count_new(mine, answer, bytes);
    }
    if sample::tapped() {
        maps::mapped(answer, bytes, protection, flags, fd);
    }
    answer
}

// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn mmap(
    at: *mut c_void,
    bytes: usize,
    how: c_int,
    flags: c_int,
    fd: c_int,
    from: i64,
) -> *mut c_void {
    map(MMAP, at, bytes, how, flags, fd, from)
}

// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn mmap64(
    at: *mut c_void,
    bytes: usize,
    how: c_int,
    flags: c_int,
    fd: c_int,
    from: i64,
) -> *mut c_void {
    map(MMAP64, at, bytes, how, flags, fd, from)
}

// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn munmap(at: *mut c_void, bytes: usize) -> c_int {
    let counted = || counted_unmap(at, bytes, || real!(MUNMAP, fn(*mut c_void, usize) -> c_int, at, bytes));
    if sample::tapped() { maps::unmap(at, bytes, counted) } else { counted() }
}

fn counted_unmap(at: *mut c_void, bytes: usize, call: impl FnOnce() -> c_int) -> c_int {
    let Some(mine) = outermost() else { return call() };
    let known = sizes::take(at as usize);
    let failed = inside(mine, call);
    if let Some(known) = known {
        if failed != 0 {
            sizes::record(at as usize, known);
            return failed;
        }
        // SAFETY: the thread's own block.
        unsafe { counters::freed(mine, known.min(bytes)) };
        if known > bytes {
            sizes::record((at as usize).wrapping_add(bytes), known - bytes);
        }
    }
    failed
}

// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn mremap(
    old: *mut c_void,
    old_bytes: usize,
    bytes: usize,
    flags: c_int,
    at: *mut c_void,
) -> *mut c_void {
    let counted = || {
        counted_remap(old, bytes, || {
            real!(
                MREMAP,
                fn(*mut c_void, usize, usize, c_int, *mut c_void) -> *mut c_void,
                old,
                old_bytes,
                bytes,
                flags,
                at
            )
        })
    };
    if sample::tapped() { maps::remap(old, old_bytes, bytes, counted) } else { counted() }
}

fn counted_remap(old: *mut c_void, bytes: usize, call: impl FnOnce() -> *mut c_void) -> *mut c_void {
    let Some(mine) = outermost() else { return call() };
    let known = sizes::take(old as usize);
    let answer = inside(mine, call);
    if let Some(known) = known {
        if answer == libc::MAP_FAILED {
            sizes::record(old as usize, known);
        } else {
            // SAFETY: the thread's own block.
            unsafe { counters::freed(mine, known) };
            count_new(mine, answer, bytes);
        }
    }
    answer
}

// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn mprotect(at: *mut c_void, bytes: usize, protection: c_int) -> c_int {
    let failed = real!(MPROTECT, fn(*mut c_void, usize, c_int) -> c_int, at, bytes, protection);
    if failed == 0 && sample::tapped() {
        maps::protected(at, bytes, protection);
    }
    failed
}

/// `dlsym` for libraries that look functions up with their own handle (ctypes, cffi). The real `dlsym` depends on its
/// caller only for RTLD_DEFAULT and RTLD_NEXT, which those libraries do not pass.
// SAFETY: `got` installs this function in place of libc's function of the same name, with the same contract.
unsafe extern "C" fn dlsym(handle: *mut c_void, name: *const libc::c_char) -> usize {
    let found = real!(DLSYM, fn(*mut c_void, *const libc::c_char) -> usize, handle, name);
    if found == 0 {
        return found;
    }
    // An interpreter looks up an extension module's init function just after loading the module: patch the module now.
    got::look(&HOOKS);
    HOOKS.iter().take(DLSYM).find(|hook| hook.real() == found).map_or(found, Hook::ours)
}

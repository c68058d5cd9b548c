//! The loaded libraries' tables of function addresses (GOT).
//!
//! Job: direct each library's calls of the malloc family to `tables::libc`. Invariant: this file changes only slots
//! that hold the real function's address or are not bound yet, and makes pages that were read-only read-only again.
//! Runs outside of signal handlers and allocators, with the GIL held. Neighbour: `tables::libc`.

use core::ffi::{CStr, c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::ground::sys;

/// Families of hooked functions; libraries differ in their redirected families.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Family {
    /// Allocates, resizes or frees blocks.
    Malloc,
    /// Maps memory.
    Mmap,
    /// Looks functions up by name. Redirected only in libraries that look functions up with their own handles.
    Dlsym,
}

/// A hook: the function's name, the address of the real function, and the address of the replacement.
pub(crate) struct Hook {
    pub(crate) name: &'static CStr,
    pub(crate) family: Family,
    real: AtomicUsize,
    ours: fn() -> usize,
}

impl Hook {
    /// A hook whose real function is not looked up yet.
    pub(crate) const fn new(name: &'static CStr, family: Family, ours: fn() -> usize) -> Self {
        Self { name, family, real: AtomicUsize::new(0), ours }
    }

    /// Address of the real function; 0 where the process has none.
    #[inline(always)]
    pub(crate) fn real(&self) -> usize {
        self.real.load(Relaxed)
    }

    /// Sets the address of the real function, in place of an earlier one.
    pub(crate) fn correct(&self, address: usize) {
        self.real.store(address, Relaxed);
    }

    /// Address of the replacement.
    pub(crate) fn ours(&self) -> usize {
        (self.ours)()
    }
}

/// The hooks of this process.
pub(crate) type Hooks = [Hook];

/// Libraries loaded so far, at the last [`patch`]; `u64::MAX` before the first.
static SEEN: AtomicU64 = AtomicU64::new(u64::MAX);
/// Value of [`SEEN`] if [`patch`] left some libraries for the next time; no process loads this many.
const NOT_ALL: u64 = u64::MAX - 1;
static DEFERRED: AtomicBool = AtomicBool::new(false);
/// Consecutive runs of [`patch`] that left some libraries.
static WAITED: AtomicU64 = AtomicU64::new(0);
const PATIENCE: u64 = 8;
static PATIENCE_IS_OVER: AtomicBool = AtomicBool::new(false);
static KEEP_OUT: AtomicUsize = AtomicUsize::new(0);

/// Only a single thread changes tables at a time: otherwise a thread could protect a page while another writes to it.
static AT_WORK: AtomicBool = AtomicBool::new(false);

/// Redirects the slots of the libraries loaded since the last time.
pub(crate) fn patch(hooks: &Hooks, keep_out: usize) -> bool {
    KEEP_OUT.store(keep_out, Relaxed);
    if AT_WORK.swap(true, Acquire) {
        return true;
    }
    let mut loads = 0_u64;
    // SAFETY: the callback only reads the object, and writes to `loads`.
    unsafe { libc::dl_iterate_phdr(Some(count), (&raw mut loads).cast()) };
    if loads != SEEN.swap(loads, Relaxed) {
        // SAFETY: the callback only reads the first object, the program.
        unsafe { libc::dl_iterate_phdr(Some(program), of(&hooks)) };
        // SAFETY: the callback changes slots of the objects that the linker lists while it holds its lock.
        unsafe { libc::dl_iterate_phdr(Some(object), of(&hooks)) };
    }
    // Libraries that were left are tried again; after `PATIENCE` tries, a table that is still writable is patched as it
    // is.
    let again = DEFERRED.swap(false, Relaxed);
    let waited = if again { WAITED.load(Relaxed) + 1 } else { 0 };
    WAITED.store(waited, Relaxed);
    PATIENCE_IS_OVER.store(waited >= PATIENCE, Relaxed);
    if again {
        SEEN.store(NOT_ALL, Relaxed);
    }
    AT_WORK.store(false, Release);
    true
}

/// Called when a library may have been loaded: patches it, if tables are patched now.
pub(crate) fn look(hooks: &Hooks) {
    if SEEN.load(Relaxed) != u64::MAX {
        patch(hooks, KEEP_OUT.load(Relaxed));
    }
}

/// Makes all slots lead to the real functions again.
pub(crate) fn restore(hooks: &Hooks) {
    if SEEN.load(Relaxed) == u64::MAX || AT_WORK.swap(true, Acquire) {
        return;
    }
    SEEN.store(u64::MAX, Relaxed);
    // SAFETY: as in `patch`.
    unsafe { libc::dl_iterate_phdr(Some(undo), of(&hooks)) };
    AT_WORK.store(false, Release);
}

/// Wraps the hooks as the argument of a callback, which reads them while the linker lists objects.
fn of(hooks: &&Hooks) -> *mut c_void {
    (&raw const *hooks).cast_mut().cast()
}

/// Does the address lie in this library? Comparing with the address of a symbol would not do, because another library
/// may define the same symbol before this one.
pub(crate) fn is_ours(address: usize) -> bool {
    let mut found = [address, 0];
    // SAFETY: the callback only reads the objects, and writes to `found`.
    unsafe { libc::dl_iterate_phdr(Some(holds_us_and), found.as_mut_ptr().cast()) };
    found[1] != 0
}

unsafe extern "C" fn holds_us_and(object: *mut libc::dl_phdr_info, _: usize, of: *mut c_void) -> c_int {
    // SAFETY: the linker passes a filled structure, and `of` is the caller's pair.
    let (image, pair) = unsafe { (Image::of(&*object), &mut *of.cast::<[usize; 2]>()) };
    if image.holds(patch as *const () as usize) {
        pair[1] = usize::from(image.holds(pair[0]));
        return 1;
    }
    0
}

unsafe extern "C" fn count(object: *mut libc::dl_phdr_info, _: usize, into: *mut c_void) -> c_int {
    // SAFETY: the linker passes a filled structure, and `into` is the caller's counter.
    unsafe { *into.cast::<u64>() = (*object).dlpi_adds };
    1
}

/// The page that an address lies in.
fn page_of(address: usize) -> usize {
    address & !(sys::page_size() - 1)
}

/// Is the page writable? Before Linux 5.14 the answer is always no.
fn writable(page: usize) -> bool {
    /// `MADV_POPULATE_WRITE`: fails where writing would, and changes no byte where it would not.
    const POPULATE_WRITE: usize = 23;
    // SAFETY: the call changes no byte; the page belongs to an object that the linker lists while it holds its lock.
    unsafe { sys::call3(libc::SYS_madvise, page, sys::page_size(), POPULATE_WRITE) == 0 }
}

#[cfg(target_arch = "x86_64")]
const KINDS: [u32; 3] = [7, 6, 1];
#[cfg(target_arch = "aarch64")]
const KINDS: [u32; 3] = [1026, 1025, 257];

const DT_PLTRELSZ: i64 = 2;
const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_RELA: i64 = 7;
const DT_RELASZ: i64 = 8;
const DT_JMPREL: i64 = 23;

#[repr(C)]
struct Dynamic {
    tag: i64,
    value: usize,
}

#[repr(C)]
struct Relocation {
    offset: usize,
    kind: u64,
    addend: i64,
}

#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    size: u64,
}

/// The addresses of a loaded object that this file needs.
struct Image {
    base: usize,
    low: usize,
    high: usize,
    dynamic: usize,
    relro: (usize, usize),
}

/// Corrects the real functions. A program that takes the address of `free` has its own entry for `free`, and `dlsym`
/// then returns this entry to every caller. The real function is the address in the entry's slot.
unsafe extern "C" fn program(object: *mut libc::dl_phdr_info, _: usize, hooks: *mut c_void) -> c_int {
    // SAFETY: the argument is what `of` made.
    let hooks = unsafe { *hooks.cast::<&Hooks>() };
    // SAFETY: the linker passes a filled structure.
    let image = unsafe { Image::of(&*object) };
    image.slots(
        hooks,
        |_| true,
        |at, _, hook| {
            // SAFETY: a relocation's target is a mapped, aligned word of the object.
            let bound = unsafe { (at as *const usize).read_volatile() };
            if image.holds(hook.real()) && !image.holds(bound) {
                hook.correct(bound);
            }
        },
    );
    1
}

unsafe extern "C" fn object(object: *mut libc::dl_phdr_info, _: usize, hooks: *mut c_void) -> c_int {
    // SAFETY: the argument is what `of` made.
    let hooks = unsafe { *hooks.cast::<&Hooks>() };
    // SAFETY: the linker passes a filled structure whose name and headers live as long as the object.
    let (image, name) = unsafe {
        let object = &*object;
        let name = if object.dlpi_name.is_null() { c"" } else { CStr::from_ptr(object.dlpi_name) };
        (Image::of(object), name.to_bytes())
    };
    let ours = image.holds(patch as *const () as usize) || image.holds(KEEP_OUT.load(Relaxed));
    if image.in_the_making() && !PATIENCE_IS_OVER.load(Relaxed) {
        DEFERRED.store(true, Relaxed);
        return 0;
    }
    let linker = contains(name, b"/ld-linux") || contains(name, b"vdso") || contains(name, b"/ld-musl");
    if !ours && !linker {
        let dlsym = dlsym_goes_to_us(name);
        // The allocator's own mappings hold blocks that are counted one by one.
        let malloc = hooks.iter().find(|hook| hook.name == c"malloc");
        let allocator = malloc.is_some_and(|malloc| image.holds(malloc.real()));
        let wanted = |family| match family {
            Family::Malloc => true,
            Family::Mmap => !allocator,
            Family::Dlsym => dlsym,
        };
        image.slots(hooks, wanted, |at, defined, hook| image.redirect(at, defined, hook));
    }
    0
}

unsafe extern "C" fn undo(object: *mut libc::dl_phdr_info, _: usize, hooks: *mut c_void) -> c_int {
    // SAFETY: the argument is what `of` made.
    let hooks = unsafe { *hooks.cast::<&Hooks>() };
    // SAFETY: the linker passes a filled structure.
    let image = unsafe { Image::of(&*object) };
    image.slots(
        hooks,
        |_| true,
        |at, _, hook| {
            // SAFETY: a relocation's target is a mapped, aligned word of the object.
            if unsafe { (at as *const usize).read_volatile() } == hook.ours() {
                image.write(at, hook.real());
            }
        },
    );
    0
}

/// Does this library look functions up with its own handles? The interpreter does, for the init function of every
/// extension module that it loads, and so do the bridges to foreign functions.
fn dlsym_goes_to_us(name: &[u8]) -> bool {
    name.is_empty()
        || contains(name, b"libpython")
        || contains(name, b"_ctypes")
        || contains(name, b"_cffi_backend")
        || contains(name, b"libffi")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

impl Image {
    /// # Safety
    /// `object` is what the linker passed.
    unsafe fn of(object: &libc::dl_phdr_info) -> Self {
        let mut image = Self { base: object.dlpi_addr as usize, low: usize::MAX, high: 0, dynamic: 0, relro: (0, 0) };
        for at in 0..usize::from(object.dlpi_phnum) {
            // SAFETY: there are `dlpi_phnum` headers.
            let header = unsafe { &*object.dlpi_phdr.add(at) };
            let start = image.base.wrapping_add(header.p_vaddr as usize);
            match header.p_type {
                libc::PT_LOAD => {
                    image.low = image.low.min(start);
                    image.high = image.high.max(start + header.p_memsz as usize);
                }
                libc::PT_DYNAMIC => image.dynamic = start,
                // Only whole pages: the linker protects no others.
                libc::PT_GNU_RELRO => {
                    image.relro = (page_of(start), page_of(start + header.p_memsz as usize));
                }
                _ => {}
            }
        }
        image
    }

    /// Is another thread's `dlopen` still relocating this object? The linker relocates first and protects last. If this
    /// library protected the table earlier, the linker would fault.
    fn in_the_making(&self) -> bool {
        self.relro.0 < self.relro.1 && writable(self.relro.0)
    }

    fn holds(&self, address: usize) -> bool {
        self.low <= address && address < self.high
    }

    /// Calls `visit` for each slot of a hook of a `wanted` family, with the slot's address, whether the object itself
    /// defines the function, and the hook.
    fn slots(&self, hooks: &Hooks, wanted: impl Fn(Family) -> bool, mut visit: impl FnMut(usize, bool, &Hook)) {
        if self.dynamic == 0 {
            return;
        }
        let (mut strings, mut symbols, mut plt, mut plt_bytes, mut rela, mut rela_bytes) = (0, 0, 0, 0, 0, 0);
        let absolute = |value: usize| if value < self.base { value + self.base } else { value };
        let mut entry = self.dynamic as *const Dynamic;
        loop {
            // SAFETY: the dynamic section ends with an entry of tag 0.
            let Dynamic { tag, value } = unsafe { entry.read() };
            match tag {
                0 => break,
                DT_STRTAB => strings = absolute(value),
                DT_SYMTAB => symbols = absolute(value),
                DT_JMPREL => plt = absolute(value),
                DT_PLTRELSZ => plt_bytes = value,
                DT_RELA => rela = absolute(value),
                DT_RELASZ => rela_bytes = value,
                _ => {}
            }
            // SAFETY: see above.
            entry = unsafe { entry.add(1) };
        }
        if strings == 0 || symbols == 0 {
            return;
        }
        for (table, bytes) in [(plt, plt_bytes), (rela, rela_bytes)] {
            let count = if table == 0 { 0 } else { bytes / size_of::<Relocation>() };
            for at in 0..count {
                // SAFETY: the table has this many entries.
                let relocation = unsafe { &*(table as *const Relocation).add(at) };
                let symbol = (relocation.kind >> 32) as usize;
                if symbol == 0 || !KINDS.contains(&(relocation.kind as u32)) || relocation.addend != 0 {
                    continue;
                }
                // SAFETY: relocations name symbols of this object's table, and names end with NUL.
                let (name, defined) = unsafe {
                    let symbol = &*(symbols as *const Symbol).add(symbol);
                    let name = CStr::from_ptr((strings + symbol.name as usize) as *const libc::c_char);
                    (name, symbol.section != 0)
                };
                if let Some(hook) = hooks.iter().find(|hook| wanted(hook.family) && hook.name == name) {
                    visit(self.base + relocation.offset, defined, hook);
                }
            }
        }
    }

    /// Makes the slot at `at` lead to the replacement, if the slot leads to the real function now.
    fn redirect(&self, at: usize, defined: bool, hook: &Hook) {
        let slot = at as *mut usize;
        // SAFETY: a relocation's target is a mapped, aligned word of the object.
        let now = unsafe { slot.read_volatile() };
        // An unbound slot holds an address in the object itself. So does a slot in an object with its own allocator;
        // `defined` excludes such objects.
        let unbound = !defined && self.holds(now);
        if hook.real() != 0 && (now == hook.real() || unbound) {
            self.write(at, hook.ours());
        }
    }

    fn write(&self, at: usize, function: usize) {
        let page = page_of(at);
        let protected = self.relro.0 <= at && at < self.relro.1 && !writable(page);
        let protect = |how: c_int| {
            // SAFETY: the page belongs to the object's table; its contents stay.
            unsafe { sys::call3(libc::SYS_mprotect, page, sys::page_size(), how as usize) >= 0 }
        };
        if protected && !protect(libc::PROT_READ | libc::PROT_WRITE) {
            return;
        }
        // SAFETY: writable now; other threads read the word whole, before or after.
        unsafe { (at as *mut usize).write_volatile(function) };
        if protected {
            protect(libc::PROT_READ);
        }
    }
}

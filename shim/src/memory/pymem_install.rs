//! The hooks of Python's object allocators: when they are put in place, which way, and when they go.
//!
//! Job: begin to sample the allocations of the interpreter, and put its own functions back. Invariant: done with the
//! GIL held, once for each domain; other code's functions above this library's stay. Neighbours: `pymem` (the
//! functions), `selftest` (chooses a moment with the GIL), `ground::allocators` (the interpreter's tables).

use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

use rscalene_wire::{MemoryMode, NoticeCode};

use crate::arena::segment;
use crate::ground::allocators::{self, MEM, OBJ};
use crate::ground::real::global_symbol;
use crate::ground::tls::tls;
use crate::memory::pymem::{self, Way};
use crate::memory::{interval, live, sample};

/// Are this library's functions in the domain, whether or not other code has put functions above them?
static IN_MEM: AtomicBool = AtomicBool::new(false);
static IN_OBJ: AtomicBool = AtomicBool::new(false);

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
    // SAFETY: the address is that of the interpreter's function of this name and type.
    let function: unsafe extern "C" fn() -> *const c_char = unsafe { core::mem::transmute(name) };
    // SAFETY: the function reads a table; the GIL is held.
    let name = unsafe { function() };
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
    if !allocators::find() {
        return;
    }
    for (domain, placed) in [(MEM, &IN_MEM), (OBJ, &IN_OBJ)] {
        if placed.load(Relaxed) {
            put_back(domain, placed);
        }
    }
    allocators::change_arenas(pymem::unmark_arenas);
}

fn replace_all(kind: Kind) -> bool {
    let raw = pymem::set_raw(global_symbol(c"PyMem_RawMalloc"), global_symbol(c"PyMem_RawCalloc"));
    if !allocators::find() || !raw {
        return false;
    }
    allocators::change_arenas(pymem::mark_arenas);
    let exact = segment::settings().memory_mode == MemoryMode::EXACT;
    interval::begin_python(tls());
    if kind != Kind::Malloc {
        let way = if kind == Kind::Pymalloc && !exact { Way::Escape } else { Way::Wrap };
        for (domain, placed) in [(MEM, &IN_MEM), (OBJ, &IN_OBJ)] {
            if !placed.swap(true, Relaxed) {
                let now = allocators::get(domain);
                let hooked = if domain == MEM { pymem::hooked_mem(now, way) } else { pymem::hooked_obj(now, way) };
                allocators::set(domain, &hooked);
            }
        }
    }
    true
}

fn put_back(domain: c_int, placed: &AtomicBool) {
    let now = allocators::get(domain);
    let before = if domain == MEM { pymem::unhooked_mem(&now) } else { pymem::unhooked_obj(&now) };
    if let Some(before) = before {
        allocators::set(domain, &before);
        placed.store(false, Relaxed);
    }
}

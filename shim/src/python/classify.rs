//! Python, native or system: which of the three a sample's time belongs to.
//!
//! Job: decide by the interrupted program counter and the opcode of the leaf frame. If the counter lies in the
//! interpreter's image, in libc or a related library, or in anonymous memory (compiled code), the opcode decides: a
//! call of C code is native, all else is Python. If the counter lies anywhere else (an extension module, a library),
//! the time is native. Invariant: no locks; `_dl_find_object` (glibc 2.35 and later, made for signal handlers) finds
//! the object of a program counter, on older glibc the ranges noted at the start. Neighbours: `handler`; `interp` knows
//! what each opcode does.

use core::ffi::{c_int, c_void};
use core::sync::atomic::Ordering::{Relaxed, Release};
use core::sync::atomic::{AtomicU64, AtomicUsize};

use crate::ground::weak::{Weak, weak};

/// Where a program counter lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The interpreter's image, or code that both the interpreter and C code call: the opcode decides.
    Neutral,
    /// Another library.
    Library,
    /// Memory of no object: code that was compiled at run time. The opcode decides.
    Compiled,
}

const RANGES: usize = 12;
/// Address ranges of neutral objects.
static NEUTRAL: [(AtomicU64, AtomicU64); RANGES] = [const { (AtomicU64::new(0), AtomicU64::new(0)) }; RANGES];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// glibc's `struct dl_find_object`; this file reads only its named fields.
#[repr(C)]
struct Found {
    flags: u64,
    start: u64,
    end: u64,
    rest: [u64; 13],
}

fn find_object(pc: u64) -> Option<Option<(u64, u64)>> {
    let find = weak(Weak::FindObject);
    if find == 0 {
        return None;
    }
    // SAFETY: the entry is glibc's _dl_find_object, whose type this is.
    let find: unsafe extern "C" fn(*mut c_void, *mut Found) -> c_int = unsafe { core::mem::transmute(find) };
    let mut found = Found { flags: 0, start: 0, end: 0, rest: [0; 13] };
    // SAFETY: `found` is at least as large as glibc's struct; the call is documented as async-signal-safe.
    let answer = unsafe { find(pc as *mut c_void, &raw mut found) };
    Some((answer == 0).then_some((found.start, found.end)))
}

/// Where `pc` lies.
pub(crate) fn place(pc: u64) -> Place {
    let known = NEUTRAL.iter().take(COUNT.load(Relaxed));
    for (from, to) in known {
        if (from.load(Relaxed)..to.load(Relaxed)).contains(&pc) {
            return Place::Neutral;
        }
    }
    match find_object(pc) {
        Some(None) => Place::Compiled,
        Some(Some(_)) | None => Place::Library,
    }
}

/// Notes the ranges of the objects that both the interpreter and C code call: the object that holds `interpreter`, libc
/// and related libraries, the dynamic linker, the vdso and this library.
pub(crate) fn note_objects(interpreter: u64) {
    unsafe extern "C" {
        fn dl_iterate_phdr(
            visit: unsafe extern "C" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> c_int,
            data: *mut c_void,
        ) -> c_int;
    }
    // SAFETY: `visit` only reads the entries that the dynamic linker passes; `interpreter` outlives the call.
    unsafe { dl_iterate_phdr(visit, (&raw const interpreter).cast_mut().cast()) };
}

/// Names of libraries that both the interpreter and C code call.
const BOTH: [&[u8]; 9] =
    [b"libc.so", b"libc-2", b"libm.so", b"libm-2", b"libpthread", b"ld-linux", b"linux-vdso", b"libdl", b"librt"];

fn is_neutral(name: &[u8]) -> bool {
    let base = name.iter().rposition(|byte| *byte == b'/').map_or(name, |at| name.get(at + 1..).unwrap_or(name));
    BOTH.iter().any(|known| base.starts_with(known)) || base.starts_with(b"librscalene_shim")
}

unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
    // SAFETY: the dynamic linker passes a valid entry, and `data` is the address noted by `note_objects`.
    let (info, interpreter) = unsafe { (&*info, *data.cast::<u64>()) };
    // SAFETY: the program headers of a loaded object are `dlpi_phnum` long.
    let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let mut range = (u64::MAX, 0u64);
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
        let start = info.dlpi_addr.wrapping_add(header.p_vaddr);
        range = (range.0.min(start), range.1.max(start.wrapping_add(header.p_memsz)));
    }
    let name = if info.dlpi_name.is_null() {
        &[][..]
    } else {
        // SAFETY: the dynamic linker's names end with NUL.
        unsafe { core::ffi::CStr::from_ptr(info.dlpi_name) }.to_bytes()
    };
    if (range.0..range.1).contains(&interpreter) || is_neutral(name) {
        let at = COUNT.load(Relaxed);
        if let Some((from, to)) = NEUTRAL.get(at) {
            from.store(range.0, Relaxed);
            to.store(range.1, Relaxed);
            COUNT.store(at + 1, Release);
        }
    }
    0
}

//! The address range of the evaluation loop, which executes bytecode (without the C functions called by instructions).
//!
//! Job: tell at a sample whether the program counter lies outside the loop. If so, an instruction other than a call,
//! for example `a * b`, is running C code; `profile::build::operators` decides whether this time is native. Invariant:
//! if the loop is not found, no program counter counts as outside. Callers: `life::start` calls [`find`] once, before
//! any sample; `handler` calls [`is_outside`]. Neighbour: `dispatch` finds the table of instructions.
//!
//! In most builds the loop is a single function, `_PyEval_EvalFrameDefault`. In other builds this function holds 1 to
//! 3 KB, because the compiler put its instructions into a part without a symbol, or because each instruction is a
//! function of its own. Then this file finds the instructions by the interpreter's table of 256 code addresses.

use core::ffi::{c_int, c_void};
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::ground::real::global_symbol;
use crate::ground::weak::{Weak, weak};
use crate::python::dispatch;

/// First address of the loop, and the address behind it; 0: not found.
static FROM: AtomicU64 = AtomicU64::new(0);
static TO: AtomicU64 = AtomicU64::new(0);

/// A smaller `_PyEval_EvalFrameDefault` does not hold the instructions, because its build has a function for each
/// (measured: 1 KB; in other builds 43 to 60 KB).
const LEAST: u64 = 16 << 10;

/// Bytes assumed for the last instruction, because the table has only start addresses.
const LONGEST: u64 = 512;

/// glibc's `Dl_info`; only its size is used.
#[repr(C)]
struct Info([usize; 4]);

/// An ELF symbol.
#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    size: u64,
}

/// `RTLD_DL_SYMENT`: `dladdr1` gives the symbol.
const SYMBOL: c_int = 1;

/// Does `pc`, which lies in the interpreter or in a library that it uses, lie outside the evaluation loop?
pub(crate) fn is_outside(pc: u64) -> bool {
    let to = TO.load(Acquire);
    to != 0 && !(FROM.load(Relaxed)..to).contains(&pc)
}

/// Finds the loop. Called once, before any sample is taken; not in a signal handler.
pub(crate) fn find() {
    let start = global_symbol(c"_PyEval_EvalFrameDefault") as u64;
    let Some(size) = size_of_function(start) else { return };
    if size >= LEAST {
        publish(start, start.wrapping_add(size));
    } else if let Some((first, last)) = dispatch::instructions(start) {
        publish(first, last.wrapping_add(LONGEST));
    }
}

fn publish(from: u64, to: u64) {
    FROM.store(from, Relaxed);
    TO.store(to, Release);
}

/// Bytes of the function at `start`; `None` if the function's object has no symbol for `start`.
fn size_of_function(start: u64) -> Option<u64> {
    let address = weak(Weak::Dladdr1);
    if address == 0 || start == 0 {
        return None;
    }
    // SAFETY: the entry is glibc's dladdr1, whose type this is.
    let dladdr1: unsafe extern "C" fn(*const c_void, *mut Info, *mut *const Symbol, c_int) -> c_int =
        unsafe { core::mem::transmute(address) };
    let (mut info, mut symbol) = (Info([0; 4]), core::ptr::null());
    // SAFETY: both results are local variables; the caller is the constructor, which may take the dynamic linker's
    // lock.
    let found = unsafe { dladdr1(start as *const c_void, &raw mut info, &raw mut symbol, SYMBOL) };
    // SAFETY: on success the pointer is null or a symbol of a loaded object, which stays loaded.
    (found != 0).then_some(unsafe { symbol.as_ref() }?.size)
}

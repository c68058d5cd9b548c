//! Code objects that were met before, by address.
//!
//! Job: spare a walk the reading of a code object's identity, which is most of the cost of a frame. Invariant: an entry
//! stands for the code object at its address until the interpreter frees the object. For this, [`watch`] puts a function
//! before the deallocator of code objects. The table is read without the GIL, for code objects on the reading thread's
//! own stack, which cannot be freed meanwhile. Neighbour: `frames` asks during its walks, and numbers the code objects.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use pyo3::ffi;
use pyo3::prelude::*;

use crate::bindings::symbols;

/// Places of the table; an address has one, which the last code object with this place holds.
const PLACES: usize = 1 << 13;
/// Bits of an address that select its place, and the four bits below, which are zero.
const PLACE_BITS: u32 = 13 + 4;
/// `PyTypeObject.tp_dealloc`, in 3.11 to 3.15.
const DEALLOC: usize = 48;

/// Upper half: the bits of the address that do not select the place. Lower half: the number; 0: empty.
static TABLE: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];
/// The interpreter's own deallocator; 0: code objects are not watched.
static FREE: AtomicUsize = AtomicUsize::new(0);

#[inline(always)]
fn place(code: u64) -> Option<(&'static AtomicU64, u64)> {
    let mark = code >> PLACE_BITS;
    if mark > u64::from(u32::MAX) {
        return None;
    }
    Some((TABLE.get((code >> 4) as usize % PLACES)?, mark << 32))
}

/// The number of the code object at an address, if it is known.
#[inline(always)]
pub(super) fn find(code: u64) -> Option<u32> {
    let (place, mark) = place(code)?;
    let word = place.load(Relaxed);
    (word & !0xffff_ffff == mark && word as u32 != 0).then_some(word as u32)
}

/// Keeps the number of the code object at an address; does nothing if code objects are not watched.
pub(super) fn keep(code: u64, number: u32) {
    if FREE.load(Relaxed) != 0
        && let Some((place, mark)) = place(code)
    {
        place.store(mark | u64::from(number), Relaxed);
    }
}

/// Forgets all numbers.
pub(super) fn clear() {
    TABLE.iter().for_each(|place| place.store(0, Relaxed));
}

/// Puts [`free`] before the deallocator of code objects, once.
pub(super) fn watch(_held: Python<'_>) {
    let kind = symbols::address(c"PyCode_Type") as usize;
    if kind == 0 || FREE.load(Relaxed) != 0 {
        return;
    }
    // SAFETY: the type is a static structure of the interpreter, longer than the offset. Only threads with the GIL
    // read and write the word.
    unsafe {
        let deallocator = (kind + DEALLOC) as *mut usize;
        FREE.store(deallocator.read(), Relaxed);
        deallocator.write(free as *const () as usize);
    }
}

// SAFETY: the interpreter calls this function as the deallocator of a code object.
unsafe extern "C" fn free(code: *mut ffi::PyObject) {
    if let Some((place, mark)) = place(code as u64)
        && place.load(Relaxed) & !0xffff_ffff == mark
    {
        place.store(0, Relaxed);
    }
    // SAFETY: `watch` read the interpreter's own deallocator before it installed this function.
    unsafe {
        let free: ffi::destructor = std::mem::transmute(FREE.load(Relaxed));
        free(code);
    }
}

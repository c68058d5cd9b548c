//! Python's names of threads, for 3.11 to 3.13; later versions set the kernel's thread name.
//!
//! Job: read name and kernel id of each running `threading.Thread`. `Thread.__init__` sets the attribute `_name` second
//! and `_native_id` seventh; a subclass may set other attributes before. So this file searches for a number with a
//! string five places before the number. Invariant: a number counts only if it is the id of a thread of the process. If
//! a thread's attributes have become a separate dictionary, this file finds no name, and the report shows the thread's
//! number. Neighbour: `dict` finds the threads.

use crate::dict;
use crate::fields::Layout;
use crate::memory::{Memory, at};
use crate::text::text;

/// Places of `_name` and `_native_id` among the attributes.
const NAME: u32 = 1;
const NATIVE_ID: u32 = 6;
/// Most attributes of a subclass before `_name`.
const OWN: u32 = 16;
/// Bytes of the longest name; longer names are cut.
const NAME_BYTES: usize = 128;
/// `PyLongObject`: its size (3.11) or tag (3.12 and later), and the first digit of 30 bits.
const INT_SIZE: u32 = 16;
const INT_DIGIT: u32 = 24;

/// Finds the dictionary of running threads of the interpreter at `interp`; `None` until `threading` is imported.
///
/// Slow, because it searches dictionaries. Keep the result: the dictionary does not move.
pub fn running_threads<M: Memory>(mem: &M, layout: &Layout, interp: u64) -> Option<u64> {
    if layout.minor > 13 || layout.free_threaded {
        return None;
    }
    dict::module_attribute(mem, layout, interp, b"threading", b"_active")
}

/// Calls `visit` with kernel id and name of each thread in `running`, if `is_thread` confirms the id.
pub fn thread_names<M: Memory>(
    mem: &M,
    layout: &Layout,
    running: u64,
    is_thread: impl Fn(u32) -> bool,
    mut visit: impl FnMut(u32, &[u8]),
) {
    dict::values(mem, running, |thread| {
        let Some(attributes) = dict::attributes(mem, layout, thread) else { return };
        let word = |index: u32| mem.u64(at(attributes, index.wrapping_mul(8))).unwrap_or(0);
        for own in 0..OWN {
            let Some(tid) = small_int(mem, layout, word(NATIVE_ID.wrapping_add(own))) else { continue };
            let mut name = [0; NAME_BYTES];
            let found = text(mem, layout, word(NAME.wrapping_add(own)), &mut name);
            if let Some(found) = found.and_then(|len| name.get(..len)).filter(|_| is_thread(tid)) {
                visit(tid, found);
                return;
            }
        }
    });
}

/// The value of a positive `int` of a single digit; `None` for another object.
fn small_int<M: Memory>(mem: &M, layout: &Layout, object: u64) -> Option<u32> {
    if object == 0 || object & 7 != 0 {
        return None;
    }
    let size = mem.u64(at(object, INT_SIZE))?;
    // The tag holds sign (0: positive) and flags in three bits, the number of digits above.
    let one_digit = if layout.minor == 11 { size == 1 } else { size == 8 };
    if one_digit { mem.u32(at(object, INT_DIGIT)) } else { None }
}

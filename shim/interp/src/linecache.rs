//! The source text of generated code, from `linecache`.
//!
//! Job: libraries that generate code (attrs, notebooks) put the source text into the dictionary `linecache.cache`, for
//! tracebacks. Read the text from there. Invariants: an entry counts only if its last item is the requested name; the
//! numbers of lines and bytes are bounded. Neighbours: `dict` searches, `text` reads a line.

use crate::dict;
use crate::fields::Layout;
use crate::memory::{Memory, at};
use crate::text::text;

/// Items of an entry: size, time, lines, name.
const ENTRY: u64 = 4;
/// `PyListObject.ob_item`.
const LIST_ITEMS: u32 = 24;
/// Most lines of a text (a longer text counts as missing), and most bytes of a line (a longer line is cut).
const MOST_LINES: u64 = 20_000;
const MOST_BYTES: usize = 1_024;
/// Most interpreters to search.
const INTERPRETERS: u32 = 16;

/// Calls `visit` with each line that `linecache` has for the code with filename `name`, until `visit` returns false.
/// Returns true if all lines were read. A line over a kilobyte is cut.
pub fn cached_lines<M: Memory>(mem: &M, layout: &Layout, name: &[u8], mut visit: impl FnMut(&[u8]) -> bool) -> bool {
    let Some((lines, count)) = entry(mem, layout, name) else { return false };
    let Some(items) = mem.u64(at(lines, LIST_ITEMS)) else { return false };
    (0..count).all(|index| {
        let mut line = [0; MOST_BYTES];
        let object = mem.u64(items.wrapping_add(index.wrapping_mul(8)));
        let found = object.and_then(|object| text(mem, layout, object, &mut line)).and_then(|len| line.get(..len));
        found.is_some_and(&mut visit)
    })
}

/// The list of lines under `name`, and its length.
fn entry<M: Memory>(mem: &M, layout: &Layout, name: &[u8]) -> Option<(u64, u64)> {
    let mut interp = mem.u64(at(layout.runtime, layout.runtime_fields.interpreters_head))?;
    for _ in 0..INTERPRETERS {
        if interp == 0 {
            break;
        }
        let cache = dict::module_attribute(mem, layout, interp, b"linecache", b"cache");
        if let Some(found) = cache.and_then(|cache| dict::lookup(mem, layout, cache, name)) {
            // An entry with fewer items holds a function that reads a module's text from its file.
            let item = |index: u32| mem.u64(at(found, layout.tuple_items().wrapping_add(index.wrapping_mul(8))));
            let mut said = [0; dict::LONGEST_KEY];
            let is_entry = mem.u64(at(found, layout.object.ob_size))? == ENTRY
                && text(mem, layout, item(3)?, &mut said).and_then(|len| said.get(..len)) == Some(name);
            let lines = item(2)?;
            let count = mem.u64(at(lines, layout.object.ob_size)).filter(|&count| is_entry && count <= MOST_LINES)?;
            return Some((lines, count));
        }
        interp = mem.u64(at(interp, layout.runtime_fields.interp_next))?;
    }
    None
}

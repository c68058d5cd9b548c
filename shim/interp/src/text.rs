//! The text of a `str` object, as UTF-8.
//!
//! Job: read names and file names for definitions. Invariant: the result is valid UTF-8 and fits the buffer; a long
//! text is cut at a character. Lone surrogates (undecodable file names) become U+FFFD. Neighbours: `identity` reads the
//! header of the same objects.

use crate::fields::Layout;
use crate::memory::{Memory, at};

/// The place and the width of the characters of a `str`.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Address of the first character.
    pub(crate) data: u64,
    /// Number of code points.
    pub(crate) length: u64,
    /// Bytes a code point: 1, 2 or 4.
    pub(crate) width: u8,
    ascii: bool,
}

/// Reads the header of the `str` at `addr`; `None` if no string of 3.11 or later has such a header.
#[inline]
pub(crate) fn shape<M: Memory>(mem: &M, layout: &Layout, addr: u64) -> Option<Shape> {
    let length = mem.u64(at(addr, layout.object.str_length))?;
    let state = mem.u32(at(addr, layout.object.str_state))?;
    // Two bits hold the state of interning (a byte in free-threaded builds). Then kind:3, compact:1, ascii:1.
    let bits = if layout.free_threaded { state >> 8 } else { state >> 2 };
    let (kind, compact, ascii) = (bits & 7, bits & 8 != 0, bits & 16 != 0);
    let width = match kind {
        1 => 1,
        2 => 2,
        4 => 4,
        _ => return None,
    };
    if length >> 40 != 0 {
        return None;
    }
    let data = match (compact, ascii) {
        (true, true) => at(addr, layout.object.str_ascii_data),
        (true, false) => at(addr, layout.object.str_compact_data),
        // Instances of subclasses of `str` keep a pointer there.
        (false, _) => mem.u64(at(addr, layout.object.str_compact_data))?,
    };
    Some(Shape { data, length, width, ascii })
}

/// Copies the text of the `str` at `addr` into `out`, and returns the number of bytes of UTF-8.
///
/// Text that does not fit is cut at a character. `None` if the object is no string or is unreadable.
#[inline]
pub fn text<M: Memory>(mem: &M, layout: &Layout, addr: u64, out: &mut [u8]) -> Option<usize> {
    let shape = shape(mem, layout, addr)?;
    if shape.ascii {
        let len = out.len().min(usize::try_from(shape.length).ok()?);
        let out = out.get_mut(..len)?;
        if !mem.bytes(shape.data, out) {
            return None;
        }
        // The program may be changing the memory, so the bytes may be garbage: the result must be UTF-8 even then.
        return Some(out.iter().position(|byte| !byte.is_ascii()).unwrap_or(len));
    }
    let mut written = 0usize;
    let mut place = shape.data;
    for _ in 0..shape.length {
        let point = match shape.width {
            1 => u32::from(mem.u8(place)?),
            2 => u32::from(mem.u16(place)?),
            _ => mem.u32(place)?,
        };
        let (bytes, len) = utf8(char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER));
        let end = written.checked_add(len)?;
        let Some(slot) = out.get_mut(written..end) else { break };
        slot.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        written = end;
        place = place.wrapping_add(u64::from(shape.width));
    }
    Some(written)
}

/// The UTF-8 of a character: four bytes, and the number of bytes in use.
///
/// This function stands in for `char::encode_utf8`, in which the optimiser cannot rule out a panic.
fn utf8(character: char) -> ([u8; 4], usize) {
    let point = u32::from(character);
    let head = |mark: u32, shift: u32| (mark | point >> shift).to_le_bytes()[0];
    let tail = |shift: u32| (0x80 | (point >> shift & 0x3f)).to_le_bytes()[0];
    match point {
        0..0x80 => ([head(0, 0), 0, 0, 0], 1),
        0x80..0x800 => ([head(0xc0, 6), tail(0), 0, 0], 2),
        0x800..0x1_0000 => ([head(0xe0, 12), tail(6), tail(0), 0], 3),
        _ => ([head(0xf0, 18), tail(12), tail(6), tail(0)], 4),
    }
}

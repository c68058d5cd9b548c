//! The location table of a code object (3.11 to 3.15): which bytes of bytecode belong to which line.
//!
//! Job: decode `co_linetable`. Invariant: the input may be any bytes; an invalid entry ends the iteration. Offsets are
//! bytes of bytecode, lines count from 1, columns from 0. Neighbours: the shim sends the table once for each code
//! object; the launcher decodes the table with this file; `walk` gives the offsets.
//!
//! ```text
//! entry  | 1 kkkk nnn | payload, bytes with the top bit clear |     n + 1 code units (2 bytes each)
//! k 0..9   line as before, one payload byte: columns k*8 + (b >> 4), and that plus (b & 15)
//! k 10..12 line + (k - 10), two payload bytes: start column, end column
//! k 13     line + svarint, no columns
//! k 14     line + svarint, end line + varint, start column + 1, end column + 1 as varints
//! k 15     no line
//! ```

/// A run of bytecode with a single place in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// First byte of bytecode.
    pub start: u32,
    /// First byte behind the run.
    pub end: u32,
    /// The line; `None` for instructions without source.
    pub line: Option<u32>,
    /// The line on which the expression ends.
    pub end_line: Option<u32>,
    /// Byte columns in the source line, start and end, if they are known.
    pub columns: Option<(u32, u32)>,
}

/// The locations of a table in the order of the bytecode.
#[derive(Clone, Debug)]
pub struct Locations<'a> {
    table: &'a [u8],
    offset: u32,
    line: i64,
}

/// The locations in `table` of a code object whose `co_firstlineno` is `first_line`.
#[must_use]
pub fn locations(table: &[u8], first_line: u32) -> Locations<'_> {
    Locations { table, offset: 0, line: i64::from(first_line) }
}

/// The line of the instruction at `offset_bytes`; `None` if the instruction has no line or lies outside the table.
#[must_use]
pub fn line_at(table: &[u8], first_line: u32, offset_bytes: u32) -> Option<u32> {
    locations(table, first_line).find(|location| offset_bytes < location.end)?.line
}

impl Locations<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.table.split_first()?;
        self.table = rest;
        Some(*first)
    }

    /// Six bits a byte, least significant first; bit 6 is set if more bytes follow.
    fn varint(&mut self) -> Option<u32> {
        let mut value = 0u32;
        // Six bytes of six bits fill 32 bits; a longer number is no number that CPython wrote.
        for shift in [0u32, 6, 12, 18, 24, 30] {
            let byte = self.byte()?;
            value |= u32::from(byte & 63).wrapping_shl(shift);
            if byte & 64 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// The sign is the lowest bit.
    fn svarint(&mut self) -> Option<i64> {
        let raw = self.varint()?;
        let magnitude = i64::from(raw >> 1);
        Some(if raw & 1 == 0 { magnitude } else { magnitude.wrapping_neg() })
    }

    fn entry(&mut self) -> Option<Location> {
        let head = self.byte()?;
        if head & 128 == 0 {
            return None;
        }
        let start = self.offset;
        let end = start.checked_add(u32::from(head & 7).wrapping_add(1).wrapping_mul(2))?;
        self.offset = end;
        let kind = head >> 3 & 15;
        let mut line_span = 0i64;
        let columns = match kind {
            15 => return Some(Location { start, end, line: None, end_line: None, columns: None }),
            14 => {
                self.advance(0, true)?;
                line_span = i64::from(self.varint()?);
                let (from, to) = (self.varint()?, self.varint()?);
                from.checked_sub(1).zip(to.checked_sub(1))
            }
            13 => {
                self.advance(0, true)?;
                None
            }
            10..=12 => {
                self.advance(i64::from(kind).wrapping_sub(10), false)?;
                let (from, to) = (self.byte()?, self.byte()?);
                Some((u32::from(from), u32::from(to)))
            }
            _ => {
                let packed = self.byte()?;
                let from = u32::from(kind).wrapping_mul(8).wrapping_add(u32::from(packed >> 4));
                Some((from, from.wrapping_add(u32::from(packed & 15))))
            }
        };
        let line = u32::try_from(self.line).ok();
        let end_line = self.line.checked_add(line_span).and_then(|line| u32::try_from(line).ok());
        Some(Location { start, end, line, end_line, columns })
    }

    /// Moves the line by `delta`, or by the signed number that follows.
    fn advance(&mut self, delta: i64, read: bool) -> Option<()> {
        let delta = if read { self.svarint()? } else { delta };
        self.line = self.line.checked_add(delta)?;
        Some(())
    }
}

impl Iterator for Locations<'_> {
    type Item = Location;

    fn next(&mut self) -> Option<Location> {
        let location = self.entry();
        if location.is_none() {
            self.table = &[];
        }
        location
    }
}

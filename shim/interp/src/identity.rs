//! The identity of a code object. An address alone is no identity, because the program frees code objects and uses
//! their memory again.
//!
//! Job: read the fields by which a code object differs from an earlier code object at the same address. Invariant: two
//! code objects with equal identities have the same address, file name, qualified name, first line and line table, as
//! far as a few loads can decide. So a stored definition may be used for both. Neighbours: `walk` finds the address;
//! `text` and [`Identity::linetable`] read the parts of a definition.

use crate::fields::Layout;
use crate::memory::{Memory, at};
use crate::text::{self, Shape};

/// The identity of a code object, read with few loads because a hot path needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Address of the code object.
    pub code: u64,
    /// Address of `co_filename`, a `str`.
    pub filename: u64,
    /// Address of `co_qualname`, a `str`.
    pub qualname: u64,
    /// Address of the `bytes` object of the line table.
    pub linetable: u64,
    /// `co_firstlineno`.
    pub first_line: u32,
    /// `co_flags`.
    pub flags: u32,
    /// Number of code units.
    pub units: u64,
    /// Length of the file name in code points.
    pub filename_len: u64,
    /// The last eight bytes of the file name as stored.
    pub filename_end: u64,
    /// Length of the qualified name in code points.
    pub qualname_len: u64,
    /// The last eight bytes of the qualified name as stored.
    pub qualname_end: u64,
    /// Bytes in the line table.
    pub linetable_len: u64,
    /// The first eight bytes of the line table (fewer where it is shorter, then zeros).
    pub linetable_start: u64,
    /// The last eight bytes of the line table.
    pub linetable_end: u64,
}

impl Identity {
    /// Reads the identity of the code object at `code`; `None` if no complete code object is there.
    #[inline]
    pub fn read<M: Memory>(mem: &M, layout: &Layout, code: u64) -> Option<Self> {
        if mem.u64(at(code, layout.object.ob_type))? != layout.code_type {
            return None;
        }
        let fields = &layout.code;
        let filename = mem.u64(at(code, fields.filename))?;
        let qualname = mem.u64(at(code, fields.qualname))?;
        let linetable = mem.u64(at(code, fields.linetable))?;
        let file_shape = text::shape(mem, layout, filename)?;
        let name_shape = text::shape(mem, layout, qualname)?;
        let linetable_len = mem.u64(at(linetable, layout.object.ob_size))?;
        let table = at(linetable, layout.object.bytes_data);
        Some(Self {
            code,
            filename,
            qualname,
            linetable,
            first_line: mem.u32(at(code, fields.first_line))?,
            flags: mem.u32(at(code, fields.flags))?,
            units: mem.u64(at(code, layout.object.ob_size))?,
            filename_len: file_shape.length,
            filename_end: last_word(mem, file_shape)?,
            qualname_len: name_shape.length,
            qualname_end: last_word(mem, name_shape)?,
            linetable_len,
            linetable_start: masked(mem.u64(table)?, linetable_len),
            linetable_end: last_bytes(mem, table, linetable_len)?,
        })
    }

    /// A 64-bit hash of all fields, never 0.
    #[inline]
    #[must_use]
    pub fn hash64(&self) -> u64 {
        // Words are paired so that the multiplications of a round do not wait for each other.
        let small = u64::from(self.first_line) << 32 | u64::from(self.flags);
        let mut hash = fold(self.code ^ 0x9E37_79B9_7F4A_7C15, self.filename ^ 0xD1B5_4A32_D192_ED03);
        hash =
            hash.rotate_left(9) ^ fold(self.qualname ^ 0xABC9_8388_FB8F_AC03, self.linetable ^ 0x8CB9_2BA7_2F3D_8DD7);
        hash = hash.rotate_left(9) ^ fold(small ^ 0xA076_1D64_78BD_642F, self.units ^ 0xE703_7ED1_A0B4_28DB);
        hash = hash.rotate_left(9)
            ^ fold(self.filename_len ^ 0x8EBC_6AF0_9C88_C6E3, self.filename_end ^ 0x5899_65CC_7537_4CC3);
        hash = hash.rotate_left(9)
            ^ fold(self.qualname_len ^ 0x1D8E_4E27_C47D_124F, self.qualname_end ^ 0xEB44_ACCA_B455_D165);
        hash = hash.rotate_left(9)
            ^ fold(self.linetable_len ^ 0x9FB2_1C65_1E98_DF25, self.linetable_start ^ 0xC2B2_AE3D_27D4_EB4F);
        hash = fold(hash ^ 0x1656_67B1_9E37_79F9, self.linetable_end ^ 0x27D4_EB2F_1656_67C5);
        if hash == 0 { 1 } else { hash }
    }

    /// Address and length of the line table's bytes; at most `u32::MAX` long.
    #[inline]
    #[must_use]
    pub fn linetable(&self, layout: &Layout) -> (u64, u32) {
        let len = u32::try_from(self.linetable_len).unwrap_or(u32::MAX);
        (at(self.linetable, layout.object.bytes_data), len)
    }
}

/// Both halves of the 128-bit product, folded: with a single multiplication, every input bit changes the result.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are taken on purpose")]
    let halves = (product as u64, (product >> 64) as u64);
    halves.0 ^ halves.1
}

#[inline]
fn last_word<M: Memory>(mem: &M, shape: Shape) -> Option<u64> {
    last_bytes(mem, shape.data, shape.length.checked_mul(u64::from(shape.width))?)
}

/// The last eight of `len` bytes at `data`, or all bytes if there are fewer.
#[inline]
fn last_bytes<M: Memory>(mem: &M, data: u64, len: u64) -> Option<u64> {
    match len.checked_sub(8) {
        Some(skip) => mem.u64(data.wrapping_add(skip)),
        // Objects are padded to 16 bytes, so the whole word may be read.
        None => Some(masked(mem.u64(data)?, len)),
    }
}

/// The first `len` bytes (in memory order) of `word`, the others zero.
#[inline]
fn masked(word: u64, len: u64) -> u64 {
    if len >= 8 {
        return word;
    }
    let bits = u32::try_from(len.saturating_mul(8)).unwrap_or(0);
    // Little-endian, as all supported platforms are.
    word & 1u64.checked_shl(bits).unwrap_or(0).wrapping_sub(1)
}

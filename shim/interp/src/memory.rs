//! The trait by which this crate reads every byte of the interpreter.
//!
//! Job: a common trait for the memory of this process, of another process, and of an array. Invariant: a read of a bad
//! address returns `None` and does not fault. Callers: every other file of this crate takes a `&impl Memory`.

/// Memory in which each read may fail.
///
/// Addresses are those of the interpreter's process. An implementation must have [`u64`](Memory::u64) and
/// [`bytes`](Memory::bytes). An implementation for a hot path also has the narrow loads.
pub trait Memory {
    /// The eight bytes at `addr` as a native-endian integer.
    fn u64(&self, addr: u64) -> Option<u64>;

    /// Fills `into` from `addr`. Returns false if a byte could not be read; then the content of `into` is unspecified.
    fn bytes(&self, addr: u64, into: &mut [u8]) -> bool;

    /// The four bytes at `addr`.
    #[inline]
    fn u32(&self, addr: u64) -> Option<u32> {
        let mut raw = [0; 4];
        self.bytes(addr, &mut raw).then(|| u32::from_ne_bytes(raw))
    }

    /// The two bytes at `addr`.
    #[inline]
    fn u16(&self, addr: u64) -> Option<u16> {
        let mut raw = [0; 2];
        self.bytes(addr, &mut raw).then(|| u16::from_ne_bytes(raw))
    }

    /// The byte at `addr`.
    #[inline]
    fn u8(&self, addr: u64) -> Option<u8> {
        let mut raw = [0; 1];
        self.bytes(addr, &mut raw).then(|| u8::from_ne_bytes(raw))
    }
}

impl<M: Memory + ?Sized> Memory for &M {
    #[inline]
    fn u64(&self, addr: u64) -> Option<u64> {
        (**self).u64(addr)
    }
    #[inline]
    fn bytes(&self, addr: u64, into: &mut [u8]) -> bool {
        (**self).bytes(addr, into)
    }
    #[inline]
    fn u32(&self, addr: u64) -> Option<u32> {
        (**self).u32(addr)
    }
    #[inline]
    fn u16(&self, addr: u64) -> Option<u16> {
        (**self).u16(addr)
    }
    #[inline]
    fn u8(&self, addr: u64) -> Option<u8> {
        (**self).u8(addr)
    }
}

/// `base + offset`: the address of a field. A garbage base wraps, and then the read fails like any other.
#[inline]
pub(crate) fn at(base: u64, offset: u32) -> u64 {
    base.wrapping_add(u64::from(offset))
}

/// Is `addr` the address of neither an object nor a frame? Both lie on whole words.
#[inline]
pub(crate) fn unaligned(addr: u64) -> bool {
    addr & 7 != 0
}

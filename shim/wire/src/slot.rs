//! The slots of a ring, and the header at the start of every record.
//!
//! Invariant: every record starts with a [`RecordHeader`] in its first slot. A payload longer than [`PAYLOAD`] bytes
//! continues in the following slots, without further headers. Neighbours: `records` (the payloads), `arena` (the place
//! of the rings).

use crate::table::{Bytes, Plain};

/// Bytes of a slot.
pub const SLOT: usize = 64;
/// Bytes of payload in a record's first slot.
pub const PAYLOAD: usize = SLOT - size_of::<RecordHeader>();
/// Most slots of a record (1 MiB: a code object with a very long line table).
pub const MAX_SLOTS: u32 = 16_384;

/// The word that commits a record with its first slot at `position` (slots since the claim).
///
/// Because of the constant, a payload word that happens to equal a position does not look like a commit.
#[must_use]
pub const fn commit_word(position: u64) -> u64 {
    position ^ 0x9e37_79b9_7f4a_7c15
}

/// First sixteen bytes of a record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// [`commit_word`] of the slot's position. The shim writes this word last, with Release, after the whole record.
    pub commit: u64,
    /// A [`Kind`](crate::Kind) as a number.
    pub kind: u8,
    /// The record's [`Record::Flags`](crate::Record::Flags).
    pub flags: u8,
    /// Reserved, 0.
    pub reserved: u16,
    /// Bytes of payload, over all slots of the record.
    pub payload_bytes: u32,
}

impl Plain for RecordHeader {
    const BYTES: usize = size_of::<Self>();
    const NAME: &'static str = "RecordHeader";

    fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        Some(Self {
            commit: bytes.read()?,
            kind: bytes.read()?,
            flags: bytes.read()?,
            reserved: bytes.read()?,
            payload_bytes: bytes.read()?,
        })
    }
}

const _: () = assert!(size_of::<RecordHeader>() == 16);

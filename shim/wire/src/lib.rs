//! The messages between the shim in the profiled process and the launcher: one shared-memory arena.
//!
//! Job: fix every byte that crosses the border. The reader's question: *where does this number lie, which side writes
//! the number, and which atomic orders the write?* Invariant: nothing here allocates, keeps statics or touches the OS;
//! all types are `repr(C)`, and their sizes are asserted below. Neighbours: `shim/` writes, `src/transport/` reads.
//!
//! ```text
//!  memfd   | ArenaHeader (one page) | owner words | segment 0 | segment 1 | ... | segment n-1 |
//!          | sparse: untouched pages cost nothing
//!  segment | SegmentHeader (one page) | ring of 64-byte slots                    |      one segment a process
//!  record  | slot: RecordHeader (16) + payload (48) | continuation slots (64 each, raw payload) ...
//! ```
//!
//! A process claims a segment by changing the segment's owner word (see [`first_segment`]) from 0 to its claim. Any
//! thread of the process, also in a signal handler, reserves slots by a compare-and-swap on [`SegmentHeader::head`].
//! The thread writes the payload and then commits the record: it stores [`commit_word`] of the first slot's position.
//! If the ring has too few free slots, the thread counts the record in [`SegmentHeader::lost`] instead. Only the
//! launcher moves `tail`.

#![no_std]

mod arena;
mod exact;
mod records;
mod slot;
mod socket;
mod table;
mod tap;
mod values;

pub use arena::*;
pub use exact::*;
pub use records::*;
pub use slot::*;
pub use socket::*;
pub use table::{Bytes, FieldRow, Flags, NoFlags, Plain, Record, RecordRow, ValueRow, ValuesRow};
pub use tap::*;
pub use values::*;

/// Number of stacks that a shim remembers as sent.
pub const STACK_SLOTS: usize = 1 << 15;

/// Index of a stack in the shim's table of sent stacks. A later stack with the same index replaces the stack there.
#[must_use]
pub const fn stack_slot(stack: u64) -> usize {
    (stack >> 1) as usize % STACK_SLOTS
}

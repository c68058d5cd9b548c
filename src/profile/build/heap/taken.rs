//! Memory that an unmapping took away, until the kernel's answer is known.
//!
//! Job: hold it. Invariant: it uses no other part of the heap. Neighbour: `maps` fills it, and puts it back after a
//! refusal.

use crate::profile::book::intern::FrameId;
use crate::profile::build::mappings::Mapping;

/// What an unmapping took away.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) range: (u64, u64),
    /// Is the program moving the memory? If not, the program is giving it up.
    pub(super) moves: bool,
    pub(super) running: FrameId,
    pub(super) runs: Vec<(u64, Mapping)>,
}

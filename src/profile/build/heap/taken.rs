//! Memory removed by an unmapping, until the kernel's answer is known.
//!
//! Job: hold the removed mappings. Invariant: the type uses no other part of the heap. Neighbour: `maps` fills the
//! type, and restores the mappings after a refusal.

use crate::profile::book::intern::FrameId;
use crate::profile::build::mappings::Mapping;

/// The mappings removed by an unmapping.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) range: (u64, u64),
    /// True if the program moves the memory, false if it unmaps the memory.
    pub(super) moves: bool,
    pub(super) running: FrameId,
    pub(super) runs: Vec<(u64, Mapping)>,
}

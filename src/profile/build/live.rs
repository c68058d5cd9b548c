//! The types of live memory that the parts of the heap share.
//!
//! Job: hold the two types. Invariant: the file uses no other part of the heap. Neighbours: `sites` gives the numbers,
//! `heap` sums.

use crate::profile::book::estimate::Spread;

/// The number of a line with its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SiteId(pub(crate) u32);

/// Live figures of an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Live {
    /// Bytes.
    pub(crate) bytes: f64,
    /// Sampling error of `bytes`.
    pub(crate) spread: Spread,
}

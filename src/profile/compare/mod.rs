//! Two profiles beside each other.
//!
//! Job: which line of one is which line of the other, and what changed. Invariant: profiles are only read. Neighbours:
//! `model` is what is compared, `report::diff` shows it.

pub mod diff;
pub mod gate;
mod pairing;

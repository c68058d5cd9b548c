//! Comparison of two profiles.
//!
//! Job: pair the lines of two profiles, and compute their changes. Invariant: profiles are only read. Neighbours:
//! `model` has the types of profiles, `report::diff` shows the changes.

pub mod diff;
pub mod gate;
mod pairing;

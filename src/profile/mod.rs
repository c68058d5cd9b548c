//! The profile: a pure model of what was recorded. No I/O and no clock.

pub mod model;
pub mod symbolize;

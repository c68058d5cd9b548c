//! The program's view of the signals that this library uses.

pub(crate) mod actions;
pub(crate) mod urgent;

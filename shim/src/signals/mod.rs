//! What the program sees of the signals that we use.

pub(crate) mod actions;
pub(crate) mod urgent;

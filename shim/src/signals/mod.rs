//! The program's view of this library's signals.

pub(crate) mod actions;
pub(crate) mod urgent;

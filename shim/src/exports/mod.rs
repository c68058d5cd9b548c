//! The two tables of functions that the extension module calls in its own process.

pub(crate) mod count;
pub(crate) mod sample;

//! The allocator's entry points of a library that was not preloaded: the tables of loaded libraries lead here.

pub(crate) mod got;
pub(crate) mod libc;

//! The allocator's entry points when this library is not preloaded: the tables of loaded libraries lead to them.

pub(crate) mod got;
pub(crate) mod libc;

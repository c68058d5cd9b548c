//! Bytes of each thread, counted exactly for `@profile`: sizes of blocks, counters, the interpreter's allocators.

pub(crate) mod counters;
pub(crate) mod pymem;
pub(crate) mod sizes;

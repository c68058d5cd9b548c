//! Bytes of each thread, counted one by one for `@profile`: sizes of blocks, counters, the interpreter's allocators.

pub(crate) mod counters;
pub(crate) mod pymem;
pub(crate) mod sizes;

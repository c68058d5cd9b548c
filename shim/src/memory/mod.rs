//! Allocations, sampled by bytes: the decision, the record, and the two ways into the program's allocators.

pub(crate) mod interval;
pub(crate) mod live;
pub(crate) mod preload;
pub(crate) mod pymem;
pub(crate) mod sample;
pub(crate) mod tables;

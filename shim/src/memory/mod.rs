//! Allocations, sampled by bytes: the choice of samples, their records, and the two ways into the program's allocators.

pub(crate) mod interval;
pub(crate) mod live;
pub(crate) mod preload;
pub(crate) mod pymem;
pub(crate) mod pymem_install;
pub(crate) mod sample;
pub(crate) mod tables;

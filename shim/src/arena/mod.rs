//! The launcher's shared memory: which segment is this process', and its ring.

pub(crate) mod descriptor;
pub(crate) mod ring;
pub(crate) mod segment;

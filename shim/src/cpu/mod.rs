//! CPU samples: a slot for each thread, the clocks that send signals, and the handler that takes the sample.

pub(crate) mod budget;
pub(crate) mod clock;
pub(crate) mod handler;
pub(crate) mod pace;
pub(crate) mod sources;
pub(crate) mod threads;

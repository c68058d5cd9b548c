//! Laws of the builder, held against recordings with a known truth.

mod diff;
mod hostile;
mod kernel_and_gil;
mod labels;
mod left_out;
mod memory;
mod merge;
mod peak;
mod processes;
mod queries;
mod recording;
mod refused;
mod sections;
mod stacks;
mod time;

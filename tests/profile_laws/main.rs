//! Laws of the merge, held against recordings with a known truth.

mod diff;
mod hostile;
mod memory;
mod recording;
mod sections;
mod stacks;
mod time;

//! From events to a profile.
//!
//! Job: take the events of a run in the order of their rings, and turn them into sums. Invariant: no I/O and no clock,
//! so that a replay of a capture gives the same profile, byte for byte. Neighbours: `transport::event` defines the
//! events, `book` holds the sums, `write` makes rows of them.

pub mod builder;
mod code;
mod cpu;
mod distance;
mod executed;
mod heap;
mod helpers;
mod idle;
pub mod inline;
pub mod interpreter;
mod labels;
mod leaks;
mod live;
mod mappings;
mod native;
mod notices;
mod operators;
mod own_allocators;
mod peak;
mod process;
mod queries;
mod repeats;
mod resident;
mod runs;
pub mod scope;
mod sections;
mod sites;
mod stacks;
mod stretch;
pub mod symbolize;
pub mod text_of;
mod ticks;
mod timeline;
mod touch;

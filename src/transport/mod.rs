//! Transport: from the shared ring to typed events.
//!
//! Job: own the arena, take records out of the rings while the targets write, and pass them on as [`event::Event`]
//! values. Invariant: no byte of the shared memory is trusted; a hostile ring gives an error count, never a crash.
//! Neighbours: `shim/` writes the records, `profile/` consumes the events.

pub mod arena;
pub mod arena_server;
pub mod capture;
pub mod decode;
pub mod drain;
pub mod event;
mod line_table;
pub mod template_lines;

//! The profile: a pure model of what was recorded. No I/O and no clock.
//!
//! ```text
//! Event -> build::builder -> process -> definitions -> code, stacks: (frame, owner in scope)
//!                             |-> cpu -> stretch      |-> heap -> estimate, mappings, leaks     resident, native
//!                             `-> book: settled seconds and bytes -> write: lines, functions, tables -> model::Profile
//! ```

mod book;
pub mod build;
pub mod compare;
pub mod merge;
pub mod model;
mod write;

//! The profile: a pure model of what was recorded. No I/O and no clock.
//!
//! ```text
//! Event -> merge -> process -> definitions -> code, stacks: (frame, owner in scope)
//!                     |-> cpu -> ledger      |-> heap -> estimate, mappings, leaks      resident, native
//!                     `-> book: settled seconds and bytes -> lines, functions, tables -> model::Profile
//! ```

mod beside;
mod book;
mod code;
mod cpu;
pub mod diff;
mod estimate;
mod functions;
mod heap;
mod intern;
mod leaks;
mod ledger;
mod lines;
mod mappings;
pub mod merge;
pub mod model;
mod native;
mod notices;
mod pairing;
mod process;
mod resident;
pub mod scope;
mod sections;
mod shares;
mod sites;
mod stacks;
pub mod symbolize;
mod tables;
mod timeline;

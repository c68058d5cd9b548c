//! Observations of the profiled processes by the launcher itself.
//!
//! Job: all facts about a target that its shim cannot or should not report: time off the CPU, exact CPU clocks, names,
//! memory over time, the libraries behind its addresses. Invariant: the target is only read (`/proc`,
//! `process_vm_readv`), never stopped, signalled or written to. Neighbours: observers answer in the types of
//! `transport::event`; `commands::run` starts the observers and passes their events to `profile`.

pub mod clocks;
pub mod dwell;
pub mod jitter;
pub mod limits;
pub mod locate;
pub mod looks;
pub mod modules;
pub mod numbers;
pub mod outside;
pub mod proc;
pub mod punctual;
pub mod rank;
pub mod remote;
pub mod root;
mod shared;
pub mod symbols;
pub mod turns;
mod untouched;

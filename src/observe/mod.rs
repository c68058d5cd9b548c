//! What the launcher itself observes of the profiled processes.
//!
//! Job: everything about a target that its shim cannot or should not say: time off the CPU, exact CPU clocks, names,
//! memory over time, the libraries behind its addresses. Invariant: the target is only read (`/proc`, `process_vm_readv`);
//! it is never stopped, signalled or written to. Neighbours: `transport::event` is the language of all answers,
//! `commands::run` starts the observers and hands their events to `profile`.

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

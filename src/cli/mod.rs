//! The command line: what was typed, and what is printed.
//!
//! Job: flags, the words of `run`, the configuration file, errors and messages. Invariant: nothing is run here.
//! Neighbours: `commands` runs what was typed, `report` renders.

pub(crate) mod argv;
pub(crate) mod config;
pub mod error;
pub(crate) mod flags;
pub(crate) mod gate;
pub(crate) mod messages;
pub(crate) mod push;
pub(crate) mod running;
pub(crate) mod shared;
pub(crate) mod values;

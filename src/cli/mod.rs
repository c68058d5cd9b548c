//! The command line: parsing of the input, and printing.
//!
//! Job: flags, the words of `run`, the configuration file, errors and messages. Invariant: this module runs no command.
//! Neighbours: `commands` runs the parsed command, `report` renders.

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

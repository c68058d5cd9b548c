//! Starts a program under the shim.
//!
//! Job: find the interpreter and the preloaded libraries, start the program, keep a capture and the text of its code.
//! Invariant: the program runs whether or not it can be profiled. Neighbours: `commands::run` and `doctor` call.

pub(crate) mod given;
pub(crate) mod keep;
pub(crate) mod preload;
pub(crate) mod program;
pub(crate) mod spawn;
pub(crate) mod texts;
pub(crate) mod unseen;

//! Starts a program under the shim.
//!
//! Job: find the interpreter and the preloaded libraries, start the program, keep a capture and the text of its code.
//! Invariant: the program runs whether or not it can be profiled. Callers: `commands::run` and `doctor`.

pub(crate) mod disk;
pub(crate) mod file_sources;
pub(crate) mod folders;
pub(crate) mod inline_source;
pub(crate) mod keep;
pub(crate) mod not_preloaded;
pub(crate) mod notebooks;
pub(crate) mod preload;
pub(crate) mod program;
pub(crate) mod python_version;
pub(crate) mod spawn;

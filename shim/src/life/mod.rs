//! The life of a process: its start, its threads, fork, exec and exit.

pub(crate) mod exec;
pub(crate) mod fork_and_exit;
pub(crate) mod pthread;
pub(crate) mod seccomp;
pub(crate) mod shell;
pub(crate) mod start;

//! Continuous profiles: sends windows of the profile to a server as pprof files while the program runs.
//!
//! Job: turn the profile so far into windows, and send them. Invariant: a slow, absent or broken server has no effect
//! on the program; lost windows are counted. Callers: `commands::run` for `rscalene run --push`, `inprocess` for
//! `rscalene.push`.

pub(crate) mod pusher;
pub(crate) mod server;
pub(crate) mod windows;

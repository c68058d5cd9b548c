//! Continuous profiles: while a program runs, windows of its profile go to a server as pprof files.
//!
//! Job: everything between a profile so far and the server. Invariant: a server that is slow, away or broken changes
//! nothing in the program; what is lost is counted. Neighbours: `commands::run` pushes for `rscalene run --push`,
//! `inprocess` for `rscalene.push`.

pub(crate) mod pusher;
pub(crate) mod server;
pub(crate) mod windows;

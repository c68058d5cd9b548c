//! The engine of `Profiler`: samples the process that it runs in.
//!
//! Job: look at the threads of this process, take the shim's samples, and make profiles of a stretch of time.
//! Invariant: the threads of samplers are no part of any profile. Neighbours: `observe` looks, `profile` adds up,
//! `bindings` holds the result, `rscalene.profiler` (Python) is the interface.

mod intake;
mod looking;
mod other_samplers;
mod pair;
pub(crate) mod pushing;
pub(crate) mod sampler;
mod subscription;

//! The engine of `Profiler`: samples its own process.
//!
//! Job: look at the threads of this process, take the shim's samples, and make profiles of a period. Invariant: the
//! samplers' own threads are in no profile. Neighbours: `observe` looks, `profile` sums, `bindings` holds the result,
//! `rscalene.profiler` (Python) is the interface.

mod intake;
mod looking;
mod other_samplers;
mod pair;
pub(crate) mod pushing;
pub(crate) mod sampler;
mod subscription;

//! Access to the running interpreter for the engines, and profiles as Python objects.
//!
//! Job: symbols of the interpreter, counters of the shim, and the classes behind `rscalene.Result` and `rscalene.Diff`.
//! Invariant: this module computes no figure: the `report` and `profile` modules do. Neighbours: `report` renders,
//! `lines` and `inprocess` measure, `rscalene.result` (Python) is the public interface.

pub(crate) mod contexts;
pub(crate) mod counters;
pub(crate) mod difference;
pub(crate) mod errors;
pub(crate) mod footprint;
pub(crate) mod fork_lock;
pub(crate) mod label_listeners;
pub(crate) mod load_shim;
pub(crate) mod merge;
pub(crate) mod profile;
pub(crate) mod symbols;

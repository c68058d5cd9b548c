//! The engine inside the interpreter: from its events to rows.
//!
//! Job: know which code objects are profiled, which sessions run on which thread, and hand each event to its session.
//! Invariant: everything here runs with the GIL held and never lets an exception of its own into the profiled program.
//! Neighbours: `session` does the arithmetic, `rscalene.lines` (Python) makes the tables.
//!
//! From 3.12 on the events are local ones of `sys.monitoring`, asked for on the decorated code objects only. On 3.11 they
//! come through `PyEval_SetTrace`, which a call at the head of the decorated code object switches on.

mod company;
mod counters;
mod drive;
mod engine;
mod footprint;
mod intake;
mod monitoring;
mod outcome;
mod pace;
mod prologue;
mod sampler;
mod shim;
mod split;
mod symbols;
mod table;
mod tap;
mod tracing;

use pyo3::prelude::*;

/// Add the engine to the extension module.
///
/// # Errors
///
/// When the module cannot take a name.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    super::clock::prepare();
    module.add_class::<table::LineTable>()?;
    module.add_class::<outcome::LineOutcome>()?;
    module.add_class::<drive::Drive>()?;
    module.add_class::<footprint::RssSampler>()?;
    module.add_class::<footprint::ByteCount>()?;
    module.add_class::<sampler::Sampler>()?;
    Ok(())
}

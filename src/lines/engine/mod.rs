//! The engine inside the interpreter: from its events to rows.
//!
//! Job: know which code objects are profiled, which sessions run on which thread, and hand each event to its session.
//! Invariant: everything here runs with the GIL held and never lets an exception of its own into the profiled program.
//! Neighbours: `session` does the arithmetic, `rscalene.lines` (Python) makes the tables.
//!
//! From 3.12 on the events are local ones of `sys.monitoring`, asked for on the decorated code objects only. On 3.11
//! they come through `PyEval_SetTrace`, which a call at the head of the decorated code object switches on.

pub(crate) mod drive;
mod monitoring;
pub(crate) mod outcome;
mod previous;
mod prologue;
pub(crate) mod split;
pub(crate) mod table;
pub(crate) mod threads;
mod tracing;
pub(crate) mod watch;

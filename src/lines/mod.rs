//! Exact line reports for the functions that the user names: `@profile`.
//!
//! Job: count hits, time and bytes for every line of a decorated function, and print them the way memory_profiler and
//! line_profiler do. The reader's question: *how much did this line cost, to the byte and the nanosecond?* Invariant:
//! each moment and each byte of a session is charged to exactly one row of its table, so the rows sum to the whole.
//! Neighbours: `python/rscalene/lines` decorates, the shim's exact counters say what was allocated.
//!
//! ```text
//! interpreter events -> engine::{monitoring | tracing} -> session (pure) -> engine::outcome -> report (pure) -> text
//!                                 clock, counters ----^
//! ```

pub mod clock;
pub mod report;
pub mod session;

#[cfg(feature = "python")]
pub mod engine;

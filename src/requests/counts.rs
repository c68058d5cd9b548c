//! Open requests, counted by the events that they want.
//!
//! Invariant: written with the GIL held. Neighbours: `gears` counts, `events` and `legacy` read.

use std::sync::atomic::AtomicU32;

/// Open requests that record functions.
pub(super) static FUNCTIONS: AtomicU32 = AtomicU32::new(0);
/// Open requests that record lines.
pub(super) static LINES: AtomicU32 = AtomicU32::new(0);
/// Function events since the last request that wanted any ended.
pub(super) static IDLE: AtomicU32 = AtomicU32::new(0);
/// At about 0.1 us each, 1 ms.
pub(super) const IDLE_EVENTS: u32 = 10_000;

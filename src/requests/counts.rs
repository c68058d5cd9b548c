//! Numbers of open requests, by the events needed for them.
//!
//! Invariant: written with the GIL held. Neighbours: `engines` writes, `events` and `legacy` read.

use std::sync::atomic::AtomicU32;

/// Open requests that record functions.
pub(super) static FUNCTIONS: AtomicU32 = AtomicU32::new(0);
/// Open requests that record lines.
pub(super) static LINES: AtomicU32 = AtomicU32::new(0);
/// Function events since the end of the last request that recorded functions.
pub(super) static IDLE: AtomicU32 = AtomicU32::new(0);
/// After this many such events, function events are switched off: 1 ms at about 0.1 us each.
pub(super) const IDLE_EVENTS: u32 = 10_000;

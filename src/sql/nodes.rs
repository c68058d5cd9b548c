//! Statements of sqlite that are running, or that may run again.
//!
//! Job: hold the counters of each statement, and the data of it that the lock of the world guards. Invariants: a node
//! is never freed; one thread at a time steps its statement. Neighbours: `sqlite` counts, `world` holds the table.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use rustc_hash::FxHashMap;

use super::book::{Site, Slot};

/// A statement that a ledger counts or has counted. Nodes are never freed, because threads keep a pointer to the last
/// one.
#[derive(Default)]
pub(super) struct Node {
    /// The address of the statement; 0 if there is none.
    pub(super) statement: AtomicUsize,
    /// Whether the statement is in an execution that is counted.
    pub(super) running: AtomicBool,
    /// Rows and ticks since they were last added to a book.
    pub(super) rows: AtomicU64,
    pub(super) ticks: AtomicU64,
}

/// Data of a node that the lock of the world guards.
pub(super) struct Known {
    pub(super) node: &'static Node,
    pub(super) normal: Arc<str>,
    pub(super) slots: Vec<Slot>,
    pub(super) site: Site,
    /// Whether it counts as an execution of its own. Otherwise only its rows are counted.
    pub(super) own: bool,
    pub(super) changes: bool,
    pub(super) parameters: bool,
}

/// The statements of all connections.
#[derive(Default)]
pub(super) struct Nodes {
    pub(super) known: FxHashMap<usize, Known>,
    pub(super) unused: Vec<&'static Node>,
}

impl Node {
    /// Whether this is the node of `statement`, in an execution that is counted.
    #[inline(always)]
    pub(super) fn is(&self, statement: *mut c_void) -> bool {
        self.statement.load(Relaxed) == statement as usize && self.running.load(Relaxed)
    }
}

/// Adds to a counter without an atomic addition, because only one thread steps a statement at a time.
#[inline(always)]
pub(super) fn add(sum: &AtomicU64, more: u64) {
    sum.store(sum.load(Relaxed).wrapping_add(more), Relaxed);
}

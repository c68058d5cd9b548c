//! Statements of sqlite, running or able to run again.
//!
//! Job: hold the counters of each statement, and the part of its data under the lock of `lock`. Invariants: a node
//! is never freed; one thread at a time steps its statement. Neighbours: `sqlite` counts, `lock` holds the table.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use rustc_hash::FxHashMap;

use super::book::{Site, Slot};

/// A statement counted by a ledger, now or before. Nodes are never freed, because threads keep a pointer to their last
/// node.
#[derive(Default)]
pub(super) struct Node {
    /// The address of the statement; 0 if there is none.
    pub(super) statement: AtomicUsize,
    /// Whether the statement is in a counted execution.
    pub(super) running: AtomicBool,
    /// Rows and ticks since they were last added to a book.
    pub(super) rows: AtomicU64,
    pub(super) ticks: AtomicU64,
}

/// The part of a node under the lock of `lock`.
pub(super) struct Known {
    pub(super) node: &'static Node,
    pub(super) normal: Arc<str>,
    pub(super) slots: Vec<Slot>,
    pub(super) site: Site,
    /// Whether this is an execution of its own. If false, an outer layer counts the execution, and only the rows count
    /// here.
    pub(super) own: bool,
    pub(super) changes: bool,
    pub(super) parameters: bool,
    /// Nanoseconds of this execution that the books already have.
    pub(super) spent_ns: u64,
}

/// The statements of all connections.
#[derive(Default)]
pub(super) struct Nodes {
    pub(super) known: FxHashMap<usize, Known>,
    pub(super) unused: Vec<&'static Node>,
}

impl Node {
    /// Whether this is the node of `statement`, in a counted execution.
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

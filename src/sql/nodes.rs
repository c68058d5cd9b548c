//! Statements of sqlite that run, or ran and may run on.
//!
//! Job: the counters of each statement and what the lock of the world guards of it. Invariant: a node is never freed, and
//! a single thread at a time steps its statement. Neighbours: `sqlite` counts, `world` holds the table.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use rustc_hash::FxHashMap;

use super::book::{Site, Slot};

/// A statement that runs or ran under a ledger. Nodes are never freed, since threads remember the last one.
#[derive(Default)]
pub(super) struct Node {
    /// The address of the statement; 0: none.
    pub(super) statement: AtomicUsize,
    /// In an execution that is counted?
    pub(super) running: AtomicBool,
    /// Rows and ticks since they were last written to a book.
    pub(super) rows: AtomicU64,
    pub(super) ticks: AtomicU64,
}

/// What the lock of the world guards of a node.
pub(super) struct Known {
    pub(super) node: &'static Node,
    pub(super) normal: Arc<str>,
    pub(super) slots: Vec<Slot>,
    pub(super) site: Site,
    /// Does it count as an execution of its own? Otherwise only its rows are counted.
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
    /// Is it the node of this statement, in an execution that is counted?
    #[inline(always)]
    pub(super) fn is(&self, statement: *mut c_void) -> bool {
        self.statement.load(Relaxed) == statement as usize && self.running.load(Relaxed)
    }
}

/// One thread steps a statement at a time.
#[inline(always)]
pub(super) fn add(sum: &AtomicU64, more: u64) {
    sum.store(sum.load(Relaxed).wrapping_add(more), Relaxed);
}

//! Queries of databases in the book: executions by line and statement, of all processes.
//!
//! Neighbours: `build::queries` fills a record, `write::queries` reads it.

use std::collections::BTreeMap;

use super::intern::FrameId;

/// A line, and the normal form of a statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueryKey {
    /// The line; [`FrameId::NONE`] if no frame was in scope.
    pub(crate) owner: FrameId,
    pub(crate) statement: String,
}

/// Executions of a repeated statement, by their parameters within a unit (a request, or a process).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Executions whose parameters differed.
    pub(crate) n_plus_one: u64,
    /// Executions with the same parameters.
    pub(crate) duplicates: u64,
    /// Executions with unknown parameters.
    pub(crate) unknown: u64,
}

/// Executions of a statement on a line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct QueryRecord {
    pub(crate) count: u64,
    pub(crate) errors: u64,
    pub(crate) ns: u64,
    pub(crate) longest_ns: u64,
    /// `None`: the rows of no execution are known.
    pub(crate) rows: Option<u64>,
    /// True for a statement that controls a transaction (`BEGIN`, `COMMIT`), or a call of another kind.
    pub(crate) transaction: bool,
    /// The ORM behind the statement; empty: none.
    pub(crate) by: String,
    pub(crate) marks: Marks,
    /// The query whose rows the line iterates over, and the number of rows.
    pub(crate) cause: Option<(QueryKey, u64)>,
}

impl QueryRecord {
    /// Adds the sums of another record.
    pub(crate) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.errors += other.errors;
        self.ns = self.ns.saturating_add(other.ns);
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        self.rows = match (self.rows, other.rows) {
            (Some(one), Some(two)) => Some(one.saturating_add(two)),
            (one, two) => one.or(two),
        };
        self.transaction |= other.transaction;
        if self.by.is_empty() {
            self.by.clone_from(&other.by);
        }
        self.marks.n_plus_one += other.marks.n_plus_one;
        self.marks.duplicates += other.marks.duplicates;
        self.marks.unknown += other.marks.unknown;
        if self.cause.is_none() {
            self.cause.clone_from(&other.cause);
        }
    }
}

/// Most statements in a profile; further statements share a row.
const MOST_STATEMENTS: usize = 20_000;
/// The name of statements beyond the limit.
const OTHERS: &str = "(other statements)";

/// All queries.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueryRecords {
    /// True if any process counted its queries; otherwise their number is unknown.
    pub(crate) counted: bool,
    pub(crate) statements: BTreeMap<QueryKey, QueryRecord>,
    /// Nanoseconds in ORMs by line.
    pub(crate) built: BTreeMap<FrameId, u64>,
}

impl QueryRecords {
    /// Adds executions of a process.
    pub(crate) fn add(&mut self, key: QueryKey, record: &QueryRecord) {
        let full = self.statements.len() >= MOST_STATEMENTS && !self.statements.contains_key(&key);
        let key = if full { QueryKey { owner: FrameId::NONE, statement: OTHERS.to_owned() } } else { key };
        self.statements.entry(key).or_default().add(record);
    }
}

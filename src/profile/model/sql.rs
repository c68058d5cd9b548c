//! Queries of databases, by line and statement.
//!
//! Invariant: an unknown figure is `None`, never 0; statements hold neither parameters nor literals. Neighbours:
//! `write::queries` fills the types, `report` shows them.

use serde::{Deserialize, Serialize};

/// Queries of a run whose processes counted them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sql {
    /// Executions of queries, without transaction commands and calls of other kinds.
    pub count: u64,
    /// Seconds in the drivers.
    pub time_s: f64,
    /// Sum of the known numbers of rows; `None`: no number is known.
    pub rows: Option<u64>,
    /// Executions by line and statement, most time first.
    pub statements: Vec<SqlStatement>,
}

/// Executions of a statement on a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SqlStatement {
    /// Index into [`super::Profile::files`]; `None`: no frame was in scope.
    pub file: Option<usize>,
    /// The line.
    pub line: Option<u32>,
    /// Normal form: without literals and parameters.
    pub statement: String,
    /// Executions.
    pub count: u64,
    /// Executions that failed.
    pub errors: u64,
    /// Seconds in the driver.
    pub time_s: f64,
    /// Seconds of the longest execution.
    pub longest_s: f64,
    /// Rows returned, or rows changed if the statement returns none; `None`: unknown.
    pub rows: Option<u64>,
    /// True for a transaction command, such as `COMMIT`, or a call of another kind, such as `redis: GET`.
    pub transaction: bool,
    /// [`Sql::N_PLUS_ONE`] or [`Sql::DUPLICATE`], if the line repeats the statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// Advice for the mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The query whose rows the line iterates over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<SqlCause>,
}

/// A query whose rows a line iterates over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SqlCause {
    /// Index into [`super::Profile::files`].
    pub file: usize,
    /// The line.
    pub line: u32,
    /// Number of rows.
    pub rows: u64,
}

impl Sql {
    /// The mark of a statement that runs for each row of another query.
    pub const N_PLUS_ONE: &'static str = "N+1";
    /// The mark of a statement that runs repeatedly with the same parameters.
    pub const DUPLICATE: &'static str = "duplicate";
}

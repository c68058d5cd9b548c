//! Queries of databases, by line and statement.
//!
//! Invariant: what is not known is `None`, never 0; statements hold neither parameters nor literals. Neighbours:
//! `write::queries` fills it, `report` shows it.

use serde::{Deserialize, Serialize};

/// Queries of a run that counted them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sql {
    /// Executions that are neither words of transactions nor calls of another kind.
    pub count: u64,
    /// Seconds in the drivers.
    pub time_s: f64,
    /// Rows of those whose rows are known; `None`: of none.
    pub rows: Option<u64>,
    /// By line and statement, the most time first.
    pub statements: Vec<SqlStatement>,
}

/// Executions of one statement on one line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SqlStatement {
    /// Index into [`super::Profile::files`]; `None` where only libraries ran.
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
    /// Of the longest execution.
    pub longest_s: f64,
    /// Rows returned, or changed where none are returned; `None`: no layer knows.
    pub rows: Option<u64>,
    /// No query: a word of transactions, such as `COMMIT`, or a call of another kind, such as `redis: GET`.
    pub transaction: bool,
    /// [`Sql::N_PLUS_ONE`] or [`Sql::DUPLICATE`]: the line asks it again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// What to do about the mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The query whose rows the line went through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<SqlCause>,
}

/// A query whose rows a line went through.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SqlCause {
    /// Index into [`super::Profile::files`].
    pub file: usize,
    /// The line.
    pub line: u32,
    /// Its rows.
    pub rows: u64,
}

impl Sql {
    /// The mark of a statement that runs for each row of another one.
    pub const N_PLUS_ONE: &'static str = "N+1";
    /// The mark of a statement that runs again and again with the same parameters.
    pub const DUPLICATE: &'static str = "duplicate";
}

//! Queries of merged profiles, by line and statement.
//!
//! Job: add up the executions of a statement on a line. Invariant: a value that cannot be added (a mark, an advice, a
//! cause) is chosen by value, never by order. Neighbours: `lines` numbers the files, `mod` adds the profiles.

use std::collections::BTreeMap;

use super::exact::{add, add_known, add_micros, choose, larger, micros, seconds};
use super::places::{FileId, FileKey};
use crate::profile::model::{Line, Sql, SqlCause, SqlStatement};

/// Queries of a line.
#[derive(Debug, Default)]
pub(super) struct LineQueries {
    count: Option<u64>,
    time: Option<u64>,
    rows: Option<u64>,
    mark: Option<String>,
    build: Option<u64>,
}

impl LineQueries {
    pub(super) fn add(&mut self, line: &Line) {
        add_known(&mut self.count, line.sql_count, add);
        add_known(&mut self.time, line.sql_s.map(micros), add_micros);
        add_known(&mut self.rows, line.sql_rows, add);
        add_known(&mut self.build, line.sql_build_s.map(micros), add_micros);
        // `N+1`, the worst mark, is also the least string.
        choose(&mut self.mark, line.sql_mark.clone());
    }

    pub(super) fn write(self, line: &mut Line) {
        line.sql_count = self.count;
        line.sql_s = self.time.map(seconds);
        line.sql_rows = self.rows;
        line.sql_mark = self.mark;
        line.sql_build_s = self.build.map(seconds);
    }
}

#[derive(Debug, Default)]
struct StatementSum {
    count: u64,
    errors: u64,
    time: u64,
    longest: Option<u64>,
    rows: Option<u64>,
    mark: Option<String>,
    advice: Option<String>,
    /// Rows, line and file of the cause with the most rows.
    cause: Option<(u64, u32, FileKey)>,
}

/// A line or none, a statement, and whether the statement is a transaction command or a call of another kind.
type Key = (Option<FileId>, Option<u32>, String, bool);

/// Queries of all runs.
#[derive(Debug, Default)]
pub(super) struct Queries {
    counted: bool,
    count: u64,
    time: u64,
    rows: Option<u64>,
    statements: BTreeMap<Key, StatementSum>,
}

impl Queries {
    /// Adds the queries of a profile whose files have the numbers `files`. `key`: the identity of a file by its number.
    pub(super) fn add(&mut self, sql: &Sql, files: &[FileId], key: &dyn Fn(FileId) -> FileKey) {
        self.counted = true;
        add(&mut self.count, sql.count);
        add_micros(&mut self.time, micros(sql.time_s));
        add_known(&mut self.rows, sql.rows, add);
        for row in &sql.statements {
            let place = (row.file.map(|file| files[file]), row.line, row.statement.clone(), row.transaction);
            let sum = self.statements.entry(place).or_default();
            add(&mut sum.count, row.count);
            add(&mut sum.errors, row.errors);
            add_micros(&mut sum.time, micros(row.time_s));
            larger(&mut sum.longest, Some(micros(row.longest_s)));
            add_known(&mut sum.rows, row.rows, add);
            choose(&mut sum.mark, row.mark.clone());
            choose(&mut sum.advice, row.advice.clone());
            let cause = row.cause.as_ref().map(|cause| (cause.rows, cause.line, key(files[cause.file])));
            sum.cause = sum.cause.take().max(cause);
        }
    }

    /// The queries of the merged profile, in which file `id` has the number `files[id]` and the identity `keys[id]`.
    pub(super) fn finish(self, files: &[usize], keys: &[FileKey]) -> Option<Sql> {
        let row = |((file, line, statement, transaction), sum): (Key, StatementSum)| SqlStatement {
            file: file.map(|file| files[file]),
            line,
            statement,
            count: sum.count,
            errors: sum.errors,
            time_s: seconds(sum.time),
            longest_s: sum.longest.map_or(0.0, seconds),
            rows: sum.rows,
            transaction,
            mark: sum.mark,
            advice: sum.advice,
            cause: sum.cause.and_then(|(rows, line, key)| {
                let file = keys.iter().position(|known| *known == key)?;
                Some(SqlCause { file: files[file], line, rows })
            }),
        };
        let mut statements: Vec<SqlStatement> = self.statements.into_iter().map(row).collect();
        statements.sort_by(|left, right| {
            let place = |row: &SqlStatement| (row.file, row.line, row.transaction);
            let slower = right.time_s.total_cmp(&left.time_s).then(right.count.cmp(&left.count));
            slower.then(place(left).cmp(&place(right))).then(left.statement.cmp(&right.statement))
        });
        self.counted.then(|| Sql { count: self.count, time_s: seconds(self.time), rows: self.rows, statements })
    }
}

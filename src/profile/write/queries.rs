//! Queries of databases: from the book to the profile.
//!
//! Job: statements by line with advice, and the figures of lines. Neighbours: `book::queries` holds the records,
//! `lines` made the files.

use crate::profile::book::Book;
use crate::profile::book::intern::{FrameId, Names};
use crate::profile::book::queries::QueryRecord;
use crate::profile::model::{Sql, SqlCause, SqlStatement};

use super::lines::{Files, LineKey};

/// The queries, and their figures in the lines of `files`; `None` if no process counted queries.
pub(crate) fn write(names: &Names, book: &Book, files: &mut Files) -> Option<Sql> {
    if !book.queries.counted {
        return None;
    }
    let mut sql = Sql::default();
    let mut merged: std::collections::BTreeMap<(Option<LineKey>, &str), QueryRecord> =
        std::collections::BTreeMap::new();
    let key_of = |files: &Files, owner: FrameId| owner.some().map(|owner| files.line_of(names, owner));
    for (key, record) in &book.queries.statements {
        merged.entry((key_of(files, key.owner), &key.statement)).or_default().add(record);
    }
    for ((line, statement), record) in merged {
        let cause = record.cause.as_ref().and_then(|(cause, rows)| {
            let (file, line) = key_of(files, cause.owner)?;
            Some(SqlCause { file, line, rows: *rows })
        });
        let row = statement_row(line, statement, &record, cause);
        if !row.transaction {
            sql.count += row.count;
            sql.time_s += row.time_s;
            sql.rows = added(sql.rows, row.rows);
            enter(files, line, &row);
        }
        sql.statements.push(row);
    }
    sql.statements.sort_by(|left, right| right.time_s.total_cmp(&left.time_s).then(right.count.cmp(&left.count)));
    for (&owner, &ns) in &book.queries.built {
        if let Some(line) = key_of(files, owner).and_then(|at| line_at(files, at)) {
            line.sql_build_s = Some(line.sql_build_s.unwrap_or(0.0) + ns as f64 / 1e9);
        }
    }
    Some(sql)
}

fn statement_row(
    line: Option<LineKey>,
    statement: &str,
    record: &QueryRecord,
    cause: Option<SqlCause>,
) -> SqlStatement {
    let marks = record.marks;
    let mark = if marks.n_plus_one > 0 || (marks.unknown > 0 && marks.duplicates == 0) {
        Some(Sql::N_PLUS_ONE)
    } else {
        (marks.duplicates > 0).then_some(Sql::DUPLICATE)
    };
    let mark = mark.filter(|_| !record.transaction);
    SqlStatement {
        file: line.map(|(file, _)| file),
        line: line.map(|(_, line)| line),
        statement: statement.to_owned(),
        count: record.count,
        errors: record.errors,
        time_s: record.ns as f64 / 1e9,
        longest_s: record.longest_ns as f64 / 1e9,
        rows: record.rows,
        transaction: record.transaction,
        mark: mark.map(str::to_owned),
        advice: mark.map(|mark| advice(mark, statement, &record.by).to_owned()),
        cause: cause.filter(|_| mark == Some(Sql::N_PLUS_ONE)),
    }
}

/// The advice for a mark.
fn advice(mark: &str, statement: &str, by: &str) -> &'static str {
    let word = statement.split_ascii_whitespace().next().unwrap_or("");
    let writes = ["insert", "update", "delete", "replace", "merge"].iter().any(|verb| word.eq_ignore_ascii_case(verb));
    match (mark, writes, by) {
        (_, true, "django") => "write many at once: bulk_create(), bulk_update() or one update()",
        (_, true, "sqlalchemy") => "write many at once: execute() with a list of parameters",
        (_, true, _) => "write many at once: executemany()",
        (Sql::DUPLICATE, ..) => "the same query with the same parameters: keep its result",
        (_, _, "django") => "load with the first query: select_related(), or prefetch_related() for many",
        (_, _, "sqlalchemy") => "load with the first query: joinedload() or selectinload()",
        _ => "ask once: a JOIN, or WHERE ... IN (...)",
    }
}

fn line_at(files: &mut Files, (file, number): LineKey) -> Option<&mut crate::profile::model::Line> {
    files.files[file].lines.iter_mut().find(|line| line.line == number)
}

fn enter(files: &mut Files, at: Option<LineKey>, row: &SqlStatement) {
    let Some(line) = at.and_then(|at| line_at(files, at)) else { return };
    line.sql_count = Some(line.sql_count.unwrap_or(0) + row.count);
    line.sql_s = Some(line.sql_s.unwrap_or(0.0) + row.time_s);
    line.sql_rows = added(line.sql_rows, row.rows);
    let worse = row.mark.as_deref() == Some(Sql::N_PLUS_ONE) || line.sql_mark.is_none();
    if row.mark.is_some() && worse {
        line.sql_mark.clone_from(&row.mark);
    }
}

fn added(one: Option<u64>, two: Option<u64>) -> Option<u64> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.saturating_add(two)),
        (one, two) => one.or(two),
    }
}

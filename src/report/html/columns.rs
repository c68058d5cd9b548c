//! Figures of lines as columns.
//!
//! Job: write the figures of a file's lines, and the shares of threads and processes in them, as one array for each
//! figure, because such arrays deflate well. Invariants: a figure without a value in any row is left out; a figure with
//! 0 in every row is a single `0`; a single missing value is `null`. Neighbours: `payload` puts the columns into a
//! file, `assets/data.js` reads them.

use std::fmt::Write as _;

use crate::profile::model::figures::FIGURES;
use crate::profile::model::{File, Line, Memory, Sql, Time};

use crate::report::view::waiting_s;

use super::cumulative::WithCallees;
use super::digits::{micros, rounded, to_digits};

/// Key of a column, and the figure of one row.
type Cell = (&'static str, Option<i64>);

/// Appends `,"key":[..]` for each figure of the file's lines, then the shares.
pub(super) fn push_file(out: &mut String, file: &File, callees: &dyn Fn(u32) -> Option<WithCallees>) {
    let mut before = 0;
    let rows: Vec<_> = file
        .lines
        .iter()
        .map(|line| {
            let mut row = figures(line, callees(line.line));
            // Store the distance to the previous line: small numbers that repeat deflate better.
            if let Some((_, step)) = row.iter_mut().find(|(key, _)| *key == "ln") {
                *step = Some(i64::from(line.line) - before);
            }
            before = i64::from(line.line);
            row
        })
        .collect();
    push_columns(out, &rows);
    // If a single thread or process ran a line, its figures equal the line's, so they are left out.
    let (mut threads, mut processes, mut last) = (Vec::new(), Vec::new(), (0, 0));
    for (at, line) in file.lines.iter().enumerate() {
        for share in &line.by_thread {
            // Allocated bytes are always written: equal times do not mean equal memory.
            let memory = ("al", share.alloc_bytes.map(|b| to_digits(3, b as f64)));
            let alone = share.time == line.time;
            let [a, b, c, d, e, f, g, h, i, j] = share_of(at - last.0, share.thread, &share.time, alone);
            threads.push([a, b, c, d, e, f, g, h, i, j, memory]);
            last.0 = at;
        }
        for share in &line.by_process {
            let alone = share.time == line.time && share.memory == line.memory;
            let time = share_of(at - last.1, share.process, &share.time, alone);
            let memory = bytes(&share.memory).into_iter().zip(FIGURES).map(|(cell, figure)| {
                let lines_alone = figure.row.lines_alone;
                let (key, figure) = coarse(cell, alone);
                (key, figure.filter(|_| !lines_alone))
            });
            processes.push(row::<SHARE>(time.into_iter().chain(memory)));
            last.1 = at;
        }
    }
    push_shares(out, "threads", &threads);
    push_shares(out, "processes", &processes);
}

/// Columns of time.
const TIMES: usize = 8;
/// Columns of a line: of time, of samples, of memory, and the columns added by [`figures`].
const LINE: usize = TIMES + 2 + FIGURES.len() + 9;
/// Columns of a process' share of a line.
const SHARE: usize = 2 + TIMES + FIGURES.len();

/// Makes a row of its cells.
fn row<const N: usize>(mut cells: impl Iterator<Item = Cell>) -> [Cell; N] {
    std::array::from_fn(|_| cells.next().unwrap_or_default())
}

/// The figures of a line, with the keys of a file's columns.
pub(super) fn figures(line: &Line, callees: Option<WithCallees>) -> [Cell; LINE] {
    let samples = [("cs", Some(line.cpu_samples as i64)), ("ce", line.cpu_s_se.map(|s| to_digits(2, s * 1e6)))];
    let others = [
        ("cc", callees.map(|c| micros(c.cpu_s))),
        ("cw", callees.map(|c| micros(c.wall_s))),
        ("ca", callees.map(|c| rounded(c.alloc_bytes as f64))),
        ("ln", Some(i64::from(line.line))),
        ("qc", line.sql_count.map(|count| rounded(count as f64))),
        ("qs", line.sql_s.map(micros)),
        ("qr", line.sql_rows.map(|rows| rounded(rows as f64))),
        ("qb", line.sql_build_s.map(micros)),
        // 2: N+1; 1: duplicate.
        ("qm", line.sql_mark.as_deref().map(|mark| 1 + i64::from(mark == Sql::N_PLUS_ONE))),
    ];
    row(seconds(&line.time).into_iter().chain(samples).chain(bytes(&line.memory)).chain(others))
}

fn seconds(time: &Time) -> [Cell; TIMES] {
    [
        ("py", time.python_s.map(micros)),
        ("na", time.native_s.map(micros)),
        ("he", time.helpers_s.map(micros)),
        ("sy", time.system_s.map(micros)),
        ("wa", waiting_s(time).map(micros)),
        ("gi", time.gil_wait_s.map(micros)),
        ("id", time.idle_s.map(micros)),
        ("gc", time.gc_s.map(micros)),
    ]
}

/// The figures of memory. `FIGURES` gives the number of digits: four for a figure that the page shows with four digits,
/// three for a figure in the details of a line, two for an error.
fn bytes(memory: &Memory) -> [Cell; FIGURES.len()] {
    FIGURES.map(|figure| (figure.row.page, (figure.value)(memory).map(|value| to_digits(figure.row.digits, value))))
}

/// Distance in rows to the previous share (`at`), index of the thread or process (`of`), and its time.
fn share_of(step: usize, of: usize, time: &Time, alone: bool) -> [Cell; 10] {
    let [py, na, he, sy, wa, gi, id, gc] = seconds(time).map(|cell| coarse(cell, alone));
    [("at", Some(step as i64)), ("of", Some(of as i64)), py, na, he, sy, wa, gi, id, gc]
}

/// Rounds to three significant digits: there are many shares, and no sum uses them. `None` if the share equals the
/// line's own figure (`alone`).
fn coarse((key, figure): Cell, alone: bool) -> Cell {
    (key, figure.filter(|_| !alone).map(|figure| to_digits(3, figure as f64)))
}

fn push_shares<const N: usize>(out: &mut String, name: &str, rows: &[[Cell; N]]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(out, ",\"{name}\":{{\"n\":{}", rows.len());
    push_columns(out, rows);
    out.push('}');
}

fn push_columns<const N: usize>(out: &mut String, rows: &[[Cell; N]]) {
    let Some(first) = rows.first() else { return };
    // A large profile has millions of numbers, and the standard library's formatting takes several times as long.
    let mut digits = itoa::Buffer::new();
    for (column, (key, _)) in first.iter().enumerate() {
        let values = || rows.iter().map(|row| row[column].1);
        if values().all(|value| value.is_none()) {
            continue;
        }
        let _ = write!(out, ",\"{key}\":");
        if values().all(|value| value == Some(0)) {
            out.push('0');
            continue;
        }
        for (at, value) in values().enumerate() {
            out.push(if at == 0 { '[' } else { ',' });
            out.push_str(value.map_or("null", |value| digits.format(value)));
        }
        out.push(']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::ThreadShare;

    #[test]
    fn shares_name_their_line_and_their_thread() {
        let python = |s| Time { python_s: Some(s), ..Time::default() };
        let share = |thread, s| ThreadShare { thread, time: python(s), alloc_bytes: None };
        let line = |line, by_thread| Line { line, by_thread, ..Line::default() };
        let lines = vec![
            line(3, vec![]),
            line(7, vec![share(0, 2.0), share(4, 0.001_236)]),
            Line { time: python(1.0), ..line(8, vec![share(4, 1.0)]) },
        ];
        let mut out = String::from("{\"x\":0");
        push_file(&mut out, &File { lines, ..File::default() }, &|_| None);
        out.push('}');
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        let threads = serde_json::json!({"n": 3, "at": [1, 0, 1], "of": [0, 4, 4], "py": [2_000_000, 1240, null]});
        assert_eq!(value["threads"], threads);
        assert!(value.get("processes").is_none());
    }
}

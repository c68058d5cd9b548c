//! Laws of the builder about queries of databases.

use super::recording::{MS, Recording, same};
use rscalene::profile::model::{Profile, SqlStatement};
use rscalene::transport::event::Body;
use rscalene_wire as wire;
use wire::QueryMark;

const APP: &str = "/w/app.py";

/// A process, its stacks at lines 1 (of the module) and 11 (of a function that line 3 calls), and two statements.
struct Asking {
    run: Recording,
    outer: u64,
    inner: u64,
}

const BOOKS: u32 = 900;
const AUTHOR: u32 = 901;

fn asking() -> Asking {
    let mut run = Recording::new("timer", "exact");
    let (outer, inner) = process(&mut run, 1);
    Asking { run, outer, inner }
}

fn process(run: &mut Recording, pid: u32) -> (u64, u64) {
    run.process(pid, 0);
    run.thread(pid, pid, 2, 0);
    let (module, function) = (run.code(pid, APP, "<module>", 1), run.code(pid, APP, "author", 10));
    let stacks = (run.stack(pid, &[(module, 0)]), run.stack(pid, &[(function, 1), (module, 2)]));
    for (number, text) in [(BOOKS, "select id from book"), (AUTHOR, "select name from author where id = ?")] {
        run.feed(pid, Body::Label { label: number, pairs: vec![("sql".to_owned(), text.to_owned())] });
    }
    stacks
}

fn ask(run: &mut Recording, pid: u32, name: u32, stack: u64, label: u32, parameters: u32, rows: Option<u64>) {
    let rows = rows.unwrap_or(wire::UNKNOWN_ROWS);
    let begin = wire::Query { stack, name, label, parameters, mark: QueryMark::BEGIN, ..Default::default() };
    run.feed(pid, Body::Query(begin));
    run.feed(pid, Body::Query(wire::Query { wall_ns: MS, rows, mark: QueryMark::END, parameters: 0, ..begin }));
}

fn row(profile: &Profile, line: u32) -> &SqlStatement {
    let sql = profile.sql.as_ref().expect("queries were counted");
    sql.statements.iter().find(|row| row.line == Some(line)).expect("the line asked")
}

#[test]
fn a_query_for_each_row_of_another_is_marked_with_its_cause() {
    let Asking { mut run, outer, inner } = asking();
    ask(&mut run, 1, BOOKS, outer, 0, 7, Some(6));
    (1..=6).for_each(|id| ask(&mut run, 1, AUTHOR, inner, 0, id, Some(1)));
    let profile = run.finish();
    let found = row(&profile, 11);
    assert_eq!((found.count, found.rows, found.mark.as_deref()), (6, Some(6), Some("N+1")));
    same(found.time_s, 0.006);
    same(found.longest_s, 0.001);
    let cause = found.cause.as_ref().expect("the books' rows are the cause");
    assert_eq!((cause.line, cause.rows), (1, 6));
    assert_eq!(row(&profile, 1).mark, None);
    let line = profile.files[0].lines.iter().find(|line| line.line == 11).expect("a line without samples is there");
    assert_eq!((line.sql_count, line.sql_rows, line.sql_mark.as_deref()), (Some(6), Some(6), Some("N+1")));
    let sql = profile.sql.as_ref().expect("counted");
    assert_eq!((sql.count, sql.rows), (7, Some(12)));
}

#[test]
fn the_same_parameters_make_duplicates_and_unknown_rows_stay_unknown() {
    let Asking { mut run, inner, .. } = asking();
    (0..5).for_each(|_| ask(&mut run, 1, AUTHOR, inner, 0, 3, None));
    let profile = run.finish();
    assert_eq!((row(&profile, 11).mark.as_deref(), row(&profile, 11).rows), (Some("duplicate"), None));
}

#[test]
fn a_query_that_each_request_makes_once_is_no_finding_and_one_that_a_request_makes_often_is() {
    let Asking { mut run, outer, inner } = asking();
    run.feed(1, Body::Label { label: 50, pairs: vec![("route".to_owned(), "/".to_owned())] });
    for request in 100..110 {
        ask(&mut run, 1, BOOKS, outer, request, request, Some(5));
        if request == 105 {
            (1..=5).for_each(|id| ask(&mut run, 1, AUTHOR, inner, request, id, Some(1)));
        }
        let span = wire::Span { label: request, name: 50, ..Default::default() };
        run.feed(1, Body::Span(span));
    }
    let profile = run.finish();
    assert_eq!((row(&profile, 1).count, row(&profile, 1).mark.as_deref()), (10, None));
    assert_eq!((row(&profile, 11).count, row(&profile, 11).mark.as_deref()), (5, Some("N+1")));
}

#[test]
fn processes_add_up_and_words_of_transactions_are_no_queries() {
    let Asking { mut run, outer, .. } = asking();
    let (other, _) = process(&mut run, 2);
    let word = vec![("transaction".to_owned(), "1".to_owned()), ("sql".to_owned(), "COMMIT".to_owned())];
    run.feed(2, Body::Label { label: 77, pairs: word });
    ask(&mut run, 1, BOOKS, outer, 0, 1, Some(2));
    (0..9).for_each(|_| ask(&mut run, 2, BOOKS, other, 0, 1, Some(3)));
    (0..9).for_each(|_| ask(&mut run, 2, 77, other, 0, 1, None));
    let profile = run.finish();
    let sql = profile.sql.as_ref().expect("counted");
    assert_eq!((sql.count, sql.rows, sql.statements.len()), (10, Some(29), 2));
    let commit = sql.statements.iter().find(|row| row.transaction).expect("it is a row");
    assert_eq!((commit.count, commit.mark.as_deref()), (9, None));
}

#[test]
fn an_execution_that_has_not_ended_is_counted() {
    let Asking { mut run, outer, .. } = asking();
    let begin = wire::Query { stack: outer, name: BOOKS, mark: QueryMark::BEGIN, ..Default::default() };
    run.feed(1, Body::Query(begin));
    let profile = run.finish();
    assert_eq!((row(&profile, 1).count, row(&profile, 1).rows), (1, None));
}

#[test]
fn the_longest_execution_is_as_long_as_all_its_records() {
    let Asking { mut run, outer, .. } = asking();
    let begin = wire::Query { stack: outer, name: BOOKS, mark: QueryMark::BEGIN, ..Default::default() };
    run.feed(1, Body::Query(begin));
    for told in 0..3 {
        let parameters = told * (MS / 1_000) as u32;
        run.feed(1, Body::Query(wire::Query { wall_ns: MS, rows: 256, parameters, mark: QueryMark::END, ..begin }));
    }
    let profile = run.finish();
    same(row(&profile, 1).time_s, 0.003);
    same(row(&profile, 1).longest_s, 0.003);
}

#[test]
fn no_queries_are_zero_if_the_process_counts_and_unknown_if_it_does_not() {
    let Asking { mut run, .. } = asking();
    run.feed(1, Body::Query(wire::Query { mark: QueryMark::READY, ..Default::default() }));
    let sql = run.finish().sql.expect("counted");
    assert_eq!((sql.count, sql.statements.len()), (0, 0));
    assert_eq!(asking().run.finish().sql, None);
}

#[test]
fn a_line_that_the_process_names_itself_is_taken_where_no_frame_is_the_users() {
    let Asking { mut run, .. } = asking();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let pairs = vec![pair("file", APP), pair("line", "33"), pair("function", "page"), pair("sql", "select 1")];
    run.feed(1, Body::Label { label: 88, pairs });
    ask(&mut run, 1, 88, 0, 0, 0, Some(1));
    let profile = run.finish();
    assert_eq!(row(&profile, 33).count, 1);
    assert!(profile.files[0].lines.iter().any(|line| line.line == 33 && line.function == "page"));
}
